"""Secrets that agents print: masked whole, however the bytes arrive."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kin.runner.process.lines import FLOOD_AFTER, FLOOD_RATE, LONGEST_LINE, TAIL, Lines
from kin.runner.process.mask import HIDDEN, make_mask
from tests import strategies

assert strategies  # its profile makes the examples the same ones each time

KEY = (
    "-----BEGIN OPENSSH PRIVATE KEY-----\n"
    + "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAA\n" * 6
    + "-----END OPENSSH PRIVATE KEY-----"
)
SECRETS = {
    "TOKEN": "hunter2-secret",
    "QUOTED": 'say "friend"\\',
    "MANY": "first line of it\nsecond line of it",
    "SHORT": "12345",
}

mask = make_mask(SECRETS, SECRETS)


@pytest.mark.parametrize(
    "token",
    [
        "ghp_" + "a1B2" * 9,
        "github_pat_11ABCDEFG0" + "x9" * 30,
        "glpat-" + "aB3-" * 6,
        "sk-proj-" + "aB3_" * 10,
        "sk-ant-api03-" + "aB3_" * 10,
        "AKIAIOSFODNN7EXAMPLE",
        "xoxb-123456789012-abcdefABCDEF",
        "AIza" + "Sy0_-" * 7,
        "npm_" + "a1B2" * 9,
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
        KEY,
        KEY.replace("\n", "\\n"),
    ],
)
def test_known_shapes_are_hidden_and_what_stands_around_them_is_not(token: str) -> None:
    assert mask(f"before {token}, after") == f"before {HIDDEN}, after"
    assert mask(f'{{"key":"{token}"}}') == f'{{"key":"{HIDDEN}"}}'


@pytest.mark.parametrize(
    "text",
    [
        "task-sk-is-not-a-token-of-any-kind-at-all",
        "risk-aversion-2024-in-a-long-hyphenated-word",
        "src/disk-cache-v2-of-the-whole-thing.py",
        "commit 3f786850e387550fdab836ed7e6dc881de23001b",
        "20261124T093200Z-7f3k KIN-12",
        "ghp_short AKIA eyJ.eyJ. xox-",
        "see the PRIVATE KEY section",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert mask(text) == text


def test_values_are_hidden_also_as_json_spells_them_and_line_by_line() -> None:
    assert mask('he said: say "friend"\\') == f"he said: {HIDDEN}"
    assert mask(json.dumps({"said": SECRETS["QUOTED"]})) == f'{{"said": "{HIDDEN}"}}'
    assert mask("first line of it, then\nsecond line of it") == f"{HIDDEN}, then\n{HIDDEN}"
    assert mask("12345") == "12345", "too short to hide"
    assert make_mask({"TOKEN": "hunter2-secret"}, [])("hunter2-secret") == "hunter2-secret", "nobody named it"


def pieces(raw: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(c % (len(raw) + 1) for c in cuts), len(raw)]
    return [raw[a:b] for a, b in pairwise(edges)]


WORDS = st.sampled_from(
    ["text ", "naïve ", "\n", "\r\n", "a,b ", SECRETS["TOKEN"], SECRETS["QUOTED"], "ghp_" + "a1B2" * 9, KEY + "\n"]
)


@given(st.lists(WORDS, max_size=12), st.lists(st.integers(0, 5000), max_size=12))
def test_wherever_the_bytes_are_cut_the_lines_are_those_of_the_whole(words: list[str], cuts: list[int]) -> None:
    text = "".join(words)
    lines = Lines(mask)
    got = [line for raw in pieces(text.encode(), cuts) for line in lines.feed(raw, 0.0)] + lines.finish()
    whole = mask(text.replace("\r\n", "\n"))
    assert got == (whole.removesuffix("\n").split("\n") if whole else [])
    assert lines.tail == whole[-TAIL:]


@given(st.binary(max_size=300))
def test_invalid_bytes_never_break_a_line(noise: bytes) -> None:
    raw = noise + b"\n"
    lines = Lines(mask)
    got = lines.feed(raw, 0.0)
    assert "\n".join(got) + "\n" == mask(raw.decode("utf-8", "replace").replace("\r\n", "\n"))


@pytest.mark.parametrize("secret", ["hunter2-secret", "ghp_" + "a1B2" * 9])
def test_an_endless_line_is_cut_beside_a_secret_and_never_through_it(secret: str) -> None:
    lines, got = Lines(mask), list[str]()
    raw = (("é." + secret) * 160_000).encode()
    for n in range(0, len(raw), 100_003):
        got += lines.feed(raw[n : n + 100_003], 0.0)
    got += lines.finish()
    assert len(raw) > LONGEST_LINE
    assert len(got) > 1
    assert "".join(got) == ("é." + HIDDEN) * 160_000


def test_a_slow_stream_is_handed_on_in_full_however_long_it_gets() -> None:
    lines, line = Lines(mask), b"x" * 99_999 + b"\n"
    count = 3 * FLOOD_AFTER // len(line)
    assert sum(len(lines.feed(line, n * 0.5)) for n in range(count)) == count
    assert lines.left_out == 0


def test_a_flood_is_thinned_counted_and_keeps_its_end() -> None:
    lines, got = Lines(mask), list[str]()
    raw = b"".join(b"%08d\n" % n for n in range(28_000))
    sent = 0
    for n in range(400):
        got += lines.feed(raw, 5 + n * 0.01)
        sent += len(raw)
    got += lines.finish()
    kept = sum(len(line) + 1 for line in got)
    assert kept + lines.left_out == sent
    assert FLOOD_AFTER <= kept < FLOOD_AFTER + 6 * FLOOD_RATE
    assert got[-1] == "00027999"
    assert all(len(line) == 8 for line in got), "left out from a line's beginning to a line's end"


def test_a_flood_never_leaves_half_a_secret() -> None:
    lines, got = Lines(mask), list[str]()
    for n in range(400):
        got += lines.feed((SECRETS["TOKEN"] * 18_000).encode(), n * 0.001)
    got += lines.finish()
    assert set("".join(got)) == {"*"}
    assert lines.left_out > 0
