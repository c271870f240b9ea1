"""An edit replaces the characters of the value concerned and nothing else, or is refused with the text untouched."""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from edits import changed, check_rest_untouched, first_text, first_words, some_change
from hypothesis import given
from hypothesis import strategies as st
from strategies import DATA, PROFILE, TEXTS, Style

from kin.errors import Invalid
from kin.store.text.nodes import TASK_BOUNDS, Pairs, plain
from kin.store.text.reader import decode
from kin.store.text.splice import AddItem, Change, DropItem, Remove, Set, edit, set_status
from kin.store.text.strict import parse

CORPUS = Path(__file__).parent / "corpus"
FILES = sorted(CORPUS.glob("*/*.yaml"), key=lambda path: path.name)


def tree_of(text: str) -> Pairs:
    return parse(text, "f.yaml", TASK_BOUNDS)


def data_of(text: str) -> Any:
    return plain(tree_of(text))


def twelve(tree: Pairs) -> Iterator[Change]:
    """A dozen edits that fit any file: set, add, remove, at the top and deep inside, one line and many."""
    keys = [key.value for key, _ in tree.pairs]
    yield Set(("status",), "done")
    yield Set(("x-new",), "a: b # c")
    yield Set(("description",), "# One\n\n  two\nthree\n")
    yield Set(("blocked", "reason"), "why")
    yield AddItem(("x-labels",), "kin")
    yield AddItem(("depends_on",), "KIN-77")
    yield Set(first_text(tree) or (keys[0],), "two words")
    yield Set(first_text(tree, deep=True) or (keys[-1],), "- 'odd' \"one\"")
    path, words = first_words(tree) or (("labels",), ["none"])
    yield AddItem(path, words[0] + "-more")
    yield DropItem(path, words[-1])
    yield Remove((keys[0],))
    yield Remove((keys[-1],))


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_each_of_twelve_edits_of_a_real_file_changes_only_its_own_characters(file: Path) -> None:
    text = decode(file.read_bytes(), file.name)
    tree = tree_of(text)
    for change in twelve(tree):
        new = edit(text, [change], aliases={}, path=file.name)
        assert changed(plain(tree), change) == data_of(new), change
        check_rest_untouched(text, new, change, [])


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_blocking_a_task_and_back_leaves_its_file_as_it_was(file: Path) -> None:
    text = edit(decode(file.read_bytes(), file.name), [Set(("status",), "todo"), Remove(("blocked",))], path=file.name)
    blocked = set_status(text, "blocked", {"kind": "failed", "reason": "step 2-tester said:\n  no"})
    assert data_of(blocked)["blocked"] == {"kind": "failed", "reason": "step 2-tester said:\n  no"}
    assert set_status(blocked, "todo") == text


def test_the_corpus_holds_two_hundred_files() -> None:
    assert len(FILES) >= 200


@PROFILE
@given(DATA, st.integers(0, 2**32), st.lists(TEXTS | st.lists(TEXTS, max_size=3), min_size=1, max_size=3))
def test_edit_then_parse_is_parse_then_edit(data: dict[str, Any], seed: int, values: list[Any]) -> None:
    random = Random(seed)
    style = Style(random)
    text = style.document(data)
    change = some_change(random, data, values)
    wanted = changed(data, change)
    try:
        new = edit(text, [change], aliases={})
    except Invalid:
        assert wanted is None or any(isinstance(key, int) for key in change.path)  # odd dashes may be too much
        return
    assert wanted == data_of(new)
    if new != text:
        check_rest_untouched(text, new, change, style.comments)


def lines(*text: str) -> str:
    return "\n".join(text) + "\n"


KIN = lines("id: KIN-1", "", "title: x   # t", "", "status: todo", "", "labels:", "  - a   # first", "  - c", "", "x-z: 1")


@pytest.mark.parametrize(
    ("change", "old", "new"),
    [
        (Set(("status",), "done"), "status: todo", "status: done"),
        (Set(("title",), "y: z"), "title: x   # t", 'title: "y: z"   # t'),
        (Set(("title",), "a\nb"), "title: x   # t", "title: |-   # t\n  a\n  b"),
        (Set(("priority",), 2), "status: todo\n", "status: todo\n\npriority: 2\n"),
        (Set(("id",), True), "id: KIN-1", "id: true"),
        (Set(("x-a",), "1"), "  - c\n", "  - c\n\nx-a: 1\n"),
        (Set(("zz",), None), "x-z: 1\n", "x-z: 1\n\nzz: null\n"),
        (Set(("title",), None), "title: x ", "title: null "),
        (AddItem(("labels",), "b"), "  - c", "  - b\n  - c"),
        (AddItem(("labels",), "b"), "  - a   # first\n", "  - a   # first\n  - b\n"),
        (DropItem(("labels",), "c"), "  - c\n", ""),
        (Set(("labels",), ["z", "c"]), "  - a   # first", "  - z"),
        (Remove(("labels",)), "labels:\n  - a   # first\n  - c\n\n", ""),
        (Remove(("x-z",)), "\n\nx-z: 1\n", "\n"),
        (Remove(("id",)), "id: KIN-1\n\n", ""),
        (Set(("blocked", "kind"), "manual"), "status: todo\n", "status: todo\n\nblocked:\n  kind: manual\n"),
    ],
)
def test_a_file_in_kins_layout_stays_in_it(change: Change, old: str, new: str) -> None:
    assert old in KIN
    assert edit(KIN, [change]) == KIN.replace(old, new, 1)


@pytest.mark.parametrize(
    ("text", "change", "new"),
    [
        ("{id: A, s: x}", Set(("s",), "y z"), "{id: A, s: y z}"),
        ("{id: A, s: x}", Set(("s",), "a, b"), '{id: A, s: "a, b"}'),
        ("{id: A}", Set(("status",), "todo"), "{id: A, status: todo}"),
        ("{a, b: }", Set(("a",), "1"), "{a: 1, b: }"),
        ("{a, b: }", Set(("b",), "1"), "{a, b: 1 }"),
        ('{"id": "A", "n": 1}', Set(("n",), 2), '{"id": "A", "n": 2}'),
        ('{"id": "A", "n": 1}', Set(("m",), "x"), '{"id": "A", "m": "x", "n": 1}'),
        ('{"id": "A", "n": {}}', Set(("n", "m"), ["x", None]), '{"id": "A", "n": {"m": ["x", null]}}'),
        (
            '{\n  "a": 1,\n  "l": [\n    "x"\n  ]\n}\n',
            AddItem(("l",), "y"),
            '{\n  "a": 1,\n  "l": [\n    "x",\n    "y"\n  ]\n}\n',
        ),
        ('{\n  "a": 1,\n  "b": 2\n}\n', Set(("c",), 3), '{\n  "a": 1,\n  "b": 2,\n  "c": 3\n}\n'),
        ('{\n  "a": 1,\n  "b": 2\n}\n', Remove(("b",)), '{\n  "a": 1\n}\n'),
        ("l: [b, d,]\n", AddItem(("l",), "c"), "l: [b, c, d,]\n"),
        ("l: [b, d,]\n", DropItem(("l",), "d"), "l: [b,]\n"),
        ("l: [a, # one, two\n  b]\n", DropItem(("l",), "b"), "l: [a # one, two\n  ]\n"),
        ("a: 1\nl: [x]\n", DropItem(("l",), "x"), "a: 1\n"),
        ("l: x # c\n", AddItem(("l",), "z"), "l: # c\n  - x\n  - z\n"),
        ("l:\n- KIN-9\n- KIN-12\n", AddItem(("l",), "KIN-10"), "l:\n- KIN-9\n- KIN-10\n- KIN-12\n"),
        ("l:\n  - 'a'\n", AddItem(("l",), "b"), "l:\n  - 'a'\n  - 'b'\n"),
        ("s: 'x'\n", Set(("s",), "it's"), "s: 'it''s'\n"),
        ("s: &a x\n", Set(("s",), "z"), "s: &a z\n"),
        ("s: &a\n  k: v\n", Set(("s",), "z"), "s: z\n"),
        ("s:   # c\nt: 1\n", Set(("s",), "z"), "s: z   # c\nt: 1\n"),
        ("s:\tx\t# c\n", Set(("s",), "z"), "s:\tz\t# c\n"),
        ("a: 1\r\nl:\r\n  - x\r\n", AddItem(("l",), "z"), "a: 1\r\nl:\r\n  - x\r\n  - z\r\n"),
        ("d: |  # c\n  x\n  y\nz: 1\n", Set(("d",), "one\ntwo\n"), "d: |  # c\n  one\n  two\nz: 1\n"),
        ("d: >-  # c\n  x\n\n# end\nz: 1\n", Set(("d",), "one"), "d: one  # c\n\n# end\nz: 1\n"),
        ("a: 1\nd: |\n  x", Set(("e",), "2"), "a: 1\ne: 2\nd: |\n  x"),
        ("a: 1\nb: 2", Set(("c",), "3"), "a: 1\nb: 2\nc: 3"),
        ("a: 1\nb: 2", Remove(("b",)), "a: 1"),
        ("a:\n  b: 1\n  # of a\nc: 2\n", Set(("a", "d"), "3"), "a:\n  b: 1\n  # of a\n  d: 3\nc: 2\n"),
        ("a:\n  b: 1\nc: 2\n", Remove(("a", "b")), "c: 2\n"),
        ("p:\n  - r: x\n    t: 1\n", Set(("p", 0, "t"), "2"), "p:\n  - r: x\n    t: 2\n"),
        ("p:\n  - r: x\n    t: 1\n", Remove(("p", 0, "r")), "p:\n  - t: 1\n"),
        ("a: 1\n", Set(("a",), "caf\udce9"), "a: caf\ufffd\n"),
        ("# h\na: 1\n", Set(("id",), "2"), "# h\nid: 2\n\na: 1\n"),
    ],
)
def test_an_edit_keeps_the_files_own_style(text: str, change: Change, new: str) -> None:
    assert edit(text, [change]) == new


def test_a_mapping_set_over_another_is_changed_key_by_key() -> None:
    text = "blocked:\n  kind: gate   # why\n  # about the reason\n  reason: x\n  x-more: 1\nid: A\n"
    new = edit(text, [Set(("blocked",), {"kind": "crash", "reason": "x"})])
    assert new == "blocked:\n  kind: crash   # why\n  # about the reason\n  reason: x\nid: A\n"


def test_a_key_is_edited_as_the_file_spells_it() -> None:
    text = "id: A\ntags: [x]\ndeps:\n  - B\n"
    changes: list[Change] = [AddItem(("labels",), "z"), AddItem(("depends_on",), "C"), Set(("parent",), "P")]
    assert edit(text, changes) == "id: A\ntags: [x, z]\nparent: P\ndeps:\n  - B\n  - C\n"


@pytest.mark.parametrize(
    "change",
    [
        *(Set(("title",), "x"), Remove(("nothing",)), Remove(("title", "below")), AddItem(("labels",), "a")),
        *(DropItem(("labels",), "nothing"), DropItem(("nothing",), "a"), Set(("labels",), ["a", "c"]), Set(("x-z",), 1)),
    ],
)
def test_what_is_so_already_is_not_written_again(change: Change) -> None:
    assert edit(KIN, [change]) == KIN


@pytest.mark.parametrize(
    ("text", "change", "words"),
    [
        ("a: 1\n", Remove(("a",)), "left without a key"),
        ("{a: [b]}", Remove(("a", 0)), "left without a key"),
        ("a: text\n", Set(("a", "b"), "1"), "`b` would be in a text"),
        ("a: {b: 1}\n", AddItem(("a",), "x"), "`a` is a mapping"),
        ("a: [b]\n", Set(("a", 3), "x"), "a list without that item"),
        ("? a\n: b\n", Set(("a",), ["x"]), "written with"),
        ("a: 1\n", Set(("k" * 2000,), "x"), "a key of 2000 characters"),
        ("a: 1\na: 2\n", Set(("b",), "x"), "there twice"),
        ("a: 1\n", Set(("b",), "日" * 100_000), "bytes, at most"),
        ("", Set(("b",), "x"), "holds no keys"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(text: str, change: Change, words: str) -> None:
    with pytest.raises(Invalid, match=words) as caught:
        edit(text, [change], path="f.yaml")
    assert caught.value.hint


def test_a_change_of_status_is_a_diff_of_one_line() -> None:
    before, after = KIN.split("\n"), set_status(KIN, "done").split("\n")
    assert [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]] == [("status: todo", "status: done")]
