"""What kin writes: a layout that git merges and people like to read, and text that no YAML tool takes for something else."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from strategies import ODD_WORDS, PLAIN_WORDS, PROFILE, TEXTS

from kin.errors import Invalid
from kin.model.fields import data_of
from kin.model.record import GateRecord, Live, Run, StepRecord, Waiting, run_from_data
from kin.model.status import RunStatus, StepStatus, WaitFor
from kin.model.task import TASK_KEYS
from kin.store.text import emit
from kin.store.text.nodes import RECORD_BOUNDS, TASK_BOUNDS, plain
from kin.store.text.reader import read_fast
from kin.store.text.strict import parse

SPOKEN = TEXTS.map(lambda text: text.encode("utf-8", "replace").decode())


def test_a_task_is_laid_out_as_the_contract_shows() -> None:
    data = {
        "x-team": "core",
        "zeta": "1",
        "acceptance": ["A test logs in"],
        "description": "Two\nlines.\n",
        "created": "2026-11-24",
        "touches": ["src/auth/**", "**/x"],
        "labels": ["auto"],
        "priority": "2",
        "blocked": {"kind": "gate", "reason": "pytest: exit 1\n\n  1 failed"},
        "status": "blocked",
        "title": "Log in: with a passkey",
        "id": "KIN-12",
    }
    assert emit.document(data, TASK_KEYS, head="# yaml-language-server: $schema=x\n") == (
        '# yaml-language-server: $schema=x\nid: KIN-12\n\ntitle: "Log in: with a passkey"\n\nstatus: blocked\n\nblocked:\n'
        "  kind: gate\n  reason: |-\n    pytest: exit 1\n\n      1 failed\n\npriority: 2\n\nlabels:\n  - auto\n\ntouches:\n"
        '  - src/auth/**\n  - "**/x"\n\ncreated: 2026-11-24\n\ndescription: |\n  Two\n  lines.\n\nacceptance:\n  - A test'
        " logs in\n\nx-team: core\n\nzeta: 1\n"
    )


@pytest.mark.parametrize(
    "word", ["1.10", "1e3", "0o14", "014", "0x1F", "1:30", "1_000", ".5", "5.", "-0", "+1", ".inf", ".NaN", "12e45"]
)
def test_what_a_tool_would_type_and_print_otherwise_is_quoted(word: str) -> None:
    assert emit.scalar(word) == f'"{word}"'


@pytest.mark.parametrize("word", ["null", "Null", "~", "", "yes", "NO", "on", "Off", "y", "N", "True", "FALSE", "<<", "="])
def test_words_that_mean_something_are_quoted(word: str) -> None:
    assert emit.scalar(word) == f'"{word}"'


@pytest.mark.parametrize(
    "word",
    [
        *(
            "KIN-12",
            "two words",
            "2",
            "-15",
            "0",
            "0.25",
            "true",
            "2026-11-24",
            "2026-11-24T09:32:00Z",
            "pytest -q",
            "it's",
            "a, b",
        ),
        *(
            "src/**",
            "https://x.org/a?b=c#d",
            "C:\\dir",
            "日本",
            "é ü",
            "😀",
            "(a)",
            ".github/x",
            "20261124T093200Z-7f3k",
            "a#b",
        ),
    ],
)
def test_words_that_mean_nothing_else_stay_as_they_are(word: str) -> None:
    assert emit.scalar(word) == word


@pytest.mark.parametrize(
    "word", [*ODD_WORDS, *PLAIN_WORDS, "a: b", "x:", "x #y", "- x", "[x]", "\x07", "\x1b[31m", "\x7f", "\ufeffx"]
)
def test_a_text_is_the_same_text_for_every_tool(word: str) -> None:
    for where in (f"a: {emit.scalar(word)}\n", f"a:\n  - {emit.scalar(word)}\n", f"a: [{emit.scalar(word, in_flow=True)}]\n"):
        value = YAML(typ="safe", pure=True).load(where)["a"]
        value = value[0] if isinstance(value, list) else value
        assert value == word or emit.text_of(value) == word or str(value) == word or "T" in word
        assert plain(parse(where, "f.yaml", TASK_BOUNDS))["a"] in (word, [word])  # type: ignore[index,call-overload]
    assert json.loads(emit.quoted(word)) == word


@PROFILE
@given(SPOKEN)
def test_a_quoted_text_is_json_and_one_line(text: str) -> None:
    out = emit.quoted(text)
    assert json.loads(out) == text
    assert len(out.splitlines()) == 1


def test_half_a_character_is_written_as_the_sign_for_it() -> None:
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert read_fast(emit.document({"paths": [name]})) == {"paths": ["caf\ufffd"]}


def test_what_could_not_be_read_again_is_not_written() -> None:
    deep: Any = "x"
    for _ in range(60):
        deep = [deep]
    for data in ({"a": deep}, {"k" * 2000: "x"}, {"\x01" * 300: "x"}):
        with pytest.raises(Invalid):
            emit.document(data)


def made(model: Any, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Values of a model whose other fields have their defaults."""
    return st.fixed_dictionaries(fields).map(lambda held: model(**held))


STEPS = made(
    StepRecord,
    id=st.sampled_from(["1-developer", "2-tester"]),
    role=SPOKEN,
    status=st.sampled_from(StepStatus),
    reason=SPOKEN,
    summary=SPOKEN,
    exit=st.none() | st.integers(-64, 255),
    tokens=st.none() | st.just({"in": 12, "out": 3}),
    cost_usd=st.none() | st.just(0.25),
)
LIVES = made(
    Live,
    pid=st.none() | st.integers(1, 2**22),
    worktree=SPOKEN,
    specs=st.dictionaries(SPOKEN, SPOKEN, max_size=2),
    pending_edit=st.none()
    | st.fixed_dictionaries({"status": SPOKEN, "blocked": st.dictionaries(SPOKEN, SPOKEN | st.none(), max_size=2)}),
    items=st.dictionaries(SPOKEN, st.lists(SPOKEN, max_size=2), max_size=2),
    verdicts=st.lists(SPOKEN, max_size=2).map(tuple),
    crashes=st.integers(0, 3),
)
RUNS = made(
    Run,
    run=st.just("20261124T093200Z-7f3k"),
    task=st.just("KIN-1"),
    status=st.sampled_from(RunStatus),
    started=st.just("2026-11-24T09:32:00Z"),
    reason=SPOKEN,
    base=SPOKEN,
    waiting=st.none()
    | made(Waiting, for_=st.sampled_from(WaitFor), reason=SPOKEN, paths=st.lists(SPOKEN, max_size=2).map(tuple)),
    steps=st.lists(STEPS, max_size=3).map(tuple),
    gates=st.lists(
        made(GateRecord, name=SPOKEN, verdict=st.just("pass"), exit=st.just(0), seconds=st.just(0.5)), max_size=2
    ).map(tuple),
    proposed=st.none()
    | st.fixed_dictionaries({"tasks": st.lists(st.fixed_dictionaries({"title": SPOKEN, "labels": st.lists(SPOKEN)}))}),
    live=LIVES,
)


@PROFILE
@given(RUNS)
def test_a_record_comes_back_as_it_was_written_and_fast(run: Run) -> None:
    data = data_of(run)
    text = emit.document(data)
    assert read_fast(text, RECORD_BOUNDS) == data
    assert run_from_data(data) == run
