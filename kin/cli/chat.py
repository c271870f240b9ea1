"""`kin chat`: a talk with the PM about the project; the tasks that it proposes are shown before they are written."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kin.cli.consent import consent
from kin.cli.editor import written
from kin.cli.output import Call, Result
from kin.cli.run import run_added
from kin.cli.screen import Screen, clean, indent
from kin.errors import Usage
from kin.model import times
from kin.model.ids import run_id
from kin.runner.people.chat import Answer, reply, write
from kin.store import chats


def chat_(call: Call) -> Result:
    """Say one thing, or talk at a terminal until Ctrl-D."""
    consent(call, [], steps=False, ask=False)
    message = written(call["message"])
    talk_id = chats.newest(call.project) if call["last"] else None
    talk_id = talk_id or run_id(times.stamp(times.now()), int.from_bytes(os.urandom(3), "big"))
    if message is not None:
        return _once(call, talk_id, message)
    if not call.screen.may_ask:
        raise Usage("nobody is here to talk with", '`kin chat -m "..."` says one thing')
    return _talk(call, talk_id)


def _once(call: Call, talk_id: str, message: str) -> Result:
    """One message: the answer, and what comes of it."""
    answer = _say(call, talk_id, message)
    agreed = bool(answer.tasks) and call["yes"]
    if answer.tasks and not agreed and call.screen.may_ask:
        call.screen.say("\n".join(_answer_lines(answer, call.screen)))
        agreed = call.screen.ask(_question(answer))
    ids = _write(call, talk_id, answer) if agreed else []
    turn = {key: value for key, value in answer.turn._asdict().items() if key != "by"}
    data = {"id": talk_id, **turn, "proposed": answer.tasks, "tasks": ids, "runs": []}
    lines = [*_answer_lines(answer, call.screen), *_written_lines(answer, ids)]
    warnings = [answer.fault] if answer.fault else []
    if not ids or not call["run"]:
        return Result("chat", data, lines, ids, warnings)
    if not call.screen.json:
        call.screen.say("\n".join(lines))
    ran = run_added(call, ids, "chat")
    return ran._replace(kind="chat", data={**data, "runs": ran.data}, warnings=[*warnings, *ran.warnings])


def _say(call: Call, talk_id: str, message: str) -> Answer:
    """Keep what the person says, then what the PM answers: a talk that breaks off keeps the question."""
    if not message.strip():
        raise Usage("nothing was said", '`kin chat -m "What is next?"`')
    talk = chats.load(call.project, talk_id)
    talk = talk._replace(turns=(*talk.turns, chats.Turn(call.person, times.written(), message.strip())))
    chats.save(call.project, talk_id, talk)
    answer = reply(call.project, talk, call.environ)
    chats.save(call.project, talk_id, talk._replace(turns=(*talk.turns, answer.turn)))
    return answer


def _write(call: Call, talk_id: str, answer: Answer) -> list[str]:
    ids = write(call.project, answer.tasks, call.environ)
    talk = chats.load(call.project, talk_id)
    chats.save(call.project, talk_id, talk._replace(tasks=(*talk.tasks, *ids)))
    return ids


def _question(answer: Answer) -> str:
    return "Write this task?" if len(answer.tasks) == 1 else f"Write these {len(answer.tasks)} tasks?"


def _answer_lines(answer: Answer, screen: Screen) -> Iterator[str]:
    yield from (clean(line) for line in answer.turn.text.splitlines())
    for number, task in enumerate(answer.tasks, 1):
        yield from ("", *_task_lines(number, task, screen))


def _task_lines(number: int, task: Mapping[str, Any], screen: Screen) -> Iterator[str]:
    yield screen.paint(f"{number}. {clean(str(task.get('title')))}", "bold")
    for key, value in task.items():
        if key not in ("title", "ref"):
            words = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            yield from indent(clean(line) for line in f"{key}: {words}".splitlines())


def _written_lines(answer: Answer, ids: Sequence[str]) -> Iterator[str]:
    if ids:
        yield from ("", f"written: {', '.join(ids)}; `kin run {' '.join(ids)}` runs them")
    elif answer.tasks:
        yield from ("", "nothing was written; `--yes` writes what is proposed")


def _talk(call: Call, talk_id: str) -> Result:
    """A conversation at a terminal, until Ctrl-D or Ctrl-C."""
    from prompt_toolkit import PromptSession

    session: PromptSession[str] = PromptSession()
    ids: list[str] = []
    call.screen.say("Talk with the PM about the project; Ctrl-D ends.")
    while True:
        try:
            message = session.prompt("> ")
            if not message.strip():
                continue
            answer = _say(call, talk_id, message)
            call.screen.say("\n".join(_answer_lines(answer, call.screen)))
            if answer.fault:
                call.screen.warn(answer.fault)
            if answer.tasks and session.prompt(f"{_question(answer)} [y/N] ").strip().lower() in ("y", "yes"):
                ids += (made := _write(call, talk_id, answer))
                call.screen.say("\n".join(_written_lines(answer, made)))
        except (EOFError, KeyboardInterrupt):
            break
    if ids and call["run"]:
        return run_added(call, ids, "chat")
    return Result(
        "chat",
        {"id": talk_id, "tasks": ids},
        [f"kept in .kin/chat/{talk_id}.yaml"] if chats.load(call.project, talk_id).turns else [],
    )
