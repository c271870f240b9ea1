"""What clients print, read: recorded from the real clients (tests/streams), and lines that no client has printed yet.

A recording holds `out` and `err` lines as they came, and `exit` with the code (-9: it hung, and was killed).
"""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kin.agents import built_in
from kin.streams import READERS, Reading, StreamReader
from kin.streams.until import said_in

FOLDER = Path(__file__).parent / "streams"
RECORDINGS = {path.stem: path.read_text(encoding="utf-8").splitlines() for path in sorted(FOLDER.glob("*.txt"))}
AGENTS = built_in()
NOW = datetime(2026, 11, 24, 18, 30, 30, tzinfo=UTC)


def reader_of(agent: str) -> StreamReader:
    return READERS[AGENTS[agent].format](AGENTS[agent], lambda: NOW)


def read(name: str, lines: int | None = None, exit: int | None = None) -> tuple[StreamReader, Reading]:
    """What a recording (its first lines, if so many are wanted) tells; ended with the recorded exit code, or another."""
    stream = reader_of(name.partition("-")[0])
    *said, last = RECORDINGS[name]
    for line in said[:lines]:
        channel, _, text = line.partition(" ")
        stream.feed(f"std{channel}", text)
    code = int(last.split()[1]) if exit is None else exit
    return stream, stream.end(code, code < 0)


@pytest.mark.parametrize("name", [name for name in RECORDINGS if name.endswith("-done")])
def test_a_run_that_ended_well_tells_message_session_and_tokens(name: str) -> None:
    reading = read(name)[1]
    assert (reading.ok, reading.kind, reading.error) == (True, "", "")
    assert reading.final == "All is written."
    assert reading.tokens["in"] >= 100 and reading.tokens["out"] >= 20
    assert (reading.session is None) == (name == "aider-done")


def test_what_a_session_had_used_before_it_was_taken_up_is_not_counted_again() -> None:
    stream = reader_of("claude")
    model = {"inputTokens": 100, "outputTokens": 20, "cacheReadInputTokens": 5, "costUSD": 0.5}
    total = {"inputTokens": 900, "outputTokens": 90, "cacheReadInputTokens": 9, "costUSD": 4.5}
    event = {"type": "result", "subtype": "success", "is_error": False, "result": "ready", "total_cost_usd": 4.5}
    event |= {"modelUsage": {"m": total}, "model_usage_since_last_result": {"m": model}}
    for _ in range(2):  # of which there may be several
        stream.feed("stdout", json.dumps(event))
    reading = stream.end(0, False)
    assert (reading.cost_usd, reading.tokens) == (1.0, {"in": 200, "out": 40, "cached": 10})


def test_a_gateway_that_is_down_is_a_wait_and_an_error_that_is_listed_is_told() -> None:
    codex, claude = reader_of("codex"), reader_of("claude")
    words = "unexpected status 502 Bad Gateway: <html>\n<body>502</body>"
    codex.feed("stdout", json.dumps({"type": "turn.failed", "error": {"message": words}}))
    assert codex.end(1, False).kind == "overload"
    event = {"type": "result", "subtype": "error_during_execution", "is_error": True, "errors": ["No conversation found"]}
    claude.feed("stdout", json.dumps(event))
    assert "No conversation found" in claude.end(1, False).error


def test_what_codex_used_is_counted_once_whichever_of_its_pipes_is_read_first() -> None:
    log = "event.kind=response.completed input_token_count=150 output_token_count=20 cached_token_count=50 model=m"
    usage = {"input_tokens": 900, "cached_input_tokens": 50, "output_tokens": 90}
    whole = json.dumps({"type": "turn.completed", "usage": usage})
    for lines in ((("stderr", log), ("stdout", whole)), (("stdout", whole), ("stderr", log))):
        stream = reader_of("codex")
        for channel, line in lines:
            stream.feed(channel, line)
        assert stream.end(0, False).tokens == {"in": 100, "out": 20, "cached": 50}


def test_what_a_session_used_before_a_signal_ended_it_is_counted_when_it_goes_on() -> None:
    stream = reader_of("claude")
    stream.counted = {"in": 100, "out": 1, "cached": 5, "usd": 0.0}  # its client told that much, and no money, before
    total = {"inputTokens": 300, "outputTokens": 90, "cacheReadInputTokens": 9, "costUSD": 4.5}
    event = {"type": "result", "subtype": "success", "is_error": False, "result": "ready", "total_cost_usd": 4.5}
    event |= {"modelUsage": {"m": total}, "model_usage_since_last_result": {"m": {"inputTokens": 20, "costUSD": 0.5}}}
    stream.feed("stdout", json.dumps(event))
    reading = stream.end(0, False)
    assert (reading.cost_usd, reading.tokens) == (4.5, {"in": 200, "out": 89, "cached": 4})


def test_an_error_that_stands_where_the_message_would_is_told() -> None:
    stream = reader_of("qwen")
    words = "[API Error: 401 Incorrect API key provided.]"
    stream.feed("stdout", json.dumps({"type": "result", "subtype": "error_during_execution", "error": {"message": words}}))
    reading = stream.end(1, False)
    assert reading.kind == "login" and words in reading.error


def test_what_only_some_clients_tell_is_none_for_the_others() -> None:
    claude, codex, opencode = (read(f"{name}-done")[1] for name in ("claude", "codex", "opencode"))
    assert (claude.version, claude.turns, claude.tokens) == ("2.1.197", 2, {"in": 200, "out": 40, "cached": 50})
    assert claude.model and claude.cost_usd and opencode.cost_usd
    assert (codex.version, codex.cost_usd, codex.tokens) == (None, None, {"in": 200, "out": 40, "cached": 50})


@pytest.mark.parametrize(
    ("name", "kind", "until", "words"),
    [
        ("claude-limit", "limit", "2026-11-24T20:30", "hit your limit"),
        ("claude-overload", "overload", None, "529"),
        ("claude-login", "login", None, "Invalid API key"),
        ("claude-budget", "budget", None, "max_budget"),
        ("claude-cut", "error", None, "Unable to connect"),
        ("codex-limit", "limit", "2026-11-24T20:30", "usage limit"),
        ("codex-limit-days", "limit", "2026-11-27T18:30", "usage limit"),
        ("codex-overload", "overload", None, "429"),
        ("codex-login", "login", None, "401"),
        ("codex-cut", "error", None, "disconnected"),
        ("gemini-login", "login", None, "API key not valid"),
        ("gemini-quota", "limit", None, "daily quota"),
        ("gemini-stuck", "limit", "2026-11-24T22:33", "Retrying after"),
        ("opencode-login", "login", None, "Incorrect API key"),
        ("opencode-overload", "overload", "2026-11-24T18:30", "Rate limited"),
        ("qwen-login", "login", None, "401"),
        ("aider-login", "login", None, "AuthenticationError"),
    ],
)
def test_a_run_that_failed_tells_what_kind_of_failure_it_is(name: str, kind: str, until: str | None, words: str) -> None:
    reading = read(name)[1]
    assert not reading.ok and reading.kind == kind and words in reading.error
    assert (reading.until or "")[:16] == (until or "")


@pytest.mark.parametrize("name", [n for n in RECORDINGS if n.endswith("-done")])
def test_a_stream_that_is_cut_at_any_line_is_never_a_success(name: str) -> None:
    for lines in range(len(RECORDINGS[name]) - 1):
        if any(line.startswith("out") and line != "out " for line in RECORDINGS[name][lines:]):
            assert not read(name, lines, exit=0)[1].ok, lines


@pytest.mark.parametrize("name", [n for n in RECORDINGS if n.endswith("-done")])
def test_success_needs_exit_0_and_that_kin_did_not_end_it(name: str) -> None:
    stream, reading = read(name, exit=1)
    assert not reading.ok and reading.error
    assert not stream.end(0, signalled=True).ok
    assert not stream.end(None, signalled=False).ok


def test_a_client_that_goes_to_sleep_for_hours_is_stuck_at_once_and_one_that_waits_a_little_is_not() -> None:
    stream = reader_of("gemini")
    stream.feed("stderr", "Attempt 1 failed: quota. Retrying after 5200.5ms...")
    assert not stream.stuck
    stream.feed("stderr", "Attempt 2 failed: quota. Retrying after 12363856ms...")
    assert "12363856" in stream.stuck
    assert stream.end(-15, signalled=True).until == "2026-11-24T21:56:33Z"
    codex, words = (
        reader_of("codex"),
        "codex_core::responses_retry: stream connection failed; waiting to retry turn_id=1 error=x",
    )
    for seconds in (40, 60):  # it would go on so for ever
        assert not codex.stuck
        codex.feed("stderr", f"{words} retry_delay={seconds}s")
    assert codex.end(-15, signalled=True).until == "2026-11-24T18:31:30Z"
    retry = {"type": "system", "subtype": "api_retry", "error": "x"}
    for status, delay, stuck in ((429, 3000, False), (529, 120_000, True), (401, 500, True)):
        claude = reader_of("claude")
        claude.feed("stdout", json.dumps(retry | {"error_status": status, "retry_delay_ms": delay}))
        assert bool(claude.stuck) == stuck
        assert claude.end(-15, signalled=True).kind == ("login" if status == 401 else "limit" if stuck else "overload")


def test_what_a_client_got_over_is_not_why_it_failed_later() -> None:
    claude = reader_of("claude")
    claude.feed("stdout", '{"type":"system","subtype":"api_retry","error_status":529,"retry_delay_ms":500}')
    claude.feed("stdout", '{"type":"assistant","message":{"id":"m","content":[{"type":"text","text":"hello"}]}}')
    reading = claude.end(137, signalled=False)
    assert reading.kind == "error" and "exit 137" in reading.error


def test_an_agents_own_words_about_limits_are_no_limit() -> None:
    claude = reader_of("claude")
    said = "Done. The page says: You've hit your session limit · resets 1:26pm (UTC)"
    claude.feed("stdout", json.dumps({"type": "result", "subtype": "success", "is_error": False, "result": said}))
    assert claude.end(0, signalled=False).kind == ""


def test_messages_that_come_in_pieces_are_counted_once_and_however_many_there_are() -> None:
    claude = reader_of("claude")
    for n in range(20_000):
        for out in (1, 5):
            usage = {"input_tokens": 10, "output_tokens": out}
            for name in (f"m{n}", "helper"):
                claude.feed("stdout", json.dumps({"type": "assistant", "message": {"id": name, "content": [], "usage": usage}}))
    assert claude.tokens == {"in": 200_010, "out": 100_005, "cached": 0}


@pytest.mark.parametrize("agent", ["text", "gemini", "opencode"])
def test_of_a_final_message_without_end_the_end_is_kept(agent: str) -> None:
    stream = reader_of(agent) if agent != "text" else READERS["text"](AGENTS["claude"], lambda: NOW)
    for n in range(20_000):
        text = f"this is line {n} of a very long story\n"
        event = (
            {"type": "message", "role": "assistant", "content": text}
            if agent == "gemini"
            else {"type": "text", "part": {"text": text}}
        )
        stream.feed("stdout", text[:-1] if agent == "text" else json.dumps(event))
    assert stream.final.endswith(" 19998 of a very long story\nthis is line 19999 of a very long story\n")
    assert 250_000 < len(stream.final) < 270_000


def test_a_character_that_was_cut_in_two_is_whole_in_the_final_message() -> None:
    stream = reader_of("gemini")
    for half in (r"It works \ud83d", r"\ude80 and \ud83d"):
        stream.feed("stdout", f'{{"type": "message", "role": "assistant", "content": "{half}"}}')
    assert stream.final == "It works \N{ROCKET} and \N{REPLACEMENT CHARACTER}"


def test_any_command_is_judged_by_its_exit_and_its_output_is_its_message() -> None:
    agent = AGENTS["claude"].model_copy(update={"format": "text", "signs": AGENTS["claude"].signs})
    stream = READERS["text"](agent, lambda: NOW)
    stream.feed("stdout", "one")
    stream.feed("stdout", "two")
    assert stream.end(0, signalled=False).final == "one\ntwo"
    failed = stream.end(3, signalled=False)
    assert not failed.ok and "two" in failed.error and "exit 3" in failed.error


@pytest.mark.parametrize(
    ("groups", "moment"),
    [
        ({"epoch": "1795526795"}, "2026-11-24T13:26:35"),
        ({"epoch": "1795526795000"}, "2026-11-24T13:26:35"),
        ({"seconds": "90"}, "2026-11-24T18:32:00"),
        ({"ms": "1500"}, "2026-11-24T18:30:31"),
        ({"span": "1d2h3m4.5s"}, "2026-11-25T20:33:34"),
        ({"clock": "9pm", "zone": "UTC"}, "2026-11-24T21:00:00"),
        ({"clock": "6:30pm", "zone": "UTC"}, "2026-11-24T18:30:00"),
        ({"clock": "1:26pm", "zone": "UTC"}, "2026-11-25T13:26:00"),
        ({"clock": "9pm", "zone": "America/New_York"}, "2026-11-25T02:00:00"),
        ({"clock": "12am", "zone": "UTC"}, "2026-11-25T00:00:00"),
        ({"clock": "Nov 27th, 2026 12:42 PM", "zone": "UTC"}, "2026-11-27T12:42:00"),
        ({"clock": "Jan 3, 4pm", "zone": "UTC"}, "2027-01-03T16:00:00"),
        ({"clock": "25:00", "zone": "UTC"}, None),
        ({"clock": "Feb 30, 4pm", "zone": "UTC"}, None),
        ({"clock": "9pm", "zone": "Nowhere/Land"}, None),
        ({"epoch": "9" * 40}, None),
        ({}, None),
    ],
)
def test_times_are_understood_as_services_write_them(groups: dict[str, str | None], moment: str | None) -> None:
    found = said_in(groups, NOW)
    assert (found and found.strftime("%Y-%m-%dT%H:%M:%S")) == moment


ODD = [None, True, -1, 1.5, 10**30, "x", "", [], [1, {}], {}, {"text": 5}, {"content": {"type": "text"}}, {"tokens": [1]}]
ODD += [
    {"usage": {"input_tokens": "many"}},
    {"state": 1},
    {"data": {"statusCode": "429", "responseHeaders": {"retry-after": 9}}},
]
TYPES = "system assistant result rate_limit_event thread.started item.completed turn.completed turn.failed error init message"
TYPES += " tool_use step_start step_finish text"
KEYS = "subtype message item usage error part stats result session_id rate_limit_info is_error num_turns modelUsage content"
LINES = st.tuples(
    st.sampled_from(TYPES.split()), st.dictionaries(st.sampled_from(KEYS.split()), st.sampled_from(ODD), max_size=4)
)


@given(st.lists(LINES, max_size=5))
def test_no_line_of_any_shape_is_too_odd_to_be_read(lines: list[tuple[str, dict[str, object]]]) -> None:
    for agent in AGENTS:
        stream = reader_of(agent)
        for kind, values in lines:
            stream.feed("stdout", json.dumps(values | {"type": kind}))
        stream.feed("stdout", '{"type": "result", "cut')
        reading = stream.end(1, signalled=False)
        assert not reading.ok and reading.kind and json.dumps(reading)
