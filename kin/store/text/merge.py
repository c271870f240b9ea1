"""The three-way merge of a YAML file in `.kin/`, for git's merge driver.

git's own merge by line is taken where it says what a merge key by key says. Elsewhere ours' text is kept, and what theirs
changed is spliced in, then theirs' comments; a key that both sides changed differently is merged by line, and what remains is
marked as git marks it. So the driver is never worse than git without it, and no comment of either side is dropped.
"""

import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from kin import git
from kin.errors import Invalid
from kin.model.decision import DECISION_KEYS, Decision
from kin.model.fields import KeyPath, Plain, dotted, fields_of, value_at
from kin.model.task import TASK_KEYS
from kin.store.text import splice
from kin.store.text.lines import Cut, apply, behind, end_of_line, line_start
from kin.store.text.nodes import RECORD_BOUNDS, Node, Pairs, Scalar
from kin.store.text.reader import decode, read, read_tree
from kin.store.text.splice import Change, Remove, Set, meant
from kin.store.text.threeway import Clash, differences

SIDES = ("ours", "base", "theirs")
_COMMENT = re.compile(r"(?:^|\s)(#.*)", re.MULTILINE)


class Merged(NamedTuple):
    """The merged file, and the keys that both sides changed differently, each between conflict markers in it.

    Where it was merged by line, as a text, `clashes` holds "the file" if that left a conflict.
    """

    content: bytes
    clashes: tuple[str, ...]


class _Kind(NamedTuple):
    """Where a file's new keys go, and how its keys may be spelled besides."""

    order: Sequence[str] = ()
    aliases: Mapping[str, Sequence[str]] = {}


class _Side(NamedTuple):
    """One of the three files: its text, and what it says under the keys' first names."""

    text: str
    said: dict[str, Plain]


_TASK = _Kind(TASK_KEYS, splice.TASK_ALIASES)
_DECISION = _Kind(DECISION_KEYS, {d.name: d.field.aliases for d in fields_of(Decision) if d.field.aliases})


def merge(base: bytes, ours: bytes, theirs: bytes, *, cwd: str, path: str = "", marker: int = 7) -> Merged:
    """Merge what `ours` and `theirs` made of `base`; `marker` is how long conflict markers are.

    `cwd` is where git finds its settings (`merge.conflictStyle`). Raises GitError for what git cannot merge either.
    """
    work = _Work(cwd, marker)
    by_line, clean = work.by_line(base, ours, theirs)
    as_text = Merged(by_line, () if clean else ("the file",))
    try:
        texts = [decode(raw, path, RECORD_BOUNDS) for raw in (base, ours, theirs)]
        texts = [_with_end_of_line(text, end_of_line(texts[1])) for text in texts]
        kind = _kind_of(read(texts[1], path, RECORD_BOUNDS))
        sides = [_Side(text, _said(text, kind)) for text in texts]
    except Invalid:
        return as_text  # also where both sides added the file: two tasks are not mixed
    found = list(differences(*(side.said for side in sides)))
    steps, clashes = _told(found, sides[1].said, kind)
    if clean and _says(by_line.decode(), kind, steps, clashes, sides[1].said):
        return as_text
    try:
        return work.by_key(sides, kind, steps, clashes)
    except Invalid:  # say, `{...}` around all keys, so that none has a line of its own
        return Merged(work.marked(ours, theirs), ("the file",)) if clean else as_text


def _with_end_of_line(text: str, eol: str) -> str:
    return text if end_of_line(text) == eol else text.replace("\r\n", "\n").replace("\n", eol)


def _kind_of(data: Mapping[str, Plain]) -> _Kind:
    if "title" not in data:
        return _Kind()
    return _TASK if "status" in data else _DECISION if "kind" in data else _Kind()


def _said(text: str, kind: _Kind) -> dict[str, Plain]:
    """What the text says, keys by their first names. Raises Invalid if it cannot be read, or says a key in two spellings."""
    names = {other: name for name, others in kind.aliases.items() for other in others}
    data = read(text, "", RECORD_BOUNDS)
    said = {names.get(key, key): value for key, value in data.items()}
    if len(said) != len(data):
        raise Invalid("a key is there in two spellings")
    return said


def _told(found: list[Change | Clash], ours: dict[str, Plain], kind: _Kind) -> tuple[list[Change], list[KeyPath]]:
    """Changes and clashes told apart. A `blocked:` block that clashes goes, if the task will not be blocked."""
    steps = _changes(found)
    clashes = [one.path for one in found if isinstance(one, Clash)]
    will_be = "blocked" if ("status",) in clashes else _after(ours, steps).get("status")
    if kind is _TASK and will_be != "blocked" and any(path[0] == "blocked" for path in clashes):
        steps = [*(one for one in steps if one.path[0] != "blocked"), Remove(("blocked",))]
        clashes = [path for path in clashes if path[0] != "blocked"]
    return steps, clashes


def _after(data: dict[str, Plain], steps: Iterable[Change]) -> dict[str, Plain]:
    made: Any = data
    for step in steps:
        made = meant(made, step)
    return dict(made)


def _says(text: str, kind: _Kind, steps: list[Change], clashes: list[KeyPath], ours: dict[str, Plain]) -> bool:
    """Whether a text says ours with those changes, whatever it says where there are clashes."""
    try:
        said = _said(text, kind)
    except Invalid:
        return False
    aside = [Remove(path) for path in clashes]
    return _after(said, aside) == _after(_after(ours, steps), aside)


class Lined:
    """A text that can be read, and its keys by the paths that lead to them; `aliases` are other spellings of the first."""

    def __init__(self, text: str, aliases: Mapping[str, Sequence[str]]) -> None:
        self.text = text
        self.tree = read_tree(text, "", RECORD_BOUNDS)
        self.aliases = aliases

    @property
    def indent(self) -> int:
        return self.tree.column

    def has_lines(self, path: KeyPath) -> bool:
        """Whether each key on the way, as far as it is there, begins a line and shares none with a neighbour."""
        for around, (key, _) in self._pairs(path):
            if around.flow or self.text[line_start(self.text, key.start) : key.start].strip(" "):
                return False
        return True

    def span(self, path: KeyPath) -> tuple[int, int] | None:
        """Where the lines of a key and its value are, with comments that are indented below; None if it is not there."""
        pairs = self._pairs(path)
        if len(pairs) < len(path):
            return None
        key, value = pairs[-1][1]
        start = line_start(self.text, key.start)
        end = behind(self.text, max(key.end, value.end), key.start - start)
        return start, self.text.find("\n", end) + 1 or len(self.text)

    def lines(self, path: KeyPath) -> str:
        """The lines of a key, "" if it is not there; the last line of a file gets an end, so that others can follow."""
        span = self.span(path)
        found = self.text[slice(*span)] if span else ""
        return found if found.endswith("\n") or not found else found + end_of_line(self.text)

    def replaced(self, new: Mapping[KeyPath, str]) -> str:
        """The text with other lines for these keys, where they are there."""
        return apply(self.text, [Cut(*span, lines) for path, lines in new.items() if (span := self.span(path))])

    def _pairs(self, path: KeyPath) -> list[tuple[Pairs, tuple[Scalar, Node]]]:
        """The pairs that `path` leads through, each with the mapping around it, as far as they are there."""
        found: list[tuple[Pairs, tuple[Scalar, Node]]] = []
        node: Node = self.tree
        for key in path:
            spellings = (key, *(() if found else self.aliases.get(str(key), ())))
            pair = next((p for name in spellings if (p := node.pair(name))), None) if isinstance(node, Pairs) else None
            if pair is None:
                break
            assert isinstance(node, Pairs)
            found.append((node, pair))
            node = pair[1]
        return found


class _Work:
    """Merging by line is git's, in the folder that knows its settings."""

    def __init__(self, cwd: str, marker: int) -> None:
        self.cwd, self.marker = cwd, marker

    def by_line(self, base: bytes, ours: bytes, theirs: bytes) -> tuple[bytes, bool]:
        """git's merge of three texts, and whether it left no conflict."""
        with tempfile.TemporaryDirectory(prefix="kin-merge-") as folder:
            names = [os.path.join(folder, side) for side in SIDES]
            for name, content in zip(names, (ours, base, theirs), strict=True):
                with open(name, "wb") as file:
                    file.write(content)
            labels = [word for side in SIDES for word in ("-L", side)]
            words = ("merge-file", "-p", "-q", *labels, f"--marker-size={self.marker}", *names)
            done = git.git(self.cwd, *words, ok=range(128))
        return done.out, done.code == 0

    def lines(self, base: str, ours: str, theirs: str) -> tuple[str, bool]:
        """`by_line` of texts."""
        merged, clean = self.by_line(base.encode(), ours.encode(), theirs.encode())
        return merged.decode(), clean

    def marked(self, ours: bytes, theirs: bytes) -> bytes:
        """All of both sides between markers."""
        head, middle, tail = (sign * self.marker for sign in (b"<", b"=", b">"))
        return b"\n".join((head + b" ours", ours.rstrip(), middle, theirs.rstrip(), tail + b" theirs", b""))

    def by_key(self, sides: list[_Side], kind: _Kind, steps: list[Change], clashes: list[KeyPath]) -> Merged:
        """Ours with theirs' changes. Raises Invalid if they cannot be made without touching more than they concern."""
        base, ours, theirs = (Lined(side.text, kind.aliases) for side in sides)
        made = Lined(_edited(ours.text, steps, kind), kind.aliases)
        # Theirs' values in base's text: what theirs differs from that is comments, order and style alone.
        values = _changes(differences(sides[0].said, sides[0].said, sides[2].said))
        plain = Lined(_edited(base.text, values, kind), kind.aliases)
        new = {path: theirs.lines(path) for path in _untouched(base, ours, theirs, sides[2].said)}
        left: list[str] = []
        paths = _marked_keys(clashes, made, theirs)
        for path in paths:
            new[path], clean = self.lines(base.lines(path), made.lines(path), theirs.lines(path))
            left += [] if clean else [dotted(path)]
        removed = [Set(path, value_at(sides[2].said, path)) for path in paths if not made.span(path)]
        text = Lined(_edited(made.text, removed, kind), kind.aliases).replaced(new)
        base_text = plain.replaced({path: theirs.lines(path) for path in new})
        whole, clean = self.lines(base_text, text, theirs.text)
        # Blank lines and styles of theirs that do not fit in are not worth a person's time; comments are.
        comments = not set(_COMMENT.findall(theirs.text)) <= set(_COMMENT.findall(base_text))
        for found, fits in ([(whole, clean)] if clean or comments else []) + ([] if comments else [(text, True)]):
            settled = [_settled(found, self.marker, side) for side in ("ours", "theirs")]
            if all(_says(one, kind, steps, clashes, sides[1].said) for one in settled):
                return Merged(found.encode(), tuple(left) or (() if fits else ("comments",)))
        raise Invalid("theirs' lines cannot be told from ours'")


def _untouched(base: Lined, ours: Lined, theirs: Lined, said: Mapping[str, Plain]) -> Iterator[KeyPath]:
    """The keys whose lines theirs changed, comments too, and ours left alone."""
    for key in said:
        path: KeyPath = (key,)
        same = base.lines(path) == ours.lines(path) != theirs.lines(path)
        if same and base.indent == ours.indent == theirs.indent and all(side.has_lines(path) for side in (base, ours, theirs)):
            yield path


def _marked_keys(clashes: list[KeyPath], ours: Lined, theirs: Lined) -> list[KeyPath]:
    """The keys that clash, or the nearest above them that has lines of its own on both sides."""
    found: dict[KeyPath, None] = {}
    for path in clashes:
        while not (ours.has_lines(path) and theirs.has_lines(path)):
            path = path[:-1]
        if not path:
            raise Invalid("the keys stand in one line")
        found[path] = None
    return [path for path in found if not any(path[:n] in found for n in range(1, len(path)))]


def _settled(text: str, marker: int, side: str) -> str:
    """The text with `side` of every conflict: what a person may make of it must be what was meant elsewhere."""
    head, base, middle, tail = (rf"{sign}{{{marker}}}" for sign in ("<", r"\|", "=", ">"))
    hunk = rf"^{head} ours\r?\n(?P<ours>.*?)(?:^{base} base\r?\n.*?)?^{middle}\r?\n(?P<theirs>.*?)^{tail} theirs\r?\n"
    return re.sub(hunk, lambda match: match[side], text, flags=re.DOTALL | re.MULTILINE)


def _changes(found: Iterable[Change | Clash]) -> list[Change]:
    return [one for one in found if not isinstance(one, Clash)]


def _edited(text: str, steps: Sequence[Change], kind: _Kind) -> str:
    return splice.edit(text, steps, order=kind.order, aliases=kind.aliases, bounds=RECORD_BOUNDS)
