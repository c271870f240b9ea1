"""Lines that a CI host shows beside the code, in its own form: GitHub's and Gitea's commands, GitLab's report."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any


def github(severity: str, title: str, text: str, place: Mapping[str, object] = {}) -> str:
    """A workflow command: `%`, line ends, in values `:` and `,` are escaped, so no text can be another command."""
    named = {**{key: value for key, value in place.items() if value}, "title": title}
    about = ",".join(f"{key}={_escaped(str(value), (':', '%3A'), (',', '%2C'))}" for key, value in named.items())
    return f"::{severity} {about}::{_escaped(text)}"


def _escaped(text: str, *more: tuple[str, str]) -> str:
    for char, code in (("%", "%25"), ("\r", "%0D"), ("\n", "%0A"), *more):
        text = text.replace(char, code)
    return text


def gitlab(findings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The report of `kin check`'s findings that GitLab shows in a merge request (artifacts:reports:codequality)."""
    return [
        {
            "description": found["message"],
            "check_name": found["code"],
            "fingerprint": sha256(f"{found['code']}\0{found['file']}\0{found['message']}".encode()).hexdigest(),
            "severity": "major" if found["severity"] == "error" else "minor",
            "location": {"path": found["file"], "lines": {"begin": found["line"] or 1}},
        }
        for found in findings
    ]
