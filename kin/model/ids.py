"""Ids of tasks, decisions and runs: one form that is also safe as a file name and as a branch name."""

import re

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_KEY = r"[A-Z][A-Z0-9]{0,7}"
_CATEGORY = r"[A-Z][A-Z0-9]{0,15}"
TASK_ID = re.compile(rf"({_KEY})(?:-({_CATEGORY}))?-(?:([0-9]{{1,9}})|([{CROCKFORD}]{{6}}))")
RUN_ID = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-z]{4}")


def is_key(text: str) -> bool:
    """Whether `text` can be a project's key; `D` is taken by decisions."""
    return re.fullmatch(_KEY, text) is not None and text != "D"


def is_name(text: str) -> bool:
    """Whether `text` can name a role or a link: ASCII letters, digits, - and _, at most 40."""
    return text.isascii() and len(text) <= 40 and text.replace("_", "").replace("-", "").isalnum()


def key_from_name(folder: str) -> str:
    """The key that `kin init` gives a folder: its ASCII letters and digits, upper case, at most 8, else `TASK`."""
    letters = re.sub(r"[^A-Za-z0-9]", "", folder).lstrip("0123456789").upper()[:8]
    return letters if is_key(letters) else "TASK"


def normalise(text: str, key: str) -> str | None:
    """The id that a person means by `text`: ids are case-blind, a bare number is taken with the key; None if none is."""
    word = text.strip().upper()
    if word.isascii() and word.isdigit():
        word = f"{key}-{word}"
    return word if TASK_ID.fullmatch(word) else None


def sort_key(task_id: str) -> tuple[str, str, int, str]:
    """Order of ids: key, category, number, then text; leading zeros do not count."""
    match = TASK_ID.fullmatch(task_id)
    if not match:
        return ("", "", 0, task_id)
    key, category, number, _ = match.groups()
    return (key, category or "", int(number) if number else 0, task_id)


def identity(task_id: str) -> tuple[str | int, ...]:
    """What ids that name the same task have in common (`KIN-7` and `KIN-007` do)."""
    key = sort_key(task_id)
    return key[:3] if key[2] else (task_id,)


def same_id(one: str, other: str) -> bool:
    """Whether two ids name the same task."""
    return identity(one) == identity(other)


def random_id(key: str, entropy: int) -> str:
    """`KEY-XXXXXX` in Crockford base 32 from the low 30 bits of `entropy`, never all digits (that is a number's form)."""
    letters = [CROCKFORD[(entropy >> (5 * i)) & 31] for i in range(6)]
    if "".join(letters).isdigit():
        letters[0] = CROCKFORD[10 + entropy % 22]
    return f"{key}-{''.join(letters)}"


def run_id(stamp: str, entropy: int) -> str:
    """`<stamp>-<4 letters>`; `stamp` is UTC as `20261124T093200Z`, so that names sort by time."""
    return f"{stamp}-{''.join(CROCKFORD[(entropy >> (5 * i)) & 31] for i in range(4)).lower()}"
