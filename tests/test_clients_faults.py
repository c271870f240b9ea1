"""What goes wrong with models, their services and their clients: each ends in a state, and none in a loop of retries."""

import os
import re
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import Repo, wait_for
from firm import Firm
from killing import processes
from model_server import Answer, ModelServer, Script, cut, limit, login, overload, result, say, shell, write

pytestmark = pytest.mark.clients

FEW = 4
"""Requests that a client may make on its own for a refused one."""


def after(*first: Answer, then: Answer) -> Script:
    """The answers in turn, and then the same for ever."""
    return lambda asked: first[len(asked.results)] if len(asked.results) < len(first) else then


def seconds_to_wait(outcome: dict[str, Any]) -> float:
    """How long a run that reached a limit will wait."""
    assert outcome["waiting"]["for"] == "limit", outcome
    return (datetime.fromisoformat(outcome["waiting"]["until"]) - datetime.now(UTC)).total_seconds()


def let_time_pass(firm: Firm) -> None:
    """The wait of KIN-1's run is over: every time to come in its record has gone by."""
    (record,) = (firm.project.path / ".git/kin/run/KIN-1").glob("*.yaml")
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    text = re.sub(r"\d{4}-[\d-]+T[\d:]+Z", lambda found: min(found[0], now), record.read_text())
    assert text != record.read_text()
    record.write_text(text)


def test_a_usage_limit_waits_until_it_ends_and_goes_on_in_the_same_session(firm: Firm) -> None:
    firm.says(after(write("made.txt", "half\n"), then=limit(7200)))
    outcome = firm.do(exit=6)
    asked = len(firm.server.asked)
    assert asked == 2 and 7000 < seconds_to_wait(outcome) < 7300
    assert "until" in firm.kin("run", "KIN-1", exit=6).stderr
    assert len(firm.server.asked) == asked, "until then nobody asks again"
    let_time_pass(firm)
    firm.says(after(then=result(summary="made")))
    assert firm.run("run", "--ready")["status"] == "done"
    assert firm.project.read("made.txt") == "half\n"
    assert [a.turns for a in firm.server.asked[asked:]] == [2], "the session that was paid for goes on"
    sent = firm.server.prompts()
    assert len(sent) == len(set(sent)) == 2, "no prompt was sent twice"


def test_a_service_that_is_busy_for_hours_is_waited_for_by_kin_and_not_by_the_client(firm: Firm) -> None:
    firm.says(after(then=limit(7200, subscription=False)))
    seconds = {"claude": 60, "codex": 7200}[firm.client]  # claude does not tell when: it is tried once more, after a minute
    assert 0.9 * seconds < seconds_to_wait(firm.do(exit=6)) < 1.1 * seconds
    assert len(firm.server.asked) == 1


def test_the_next_agent_that_is_named_takes_over_at_a_limit(project: Repo) -> None:
    with ModelServer(lambda asked: say("nothing was scripted")) as server:
        firm = Firm(project, "claude", server)
        project.write(".kin/kin.yaml", project.read(".kin/kin.yaml") + "\nagent: [claude, codex]\n")
        project.commit("two agents")
        made = after(write("made.txt", "x"), then=result(summary="made it"))
        firm.says(lambda asked: limit(7200) if asked.protocol == "messages" else made(asked))
        assert firm.do()["status"] == "done"
        assert firm.record(at="main")["steps"][0]["agent"] == "codex"
        assert [a.protocol for a in server.asked] == ["messages", "responses", "responses"]


def test_an_overloaded_service_is_waited_for_once(firm: Firm) -> None:
    firm.says(after(then=overload()))
    assert 30 < seconds_to_wait(firm.do(exit=6)) < 90
    let_time_pass(firm)
    assert firm.run("run", "KIN-1", exit=1)["blocked"] == "failed"
    assert len(firm.server.asked) <= 2 * FEW


def test_who_is_not_logged_in_is_told_what_to_type(firm: Firm) -> None:
    firm.says(after(then=login()))
    outcome = firm.do(exit=3)
    assert outcome["blocked"] == "question"
    assert {"claude": "claude /login", "codex": "codex login"}[firm.client] in outcome["reason"]
    assert len(firm.server.asked) <= FEW


def test_a_stream_that_is_dropped_is_a_failed_step(firm: Firm) -> None:
    firm.says(after(write("made.txt", "half\n"), then=cut()))
    outcome = firm.do(exit=1)
    assert outcome["blocked"] == "failed" and "made.txt" not in os.listdir(firm.project.path)
    assert len(firm.server.asked) <= 1 + FEW
    goes_on(firm)
    assert firm.project.read("made.txt") == "half\n"


def goes_on(firm: Firm) -> None:
    """The next run of KIN-1 takes one answer more, in the session that was paid for."""
    before = len(firm.server.asked)
    firm.says(after(then=result(summary="made it after all")))
    assert firm.run("run", "KIN-1")["status"] == "done"
    assert [a.turns for a in firm.server.asked[before:]] == [2]


def test_an_endless_answer_is_ended_at_the_budget_with_all_its_processes(firm: Firm, tmp_path: Path) -> None:
    amount = "usd: 1" if firm.client == "claude" else "tokens: 250000"  # codex does not tell what they cost
    firm.project.write(".kin/kin.yaml", firm.project.read(".kin/kin.yaml") + f"\nbudget:\n  {amount}\n")
    firm.project.commit("a budget")
    more = shell("echo more >> made.txt; (setsid sleep 1000 &)", tokens=(100_000, 100, 0))
    firm.says(after(then=more))
    outcome = firm.do(exit=5)
    assert outcome["blocked"] == "budget"
    assert processes(firm.project) == []
    kept = firm.project.git("for-each-ref", "--format=%(refname)", "refs/kin/salvage")
    assert "more" in firm.project.git("show", f"{kept}:made.txt")
    assert len(firm.server.asked) < 6


def test_a_message_without_a_result_is_its_own_summary_or_question(firm: Firm) -> None:
    firm.says(after(write("made.txt", "x"), then=say("I made it.")))
    assert firm.do("Make it")["status"] == "done"
    assert firm.record()["steps"][0]["summary"] == "I made it."
    firm.says(after(write("looked.txt", "x\n"), then=say("I looked at it.\n\nShall I go on with it?")))
    asks = firm.do("Ask me", exit=3)
    assert asks["blocked"] == "question" and "Shall I go on with it?" in asks["reason"]
    firm.kin("answer", "KIN-2", "-m", "yes, in blue")
    firm.says(after(then=result(summary="went on")))
    assert firm.run("run", "KIN-2")["status"] == "done" and firm.project.read("looked.txt") == "x\n"
    last, (step,) = firm.server.asked[-1], firm.record("KIN-2")["steps"]
    assert step["tokens"] == {"in": 300, "out": 60, "cached": 0}, "what a session was asked before is not counted again"
    assert "yes, in blue" in last.prompt and last.turns == 2, "the answer comes into the session that asked"


def test_a_malformed_result_is_a_failed_step_with_the_reason(firm: Firm) -> None:
    firm.says(after(write("made.txt", "x"), then=say('```kin-result\n{"status": "done", "summary": \n```')))
    outcome = firm.do(exit=1)
    assert outcome["blocked"] == "failed" and "malformed result" in outcome["reason"]
    assert len(firm.server.asked) == 2
    goes_on(firm)
    assert "malformed result" in firm.server.asked[-1].prompt, "it is told what was wrong"


def test_who_changes_nothing_and_does_not_say_why_has_not_worked(firm: Firm) -> None:
    firm.says(after(then=say("All is done.")))
    assert firm.do(exit=1)["blocked"] == "no_work"


def test_edits_outside_of_the_worktree_are_refused_or_found_out(firm: Firm, tmp_path: Path) -> None:
    root, elsewhere = firm.project.path, tmp_path / "outside.txt"
    by_tool = [write(str(root / "README.md"), "theirs"), write(str(elsewhere), "theirs")]
    firm.says(after(*by_tool, shell(f"cd {root} && git branch stolen; exit 0"), then=result(summary="nothing to do")))
    outcome = firm.do(exit=1 if firm.client == "claude" else 0)
    assert firm.project.read("README.md") == "A project\n" and not elsewhere.exists()
    stolen = firm.project.git("branch", "--list", "stolen")
    assert "moved refs/heads/stolen" in outcome["reason"] if stolen else outcome["status"] == "done"
    assert len(firm.server.asked) == 4

    rules = firm.project.read(".kin/kin.yaml")
    firm.says(after(shell(f"echo x > x; echo '# gates: none' >> {root}/.kin/kin.yaml"), then=result(summary="done")))
    outcome = firm.do("Change the rules", exit=None)
    told = "kin.yaml" in outcome["reason"] and outcome["exit"] == 3
    assert told if firm.project.read(".kin/kin.yaml") != rules else outcome["status"] == "done"

    firm.says(after(shell("mkdir -p .kin/tasks; echo evil > .kin/tasks/KIN-99.yaml; echo x > x"), then=result(summary="done")))
    outcome = firm.do("Plant a task", exit=1)
    assert outcome["blocked"] == "failed" and ".kin" in outcome["reason"]


def test_a_signal_in_the_middle_of_a_tool_cancels_and_the_run_goes_on_later(firm: Firm, tmp_path: Path) -> None:
    asleep = shell("echo half > made.txt; echo $$ > made.pid; exec sleep 1000")
    firm.says(after(asleep, then=result(summary="believe me")))
    kin = firm.start("do", "Make it")
    assert wait_for(lambda: next(iter(tmp_path.glob("home/state/**/made.pid")), None), 60)
    kin.send_signal(signal.SIGTERM)
    assert kin.wait(60) == 143
    assert processes(firm.project) == []
    assert (firm.show()["status"], firm.record()["status"]) == ("todo", "cancelled")
    firm.says(after(then=result(summary="made it after all")))
    assert firm.run("run", "KIN-1")["status"] == "done" and firm.project.read("made.txt") == "half\n"
    sent = firm.server.prompts()
    assert len(sent) == len(set(sent)) == 2, "the session goes on; what it was told is not sent again"
    (step,) = firm.record(at="main")["steps"]
    assert step["tokens"] == {"in": 200, "out": 40, "cached": 0}, "what was cut off is counted, too"
    assert firm.client != "claude" or step["cost_usd"] == pytest.approx(0.0012)


def test_a_server_that_is_left_behind_is_ended(firm: Firm, tmp_path: Path) -> None:
    serve = shell("setsid nohup sleep 1000 > /dev/null 2>&1 & echo $! > server.pid")
    firm.says(after(serve, then=result(summary="it serves")))
    assert firm.do()["status"] == "done"
    assert firm.project.read("server.pid").strip() and processes(firm.project) == []
