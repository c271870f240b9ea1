"""`kin check`: what is wrong with the files of `.kin/`; with --fix it mends what is mechanical."""

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any

from kin import git
from kin.cli.output import Call, Result
from kin.cli.screen import Progress, Screen, clean, counted
from kin.errors import Invalid, NotFound, Usage
from kin.store.checking.check import Report, check
from kin.store.checking.findings import Finding
from kin.store.checking.mend import mend
from kin.store.project import Project

STYLES = {"error": "red", "warning": "yellow"}


def check_(call: Call) -> Result:
    """Check everything, show what concerns the named files; exit 7 if that holds an error."""
    if call["staged"]:
        return _check_staged(call)
    project = call.project
    wanted = _wanted(project, call.cwd, call["paths"])
    done, failed = mend(project, wanted) if call["fix"] else ([], [])
    with Progress(call.screen, "files read") as tick:
        report = check(project, call.environ, tick)
    return _told(call, report, wanted, done, failed)


def _check_staged(call: Call) -> Result:
    """Check the files of `.kin/` as the next commit will have them, whatever the working tree says."""
    if call["paths"] or call["fix"]:
        raise Usage("--staged checks what is staged, all of it", "`kin check` with paths or --fix works on the files")
    project = call.project
    with tempfile.TemporaryDirectory(prefix="kin-staged-") as folder:
        # a commit of some files only has an index of its own, which git names to its hooks
        index = {"GIT_INDEX_FILE": call.environ["GIT_INDEX_FILE"]} if "GIT_INDEX_FILE" in call.environ else {}
        staged = set(git.staged_paths(project.root, ".kin", index))
        git.check_out_index(project.root, ".kin", folder, index)
        copy = project._replace(root=folder, store=os.path.join(folder, ".kin"), git_common=os.path.join(folder, "no-cache"))
        os.makedirs(copy.store, exist_ok=True)
        report = check(copy, call.environ) if staged else Report(0, [], {})
    told = _told(call, report._replace(tidy={}), staged.__contains__, [], [])
    return told if told.data["findings"] else told._replace(lines=())  # a commit that is fine is silent


def _told(call: Call, report: Report, wanted: Callable[[str], bool], done: list[str], failed: list[str]) -> Result:
    report = report._replace(
        findings=[finding for finding in report.findings if wanted(finding.where.path)],
        tidy={name: said for name, said in report.tidy.items() if wanted(f".kin/{name}")},
    )
    code = Invalid.exit if report.errors else 0
    data: dict[str, Any] = {
        "files": report.files,
        "errors": report.errors,
        "warnings": len(report.findings) - report.errors,
        "findings": [_entry(finding) for finding in report.findings],
        "tidy": [{"file": f".kin/{name}", "changes": list(said)} for name, said in report.tidy.items()],
        "fixed": done,
    }
    if call["format"] == "gitlab":
        return Result("check", data, [json.dumps(gitlab(data["findings"]), indent=1)], warnings=failed, exit=code)
    if call["format"] == "github":
        return Result("check", data, list(map(_annotation, report.findings)), warnings=failed, exit=code)
    return Result("check", data, lambda screen: _lines(report, done, screen), (), failed, code)


def _wanted(project: Project, cwd: str, paths: Iterable[str]) -> Callable[[str], bool]:
    """Whether a file, by its path from the root, is one of those that the person named, or below one."""
    named = []
    for path in paths:
        whole = os.path.normpath(os.path.join(cwd, path))
        if not os.path.lexists(whole):
            raise NotFound(f"there is no {path}", "name files or folders of .kin/")
        inside = os.path.relpath(os.path.join(os.path.realpath(os.path.dirname(whole)), os.path.basename(whole)), project.root)
        if inside != "." and inside.partition(os.sep)[0] != ".kin":
            raise Usage(f"{path} is not in .kin/", "`kin check` without a path checks everything")
        named.append(inside)
    if not named or "." in named:
        return lambda shown: True
    return lambda shown: any(shown == path or shown.startswith(path + "/") for path in named)


def _entry(finding: Finding) -> dict[str, Any]:
    return {
        "severity": finding.severity,
        "code": finding.code,
        "file": finding.where.path,
        "line": finding.where.line or None,
        "column": finding.where.column or None,
        "message": finding.message,
        "hint": finding.hint or None,
        "fixable": finding.fixable,
    }


def _lines(report: Report, done: list[str], screen: Screen) -> Iterator[str]:
    yield from (f"fixed  {clean(line)}" for line in done)
    for finding in report.findings:
        word = screen.paint(finding.severity, STYLES[finding.severity])
        hint = f"; {clean(finding.hint)}" if finding.hint else ""
        tail = screen.paint(f" [{finding.code}]", "dim")
        yield f"{clean(str(finding.where))}: {word}: {clean(finding.message)}{hint}{tail}"
    yield _summary(report)


def _summary(report: Report) -> str:
    warnings = len(report.findings) - report.errors
    found = [counted(report.errors, "error")] if report.errors else []
    found += [counted(warnings, "warning")] if warnings else []
    said = f"{' and '.join(found) or 'Nothing is wrong'} in {counted(report.files, 'file')}."
    fixable = {finding.where.path for finding in report.findings if finding.fixable} | {f".kin/{n}" for n in report.tidy}
    return f"{said} `kin check --fix` tidies {counted(len(fixable), 'file')}." if fixable else said


def _annotation(finding: Finding) -> str:
    text = f"{finding.message}; {finding.hint}" if finding.hint else finding.message
    place = {"file": finding.where.path, "line": finding.where.line, "col": finding.where.column}
    return github(finding.severity, f"kin check: {finding.code}", text, place)


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
