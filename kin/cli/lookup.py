"""Which task a word means, and who says what is said."""

from typing import TYPE_CHECKING

from kin.cli.output import Call

if TYPE_CHECKING:
    from kin.store.view import Seen, View


def find_task(call: Call, word: str, *, with_reasons: bool = False) -> "tuple[Seen, View]":
    """The task that `word` means, as views show it. Raises NotFound, or Invalid if its file cannot be read."""
    from kin.store.tasks import load, resolve
    from kin.store.view import see

    task_id = resolve(call.project, word)
    view = see(call.project, with_reasons=with_reasons)
    if task_id not in view.seen:
        load(call.project, task_id)  # says what is wrong with the file
    return view.seen[task_id], view


def who(call: Call) -> str:
    """The person at the keyboard, as git knows them."""
    from kin import git

    return (git.identity(call.project.root) or call.environ.get("USER") or "a person").partition(" <")[0]
