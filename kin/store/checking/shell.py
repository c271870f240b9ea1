"""Whether a shell command of a gate, a setup or a step can start here, as far as its first word tells."""

import os
import re
import shutil

_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=\S*")
_WORD = re.compile(r"[A-Za-z0-9_./+-]+")
_OWN = re.compile(
    r"[.:!\[]|alias|break|case|cd|command|continue|do|done|echo|elif|else|esac|eval|exec|exit|export|false|fi|for|getopts|hash"
    r"|if|in|jobs|kill|printf|pwd|read|readonly|return|set|shift|test|then|times|trap|true|type|ulimit|umask|unset|until|wait"
    r"|while"
)
"""Words of /bin/sh itself."""


def lost(command: str, root: str, path: str | None, *, setup: bool) -> tuple[str, str] | None:
    """What is wrong with a command, and a hint; None if its first word is found, or is none that can be looked for.

    A path is looked for below `root`; with a `setup` it may be one that setup makes in each worktree.
    """
    words = command.split()
    while words and _ASSIGNMENT.fullmatch(words[0]):
        words.pop(0)
    if not words:
        return "the command is empty", "write one, or remove it"
    word = words[0]
    if not _WORD.fullmatch(word) or _OWN.fullmatch(word):
        return None
    if "/" in word:
        there = (setup and not os.path.isabs(word)) or os.access(os.path.join(root, word), os.X_OK)
        return None if there else (f"`{word}` is no program here", "is it spelled right, and executable?")
    if shutil.which(word, path=path):
        return None
    return f"`{word}` was not found on PATH", "is it spelled right, and installed here?"
