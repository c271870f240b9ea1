"""Text from a person: from an option, from standard input, or written in their editor."""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from kin.cli.output import Call
from kin.errors import Failed, Invalid, NotFound, Place, Usage

if TYPE_CHECKING:
    from kin.store.project import Project


def content(name: str, most: int = -1) -> bytes:
    """What a file or `-`, standard input, holds, at most so many bytes. Raises NotFound, Invalid."""
    try:
        if name == "-":
            return sys.stdin.buffer.read(most) if sys.stdin is not None else b""
        with open(name, "rb") as file:
            return file.read(most)
    except FileNotFoundError:
        raise NotFound(f"there is no {name}") from None
    except OSError as error:
        raise Invalid(f"cannot be read: {error.strerror}", where=Place(name)) from error


def written(value: str | None) -> str | None:
    """An option's text; `-` stands for standard input, where bytes that are no UTF-8 become U+FFFD."""
    if value != "-":
        return value
    return content("-").decode("utf-8", "replace").replace("\r\n", "\n").rstrip("\n")


def said(call: Call, needed: str = "") -> str:
    """What -m says, without blanks around it. Raises Usage for nothing, if words are `needed` by that command line."""
    text = (written(call["message"]) or "").strip()
    if needed and not text:
        raise Usage(f"{needed.rpartition(' ')[0]} needs words", f'`kin {needed} -m "..."`')
    return text


def edit_copy(project: "Project", name: str, text: str, environ: Mapping[str, str]) -> str:
    """Where the person has edited `text`: a file of their own, whose `name` tells an editor what it is, to `forget` when used.

    The editor is run as git runs its own: by a shell, so that it may have arguments. Raises Usage if there is none, Failed
    if it fails: what it saved until then is not a decision, and stays.
    """
    import signal
    import subprocess

    editor = environ.get("VISUAL") or environ.get("EDITOR") or ""
    if not editor:
        if sys.stdin is None or not sys.stdin.isatty():
            raise Usage("there is no editor to write in", "set EDITOR, or use `-m`, or `kin set`")
        editor = "vi"
    path = os.path.join(project.common, "edit", str(os.getpid()), name)
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with suppress(OSError):  # a task names its schema as seen from tasks/, so there is one here too; made before is fine
        os.symlink(os.path.join(project.store, "schema"), os.path.join(project.common, "edit", "schema"))
    with open(path, "wb") as file:
        file.write(text.encode())
    # Ctrl-C is the editor's, vim ends its own commands with it: heard here, it would kill the editor with what was written.
    heard = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        # It must see a terminal, whatever our standard output is: `kin note 12 --json | jq` edits too.
        argv = ["/bin/sh", "-c", f'{editor} "$@"', editor, path]
        done = subprocess.run(argv, env=dict(environ), stdout=_terminal(), check=False)
    finally:
        signal.signal(signal.SIGINT, heard)
    if done.returncode:
        hint = f"what it left is in {path}"
        with suppress(FileNotFoundError), open(path, "rb") as file:
            if file.read() == text.encode():
                forget(path)
                hint = ""
        raise Failed(f"the editor ended with exit {done.returncode}; nothing was changed", hint)
    return path


def forget(copy: str) -> None:
    """Remove what `edit_copy` made."""
    os.unlink(copy)
    with suppress(OSError):  # an editor's own backup file beside it is the person's
        os.rmdir(os.path.dirname(copy))


def _terminal() -> int | None:
    if sys.stdout is not None and sys.stdout.isatty():
        return None
    return 2 if os.isatty(2) else None
