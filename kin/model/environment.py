"""An environment: a machine that kin's sysadmin may look at. Names only; whatever looks like a secret is refused."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, NamedTuple

from kin.model.entries import Kind
from kin.model.fields import Field, KeyPath, Problem, at_most_one_line, integer
from kin.model.fields import text as any_text

_NAME = at_most_one_line(253)
TAG = "env:"
"""What the label of a task begins with that looks at an environment, and the tag of the decisions that come of it."""
WAY_OUT = "keep it out of the repository: an ssh agent or ~/.ssh/config holds keys, an environment variable a password"

_KEYS = re.compile(r"(?i)pass(word|wd|phrase)?$|secret|token|api_?key|private_?key|credential|^pin$|_pwd$|^pwd$")
_SHAPES = re.compile(
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY|gh[pousr]_\w{20,}|github_pat_|glpat-|\bsk-[\w-]{16,}|[sr]k_live_"
    r"|\b(AKIA|ASIA)[A-Z0-9]{12,}|xox[abeoprs]-|AIza[\w-]{30,}|npm_[A-Za-z0-9]{30,}|pypi-[\w-]{20,}|\beyJ[\w-]{10,}\.|dop_v1_|hf_[A-Za-z]{30,}|SG\.[\w-]{16,}"
    r"|://[^/\s:@]+:[^/\s@]+@|(?i:\b(password|passwd|pwd|secret|token|api[_-]?key)\s*[:=]\s*\S+)|(?i:\bbearer\s+\S{12,})"
    r"|\$(2[aby]|5|6|argon2\w*)\$|ssh-(rsa|ed25519) AAAA|(?i:\bbasic\s+[A-Za-z0-9+/]{12,}=*$)"
)
_WORD = re.compile(r"[^\s,;|]{16,}")
RANDOM = 3.5
"""Bits a character from which a long word of letters and digits is no name: `web-01.eu-west-1` has less, a key more."""


class Environment(NamedTuple):
    """An entry of environments.yaml. `identity` is the name of a key or of an ssh host entry, never a key."""

    name: Annotated[str, Field("Its name, the key in the file", at_most_one_line(60))]
    host: Annotated[str, Field("Its host name or address", _NAME)]
    user: Annotated[str | None, Field("Who logs in", _NAME)] = None
    port: Annotated[int | None, Field("ssh's port", integer(1, 65535))] = None
    identity: Annotated[str | None, Field("The name of the key, as ssh knows it; never the key", _NAME)] = None
    purpose: Annotated[str, Field("What it is for, in a sentence", any_text)] = ""
    extra: dict[str, Any] = {}

    @property
    def address(self) -> str:
        """`user@host:port`, as far as it is said."""
        return (f"{self.user}@" if self.user else "") + self.host + (f":{self.port}" if self.port else "")

    @property
    def ssh(self) -> list[str]:
        """The arguments by which a program that may only look logs in; it never asks, and the host must be known."""
        named = ["-i", f"~/.ssh/{self.identity}"] if self.identity else []
        port = ["-p", str(self.port)] if self.port else []
        user = ["-l", self.user] if self.user else []
        return ["ssh", "-o", "BatchMode=yes", *named, *port, *user, "--", self.host]


def _faults(name: str, said: Any, entry: Environment | None) -> Iterator[Problem]:
    """A file that is committed holds no secret; an entry with one in it is none."""
    return (Problem(path, f"this looks like a secret; {WAY_OUT}") for path in _secrets(said, (name,)))


ENVIRONMENTS = Kind("environments.yaml", Environment, "host", faults=_faults)


def _secrets(said: Any, path: KeyPath) -> Iterator[KeyPath]:
    """Where a value looks like a secret, or stands under a key that says so."""
    if isinstance(said, Mapping):
        for key, value in said.items():
            yield from _secrets(value, (*path, key))
    elif isinstance(said, list):
        for number, value in enumerate(said):
            yield from _secrets(value, (*path, number))
    elif said not in (None, "") and ((path and len(path) > 1 and _KEYS.search(str(path[-1]))) or looks_secret(str(said))):
        yield path


def looks_secret(text: str) -> bool:
    """Whether a value has the shape of a known token or key, or is a long word without the regularity of a name."""
    return bool(_SHAPES.search(text)) or any(_is_random(word) for word in _WORD.findall(text))


def _is_random(word: str) -> bool:
    if not (re.search(r"[a-z]", word) and re.search(r"[A-Z0-9]", word) and re.search(r"[0-9]", word)):
        return False
    if re.search(r"[./\\:]", word) or word.count("-") > 1 or word.count("_") > 1:
        return bool(re.fullmatch(r"[A-Za-z0-9+/]{32,}={0,2}", word)) and _bits(word) > RANDOM
    return _bits(word) > RANDOM


def _bits(word: str) -> float:
    """Shannon's entropy in bits a character."""
    return -sum(n / len(word) * math.log2(n / len(word)) for n in Counter(word).values())
