"""Steps that a model plays, from its client's stream to a commit, a wait, a question or a stop.

The clients are shell scripts that print recorded lines; what the real ones do is proved in tests/test_clients.py.
"""

import json
import os
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import Repo, task_text, wait_for
from killing import killed
from test_many import has_open

from kin.store.locks import lock_path, try_lock
from kin.store.text import emit

OPTIONS = {"read": ["--read-only"], "write": ["--write"], "resume": ["--resume", "{session}"], "model": ["--model", "{model}"]}
OPTIONS |= {"budget": ["--max", "{usd}"]}
PRICE = {"input_tokens": 200, "output_tokens": 40}
LATER = int(time.time()) + 7200
"""When the limits of these tests end, as seconds since the epoch."""
UNTIL = datetime.fromtimestamp(LATER, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def said(text: str, *, cost: float | None = 0.25, **more: Any) -> str:
    """The lines of a Claude Code stream whose final message is `text`."""
    usage = {"input_tokens": 200, "output_tokens": 40}
    lines: list[dict[str, Any]] = [
        {"type": "system", "subtype": "init", "session_id": "s-1", "model": "model-x", "tools": []},
        {"type": "assistant", "message": {"content": [{"type": "text", "text": text}], "usage": usage}, "session_id": "s-1"},
        {"type": "result", "subtype": "success", "is_error": False, "result": text, "session_id": "s-1", "num_turns": 2}
        | {"total_cost_usd": cost, "usage": usage, **more},
    ]
    return "\n".join(json.dumps(line) for line in lines)


def result(**fields: Any) -> str:
    return f"I am done.\n\n```kin-result\n{json.dumps({'status': 'done', **fields})}\n```\n"


def limit(resets_at: int = LATER) -> str:
    event = {"type": "rate_limit_event", "rate_limit_info": {"status": "rejected", "resetsAt": resets_at}, "session_id": "s-1"}
    *before, last = said("You've hit your session limit", is_error=True, api_error_status=429, cost=None).splitlines()
    return "\n".join((*before, json.dumps(event), last))


class Company:
    """A project whose roles are played by a script: the n-th prompt that an agent gets is answered by its n-th answer."""

    def __init__(self, repo: Repo, folder: Path) -> None:
        self.repo, self.folder = repo, folder
        folder.mkdir()

    def answers(self, agent: str, *scripts: str) -> None:
        """What `agent` does from now on, in shell; the last is repeated. `said`'s lines are in files that they may cat."""
        here = self.folder / agent
        here.mkdir(exist_ok=True)
        for n, script in enumerate(scripts, 1):
            (here / f"{n}.sh").write_text(script)
        (here / "play.sh").write_text(
            f'n=1; while [ -e {here}/$n.prompt ]; do n=$((n+1)); done\ncat > {here}/$n.prompt\necho "$*" > {here}/$n.argv\n'
            f"m=$n; while [ ! -e {here}/$m.sh ]; do m=$((m-1)); done\n. {here}/$m.sh\n"
        )

    def says(self, name: str, lines: str) -> str:
        """A command that prints these lines."""
        (self.folder / name).write_text(lines + "\n")
        return f"cat {self.folder / name}"

    def prompts(self, agent: str = "claude") -> list[str]:
        return [p.read_text() for p in sorted((self.folder / agent).glob("*.prompt"))]

    def argv(self, number: int, agent: str = "claude") -> list[str]:
        return (self.folder / agent / f"{number}.argv").read_text().split()

    def settings(self, *lines: str, mode: str = "auto", gates: tuple[str, ...] = (), agents: str = "claude") -> None:
        entries = {
            name: {"argv": ["/bin/sh", f"{self.folder}/{name}/play.sh"], "format": form, "login": f"{name} login", **OPTIONS}
            for name, form in (("claude", "claude-stream-json"), ("other", "claude-stream-json"), ("plain", "text"))
        }
        listed = "".join(f"\n  - {json.dumps(gate)}" for gate in gates)
        parts = ["format: 1", "key: KIN", f"mode: {mode}", f"agent: {agents}", *([f"gates:{listed}"] if gates else [])]
        self.repo.write(".kin/kin.yaml", "\n\n".join([*parts, *lines, emit.document({"agents": entries})]))
        self.repo.commit("settings")

    def task(self, pipeline: str = "quick", **fields: str) -> None:
        self.repo.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", pipeline=pipeline, **fields))
        self.repo.commit("a task")

    def run(self, *words: str, exit: int = 0) -> dict[str, Any]:
        """`kin run KIN-1`; its outcome."""
        document = json.loads(self.repo.kin("run", *(words or ("KIN-1",)), "--json", exit=exit).stdout)
        assert document["kind"] == "pipeline.list", document
        data: list[dict[str, Any]] = document["data"]
        return data[0]

    def record(self) -> str:
        """The newest record, committed or live."""
        folders = [self.repo.path / ".git/kin/run/KIN-1", self.repo.path / ".kin/pipelines/KIN-1"]
        return next(f.read_text() for folder in folders if folder.is_dir() for f in sorted(folder.glob("*.yaml"), reverse=True))


@pytest.fixture
def company(project: Repo, tmp_path: Path) -> Company:
    made = Company(project, tmp_path / "agents")
    made.settings()
    made.task()
    return made


def status(company: Company) -> str:
    text = company.repo.read(".kin/tasks/KIN-1.yaml")
    return next(line.removeprefix("status: ") for line in text.splitlines() if line.startswith("status: "))


def test_a_model_plays_a_step_and_its_cost_is_in_the_committed_record(company: Company) -> None:
    done = company.says("done", said(result(summary="Made hello.txt")))
    company.answers("claude", f"echo hello > hello.txt; {done}")
    outcome = company.run()
    assert outcome["status"] == "done" and company.repo.read("hello.txt") == "hello\n"
    record = company.record()
    for line in ("agent: claude", "model: model-x", "in: 200", "out: 40", "cost_usd: 0.25", "summary: Made hello.txt"):
        assert line in record, record
    assert "s-1" not in record and "live:" not in record
    assert company.argv(1) == ["--write"] and "kin-result" in company.prompts()[0]
    assert company.repo.git("log", "--format=%an", "-1", "main^2") == "Ada Person"


def test_nobody_to_play_a_role_is_said_before_anything_starts(company: Company) -> None:
    company.repo.write(".kin/kin.yaml", "format: 1\n\nkey: KIN\n")
    error = json.loads(company.repo.kin("run", "KIN-1", "--json", exit=7).stdout)["error"]
    assert "agent:" in error["hint"] and "--run CMD" in error["hint"]
    company.settings(agents="absent")
    assert "absent" in company.repo.kin("run", "KIN-1", exit=7).stderr
    assert not (company.repo.path / ".git/kin/run").exists()


def test_the_dry_run_says_who_would_play_with_which_flags(company: Company) -> None:
    company.task(pipeline="default")
    (plan,) = json.loads(company.repo.kin("run", "KIN-1", "--dry-run", "--json").stdout)["data"]
    assert [(s["agent"], s["argv"][-1]) for s in plan["steps"]] == [("claude", "--write"), ("claude", "--read-only")]
    assert not (company.folder / "claude").exists()


@pytest.mark.parametrize(
    ("script", "exit", "kind", "words"),
    [
        (said("Everything is fine, nothing to do."), 1, "no_work", "does not say why"),
        (said("Shall I use sqlite or a file?"), 3, "question", "sqlite or a file?"),
        (said(result(status="blocked", question="Which port?")), 3, "question", "Which port?"),
        (said("```kin-result\n{status: done}\n```"), 1, "failed", "malformed result"),
        (said("API Error", is_error=True, api_error_status=401), 3, "question", "claude login"),
        (said(result(status="failed", summary="No way")), 1, "failed", "No way"),
        (said('No.\n\n```json\n{"status": "failed", "summary": "No way"}\n```'), 1, "failed", "No way"),
        (said('{"status": "blocked",\n"question": "Which port?"}'), 3, "question", "Which port?"),
        (said('It answers:\n\n```json\n{"status": "failed"}\n```'), 1, "no_work", "does not say why"),
        ('{"type": "system", "session_id": "s-1"}', 1, "failed", "did not end well"),
    ],
    ids=[
        "nothing",
        "question mark",
        "question",
        "malformed",
        "login",
        "failed",
        "other fence",
        "no fence",
        "other words",
        "no closing line",
    ],
)
def test_what_a_model_says_is_held_against_what_it_did(company: Company, script: str, exit: int, kind: str, words: str) -> None:
    company.answers("claude", company.says("said", script))
    outcome = company.run(exit=exit)
    assert outcome["blocked"] == kind and words in outcome["reason"], outcome
    assert status(company) == "blocked"


def test_a_step_that_gives_reasons_may_change_nothing(company: Company) -> None:
    company.answers("claude", company.says("said", said(result(summary="It is there already, see README.md"))))
    assert company.run()["status"] == "done"


def test_an_answer_goes_on_in_the_session_with_the_work_as_it_was(company: Company) -> None:
    asks = company.says("asks", said(result(status="blocked", question="Which port?")))
    done = company.says("done", said(result(summary="port 80")))
    company.answers("claude", f"echo half > port.txt; {asks}", f"cat port.txt; echo 80 >> port.txt; {done}")
    company.run(exit=3)
    company.repo.kin("answer", "KIN-1", "-m", "Port 80")
    company.run()
    assert company.repo.read("port.txt") == "half\n80\n"
    assert company.argv(2) == ["--write", "--resume", "s-1"]
    assert "Port 80" in company.prompts()[1] and "A task" not in company.prompts()[1]
    assert "in: 400" in company.record() and "cost_usd: 0.5" in company.record()


def test_a_usage_limit_is_a_wait_that_ends_in_the_same_session(company: Company) -> None:
    stop = company.says("limit", limit())
    done = company.says("done", said(result(summary="done")))
    company.answers("claude", f"echo half > a.txt; {stop}; exit 1", f"echo whole >> a.txt; {done}")
    outcome = company.run(exit=6)
    assert outcome["waiting"] == {"for": "limit", "until": UNTIL, "paths": []}
    assert status(company) == "todo"
    error = json.loads(company.repo.kin("run", "KIN-1", "--json", exit=6).stdout)["error"]
    assert error["until"] == UNTIL
    assert company.repo.kin("run", "--ready").stdout.startswith("nothing is ready")
    assert len(company.prompts()) == 1
    over(company)
    assert company.run("--ready")["status"] == "done"
    assert company.repo.read("a.txt") == "half\nwhole\n" and "--resume" in company.argv(2)


BEGUN = said("so far").rpartition("\n")[0]
"""A stream whose client said something, and that has no end yet."""


@pytest.mark.parametrize(
    ("stops", "exit", "why"),
    [
        (said("```kin-result\n{status: done}\n```"), 1, "left a malformed result"),
        (f"{BEGUN}\nconnection lost", 1, "connection lost"),
        (BEGUN, 5, "limits.idle"),
        (said("stop", is_error=True, subtype="error_max_budget_usd"), 5, "budget"),
    ],
    ids=["malformed", "dropped", "silent", "budget"],
)
def test_a_step_that_failed_goes_on_in_the_session_that_was_paid_for(company: Company, stops: str, exit: int, why: str) -> None:
    company.settings("limits: {idle: 1}")
    hangs = "; exec sleep 30" if stops == BEGUN else ""
    done = company.says("done", said(result(summary="done")))
    company.answers("claude", f"echo half > a.txt; {company.says('stops', stops)}{hangs}", f"echo whole >> a.txt; {done}")
    reason = company.run(exit=exit)["reason"]
    assert why in reason and "session_id" not in reason, "what it said is told in words"
    assert company.run()["status"] == "done"
    assert company.repo.read("a.txt") == "half\nwhole\n" and company.argv(2)[-2:] == ["--resume", "s-1"]
    assert why in company.prompts()[1] and "A task" not in company.prompts()[1]
    assert "in: 400" in company.record()


def test_a_session_that_gives_no_answer_any_more_is_left_at_the_second_time(company: Company) -> None:
    gone = company.says("gone", said("It is too long", is_error=True, usage={}).replace('"usage"', '"was"'))
    done = company.says("done", said(result(summary="done")))
    company.answers("claude", f"echo half > a.txt; {company.says('cut', BEGUN)}", f"{gone}; exit 1", f"{gone}; exit 1", done)
    for _ in range(3):
        company.run(exit=1)
    company.run()
    assert ["--resume" in company.argv(n) for n in (1, 2, 3, 4)] == [False, True, True, False]
    assert "A task" in company.prompts()[3] and not (company.repo.path / "a.txt").exists()


def test_a_step_that_removes_its_temporary_folder_with_its_session_in_it_is_waited_for_all_the_same(company: Company) -> None:
    stop = company.says("limit", limit())
    company.answers("claude", f'rm -rf "$(dirname "$TMPDIR")"; {stop}; exit 1')
    assert company.run(exit=6)["waiting"]["for"] == "limit"


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="where the prompt lies is read from /proc")
def test_what_kin_writes_for_a_client_lies_outside_of_the_folder_that_its_commands_may_write(company: Company) -> None:
    seen = 'echo "$TMPDIR $(readlink /proc/$$/fd/0)" > a.txt'
    company.answers("claude", f"{seen}; {company.says('d', said(result(summary='s')))}")
    company.run()
    tmp, prompt = company.repo.read("a.txt").split()
    assert Path(prompt).is_relative_to(Path(tmp).parent) and not Path(prompt).is_relative_to(tmp)


def over(company: Company) -> None:
    """Let the time come that the run waits for."""
    (live,) = (company.repo.path / ".git/kin/run/KIN-1").glob("*.yaml")
    live.write_text(live.read_text().replace(UNTIL, "2020-01-01T00:00:00Z"))


def test_an_edited_task_is_not_taken_up_in_the_old_session(company: Company) -> None:
    stop = company.says("limit", limit())
    company.answers(
        "claude", f"echo half > a.txt; {stop}; exit 1", f"echo b > b.txt; {company.says('d', said(result(summary='s')))}"
    )
    company.run(exit=6)
    over(company)
    company.repo.kin("set", "KIN-1", "title=Another task")
    company.run()
    assert "Another task" in company.prompts()[1] and not (company.repo.path / "a.txt").exists()
    assert "a.txt" in company.repo.kin("salvage", "show", "KIN-1").stdout


def test_the_next_agent_that_is_named_takes_over_at_a_limit(company: Company) -> None:
    company.settings(agents="\n  - claude\n  - other")
    stop = company.says("limit", limit())
    company.answers("claude", f"echo half > a.txt; {stop}; exit 1")
    company.answers("other", f"test ! -e a.txt && echo b > b.txt; {company.says('done', said(result(summary='done')))}")
    assert company.run()["status"] == "done"
    assert company.repo.read("b.txt") == "b\n" and "agent: other" in company.record()
    assert "A task" in company.prompts("other")[0]


def test_an_overload_is_one_wait_and_never_a_loop(company: Company) -> None:
    busy = company.says("busy", said("Overloaded", is_error=True, api_error_status=529, cost=None))
    company.answers("claude", f"{busy}; exit 1")
    assert company.run(exit=6)["waiting"]["for"] == "limit"
    (live,) = (company.repo.path / ".git/kin/run/KIN-1").glob("*.yaml")
    live.write_text(live.read_text().replace("until: 20", "until: 19").replace("claude: 20", "claude: 19"))
    outcome = company.run(exit=1)
    assert outcome["blocked"] == "failed" and "overloaded again" in outcome["reason"]


def test_a_stream_that_passes_the_budget_is_ended_and_may_be_allowed_more(company: Company) -> None:
    company.settings("budget:\n  tokens: 1000")
    message = json.dumps({"type": "assistant", "message": {"id": "m'$m'", "content": [], "usage": PRICE}})
    endless = f"echo half > a.txt; m=0; while :; do m=$((m+1)); echo '{message}'; done"
    company.answers("claude", endless, f"echo b > b.txt; {company.says('done', said(result(summary='done')))}")
    outcome = company.run(exit=5)
    assert outcome["blocked"] == "budget" and "1,000 tokens" in outcome["reason"] and "--budget" in outcome["reason"]
    assert company.run(exit=5)["reason"].startswith("step 1-developer was not started")
    assert "1-developer" in company.repo.kin("salvage", "list").stdout
    assert company.run("KIN-1", "--budget", "tokens=1000000000")["status"] == "done"


def test_money_is_handed_down_and_what_was_used_counts(company: Company) -> None:
    company.settings("budget:\n  usd: 0.4")
    company.task(pipeline="default")
    company.answers("claude", f"echo a > a.txt; {company.says('done', said(result(summary='done')))}")
    company.run()
    assert company.argv(1)[-2:] == ["--max", "0.4000"] and company.argv(2)[-2:] == ["--max", "0.1500"]


def test_a_client_that_keeps_to_its_own_limit_on_money_is_allowed_more_by_the_same_words(company: Company) -> None:
    company.settings("budget:\n  usd: 0.4")
    stop = said("", is_error=True, subtype="error_max_budget_usd")
    company.answers("claude", f"{company.says('stop', stop)}; exit 1")
    reason = company.run(exit=5)["reason"]
    assert "the run's 0.4 USD are used up" in reason and "`kin run KIN-1 --budget 0.8`" in reason


def test_what_a_killed_step_had_used_counts(company: Company) -> None:
    company.settings("budget:\n  usd: 0.4")
    company.answers("claude", f"echo a > a.txt; {company.says('done', said(result(summary='done')))}")
    for _ in range(2):
        assert killed(company.repo, "run", "KIN-1", point="step.ended") == -9
    outcome = company.run(exit=5)
    assert len(company.prompts()) == 2 and company.argv(2)[-1] == "0.1500" and "0.4 USD are used up" in outcome["reason"]
    company.run("KIN-1", "--budget", "1")
    record = company.record()
    assert "cost_usd: 0.75" in record and "in: 600" in record and "out: 120" in record


def test_a_command_runs_also_when_the_money_is_used_up(company: Company) -> None:
    company.settings("budget:\n  usd: 0.1")
    company.task(pipeline="\n  - developer\n  - run: echo tested > tested.txt\n  - reviewer")
    company.answers("claude", f"echo a > a.txt; {company.says('done', said(result(summary='done')))}")
    outcome = company.run(exit=5)
    assert outcome["step"] == "3-reviewer" and "the run's 0.1 USD are used up" in outcome["reason"]


def test_a_client_that_would_sleep_through_a_limit_is_ended_and_the_run_waits(company: Company) -> None:
    sleeps = {"type": "system", "subtype": "api_retry", "retry_delay_ms": 7_200_000, "error_status": 429, "error": "rate_limit"}
    company.answers("claude", f"{company.says('sleeps', json.dumps(sleeps))}; sleep 60")
    assert company.run(exit=6)["waiting"]["for"] == "limit"


def test_the_projects_day_counts_what_other_tasks_used(company: Company) -> None:
    company.settings("budget:\n  day:\n    usd: 0.3")
    company.answers("claude", f"echo $KIN_TASK > $KIN_TASK.txt; {company.says('done', said(result(summary='done')))}")
    company.repo.write(".kin/tasks/KIN-2.yaml", task_text("KIN-2", pipeline="quick"))
    company.run()
    assert company.run("KIN-2")["status"] == "done"
    company.repo.write(".kin/tasks/KIN-3.yaml", task_text("KIN-3", pipeline="quick"))
    outcome = company.run("KIN-3", exit=5)
    assert "the day's 0.3 USD are used up" in outcome["reason"]
    assert company.run("KIN-3", "--budget", "1")["status"] == "done"


def test_a_reviewer_sends_back_just_its_items(company: Company) -> None:
    company.task(pipeline="default")
    wants = said(result(status="changes_requested", items=[{"file": "a.txt", "line": 1, "what": "say more"}]))
    done = company.says("done", said(result(summary="done")))
    company.answers("claude", f"echo a > a.txt; {done}", company.says("wants", wants), f"echo more >> a.txt; {done}", f"{done}")
    company.run()
    assert company.repo.read("a.txt") == "a\nmore\n"
    assert "a.txt:1: say more" in company.prompts()[2] and company.argv(2) == ["--read-only"]
    assert company.repo.git("rev-list", "--count", "--no-merges", "main^1..main^2^") == "2"


def test_a_gate_that_says_no_gets_one_round_by_the_model_that_wrote(company: Company) -> None:
    company.settings(gates=("test -e good || { echo there is no good; exit 1; }",))
    company.task(pipeline="\n  - developer\n  - run: echo tested > tested.txt")
    done = company.says("done", said(result(summary="done")))
    company.answers("claude", f"touch bad; {done}", f"touch good; {done}")
    assert company.run()["status"] == "done"
    assert "there is no good" in company.prompts()[1]


def test_a_gate_that_still_says_no_is_a_persons(company: Company) -> None:
    company.settings(gates=("exit 1",))
    company.answers("claude", f"date >> a.txt; {company.says('done', said(result(summary='done')))}")
    assert company.run(exit=1)["blocked"] == "gate"
    assert len(company.prompts()) == 2
    assert company.run(exit=1)["blocked"] == "gate" and len(company.prompts()) == 2


def conflict(company: Company, resolve: str) -> None:
    """A task whose work conflicts with what the target gets while it is done; `resolve` is the integrator's script.

    The target gets a change of the store, too, as by any other task's merge.
    """
    company.repo.commit("base", a__txt="one\n")
    done = company.says("done", said(result(summary="done")))
    commit = "GIT_COMMITTER_EMAIL=a@b git -c user.name=A -c user.email=a@b commit -qam theirs"
    theirs = f"cd {company.repo.path} && echo theirs > a/txt && echo > .kin/theirs && git add .kin/theirs && {commit}"
    company.answers("claude", f"echo ours > a/txt; ({theirs}); {done}", f"{resolve}{done}")


def test_a_conflict_goes_once_to_the_integrator(company: Company) -> None:
    company.settings(gates=("grep -q both a/txt || ! grep -q ours a/txt",))
    conflict(company, "grep -q '<<<<<<<' a/txt && echo both > a/txt; ")
    outcome = company.run()
    assert outcome["status"] == "done" and company.repo.read("a/txt") == "both\n"
    assert "id: 2-integrator" in company.record() and company.repo.status() == ""


def test_the_integrator_is_given_what_came_while_the_run_queued_for_its_merge(company: Company) -> None:
    company.repo.commit("base", a__txt="one\n")
    done = company.says("done", said(result(summary="done")))
    resolve = "grep -q '<<<<<<<' a/txt && echo both > a/txt; "
    company.answers("claude", f"echo ours > a/txt; {done}", f"{resolve}{done}")
    queue = lock_path(str(company.repo.path / ".git/kin"), "queue-main")
    with try_lock(queue) or pytest.fail("free"):
        run = company.repo.start("run", "KIN-1", stdout=subprocess.DEVNULL)
        wait_for(lambda: has_open(run.pid, queue))
        company.repo.commit("theirs", a__txt="theirs\n")
    assert run.wait(30) == 0 and company.repo.read("a/txt") == "both\n"


def test_a_conflict_that_the_integrator_leaves_is_a_persons(company: Company) -> None:
    conflict(company, "echo nothing; ")
    outcome = company.run(exit=4)
    assert outcome["blocked"] == "conflict" and "a/txt" in outcome["reason"]
    assert company.run(exit=4)["blocked"] == "conflict" and len(company.prompts()) == 2
    worktree = next((company.repo.path.parent / "home/state/kin/worktrees").glob("*/KIN-1"))
    company.repo.git("merge", "main", cwd=worktree, ok=(1,))
    (worktree / "a/txt").write_text("mine\n")
    company.repo.git("commit", "-qam", "merged", cwd=worktree)
    assert company.run()["status"] == "done" and company.repo.read("a/txt") == "mine\n"


def test_a_client_that_says_success_after_kins_signal_is_not_believed(company: Company) -> None:
    company.settings("limits:\n  idle: 1")
    done = company.says("done", said(result(summary="done")))
    company.answers("claude", f"trap '{done}; exit 0' TERM; echo x > x.txt; echo '{{}}'; sleep 30 & wait")
    assert company.run(exit=5)["blocked"] == "timeout"


def test_what_a_reading_model_changed_is_dropped(company: Company) -> None:
    company.task(pipeline="reviewer")
    company.repo.write(".kin/tasks/KIN-1.yaml", task_text("KIN-1", pipeline="\n  - role: reviewer"))
    company.answers("claude", f"echo a > a.txt; {company.says('done', said(result(summary='fine')))}")
    company.run()
    assert not (company.repo.path / "a.txt").exists()


def test_an_agent_sees_neither_the_callers_secrets_nor_their_home(company: Company) -> None:
    company.answers("claude", f"env > seen.txt; {company.says('done', said(result(summary='done')))}")
    env = {"DEPLOY_TOKEN": "do-not-tell-123456"}
    company.repo.kin("run", "KIN-1", env=env)
    assert "do-not-tell" not in company.repo.read("seen.txt") and "KIN_TASK=KIN-1" in company.repo.read("seen.txt")


@pytest.mark.parametrize("point", ["step.ended", "step.settled", "waiting.saved"])
def test_a_run_killed_at_a_limit_waits_for_it_and_loses_no_work(company: Company, point: str) -> None:
    stop, done = company.says("limit", limit()), company.says("done", said(result(summary="done")))
    company.answers("claude", f"echo half > a.txt; {stop}; exit 1", f"echo b > b.txt; {done}")
    assert killed(company.repo, "run", "KIN-1", point=point) == -9
    if company.repo.kin("run", "KIN-1", exit=None).returncode == 6:
        over(company)
        company.run()
    assert "status: done" in company.repo.read(".kin/tasks/KIN-1.yaml") and (company.repo.path / "b.txt").exists()
    kept = company.repo.git("for-each-ref", "--format=%(refname)", "refs/kin/salvage")
    assert (company.repo.path / "a.txt").exists() or company.repo.git("ls-tree", kept, "a.txt")


@pytest.mark.parametrize("point", ["integrator.saved", "integrator.merging", "step.ended"])
def test_an_integration_killed_anywhere_is_finished_by_the_next_run(company: Company, point: str) -> None:
    conflict(company, "if grep -q '<<<<<<<' a/txt; then echo both > a/txt; fi; ")
    company.settings()
    if point == "step.ended":
        assert killed(company.repo, "run", "KIN-1", point="integrator.saved") == -9
    assert killed(company.repo, "run", "KIN-1", point=point) == -9
    company.run()
    assert company.repo.read("a/txt") == "both\n" and company.repo.status() == ""


def test_two_runs_never_keep_the_same_money_of_a_day(company: Company) -> None:
    company.settings("budget:\n  day:\n    usd: 1")
    done = company.says("done", said(result(summary="done")))
    up, go = company.folder / "up", company.folder / "go"
    os.mkfifo(go)
    company.answers("claude", f"echo a > a.txt; touch {up}; cat {go}; {done}", f"echo b > b.txt; {done}")
    company.repo.write(".kin/tasks/KIN-2.yaml", task_text("KIN-2", pipeline="quick"))
    first = company.repo.start("run", "KIN-1", stdout=subprocess.DEVNULL)
    wait_for(up.exists)
    outcome = company.run("KIN-2", exit=5)
    assert "the day's 1 USD are used up, with what other runs keep" in outcome["reason"]
    go.write_text("")
    assert first.wait(60) == 0
    assert company.run("KIN-2")["status"] == "done"
    assert company.argv(2)[-1] == "0.7500"


def test_a_model_that_changes_the_rules_it_is_judged_by_merges_nothing_without_a_person(company: Company) -> None:
    done = company.says("done", said(result(summary="Made it")))
    company.answers("claude", f"echo hello > hello.txt; echo 'gates: [\"true\"]' >> $KIN_DIR/kin.yaml; {done}")
    outcome = company.run(exit=3)
    assert "changed while 1-developer worked" in outcome["reason"] and status(company) == "review"
    company.repo.kin("approve", "KIN-1")
    assert status(company) == "done"
