"""Text from a person: from an option, from standard input, or written in their editor."""

import os
import sys
from collections.abc import Mapping

from kin.cli.output import Call
from kin.errors import Failed, Usage


def written(value: str | None) -> str | None:
    """An option's text; `-` stands for standard input, where bytes that are no UTF-8 become U+FFFD."""
    if value != "-":
        return value
    read = sys.stdin.buffer.read() if sys.stdin is not None else b""
    return read.decode("utf-8", "replace").replace("\r\n", "\n").rstrip("\n")


def said(call: Call, needed: str = "") -> str:
    """What -m says, without blanks around it. Raises Usage for nothing, if words are `needed` by that command line."""
    text = (written(call["message"]) or "").strip()
    if needed and not text:
        raise Usage(f"{needed.rpartition(' ')[0]} needs words", f'`kin {needed} -m "..."`')
    return text


def edit_file(path: str, environ: Mapping[str, str]) -> None:
    """Open `path` in the person's editor and wait until it is closed.

    The editor is run as git runs its own: by a shell, so that it may have arguments. Raises Usage if there is none, Failed
    if it fails: what it saved until then is not a decision.
    """
    import subprocess

    editor = environ.get("VISUAL") or environ.get("EDITOR") or ""
    if not editor:
        if sys.stdin is None or not sys.stdin.isatty():
            raise Usage("there is no editor to write in", "set EDITOR, or say it with an option")
        editor = "vi"
    # The editor must see a terminal, whatever our standard output is: `kin note 12 --json | jq` edits too.
    done = subprocess.run(["/bin/sh", "-c", f'{editor} "$@"', editor, path], env=dict(environ), stdout=_terminal(), check=False)
    if done.returncode:
        raise Failed(f"the editor ended with exit {done.returncode}; nothing was changed", f"what it left is in {path}")


def _terminal() -> int | None:
    if sys.stdout is not None and sys.stdout.isatty():
        return None
    return 2 if os.isatty(2) else None
