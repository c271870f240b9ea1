"""Shell completion: the scripts, and the answer to one TAB, from the table of declarations and the task files.

A script calls `kin` with the words of the line as its arguments and `_KIN_COMPLETE=<shell>:<index of the word>`; no typer is
loaded, so an answer takes as long as `kin list`.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from kin.cli.commands import COMMANDS, GLOBAL, Command, Opt
from kin.cli.help import TOPICS
from kin.cli.output import Call, Result
from kin.cli.parse import flags_of
from kin.errors import KinError, Usage
from kin.model.builtin import BUILT_IN_AGENTS

if TYPE_CHECKING:
    from kin.model.task import Task
    from kin.store.project import Project
    from kin.store.resting import Resting

SHELLS = ("bash", "zsh", "fish")

_SCRIPTS = {
    "bash": """\
_kin() {
    local IFS=$'\\n'
    COMPREPLY=($(_KIN_COMPLETE="bash:$((COMP_CWORD - 1))" "${COMP_WORDS[0]}" "${COMP_WORDS[@]:1}" 2>/dev/null))
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=:] ]] && compopt -o nospace
}
complete -o default -o nosort -F _kin kin""",
    "zsh": """\
#compdef kin
_kin() {
    local -a found
    found=("${(@f)$(_KIN_COMPLETE="zsh:$((CURRENT - 2))" "${words[1]}" "${(@)words[2,-1]}" 2>/dev/null)}")
    if [[ -n ${found[1]} ]]; then _describe -V 'kin' found; else _files; fi
}
compdef _kin kin""",
    "fish": """\
function __kin
    set -l words (commandline -opc) (commandline -ct)
    _KIN_COMPLETE=fish:(math (count $words) - 2) $words[1] $words[2..-1] 2>/dev/null
end
complete -c kin -a '(__kin)'""",
}


class Offer(NamedTuple):
    """One candidate, and what it means."""

    value: str
    about: str = ""


def completion_(call: Call) -> Result:
    """Print a shell's script."""
    shell = call["shell"]
    if shell not in SHELLS:
        raise Usage(f"no script for the shell '{shell}'", f"one of {', '.join(SHELLS)}")
    script = _SCRIPTS[shell]
    return Result("completion", {"shell": shell, "script": script}, script.splitlines())


def answer(words: Sequence[str], environ: Mapping[str, str]) -> int:
    """Print what the word at the cursor can become, one candidate a line; nothing if kin does not know."""
    shell, _, index = environ["_KIN_COMPLETE"].partition(":")
    if shell not in SHELLS or not index.isdigit():
        return 2
    before, word = list(words[: int(index)]), words[int(index)] if int(index) < len(words) else ""
    if shell == "bash":
        before, word = _joined(before, word)
    try:
        offers = [o for o in offers_for(before, word, environ) if o.value.startswith(word) and o.value.isprintable()]
    except (KinError, OSError):  # a TAB in a folder without a project, or beside a broken file, is no reason to speak
        return 0
    sys.stdout.write("".join(_line(shell, offer, word) for offer in offers))
    return 0


def _line(shell: str, offer: Offer, word: str) -> str:
    about = "".join(c if c.isprintable() else " " for c in offer.about)
    if shell == "fish":
        return f"{offer.value}\t{about}\n"
    if shell == "zsh":
        return f"{offer.value.replace(':', chr(92) + ':')}:{about}\n"
    # bash takes what stands behind the last `=` or `:` for the word (COMP_WORDBREAKS)
    return offer.value[max(map(word.rfind, "=:")) + 1 :] + "\n"


def _joined(before: list[str], word: str) -> tuple[list[str], str]:
    """bash hands `--mode=au` and `label:a` over as three words; make them one again."""
    joined: list[str] = []
    for part in [*before, word]:
        if joined and (part in ("=", ":") or joined[-1].endswith(("=", ":"))) and joined[-1]:
            joined[-1] += part
        else:
            joined.append(part)
    return joined[:-1], joined[-1]


def offers_for(before: Sequence[str], word: str, environ: Mapping[str, str]) -> Iterable[Offer]:
    """What may stand at the cursor behind the words `before` of a line; not yet filtered by what is typed."""
    command, loose, waiting = _read(before)
    here = _Here(environ, word)
    if waiting is not None:
        return _last("", word, _values(waiting, here))
    if command is None:
        flags = _flags(GLOBAL) if word.startswith("-") else ()
        return [*(Offer(c.name, c.help) for c in COMMANDS.values()), *flags]
    if word.startswith("-"):
        name, equals, value = word.partition("=")
        option = flags_of(command).get(name)
        if equals and option is not None:
            return _last(f"{name}=", value, _values(option, here))
        return _flags((*command.options, *GLOBAL))
    return _arguments(command, loose, word, here)


def _read(before: Sequence[str]) -> tuple[Command | None, list[str], Opt | None]:
    """The command so far, its plain words, and the option that waits for its value at the cursor. A -C is followed."""
    command: Command | None = None
    loose: list[str] = []
    waiting: Opt | None = None
    flags = flags_of(None)
    for word in before:
        if waiting is not None:
            if waiting.key == "directory":
                os.chdir(os.path.expanduser(word))
            waiting = None
        elif word.startswith("-"):
            option = flags.get(word)
            waiting = option if option is not None and option.kind != "flag" else None
        elif command is None:
            command = COMMANDS.get(word)
            flags = flags_of(command)
        else:
            loose.append(word)
    return command, loose, waiting


def _flags(options: Iterable[Opt]) -> list[Offer]:
    return [Offer(f"--{o.name}", o.help) for o in options]


def _last(head: str, value: str, offers: Iterable[Offer]) -> Iterator[Offer]:
    """The offers for what stands behind the last comma of a value."""
    before = head + value[: value.rfind(",") + 1]
    return (offer._replace(value=before + offer.value) for offer in offers)


def _values(option: Opt, here: "_Here") -> Iterable[Offer]:
    return [Offer(choice) for choice in option.choices] or _offered(option.metavar.lower(), here)


def _arguments(command: Command, loose: list[str], word: str, here: "_Here") -> Iterable[Offer]:
    if command.actions:
        if not loose:
            return (Offer(action.name, action.help) for action in command.actions)
        named, *loose = loose
        command = next((action for action in command.actions if action.name == named), command)
    arg = command.args[min(len(loose), len(command.args) - 1)] if command.args else None
    if arg is None or (not arg.many and len(loose) >= len(command.args)):
        return ()
    if command.name == "set":
        return _changes(loose, word, here)
    return (o for o in _offered(arg.name, here) if o.value not in loose)


_OF_FIELDS = {"labels": "label", "depends_on": "id", "parent": "id", "priority": "1-5"}


def _changes(loose: list[str], word: str, here: "_Here") -> Iterator[Offer]:
    """For `kin set`: ids or filters, then `field=`, then the values that the field or the filter may have."""
    from kin.cli.change import FILTERS
    from kin.model.fields import fields_of
    from kin.model.task import Task

    for sign in "=:":
        name, found, value = word.partition(sign)
        if found:
            field = name.rstrip("+-")
            yield from _last(name + sign, value, _offered(_OF_FIELDS.get(field, field), here))
            return
    if all(":" in one for one in loose):
        yield from (Offer(f"{name}:", "all open tasks that fit") for name in FILTERS)
    yield from (o for o in _offered("id", here) if o.value not in loose)
    if loose:
        yield from (Offer(f"{d.name}=", d.field.doc) for d in fields_of(Task) if d.name not in ("id", "blocked", "created"))


class _Here:
    """Where the TAB was pressed; what is asked of it is imported and read only then."""

    def __init__(self, environ: Mapping[str, str], word: str) -> None:
        self.environ = environ
        self.begins = word if word.replace("-", "").isalnum() else ""
        """How an offer must begin, where that is plain: making ten thousand that do not takes time."""

    @property
    def project(self) -> "Project":
        from kin.store.project import find

        return find(os.getcwd(), self.environ)

    def look(self) -> "tuple[Resting | None, Iterable[Task]]":
        """What the index remembers where there are very many tasks, and the tasks beside it: those that it does not know."""
        from kin.store.resting import hints

        found = hints(self.project)
        if found is None:
            from kin.store.tasks import scan

            return None, scan(self.project).tasks.values()
        return found[0], list(self.read(found[1])) if found[1] else ()

    def read(self, ids: Iterable[str]) -> "Iterator[Task]":
        from kin.store.tasks import load

        for task_id in ids:
            with suppress(KinError):  # one that is broken, or no task at all, is not listed either
                yield load(self.project, task_id)[0]

    def open_tasks(self) -> Iterator[Offer]:
        from kin.model.status import OPEN

        known, tasks = self.look()
        found = {task.id: task.title for task in tasks if task.status in OPEN}
        if known:  # in ready order: sorting so many takes time, too
            offers = zip((*known.ids, *found), (*known.titles, *found.values()), strict=True)
            return (Offer(task_id, title) for task_id, title in offers if task_id.startswith(self.begins))
        from kin.model.ids import sort_key

        return (Offer(task_id, found[task_id]) for task_id in sorted(found, key=sort_key))

    def words(self, plural: str) -> list[str]:
        """All labels, modules or assignees."""
        known, tasks = self.look()
        held = [task.labels if plural == "labels" else (getattr(task, plural[:-1]),) for task in tasks]
        return sorted({*(getattr(known, plural) if known else ()), *(word for some in held for word in some if word)})

    def decisions(self) -> Iterator[Offer]:
        from kin.store.decisions import scan

        return (Offer(one.id, one.title) for one in scan(self.project)[0].values())

    def columns(self) -> Iterator[Offer]:
        from kin.model.task import TASK_KEYS

        return map(Offer, (*TASK_KEYS, "stored_status", "ready", "run"))

    def branches(self) -> Iterator[Offer]:
        from kin.git import git

        names = git(os.getcwd(), "for-each-ref", "--format=%(refname:short)", "refs/heads").text.splitlines()
        return (Offer(name) for name in names if not name.startswith("kin/"))

    def roles(self) -> Iterator[Offer]:
        from kin.store.roles import role_names

        return map(Offer, role_names(self.project.store))

    def modules(self) -> Iterator[Offer]:
        from kin.model.module import MODULES
        from kin.store import entries

        known = {one.name: one.purpose for one in entries.readable(self.project, MODULES)}
        named = dict.fromkeys(self.words("modules"), "")
        return (Offer(*one) for one in sorted((named | known).items()))

    def pipelines(self) -> Iterator[Offer]:
        from kin.store.config import load_settings

        return map(Offer, sorted({"default", "quick", *load_settings(self.project).pipelines}))

    def salvages(self) -> Iterator[Offer]:
        from kin.runner.tree.kept import list_salvage

        return (Offer(one.name, one.subject) for one in list_salvage(self.project))

    def settings(self) -> Iterator[Offer]:
        from kin.model.settings import Settings

        return (Offer(name, field.description or "") for name, field in Settings.model_fields.items())

    def statuses(self) -> Iterator[Offer]:
        from kin.model.status import TaskStatus

        return map(Offer, TaskStatus)


def _sorts() -> Iterable[Offer]:
    from kin.cli.listing import SORTS

    return map(Offer, SORTS)


def _offered(source: str, here: _Here) -> Iterable[Offer]:
    return _SOURCES[source](here) if source in _SOURCES else ()


_SOURCES: dict[str, Callable[[_Here], Iterable[Offer]]] = {
    "id": _Here.open_tasks,
    "ids": _Here.open_tasks,
    "old": _Here.open_tasks,
    "label": lambda here: map(Offer, here.words("labels")),
    "assignee": lambda here: map(Offer, here.words("assignees")),
    "names": _Here.columns,
    "decision": _Here.decisions,
    "plan": lambda here: map(Offer, ("true", "approve", "false")),
    "module": _Here.modules,
    "status": _Here.statuses,
    "mode": lambda here: map(Offer, ("review", "auto")),
    "branch": _Here.branches,
    "base": _Here.branches,
    "role": _Here.roles,
    "step": _Here.roles,
    "pipeline": _Here.pipelines,
    "1-5": lambda here: (Offer(str(n), about) for n, about in enumerate(("first", "", "default", "", "last"), 1)),
    "order": lambda here: _sorts(),
    "salvage": _Here.salvages,
    "salvages": _Here.salvages,
    "settings": _Here.settings,
    "agent": lambda here: map(Offer, BUILT_IN_AGENTS),
    "shell": lambda here: map(Offer, SHELLS),
    "command": lambda here: [*(Offer(c.name, c.help) for c in COMMANDS.values()), *(Offer(*t) for t in TOPICS.items())],
}
