"""`kin merge-file`: git calls it for a file of `.kin/` that both sides of a merge changed; standard output is left to git."""

from kin.cli.output import Call, Result
from kin.errors import Invalid, NotFound
from kin.store.text.merge import merge


def merge_file_(call: Call) -> Result:
    """Merge THEIRS into OURS, in place; exit 1 if something is left to settle."""
    path = call["path"] or call["ours"]
    sides = [_content(call[name]) for name in ("base", "ours", "theirs")]
    size = call["marker_size"] or 7
    merged = merge(*sides, cwd=call.cwd, path=path, marker=size)
    with open(call["ours"], "wb") as file:
        file.write(merged.content)
    said = [f"{path}: both sides changed {', '.join(merged.clashes)}"] if merged.clashes else []
    return Result("merge", {"path": path, "clashes": list(merged.clashes)}, warnings=said, exit=int(bool(merged.clashes)))


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise NotFound(f"there is no {path}") from None
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}") from error
