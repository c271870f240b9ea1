"""Files are read strictly where that protects the store, and whatever is wrong with one is said in words, with its place."""

import time
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import DATA, PROFILE, Style

from kin.errors import Invalid, Place
from kin.store.text.nodes import RECORD_BOUNDS, TASK_BOUNDS, Bounds, plain
from kin.store.text.reader import decode, place_of, read
from kin.store.text.strict import parse

MALFORMED = sorted((Path(__file__).parent / "corpus" / "malformed").iterdir())


def refusal(text: str | bytes, bounds: Bounds = TASK_BOUNDS) -> Invalid:
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    with pytest.raises(Invalid) as caught:
        read(decode(raw, "f.yaml", bounds), "f.yaml", bounds)
    return caught.value


def answer(raw: bytes, bounds: Bounds = TASK_BOUNDS) -> dict[str, Any] | Invalid:
    """What is read, or the refusal; always within a second, always with place and hint."""
    begun = time.process_time()
    try:
        found: dict[str, Any] | Invalid = read(decode(raw, "f.yaml", bounds), "f.yaml", bounds)
    except Invalid as error:
        assert error.hint
        assert error.where is not None
        assert error.where.line > 0
        assert error.where.column > 0
        found = error
    assert time.process_time() - begun < 1
    return found


@PROFILE
@given(DATA, st.integers(0, 2**32))
def test_every_style_that_people_write_is_read(data: dict[str, Any], seed: int) -> None:
    assert plain(parse(Style(Random(seed)).document(data), "f.yaml", TASK_BOUNDS)) == data


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", "3:1", "`a` is there twice, first in line 1"),
        ("1: x\n'1': y\n", "2:1", "`1` is there twice"),
        ("{a: 1, b: {c: 1, c: 2}}", "1:18", "`c` is there twice"),
        ("a: !!str 1\n", "1:4", "a tag"),
        ("a: &x 1\nb: *x\n", "2:4", "the alias `*x`"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", "3:3", "a merge key"),
        ("<<: {b: 1}\na: 'x'\n", "1:1", "a merge key"),
        ("a: 1\n---\nb: 2\n", "2:1", "a second document"),
        ("---\na: 1\n...\n---\nb: 2\n", "4:1", "a second document"),
        ("", "1:1", "holds no keys"),
        ("# only a comment\n", "1:1", "holds no keys"),
        ("- a\n- b\n", "1:1", "is no mapping"),
        ("word\n", "1:1", "is no mapping"),
        ("{}\n", "1:1", "is no mapping"),
        ("a: 1\n<<<<<<< HEAD\nb: 1\n=======\nb: 2\n>>>>>>> other\n", "2:1", "merge conflict markers"),
        ("a: 'x\n=======\n  y'\n", "2:1", "merge conflict markers"),
        ("a: |\n  x\n||||||| base\n", "3:1", "merge conflict markers"),
        ("a: 1\r\n>>>>>>> other\r\n", "2:1", "merge conflict markers"),
        ("a: x\0y\n", "1:5", "U+0000"),
        ("a: |\n  \x1b[31m\n", "2:3", "U+001B"),
        ("a: 1\rb: 2\n", "1:5", "a carriage return without a line feed"),
        ("\ufeffa: \x07\n", "1:4", "U+0007"),
        ("a: 1\nb: c: d\n", "2:5", "`: ` inside a text"),
        ("a: 1\n b: 2\n", "2:3", "`: ` inside a text"),
        ("a: 1\nb\n", "2:1", "no `key: value`"),
        ("a:\n\tb: 1\n", "2:2", "a tab where only spaces can stand"),
        ("a:\n  - b\n \t- c\n", "3:3", "a tab where only spaces can stand"),
        ("a: 'b\nc: d\n", "1:4", "a quote that is never closed"),
        ("a: [b\n", "1:4", "a bracket that is never closed"),
        ("a: {b: c]\n", "1:4", "a bracket that is never closed"),
        ("a: @b\n", "1:4", "cannot begin with `@`"),
        ("a: %b\n", "1:4", "cannot begin with `%`"),
        ("a: b\n  - c: d\n", "2:6", "`: ` inside a text"),
        ("a: - b\n", "1:4", "a list item where none can stand"),
        ('a: "b" c\n', "1:8", "does not belong to the value before it"),
        (" a: 1\nb: 2\n", "2:1", "does not belong to the mapping before it"),
        ('a: "\\q"\n', "1:6", "begins no escape"),
        ('a: "\\ud83d"\n', "1:4", "half of a surrogate pair"),
        ('a: "\\U00110000"\n', "1:1", "cannot be read"),
        ("[a]: b\n", "1:1", "a key that is no text"),
        ("? {a: b}\n: c\n", "1:3", "a key that is no text"),
        (": b\na: 'x'\n", "1:1", "a value without a key"),
        ("%YAML 2.0\n---\na: 1\n", "1:1", "incompatible YAML document"),
        ("a: " + "[" * 100_000, "1:45", "nested too deep"),
        ("".join(f"{' ' * n}a:\n" for n in range(45)), "41:41", "nested deeper than 40 levels"),
        ("a: [" + "b, " * 5_000 + "b]\n", "1:14996", "more than 5000 values"),
    ],
)
def test_what_is_refused_is_refused_with_its_place(text: str, place: str, words: str) -> None:
    error = refusal(text)
    assert words in error.message
    assert str(error).startswith(f"f.yaml:{place}: ")
    assert error.hint


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"a: caf\xe9\n", "f.yaml:1:7: the byte 0xe9 is no UTF-8; save the file as UTF-8"),
        (b"a: 1\n\xc3\xa9\xff\n", "f.yaml:2:2: the byte 0xff is no UTF-8; save the file as UTF-8"),
        ("a: 1\n".encode("utf-16"), "f.yaml:1:1: the byte 0xff is no UTF-8; save the file as UTF-8"),
        (b"a: \xed\xa0\x80\n", "f.yaml:1:4: the byte 0xed is no UTF-8; save the file as UTF-8"),
        (b"a: " + b"x" * 10_000_000, "f.yaml:1:1: 10,000,003 bytes, at most 262,144; keep long texts elsewhere"),
    ],
)
def test_bytes_that_are_no_text_are_refused(raw: bytes, said: str) -> None:
    assert str(refusal(raw)) == said


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("NO", "NO"),
        ("1e3", "1e3"),
        ("2026-11-24", "2026-11-24"),
        ("2026-13-45", "2026-13-45"),
        ("0o14", "0o14"),
        ("1.10", "1.10"),
        ("9" * 5000, "9" * 5000),
        ("1:30", "1:30"),
        ("'null'", "null"),
        ("null", None),
        ("~", None),
        ("", None),
        ("x\u2028y", "x\u2028y"),
        ('"\\ud83d\\ude00"', "😀"),
        ("C:\\dir # c", "C:\\dir"),
        ("x#y", "x#y"),
        ("\tx\t# c", "x"),
    ],
)
def test_a_value_is_the_text_that_a_person_means(text: str, value: str | None) -> None:
    assert read(f"a: {text}\n", "f.yaml") == {"a": value}
    assert read(f"'a': {text}\n", "f.yaml") == {"a": value}


def test_separators_that_yaml_no_longer_breaks_lines_at_do_not_count_as_lines() -> None:
    text = "a: x\u2028y\u2029z\x85w # \u2028\nb: @\n"
    assert str(refusal(text)).startswith("f.yaml:2:4: ")
    assert read(text.replace("@", "'1'"), "f.yaml") == {"a": "x\u2028y\u2029z\x85w", "b": "1"}


@pytest.mark.parametrize("file", MALFORMED, ids=lambda path: path.stem)
def test_a_malformed_file_is_answered(file: Path) -> None:
    answer(file.read_bytes())


@pytest.mark.parametrize(
    "code", [*range(0x20), *range(0x7F, 0xA0), 0xAD, 0x2028, 0x2029, 0xFEFF, 0xFFFD, 0xFFFE, 0xFFFF, 0x1FFFF]
)
def test_every_odd_character_is_read_or_named(code: int) -> None:
    char = chr(code)
    for text in (
        f"a: x{char}y\n",
        f"a: 'x{char}y'\n",
        f"a: |\n  x{char}y\n",
        f"{char}a: x\n",
        f"a: x # {char}\n",
        f"a: {char}",
    ):
        found = answer(text.encode())
        assert isinstance(found, dict) or f"U+{code:04X}" in found.message or char in "\t\n\r"


HOSTILE = {
    "brackets": "a: " + "[" * 100_000,
    "braces": "{" * 100_000,
    "dashes": "- " * 100_000,
    "questions": "? " * 100_000,
    "colons": ":\n" * 100_000,
    "keys": "a: " * 60_000,
    "levels": "".join(f"{'  ' * n}a:\n" for n in range(480)),
    "double": 'a: "' + "\\n" * 120_000 + '"',
    "double over lines": 'a: "' + "x\n" * 120_000 + '"',
    "single over lines": "a: '" + "x\n" * 120_000 + "'",
    "plain over lines": "a: x\n" + " y z\n" * 40_000,
    "literal": "a: |\n" + "  x\n" * 60_000,
    "folded": "a: >\n" + "  x\n\n" * 50_000,
    "comments": "#\n" * 120_000 + "a: 'b'",
    "blank lines": "\n" * 250_000 + "a: 'b'",
    "items": "a:\n" + "- b\n" * 60_000,
    "flow items": "a: [" + "b, " * 80_000 + "]",
    "pairs": "".join(f"'k{n}': 1\n" for n in range(20_000)),
    "anchors": "a: " + "&a " * 80_000,
    "one anchor": "a: &" + "x" * 250_000 + " 1",
    "tags": "a: !<" + "x" * 250_000 + "> 1",
    "aliases": "a: &a x\nb: [" + "*a, " * 60_000,
    "directives": "%F x\n" * 50_000 + "---\na: 1",
    "documents": "---\n" * 60_000,
    "long key": "k" * 250_000 + ": 1",
    "tabs": "\t" * 250_000,
    "separators": "\u2028" * 80_000,
    "word in a bracket": "a: [" + "x" * 5_000 + "\n",
    "words in a bracket": "a: [" + "x, " * 1_000 + "x\n",
    "comment for a colon": "{a " + "# " * 5_000 + "\n}",
    "comment for an anchor": "a: &x " + "# " * 5_000 + "\n  y: 'z'\n",
    "spaces": "a: 'b'" + " " * 200_000 + "x\n",
    "half of a pair": 'a: "' + "\\" * 9_999 + "\n",
    "bomb": "a: &a [x]\n" + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{f'*{chr(97 + n)}, ' * 9}]\n" for n in range(20)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_answered_in_time(name: str) -> None:
    answer(HOSTILE[name].encode())


@pytest.mark.parametrize("name", ["items", "literal", "pairs", "double over lines"])
def test_a_large_record_is_answered_in_time(name: str) -> None:
    answer((HOSTILE[name] * 20)[: RECORD_BOUNDS.size].encode(), RECORD_BOUNDS)


def test_a_large_record_in_kins_own_layout_is_read() -> None:
    text = "steps:\n" + "".join(f"  - id: {n}\n    summary: done\n" for n in range(20_000))
    assert len(read(text, "f.yaml", RECORD_BOUNDS)["steps"] or "") == 20_000
    assert "values" in refusal(text.replace("steps:", "'steps':")[:500_000], RECORD_BOUNDS).message
    assert "characters" in refusal(text.replace("steps:", "'steps':"), RECORD_BOUNDS).message


def test_anything_at_all_is_read_or_refused() -> None:
    random = Random(4)
    bits = [
        *"\n\n :-#'\"[]{},&*!|>%@`?~\t\r\\",
        "a",
        "é",
        "\ufeff",
        "\u2028",
        "key: v\n",
        "- x\n",
        "---\n",
        "...\n",
        "%YAML 1.1\n",
        "|2-\n",
    ]
    for _ in range(3000):
        answer("".join(random.choices(bits, k=random.randint(1, 14))).encode())


PLACES = "# h\nid: A\nlabels:\n  - a\n  - b # c\nblocked:\n  kind: x\nn:\nf: [{g: 1}]\n"


@pytest.mark.parametrize(
    ("keys", "line", "column"),
    [
        ((), 2, 1),
        (("id",), 2, 5),
        (("labels", 1), 5, 5),
        (("labels", 7), 4, 3),
        (("blocked", "kind"), 7, 9),
        (("blocked", "reason"), 7, 3),
        (("n",), 8, 1),
        (("f", 0, "g"), 9, 9),
        (("nothing",), 2, 1),
    ],
)
def test_a_key_has_a_place(keys: tuple[str | int, ...], line: int, column: int) -> None:
    assert place_of(PLACES, "f.yaml", keys) == Place("f.yaml", line, column)
    assert place_of("\ufeff" + PLACES.replace("A", "'A'").replace("\n", "\r\n"), "f.yaml", keys) == Place(
        "f.yaml", line, column
    )


def test_the_place_in_a_broken_file_is_where_it_is_broken() -> None:
    assert place_of("a: 1\nb: [x\n", "f.yaml", ("a",)) == Place("f.yaml", 2, 4)
