"""What kin adds to the time of a step that a real client plays: claude and codex through kin, against the bare client.

    python bench/clients.py [--steps 5] [--pairs 5]

The model is the scripted one of the tests, on loopback, and answers at once. Each pair runs a task with one step, the same
with more, and the client alone with the arguments, the environment and the prompt that kin gives it; printed are the medians
of a step by the clock and of processor time, which a busy machine disturbs less. The clients come from npm (tests/clients.py).
"""

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from clients import CLIENTS
from conftest import Repo
from firm import Firm
from model_server import ModelServer, result

from kin.agents import built_in, start
from kin.model.agent import Agent


def make(folder: Path, steps: int) -> Repo:
    """A repository with one task whose steps a reviewer plays."""
    repo = Repo(folder / f"steps-{steps}")
    repo.path.mkdir()
    repo.git("init", "-q", "-b", "main")
    repo.write(".kin/kin.yaml", "format: 1\n\nkey: KIN\n\nmode: auto\n")
    pipeline = "".join("\n  - reviewer" for _ in range(steps))
    repo.write(".kin/tasks/KIN-1.yaml", f"id: KIN-1\n\ntitle: Read it\n\nstatus: todo\n\npipeline:{pipeline}\n")
    repo.commit("a task")
    return repo


def measured(process: "subprocess.Popen[bytes]", began: float, before: float) -> tuple[float, float]:
    """Seconds by the clock, and seconds of processor time of it and all that it waited for."""
    assert process.wait() == 0
    return time.perf_counter() - began, processor() - before


def processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def through_kin(firm: Firm, template: Repo) -> tuple[float, float]:
    """`kin run` on a fresh copy."""
    firm.project = Repo(template.path.parent / "copy")
    shutil.copytree(template.path, firm.project.path)
    before, began = processor(), time.perf_counter()
    used = measured(firm.start("run", "KIN-1", "--quiet"), began, before)
    shutil.rmtree(firm.project.path)
    return used


def bare(firm: Firm, template: Repo, folder: Path) -> tuple[float, float]:
    """The client alone, on the prompt that it was last given."""
    prompt = folder / "prompt.md"
    prompt.write_text(firm.server.asked[-1].prompt)
    agent = built_in()[firm.client].changed_by(Agent.model_validate(firm.agents[firm.client]))
    home, here, env = str(folder / "private"), str(template.path), dict(os.environ) | firm.env
    begin = start(agent, access="read", model=None, prompt=str(prompt), home=home, environ=env, cwd=here)
    before, began = processor(), time.perf_counter()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with open(prompt, "rb") as words:
        return measured(subprocess.Popen(begin.argv, cwd=here, env=begin.env, stdin=words, **quiet), began, before)


def main() -> None:
    """Measure in turn, so that a machine that changes its speed changes all alike."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=5)
    words = parser.parse_args()
    for client in CLIENTS:
        with tempfile.TemporaryDirectory() as name, ModelServer(lambda asked: result(summary="read it")) as server:
            folder = Path(name)
            os.environ |= {f"XDG_{kind}_HOME": str(folder / kind) for kind in ("CONFIG", "STATE", "DATA")}
            os.environ |= {"HOME": name, "KIN_TRUST": "1", "KIN_ALLOW_WRITE": "1"}
            one, many = make(folder, 1), make(folder, 1 + words.steps)
            firm = Firm(one, client, server)
            through_kin(firm, one)
            rows = []
            for _ in range(words.pairs):
                few, all_of_them, alone = through_kin(firm, one), through_kin(firm, many), bare(firm, one, folder)
                rows.append([*((a - b) / words.steps for a, b in zip(all_of_them, few, strict=True)), *alone])
        clock, used, alone_clock, alone_used = (statistics.median(column) * 1000 for column in zip(*rows, strict=True))
        print(f"{client:7} a step through kin {clock:6.0f} ms, {used:5.0f} of a processor")
        print(f"{client:7} the client alone   {alone_clock:6.0f} ms, {alone_used:5.0f} of a processor")


if __name__ == "__main__":
    main()
