"""The fast reader and the tree of spans that goes with it: what they take, they read as the parser of record does."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import DATA, PROFILE

from kin.errors import Invalid
from kin.store.text import emit
from kin.store.text.fast import read_fast
from kin.store.text.nodes import TASK_BOUNDS, Bounds, plain
from kin.store.text.outline import outline
from kin.store.text.reader import read
from kin.store.text.strict import parse

BITS = [
    *("\n", " ", "  ", "    ", ": ", ":", "- ", "-", "#", " #", "# c", "|", "|-", "|+", "|2", ">", '"', "'", "[", "]", "{"),
    *("}", ", "),
    *("\\", "\\n", "\\u0041", "\\ud83d", "&a ", "*a", "!x ", "~", "null", "\t", "\r", "\u2028", "\x85", "\ufeff", "\x07"),
    *("a", "é"),
    *("key: v", "---", "...", "\n\n", "  - x\n", "x:\n", "  x: y\n", "\n  \n", "\n# c\n", "  # c\n", "<<: ", "? ", "0"),
    *("%", "@", "`"),
    *("=======", "<<<<<<< x\n", "%YAML 1.1\n", "- - ", "- a: ", "{}", "[]", "[a, b]", '"q"', "null, ", "-5", "x: [", "\n    b"),
]
MUTATION = st.tuples(st.integers(0, 10**6), st.sampled_from([0, 0, 0, 1, 2, 5]), st.sampled_from(BITS))
MUTATIONS = st.lists(MUTATION, min_size=1, max_size=4)


@PROFILE
@given(DATA)
def test_all_that_kin_writes_is_read_fast_and_rightly(data: dict[str, Any]) -> None:
    text = emit.document(data)
    assert read_fast(text) == data
    assert plain(parse(text, "f.yaml", TASK_BOUNDS)) == data


@PROFILE
@given(DATA, MUTATIONS)
def test_the_two_readers_never_disagree(data: dict[str, Any], mutations: list[tuple[int, int, str]]) -> None:
    text = emit.document(data)
    for at, length, bit in mutations:
        at %= len(text) + 1
        text = text[:at] + bit + text[at + length :]
    fast, tree = read_fast(text), outline(text)
    assert (fast is None) == (tree is None)
    if fast is not None and tree is not None:
        strict = parse(text, "f.yaml", TASK_BOUNDS)
        assert plain(strict) == fast
        assert strict == tree  # each span, line and column


@pytest.mark.parametrize(
    "text",
    [
        *("", "\n", "# c\n", "a", "a: 1", "a:\t1\n", "a: 1\t\n", "a: b: c\n", "a: b:\n", " a: 1\n", "a: 1\n b: 2\n"),
        "a: 1\n  b\n",
        *("a: 1\na: 2\n", 'a: 1\n"a": 2\n', "a: 1\r\n", "\ufeffa: 1\n", "---\na: 1\n", "a: 1\n...\n", "- a\n", "a:\n- b\n"),
        "a:\n    b: 1\n",
        *("a: &x 1\n", "a: *x\n", "a: !x 1\n", "<<: {}\n", "a: 'b'\n", "a: >\n  b\n", "a: |+\n  b\n", "a: |2\n  b\n"),
        "a: |\n   b\n  c\n",
        *("a: |\n  b", "a: |\nb: 1\n", "a: |\n\n  b\n", "a: |\n  b\n  \n  c\n", "a: |\n  b\n c\n", "a: [b\n", "a: [b c]\n"),
        "a: [b,c]\n",
        *('a: "b\n', 'a: "b" c\n', 'a: "\\x41"\n', 'a: "\\ud83d"\n', 'a: "b\n  c"\n', "a: {b: 1}\n", "a: @b\n", "a: %b\n"),
        "a: -\n",
        *("a: \x07\n", "a: \x9b\n", "a: b\u2028c\n", "a: b\x85c\n", "? a\n: b\n", ": a\n", "a:\n  -\n"),
        *("a:\n  - b\n    c\n", "é: 1\n"),
    ],
)
def test_anything_else_is_not_mine(text: str) -> None:
    assert read_fast(text) is None


def test_what_may_be_beyond_the_bounds_is_left_to_the_parser_of_record() -> None:
    nested = "".join(f"{'  ' * n}a:\n" for n in range(50)) + "  " * 50 + "a: 1\n"
    long = "a:\n" + "  - b\n" * 5000
    for text in (nested, long, f"a: {'b' * 300_000}\n"):
        assert read_fast(text) is None
        with pytest.raises(Invalid):
            read(text, "f.yaml")
    assert read_fast(nested, Bounds(depth=60)) is not None
    assert read_fast(long, Bounds(nodes=20_000)) is not None


def test_comments_may_stand_where_a_person_puts_them() -> None:
    text = "# h\n\na: 1   # one\n# b\nb:   # two\n  # in b\n  - x # three\n# left\n  - y\n\n\n"
    text += "c: | # four\n  # text\n# five\n  # six\nd: [] # seven\n"
    assert read_fast(text) == plain(parse(text, "f.yaml", TASK_BOUNDS))
    assert outline(text) == parse(text, "f.yaml", TASK_BOUNDS)
