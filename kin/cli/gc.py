"""`kin gc`: say what is old and no longer needed, ask, and delete it."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from kin.cli.output import Call, Result
from kin.cli.screen import Screen, ago, clean
from kin.errors import Usage
from kin.model.fields import seconds
from kin.model.times import now
from kin.runner.upkeep.collect import KINDS, Old, delete, find, in_words

USUALLY = "30d"
PLURALS = {"salvage": "salvages", "log": "logs", "record": "left-over records", "temporary": "temporary folders"}


def gc_(call: Call) -> Result:
    """Without --yes or a person's yes nothing is deleted."""
    older_than = USUALLY if call["older_than"] is None else call["older_than"]  # empty: a script's mistake, and it deletes
    try:
        bound = seconds(older_than)
    except ValueError as error:
        raise Usage(f"--older-than: {error}") from None
    moment, screen = now(), call.screen
    found = find(call.project, bound, moment, call.environ)
    shown = list(_lines(found, moment, screen))
    if found and not call["yes"] and screen.may_ask:
        screen.out.write("\n".join([*shown, ""]))
        shown = []
    agreed = bool(found) and (call["yes"] or screen.ask(f"Delete {_counted(found)}?"))
    gone, left = delete(call.project, found) if agreed else ([], [])
    if found:
        tail = "" if agreed or screen.may_ask else "; `--yes` deletes it where nobody can be asked"
        shown.append(f"Deleted {_counted(gone)}." if agreed else f"Nothing was deleted{tail}.")
    data = {"older_than": bound, "deleted": agreed, "found": [old._asdict() for old in (gone if agreed else found)]}
    return Result("gc", data, shown or [f"Nothing is older than {older_than}."], brief=(), warnings=left)


def _lines(found: Sequence[Old], moment: datetime, screen: Screen) -> Iterator[str]:
    for old in found:
        age = screen.paint(f"{ago(old.at, moment)} ago".rjust(12), "dim")
        more = in_words(old.size) if old.size else f"commit {old.oid[:12]}" if old.oid else ""
        yield f"{old.kind:9}  {age}  {clean(old.name)}  {more}".rstrip()


def _counted(found: Sequence[Old]) -> str:
    numbers = {kind: sum(old.kind == kind for old in found) for kind in KINDS}
    parts = [f"{number} {kind if number == 1 else PLURALS[kind]}" for kind, number in numbers.items() if number]
    size = sum(old.size for old in found)
    return (", ".join(parts) or "nothing") + (f" ({in_words(size)})" if size else "")
