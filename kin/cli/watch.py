"""`kin watch`: what may start starts by itself, until stopped; and the unit files for those who want it as a service."""

import sys
from time import monotonic
from typing import TYPE_CHECKING, Any

from kin.cli.output import Call, Result
from kin.cli.screen import Screen, clean
from kin.cli.show_run import Display
from kin.errors import Usage, Waits

if TYPE_CHECKING:
    from kin.runner.watch.reconcile import Choice
    from kin.runner.watch.watcher import Happening, May

_COLOURS = {"start": "green", "end": "cyan", "kept": "dim", "quiet": "dim", "polling": "yellow", "overflow": "yellow"}


def watch_(call: Call) -> Result:
    """Reconcile until stopped, or once."""
    if call["print_unit"]:
        return Result("unit", {"text": _unit(call)}, _unit(call).splitlines())
    if call.screen.json and not call["once"]:
        raise Usage("`kin watch` is a stream, --json one document", "`--jsonl` prints a line for each; `--once --json` ends")
    from kin.cli.consent import trusts
    from kin.runner.process.signals import Cancel
    from kin.runner.watch.watcher import May, Watcher, claim, watch

    env = call.environ
    may = May(write=call["allow_write"] or env.get("KIN_ALLOW_WRITE") == "1", trusted=trusts(call))
    _agree(call, may)
    told: list[Happening] = []
    with Display(call.screen, alone=False) as display, Cancel() as cancel:
        tell = told.append if call.screen.json else _teller(call, display)
        watcher = Watcher(call.project, env, may, tell, cancel, tick=_shower(call, display))
        if call["once"]:
            with claim(call.project, may):
                watcher.look()
        else:
            watch(watcher)
    code = 128 + cancel.number if cancel.level and call["once"] else 0
    return Result("happening.list" if call["once"] else "", [_as_data(one) for one in told], exit=code)


def _agree(call: Call, may: "May") -> None:
    """The first watcher of a clone shows what it would start and asks; the yes is remembered. Raises Waits without one."""
    from kin.runner.merge.landed import History
    from kin.runner.watch.reconcile import choose, wanted
    from kin.store import trust
    from kin.store.config import load_settings
    from kin.store.view import see

    project = call.project
    settings = load_settings(project, call.environ)
    if may.trusted or trust.said_yes(project, "watch", call.environ):
        return
    if not call["yes"]:
        view = see(project, bodies=False)
        choice = choose(project, view, wanted(view), settings, History(), leave=may.write)
        for line in _preview(choice, call.screen):
            call.screen.err.write(line + "\n")
        if not call.screen.ask("May `kin watch` start tasks in this clone by itself? (remembered)"):
            raise Waits("nobody agreed that tasks are started by themselves in this clone", "`kin watch --yes` agrees for good")
    trust.remember_yes(project, "watch", call.environ)


def _preview(choice: "Choice", screen: Screen) -> list[str]:
    lines = [f"{one.task}  would start now: {clean(one.why)}" for one in choice.start]
    lines += [f"{task}  would start after these" for task in choice.queue]
    lines += [f"{task}  would not start: {clean(reason.text)}" for task, reason in choice.kept.items()]
    return lines or ["Nothing would start now; tasks labelled `auto` would, as soon as they are ready."]


def _teller(call: Call, display: Display) -> Any:
    """What is done with a happening: a line for a person, or with --jsonl one for a program."""

    def tell(one: "Happening") -> None:
        if call["jsonl"]:
            from json import dumps

            call.screen.out.write(dumps(_as_data(one), ensure_ascii=False) + "\n")
            call.screen.out.flush()
        elif not call.screen.quiet or one.task:
            head = f"{one.task}  " if one.task else ""
            words = clean(one.text) if one.kind != "start" else f"started: {clean(one.text)}"
            display.print(head + call.screen.paint(words, _COLOURS.get(one.kind, "")))

    return tell


def _as_data(one: "Happening") -> dict[str, Any]:
    from kin.model.times import written

    return {"time": written()} | one._asdict()


def _shower(call: Call, display: Display) -> Any:
    """Draws what runs, at a terminal; when it wants to be called again, in seconds."""
    from kin.cli.log import last_said
    from kin.store.records import live

    def show(running: dict[str, str]) -> float | None:
        if not display.live:
            return None
        rows = {}
        for task, run in running.items():
            found = live(call.project, task)
            step = next((s.id for s in found.steps if s.status == "running"), "between steps") if found else "ending"
            since = display.rows.get(task, ("", 0.0, ""))
            began = since[1] if since[0] == step else monotonic()
            rows[task] = (step, began, last_said(call.project, task, run).text)
        display.rows = rows
        display.tick()
        return 1.0 if rows else None

    return show


def _unit(call: Call) -> str:
    """A unit file that runs the watcher in this clone as the person's own service; pipelines outlive its restart."""
    from kin.store.project import file_name

    root = call.project.root
    words = [sys.executable, "-m", "kin", "-C", root, "watch", *(["--allow-write"] if call["allow_write"] else [])]
    if call["print_unit"] == "launchd":
        return _launchd(words, "kin.watch." + file_name(root.strip("/").replace("/", ".")))
    quoted = " ".join('"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"' for word in words)
    return _SYSTEMD.replace("{root}", root.replace("%", "%%")).replace("{command}", quoted.replace("$", "$$"))


def _launchd(words: list[str], label: str) -> str:
    from plistlib import dumps

    keys = {"Label": label, "ProgramArguments": words, "RunAtLoad": True, "KeepAlive": True, "AbandonProcessGroup": True}
    first, rest = dumps(keys, sort_keys=False).decode().split("\n", 1)
    return f"{first}\n<!-- ~/Library/LaunchAgents/{label}.plist; then: launchctl load -w that file -->\n{rest}"


_SYSTEMD = """\
# ~/.config/systemd/user/kin-watch.service; then: systemctl --user enable --now kin-watch
[Unit]
Description=kin watch in {root}

[Service]
ExecStart={command}
Restart=on-failure
RestartSec=5
# pipelines outlive the watcher: only it is stopped
KillMode=process

[Install]
WantedBy=default.target
"""
