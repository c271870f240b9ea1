"""A scripted model on loopback that speaks the vendors' wire protocols with streaming, so that real clients can be driven.

Anthropic Messages (claude), OpenAI Responses (codex), OpenAI Chat Completions (opencode, qwen, aider) and Gemini's
generateContent (gemini), as their clients of the pinned versions ask for them. A script is a function from what was asked to
an `Answer`; the server keeps all that was asked, in order, so that a test can prove what was sent, how often, and what never
was.
"""

import itertools
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

__all__ = ["Answer", "Asked", "Call", "ModelServer", "by_prompt", "cut", "hold", "limit", "login", "overload", "result", "say"]
__all__ += ["shell", "write"]


class Call(NamedTuple):
    """A tool call in the words of a person: `shell` with a command, or `write` with a path and a text."""

    action: str
    command: str = ""
    path: str = ""
    text: str = ""


class Answer(NamedTuple):
    """What the model says: text, calls, and what it costs in tokens; or a refusal (`status` and `body` of HTTP)."""

    text: str = ""
    calls: tuple[Call, ...] = ()
    tokens: tuple[int, int, int] = (100, 20, 0)
    """Tokens in (without the cached ones), out, and read from the cache."""
    status: int = 200
    kind: str = ""
    """With another status than 200: limit, overload, login."""
    until: int = 0
    """Epoch seconds at which a limit ends."""
    subscription: bool = True
    """Whether a limit is a subscription's (headers and body say when it ends), or an API key's."""
    held: threading.Event | None = None
    """The answer stops after its first words until this is set."""
    cut: bool = False
    """The connection is dropped in the middle of the stream."""


def say(text: str, **more: Any) -> Answer:
    """A final message."""
    return Answer(text, **more)


def result(status: str = "done", *, text: str = "", **keys: Any) -> Answer:
    """A final message that ends in a result block."""
    return say(f"{text}\n\n```kin-result\n{json.dumps({'status': status, **keys})}\n```\n")


def shell(command: str, **more: Any) -> Answer:
    """A call of the client's shell."""
    return Answer(calls=(Call("shell", command=command),), **more)


def write(path: str, text: str, **more: Any) -> Answer:
    """A call of the client's own tool that makes a file."""
    return Answer(calls=(Call("write", path=path, text=text),), **more)


def limit(seconds: float = 7200, *, subscription: bool = True) -> Answer:
    """A usage limit that ends in `seconds`."""
    return Answer(status=429, kind="limit", until=int(time.time() + seconds), subscription=subscription)


def overload() -> Answer:
    """The vendor has no room just now."""
    return Answer(status=529, kind="overload")


def login() -> Answer:
    """The key or the token is not known."""
    return Answer(status=401, kind="login")


def cut(text: str = "a few words") -> Answer:
    """A stream that is dropped in the middle."""
    return Answer(text, cut=True)


def hold(event: threading.Event, answer: Answer) -> Answer:
    """An answer whose stream stops after its first words until `event` is set, or the client is gone."""
    return answer._replace(held=event)


class Asked(NamedTuple):
    """One request for an answer."""

    protocol: str
    """`messages`, `responses`, `chat` or `gemini`."""
    prompt: str
    """The words of the last turn that came from a person, that is, from kin."""
    results: tuple[str, ...]
    """What the tools answered in this turn so far."""
    turns: int
    """How many prompts the conversation holds."""
    body: dict[str, Any]
    headers: dict[str, str]

    @property
    def everything(self) -> str:
        """All that was sent to the model, as text."""
        return json.dumps(self.body, ensure_ascii=False)

    @property
    def tools(self) -> list[str]:
        """The tools that the client offers."""
        flat = [f for t in self.body.get("tools") or [] for f in t.get("functionDeclarations") or [t.get("function") or t]]
        return [str(t.get("name") or t.get("type")) for t in flat]


Script = Callable[[Asked], Answer]
_NUMBERS = itertools.count(1)
"""Of messages: a client takes two of one id for pieces of one message."""


def by_prompt(scripts: Mapping[str, Sequence[Answer] | Script]) -> Script:
    """A script that goes by a word in the prompt; a list gives its answers in order, one a tool result so far.

    A prompt that holds none of the words is answered with a message that no test expects.
    """

    def answer(asked: Asked) -> Answer:
        for word, then in scripts.items():
            if word in asked.prompt:
                return then(asked) if callable(then) else then[min(len(asked.results), len(then) - 1)]
        return say(f"NOT SCRIPTED: {asked.prompt[:200]}")

    return answer


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away, or is killed, is no fault of the server's; a script that raises is."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class ModelServer:
    """The server, on a free port of loopback; use it as a context."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: list[Asked] = []
        self.others: list[str] = []
        """What else was asked for: method and path."""
        self._came = threading.Condition()
        owner = self

        class Handler(_Handler):
            server_of = owner

        self._http = _Http(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> "ModelServer":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def came(self, asked: Asked) -> None:
        with self._came:
            self.asked.append(asked)
            self._came.notify_all()

    def wait_until(self, condition: Callable[[], object], seconds: float = 20.0) -> None:
        """Wait until a request makes `condition` true; fail after `seconds`."""
        with self._came:
            assert self._came.wait_for(condition, seconds), f"not so after {seconds} s; {len(self.asked)} requests came"

    def prompts(self) -> list[str]:
        """The prompt of each request that began a turn: one paid for by kin."""
        return [a.prompt for a in self.asked if not a.results]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of: ModelServer

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._others()

    def do_CONNECT(self) -> None:
        self._others()

    def do_GET(self) -> None:
        self._others()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("content-length") or 0)) or b"{}")
        path = self.path.partition("?")[0]
        if path.endswith("/messages"):
            self._answer("messages", body)
        elif path.endswith("/responses"):
            self._answer("responses", body)
        elif path.endswith("/chat/completions"):
            self._answer("chat", body)
        elif path.endswith(":streamGenerateContent"):
            self._answer("gemini", body | {"stream": True, "model": path.rpartition("/")[2].partition(":")[0]})
        else:
            self._others({"input_tokens": len(json.dumps(body)) // 4})  # /v1/messages/count_tokens

    def _others(self, body: Mapping[str, Any] | None = None) -> None:
        self.server_of.others.append(f"{self.command} {self.path}")
        status = 426 if self.headers.get("upgrade") else 200 if body else 404  # 426: codex asks again without a WebSocket
        self._json(status, body or {"error": {"type": "not_found_error", "message": "nothing is here"}})

    def _json(self, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(len(raw)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)

    def _answer(self, protocol: str, body: dict[str, Any]) -> None:
        read, stream, refuse = _PROTOCOLS[protocol]
        prompt, results, turns = read(body)
        asked = Asked(protocol, prompt, results, turns, body, {k.lower(): v for k, v in self.headers.items()})
        answer = self.server_of.script(asked)
        self.server_of.came(asked)
        if answer.status != 200:
            self._json(answer.status, *refuse(answer))
            return
        if not body.get("stream"):
            if protocol == "chat":
                self._json(200, _chat_whole(asked, answer))
            else:
                self.close_connection = True  # claude asks so once after a stream that was dropped
            return
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        try:
            self._stream(answer, stream(asked, answer))
        except OSError:
            self.close_connection = True  # the client is gone

    def _stream(self, answer: Answer, events: Iterator[dict[str, Any]]) -> None:
        for n, event in enumerate(events):
            if answer.cut and n == 3:
                self.close_connection = True
                return
            head = f"event: {event['type']}\n" if "type" in event else ""
            raw = f"{head}data: {json.dumps(event)}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(raw), raw))
            self.wfile.flush()
            if n == 2 and answer.held is not None:
                answer.held.wait(60)
        if "object" in event:
            self.wfile.write(b"e\r\ndata: [DONE]\n\n\r\n")
        self.wfile.write(b"0\r\n\r\n")


def _turn(said: Sequence[tuple[str, str]]) -> tuple[str, tuple[str, ...], int]:
    """The last prompt, the tools' answers after it, and the number of prompts; from (kind, text) pairs in order."""
    prompt, results, turns = "", [], 0
    for kind, text in said:
        if kind == "result":
            results.append(text)
        elif kind == "prompt":
            prompt, results, turns = text, [], turns + 1
    return prompt, tuple(results), turns


# --- Anthropic Messages: https://docs.anthropic.com/en/api/messages-streaming


_OF_CLAUDE = ("<system-reminder>", "Continue from where you left off.")
"""How texts begin that the client itself adds to a turn."""


def _messages_read(body: Mapping[str, Any]) -> tuple[str, tuple[str, ...], int]:
    said: list[tuple[str, str]] = []
    for message in body.get("messages", []):
        content = message["content"] if isinstance(message["content"], list) else [{"type": "text", "text": message["content"]}]
        if message["role"] != "user":
            continue
        said += [("result", json.dumps(b.get("content"))) for b in content if b["type"] == "tool_result"]
        words = [b["text"] for b in content if b["type"] == "text" and not b["text"].lstrip().startswith(_OF_CLAUDE)]
        if words:  # beside a tool's result, too: so goes on a session that was cut off there
            said.append(("prompt", "\n".join(words)))
    return _turn(said)


def _messages_call(call: Call) -> dict[str, Any]:
    if call.action == "shell":
        return {"name": "Bash", "input": {"command": call.command, "description": "as asked"}}
    return {"name": "Write", "input": {"file_path": call.path, "content": call.text}}


def _messages_stream(asked: Asked, answer: Answer) -> Iterator[dict[str, Any]]:
    number = len(asked.results)
    tokens_in, out, cached = answer.tokens
    usage = {"input_tokens": tokens_in, "cache_read_input_tokens": cached, "cache_creation_input_tokens": 0, "output_tokens": 1}
    message = {"id": f"msg_{next(_NUMBERS)}", "type": "message", "role": "assistant", "model": asked.body["model"]}
    message |= {"content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}
    yield {"type": "message_start", "message": message}
    blocks: list[tuple[dict[str, Any], dict[str, Any]]] = []
    if answer.text:
        blocks.append(({"type": "text", "text": ""}, {"type": "text_delta", "text": answer.text}))
    for n, call in enumerate(answer.calls):
        made = _messages_call(call)
        start = {"type": "tool_use", "id": f"toolu_{asked.turns}_{number}_{n}", "name": made["name"], "input": {}}
        blocks.append((start, {"type": "input_json_delta", "partial_json": json.dumps(made["input"])}))
    for n, (start, delta) in enumerate(blocks):
        yield {"type": "content_block_start", "index": n, "content_block": start}
        yield {"type": "content_block_delta", "index": n, "delta": delta}
        yield {"type": "content_block_stop", "index": n}
    reason = "tool_use" if answer.calls else "end_turn"
    usage = {"output_tokens": out}
    yield {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": usage}
    yield {"type": "message_stop"}


def _messages_refuse(answer: Answer) -> tuple[dict[str, Any], dict[str, str]]:
    kind = {"limit": "rate_limit_error", "overload": "overloaded_error", "login": "authentication_error"}[answer.kind]
    headers = {}
    if answer.kind == "limit":
        headers = {"retry-after": str(answer.until - int(time.time()))}
        if answer.subscription:
            words = {"status": "rejected", "reset": str(answer.until), "representative-claim": "five_hour"}
            words |= {"5h-status": "rejected", "5h-reset": str(answer.until), "overage-status": "rejected"}
            headers |= {f"anthropic-ratelimit-unified-{k}": v for k, v in words.items()}
    said = {"limit": "This request would exceed your account's rate limit.", "overload": "Overloaded"}
    message = said.get(answer.kind, "invalid x-api-key")
    return {"type": "error", "error": {"type": kind, "message": message}}, headers


# --- OpenAI Responses: https://platform.openai.com/docs/api-reference/responses-streaming


_NOT_A_PROMPT = ("<environment_context>", "# AGENTS.md", "<user_instructions>")


def _responses_read(body: Mapping[str, Any]) -> tuple[str, tuple[str, ...], int]:
    said: list[tuple[str, str]] = []
    for item in body.get("input", []):
        if str(item.get("type", "")).endswith("_call_output"):
            said.append(("result", json.dumps(item.get("output"))))
        elif item.get("role") == "user":
            words = [c.get("text", "") for c in item["content"] if c.get("type") == "input_text"]
            words = [w for w in words if not w.lstrip().startswith(_NOT_A_PROMPT)]
            said += [("prompt", "\n".join(words))] if words else []
    return _turn(said)


def _patch(call: Call) -> str:
    lines = "\n".join(f"+{line}" for line in call.text.splitlines())
    return f"*** Begin Patch\n*** Add File: {call.path}\n{lines}\n*** End Patch\n"


def _responses_call(call: Call, offered: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The call as an item of the response, by the tools that the client offers."""
    tools = {t.get("name") or t.get("type"): t for t in offered}
    if call.action == "write" and "apply_patch" in tools:
        if tools["apply_patch"]["type"] == "custom":
            return {"type": "custom_tool_call", "name": "apply_patch", "input": _patch(call)}
        return {"type": "function_call", "name": "apply_patch", "arguments": json.dumps({"input": _patch(call)})}
    command = call.command or f"cat > '{call.path}' <<'EOF'\n{call.text.rstrip()}\nEOF"
    if "exec_command" in tools:
        return {"type": "function_call", "name": "exec_command", "arguments": json.dumps({"cmd": command})}
    if "shell_command" in tools:
        return {"type": "function_call", "name": "shell_command", "arguments": json.dumps({"command": command})}
    if "shell" in tools:
        arguments = json.dumps({"command": ["bash", "-lc", command]})
        return {"type": "function_call", "name": "shell", "arguments": arguments}
    raise AssertionError(f"no tool that could do {call}: {sorted(map(str, tools))}")


def _responses_stream(asked: Asked, answer: Answer) -> Iterator[dict[str, Any]]:
    number = len(asked.results)
    identity = f"resp_{next(_NUMBERS)}"
    yield {"type": "response.created", "response": {"id": identity}}
    items: list[dict[str, Any]] = []
    if answer.text:
        item = {"type": "message", "role": "assistant", "id": f"msg_{identity}", "content": []}
        yield {"type": "response.output_item.added", "output_index": 0, "item": item}
        yield {"type": "response.output_text.delta", "output_index": 0, "item_id": item["id"], "delta": answer.text}
        items.append({**item, "content": [{"type": "output_text", "text": answer.text, "annotations": []}]})
        yield {"type": "response.output_item.done", "output_index": 0, "item": items[-1]}
    for n, call in enumerate(answer.calls):
        items.append({**_responses_call(call, asked.body.get("tools") or []), "call_id": f"call_{asked.turns}_{number}_{n}"})
        items[-1]["id"] = f"item_{asked.turns}_{number}_{n}"
        yield {"type": "response.output_item.done", "output_index": len(items) - 1, "item": items[-1]}
    tokens_in, out, cached = answer.tokens
    usage = {"input_tokens": tokens_in + cached, "input_tokens_details": {"cached_tokens": cached}, "output_tokens": out}
    usage |= {"output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": tokens_in + cached + out}
    yield {"type": "response.completed", "response": {"id": identity, "output": items, "usage": usage}}


def _responses_refuse(answer: Answer) -> tuple[dict[str, Any], dict[str, str]]:
    error: dict[str, Any] = {"message": "The server is overloaded.", "type": "server_error", "code": "server_is_overloaded"}
    if answer.kind == "login":
        error = {"message": "Incorrect API key provided.", "type": "invalid_request_error", "code": "invalid_api_key"}
    if answer.kind == "limit" and answer.subscription:
        error = {"message": "The usage limit has been reached", "type": "usage_limit_reached", "plan_type": "plus"}
        error |= {"resets_at": answer.until, "resets_in_seconds": answer.until - int(time.time())}
    elif answer.kind == "limit":
        error = {"message": "Rate limit reached for requests", "type": "requests", "code": "rate_limit_exceeded"}
        return {"error": error}, {"retry-after": str(answer.until - int(time.time()))}
    return {"error": error}, {}


# --- OpenAI Chat Completions: https://platform.openai.com/docs/api-reference/chat-streaming


def _chat_read(body: Mapping[str, Any]) -> tuple[str, tuple[str, ...], int]:
    said: list[tuple[str, str]] = []
    for message in body.get("messages", []):
        content = message.get("content") or ""
        text = content if isinstance(content, str) else "\n".join(part.get("text", "") for part in content)
        if message["role"] in ("tool", "user"):
            said.append(("result" if message["role"] == "tool" else "prompt", text))
    return _turn(said)


_NAMES = {
    "shell": ("bash", "run_shell_command"),
    "write": ("write", "write_file"),
}
"""What clients of the last two protocols call their tools."""


def _named_call(call: Call, tools: Sequence[str]) -> tuple[str, dict[str, str]]:
    name = next((name for name in _NAMES[call.action] if name in tools), _NAMES[call.action][0])
    if call.action == "shell":
        return name, {"command": call.command, "description": "as asked"}
    path = "filePath" if name == "write" else "file_path"
    return name, {path: call.path, "content": call.text}


def _chat_message(asked: Asked, answer: Answer) -> tuple[dict[str, Any], dict[str, Any]]:
    """The whole message, and its usage."""
    calls = []
    for n, call in enumerate(answer.calls):
        name, arguments = _named_call(call, asked.tools)
        function = {"name": name, "arguments": json.dumps(arguments)}
        calls.append(
            {"index": n, "id": f"call_{asked.turns}_{len(asked.results)}_{n}", "type": "function", "function": function}
        )
    message: dict[str, Any] = {"role": "assistant", "content": answer.text or None}
    tokens_in, out, cached = answer.tokens
    usage = {"prompt_tokens": tokens_in + cached, "completion_tokens": out, "total_tokens": tokens_in + cached + out}
    usage |= {"prompt_tokens_details": {"cached_tokens": cached}}
    return message | ({"tool_calls": calls} if calls else {}), usage


def _chat_frame(asked: Asked, kind: str, choice: Mapping[str, Any] | None) -> dict[str, Any]:
    frame: dict[str, Any] = {"id": f"chatcmpl-{asked.turns}-{len(asked.results)}", "object": kind, "created": int(time.time())}
    return frame | {"model": asked.body["model"], "choices": [{"index": 0, **choice}] if choice else []}


def _chat_whole(asked: Asked, answer: Answer) -> dict[str, Any]:
    message, usage = _chat_message(asked, answer)
    choice = {"message": message, "finish_reason": "tool_calls" if answer.calls else "stop"}
    return _chat_frame(asked, "chat.completion", choice) | {"usage": usage}


def _chat_stream(asked: Asked, answer: Answer) -> Iterator[dict[str, Any]]:
    message, usage = _chat_message(asked, answer)
    for delta in ({"role": "assistant", "content": ""}, {"content": message["content"] or ""}):
        yield _chat_frame(asked, "chat.completion.chunk", {"delta": delta, "finish_reason": None})
    if answer.calls:
        delta = {"tool_calls": message["tool_calls"]}
        yield _chat_frame(asked, "chat.completion.chunk", {"delta": delta, "finish_reason": None})
    reason = "tool_calls" if answer.calls else "stop"
    yield _chat_frame(asked, "chat.completion.chunk", {"delta": {}, "finish_reason": reason})
    yield _chat_frame(asked, "chat.completion.chunk", None) | {"usage": usage}


def _chat_refuse(answer: Answer) -> tuple[dict[str, Any], dict[str, str]]:
    error, headers = _responses_refuse(answer._replace(subscription=False))
    return error, headers


# --- Gemini: https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent


def _gemini_read(body: Mapping[str, Any]) -> tuple[str, tuple[str, ...], int]:
    said: list[tuple[str, str]] = []
    for content in body.get("contents", []):
        parts = content.get("parts") or []
        if content.get("role") != "user":
            continue
        said += [("result", json.dumps(part["functionResponse"])) for part in parts if "functionResponse" in part]
        words = [part["text"] for part in parts if "text" in part and not part["text"].startswith("<session_context>")]
        if words and not any("functionResponse" in part for part in parts):
            said.append(("prompt", "\n".join(words)))
    return _turn(said)


def _gemini_stream(asked: Asked, answer: Answer) -> Iterator[dict[str, Any]]:
    parts: list[dict[str, Any]] = [{"text": answer.text}] if answer.text else []
    for n, call in enumerate(answer.calls):
        name, arguments = _named_call(call, asked.tools)
        identity = f"call_{asked.turns}_{len(asked.results)}_{n}"
        parts.append({"functionCall": {"name": name, "args": arguments, "id": identity}})
    tokens_in, out, cached = answer.tokens
    usage = {"promptTokenCount": tokens_in + cached, "candidatesTokenCount": out, "totalTokenCount": tokens_in + cached + out}
    usage |= {"cachedContentTokenCount": cached}
    for n, part in enumerate(parts):
        last = {"finishReason": "STOP"} if n == len(parts) - 1 else {}
        candidate = {"index": 0, "content": {"role": "model", "parts": [part]}, **last}
        yield {"candidates": [candidate], "usageMetadata": usage, "modelVersion": asked.body["model"]}


def _gemini_refuse(answer: Answer) -> tuple[dict[str, Any], dict[str, str]]:
    status = {"limit": "RESOURCE_EXHAUSTED", "overload": "UNAVAILABLE", "login": "UNAUTHENTICATED"}[answer.kind]
    error: dict[str, Any] = {"code": answer.status, "message": "The model is overloaded.", "status": status}
    if answer.kind == "login":
        error["message"] = "API key not valid. Please pass a valid API key."
    if answer.kind == "limit":
        error["message"] = "You have exhausted your daily quota on this model."
        violation = {"quotaId": "GenerateRequestsPerDayPerProjectPerModel"}
        error["details"] = [{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]}]
    return {"error": error}, {}


_PROTOCOLS: dict[str, tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]] = {
    "messages": (_messages_read, _messages_stream, _messages_refuse),
    "responses": (_responses_read, _responses_stream, _responses_refuse),
    "chat": (_chat_read, _chat_stream, _chat_refuse),
    "gemini": (_gemini_read, _gemini_stream, _gemini_refuse),
}
