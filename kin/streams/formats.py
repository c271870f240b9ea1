"""The formats of clients' output, one class each: which line means what, in any version that we have seen.

Shapes are the clients' own (`claude -p --output-format stream-json`, `codex exec --json`, `gemini -o stream-json`, `opencode
run --format json`); none is documented as stable, so each value is asked for and none is relied on.
"""

from collections.abc import Mapping
from typing import Any

from kin.streams import until
from kin.streams.reading import Reading, StreamReader, at, count, matches, text_at

GIST = 200
UNDER_WAY = 100
"""Messages of a client and its helpers that may still grow; an older one is counted as it stands."""


def _tool(name: Any, given: Any) -> str:
    """A tool's call in a line: its name and the first text it was given."""
    values = given.values() if isinstance(given, dict) else [given]
    first = next((v for v in values if isinstance(v, str) and v.strip()), "")
    return f"{name}: {' '.join(first.split())[:GIST]}" if first else str(name)


class TextStream(StreamReader):
    """Any command: what it prints is its final message. `signs` tell of a closing line and of tokens, if it has such."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.closed = None if self.signs.done else True

    def said(self, line: str) -> str:
        self._last.append(line)
        if matches(self.signs.done, line):
            self.closed = True
        else:
            if matches(self.signs.begin, line):
                self.final = ""
            else:
                self.says_more(f"{line}\n")
        self.tells_usage(line)
        return line

    def _why(self, exit: int | None, signalled: bool) -> str:
        self.closed = None if exit else self.closed  # what it said last tells more than that it failed
        return super()._why(exit, signalled)


class ClaudeStream(StreamReader):
    """Claude Code, and Qwen Code, which prints the same shapes. Tokens of a message are known when it begins."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._messages: dict[str, tuple[int, int, int]] = {}
        self._since: list[Any] = []

    def event(self, event: Mapping[str, Any]) -> str:
        self.session = text_at(event, "session_id") or self.session
        match event.get("type"):
            case "system":
                return self._system(event)
            case "rate_limit_event":
                limit = event.get("rate_limit_info")
                if at(limit, "status") == "rejected" and not at(limit, "isUsingOverage"):
                    self.until = until.epoch(at(limit, "resetsAt"))
            case "assistant":
                return self._assistant(event.get("message"))
            case "result":
                self._result(event)
        return ""

    def _system(self, event: Mapping[str, Any]) -> str:
        if event.get("subtype") == "init":
            self.model = text_at(event, "model") or self.model
            self.version = text_at(event, "claude_code_version") or self.version
        if event.get("subtype") != "api_retry":
            return ""
        delay = event.get("retry_delay_ms")
        seconds = delay / 1000 if isinstance(delay, (int, float)) else None
        status = event.get("error_status")
        return self.waits_for(seconds, f"the service says {status or 'nothing'} ({event.get('error')})", status)

    def _assistant(self, message: Any) -> str:
        self.goes_on()
        if usage := at(message, "usage"):
            self._count(text_at(message, "id"), _used(usage, _USAGE))
        parts = at(message, "content")
        told = []
        for part in parts if isinstance(parts, list) else ():
            if at(part, "type") == "text":
                told.append(text_at(part, "text"))
            elif at(part, "type") == "tool_use":
                told.append(_tool(at(part, "name"), at(part, "input")))
        return "\n".join(told)

    def _count(self, message: str, used: tuple[int, int, int]) -> None:
        """A message comes in pieces, each with its tokens so far, beside those of a few others that are under way."""
        before = self._messages.pop(message, (0, 0, 0))
        self._messages[message] = used
        if len(self._messages) > UNDER_WAY:
            del self._messages[next(iter(self._messages))]
        for name, new, old in zip(self.tokens, used, before, strict=True):
            self.tokens[name] += new - old

    def _result(self, event: Mapping[str, Any]) -> None:
        errors = event.get("errors")
        told = "; ".join(map(str, errors)) if isinstance(errors, list) else text_at(event, "error", "message")
        said = text_at(event, "result") or told
        self.closed = event.get("is_error") is False and event.get("subtype") == "success"
        self.final = said
        subtype = text_at(event, "subtype")
        self.error = "" if self.closed else ": ".join(filter(None, (subtype if subtype != "success" else "", said)))
        status = event.get("api_error_status")
        self.status = status if isinstance(status, int) else None
        self.turns = count(event.get("num_turns")) or None
        since = event.get("model_usage_since_last_result")
        if isinstance(since, dict) and self.counted is None:  # the totals are the whole session's there
            self._since += since.values()
            self.cost_usd = sum(_money(at(model, "costUSD")) or 0.0 for model in self._since)
            models: list[Any] = self._since
        else:
            self.cost_usd = _money(event.get("total_cost_usd"))
            models = list(total.values()) if isinstance(total := event.get("modelUsage"), dict) else []
        used = [_used(model, _BY_MODEL) for model in models] or [_used(event.get("usage"), _USAGE)]
        self.tokens = dict(zip(self.tokens, map(sum, zip(*used, strict=True)), strict=True))
        if isinstance(since, dict) and self.counted is not None:  # they hold what an end by a signal left untold
            self.tokens = {name: max(n - int(self.counted.get(name, 0)), 0) for name, n in self.tokens.items()}
            self.cost_usd = max((self.cost_usd or 0.0) - self.counted.get("usd", 0.0), 0.0)


_USAGE = ("input_tokens", "cache_creation_input_tokens", "output_tokens", "cache_read_input_tokens")
_BY_MODEL = ("inputTokens", "cacheCreationInputTokens", "outputTokens", "cacheReadInputTokens")
"""As the API and as Claude Code spell what was used."""


def _used(usage: Any, names: tuple[str, ...]) -> tuple[int, int, int]:
    """Tokens in, out and cached; what was written to the cache was read, too."""
    fresh, written, out, cached = (count(at(usage, name)) for name in names)
    if fresh + out == count(at(usage, "total_tokens")):  # Qwen's count holds what was cached, Claude's does not
        fresh = max(fresh - cached, 0)
    return fresh + written, out, cached


def _money(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _whole(usage: Any, cached: str) -> dict[str, int]:
    """What was used, where tokens in are told with those from the cache."""
    read = count(at(usage, cached))
    fresh = max(count(at(usage, "input_tokens")) - read, 0)
    return {"in": fresh, "out": count(at(usage, "output_tokens")), "cached": read}


class CodexStream(StreamReader):
    """Codex. Its final message is the last one of the agent; errors that it gets over look like those that end it.

    What it used is the sum that its log told: at the end it tells that of the whole session, with what was recorded before.
    The log comes by another pipe, so on a busy machine the end may be read before it.
    """

    _whole: dict[str, int] | None = None

    def end(self, exit: int | None, signalled: bool) -> Reading:
        """As for all; the session's own count holds where the log told none."""
        if self._whole and not any(self.tokens.values()):
            self.tokens = self._whole
        return super().end(exit, signalled)

    def event(self, event: Mapping[str, Any]) -> str:
        item, kind = event.get("item"), at(event.get("item"), "type")
        match event.get("type"):
            case "thread.started":
                self.session = text_at(event, "thread_id") or self.session
            case "turn.started":
                self.goes_on()
            case "item.started" if kind == "command_execution":
                self.goes_on()
                return _tool("Shell", text_at(item, "command"))
            case "item.completed" if kind == "agent_message":
                self.goes_on()
                self.final = text_at(item, "text")
                return self.final
            case "item.completed" if kind == "error":
                return text_at(item, "message")  # a warning
            case "turn.completed":
                self._whole, self.closed = _whole(event.get("usage"), "cached_input_tokens"), True
            case "turn.failed":
                self.closed, self.error = False, text_at(event, "error", "message") or self.error or "the turn failed"
            case "error":
                return self.waits(None, text_at(event, "message"))
        return ""


class GeminiStream(StreamReader):
    """Gemini CLI. Its final message comes in pieces; those before a tool's call were not the last."""

    def event(self, event: Mapping[str, Any]) -> str:
        match event.get("type"):
            case "init":
                self.session = text_at(event, "session_id") or self.session
                self.model = text_at(event, "model") or self.model
            case "message" if event.get("role") == "assistant":
                self.goes_on()
                self.says_more(text_at(event, "content"))
                return text_at(event, "content")
            case "tool_use":
                self.goes_on()
                self.final = ""
                return _tool(event.get("tool_name"), event.get("parameters"))
            case "error":
                return self.waits(None, text_at(event, "message"))
            case "result":
                self.closed = event.get("status") == "success"
                self.error = "" if self.closed else text_at(event, "error", "message") or "it says that it failed"
                self.tokens = _whole(event.get("stats"), "cached")
        return ""


class OpenCodeStream(StreamReader):
    """OpenCode. It ends with a step whose reason is `stop`; an error anywhere makes it a failure."""

    def event(self, event: Mapping[str, Any]) -> str:
        part = event.get("part")
        self.session = text_at(event, "sessionID") or self.session
        match event.get("type"):
            case "step_start":
                self.goes_on()
                self.final = ""
            case "text":
                self.says_more(text_at(part, "text"))
                return text_at(part, "text")
            case "tool_use":
                return _tool(at(part, "tool"), at(part, "state", "input"))
            case "step_finish":
                self._step(part)
                self.closed = False if self.closed is False else at(part, "reason") == "stop" or None
            case "error":
                self._error(event.get("error"))
                return self.error
        return ""

    def _step(self, part: Any) -> None:
        used = at(part, "tokens")
        self.tokens["in"] += count(at(used, "input")) + count(at(used, "cache", "write"))
        self.tokens["out"] += count(at(used, "output")) + count(at(used, "reasoning"))
        self.tokens["cached"] += count(at(used, "cache", "read"))
        if (cost := _money(at(part, "cost"))) is not None:
            self.cost_usd = (self.cost_usd or 0.0) + cost
        self.turns = (self.turns or 0) + 1

    def _error(self, error: Any) -> None:
        name = text_at(error, "name") or "error"
        status, wait = at(error, "data", "statusCode"), text_at(error, "data", "responseHeaders", "retry-after")
        seconds = float(wait) if wait.replace(".", "", 1).isdigit() else None
        self.waits_for(seconds, f"{name}: {text_at(error, 'data', 'message')}", status)
        self.closed, self.stuck = False, ""
