"""How large a prompt is for each role, and how long it takes to build, in a project of 500 decisions and 300 tasks.

    python bench/context.py [--decisions 500] [--tasks 300] [--times 20]

Prints one line a role: characters, estimated tokens, and the medians in milliseconds of building it from values in memory
and of collecting those first, files and git included; then whether all builds gave the same bytes. The bounds are 16,000
tokens and 50 ms to build.
"""

import argparse
import statistics
import sys
import threading
import time
from pathlib import Path

from ground import environment, fresh, scratch

from kin import context
from kin.model.decision import Decision
from kin.model.fields import build
from kin.model.record import StepRecord
from kin.model.settings import StepSpec
from kin.model.status import StepStatus
from kin.runner.steps import prompts
from kin.store import decisions, tasks
from kin.store.project import Project, find
from kin.store.roles import find_role, role_names

KINDS = ("decision", "convention", "gotcha", "workaround", "rejected_approach")
WORDS = "Callers pass the tenant first; a batch is cut at 500 rows, since the queue refuses longer ones. "


def make(folder: Path, many: int, count: int) -> Project:
    """A project of 20 modules with a branch to review, `many` decisions and `count` tasks."""
    repo = fresh(folder / "project")
    repo.write(".kin/kin.yaml", "key: KIN\n")
    parts = (f"m{n}:\n  paths:\n    - src/m{n}/**\n\n  purpose: Part {n}\n" for n in range(20))
    repo.write(".kin/modules.yaml", "\n".join(parts))
    for n in range(20):
        repo.write(f"src/m{n}/a.py", "x = 1\n" * 100)
    repo.commit("code")
    project = find(str(repo.path), {})
    for n in range(1, many + 1):
        about = ({"module": f"m{n % 20}"}, {"paths": [f"src/m{n % 20}/*.py"]}, {"tags": ["api"]}, {})[n % 4]
        text = decisions.decision_text(
            build(
                Decision,
                {
                    "id": f"D-{n}",
                    "kind": KINDS[n % 5],
                    "title": f"Rule {n}",
                    "text": WORDS * (1 + n % 9),
                    "created": "2026-01-01",
                    **about,
                },
            )[0]
        )
        repo.write(f".kin/decisions/D-{n}.yaml", text)
    for n in range(1, count + 1):
        repo.write(
            f".kin/tasks/KIN-{n}.yaml",
            f"id: KIN-{n}\n\ntitle: Task {n}\n\nstatus: todo\n\nmodule: m{n % 20}\n\ndescription: |\n  {WORDS}\n",
        )
    repo.commit("memory")
    repo.git("switch", "-q", "-c", "kin/KIN-1")
    for n in range(20):
        repo.write(f"src/m{n}/a.py", "x = 2\n" * 100)
    repo.commit("work")
    repo.git("switch", "-q", "main")
    threading.Event().wait(2.1)  # until the index may believe the files
    return project


def main() -> int:
    """Measure each role; 1 if a bound is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=500)
    parser.add_argument("--tasks", type=int, default=300)
    parser.add_argument("--times", type=int, default=20)
    words = parser.parse_args()
    good = True
    with scratch() as folder:
        environment(folder / "home")
        project = make(folder, words.decisions, words.tasks)
        task = tasks.load(project, "KIN-1")[0]
        handed: list[context.Handover] = []
        steps = [
            StepRecord(f"{n}-{name}", name, StepStatus.done, summary=WORDS * 20)
            for n, name in enumerate(role_names(project.store), 1)
        ]
        compose = prompts.compose
        prompts.compose = lambda task, given: handed.append(given) or compose(task, given)
        for name in role_names(project.store):
            role, built, collected, seen = find_role(project.store, name), list[float](), list[float](), set[str]()
            for _ in range(words.times):
                start = time.perf_counter()
                seen.add(prompts.prompt_for(project, task, StepSpec(role=name), role, steps, ["a.py:1: mend"] * 5).text)
                middle = time.perf_counter()
                prompt = compose(task, handed[-1])
                built.append(time.perf_counter() - middle)
                collected.append(middle - start)
            tokens = sum(s.tokens for s in prompt.sections)
            ms, all_ms = statistics.median(built) * 1000, statistics.median(collected) * 1000
            good &= tokens <= context.BUDGET and ms < 50 and len(seen) == 1
            same = "same bytes" if len(seen) == 1 else f"{len(seen)} DIFFERENT"
            size = f"{len(prompt.text):7,} characters {tokens:6,} tokens"
            print(f"{name:22} {size} {ms:6.1f} ms to build {all_ms:6.1f} with reading  {same}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
