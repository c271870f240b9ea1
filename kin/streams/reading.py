"""What all formats share: how a run of a client went, judged by its own closing line, its exit code and what it said.

A client's word is not enough: some exit 0 on errors, some after a signal, and some say "success" over the text of an error.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from kin.model import times
from kin.model.agent import Agent
from kin.streams import until

PATIENCE = 59.0
"""Seconds that a client may wait for its service by itself. What announces more waits for a limit, and is ended: a minute,
too, which Codex without a network announces for ever."""
SOON = 600.0
"""Seconds within which a service that is busy takes us again; one that names a later time has set a limit."""
LAST_LINES = 20
KEPT = 256 * 1024
"""Characters of a final message's end that are kept, where it comes in pieces."""
BUSY = (408, 429, 500, 502, 503, 504, 529)
REFUSED = (401, 403)


class Reading(NamedTuple):
    """How a client's run went.

    `kind` is "" if it is `ok`, else `limit` (nothing goes until `until`, if that is known), `overload` (worth one more try,
    at `until`), `login`, `budget` (its own) or `error`. `until` is RFC 3339 in UTC. `tokens` are `in` (without `cached`),
    `out` and `cached`. What the client did not tell is None.
    """

    ok: bool
    kind: str
    error: str
    until: str | None
    final: str
    session: str | None
    version: str | None
    model: str | None
    tokens: dict[str, int]
    cost_usd: float | None
    turns: int | None


def at(value: Any, *keys: str) -> Any:
    """What keys lead to in JSON of any shape; None if they lead nowhere."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def count(value: Any) -> int:
    """A count of tokens; 0 if it is none."""
    return int(value) if isinstance(value, (int, float)) and 0 <= value < 1e12 else 0


def text_at(value: Any, *keys: str) -> str:
    """The text that keys lead to, "" if there is none."""
    found = at(value, *keys)
    return found if isinstance(found, str) else ""


class StreamReader:
    """Reads what one run of a client prints; the formats are its children, and say what a JSON line means.

    Live: `tokens`, `cost_usd`, `session`; and `stuck`, words once the client has announced that it will wait longer than
    anybody should, or try again with a key that was refused: whoever reads ends it then, and `end` says `limit` or `login`.
    """

    def __init__(self, agent: Agent, clock: Callable[[], datetime] = times.now) -> None:
        self.tokens = {"in": 0, "out": 0, "cached": 0}
        self.cost_usd: float | None = None
        self.counted: Mapping[str, float] | None = None
        """What is counted already of the session that is taken up, if one is: tokens as above, and `usd`."""
        self.session: str | None = None
        self.version: str | None = None
        self.model: str | None = None
        self.turns: int | None = None
        self._final: deque[str] = deque()
        self._final_size = 0
        self.stuck = ""
        self.signs = agent.signs
        self.closed: bool | None = None
        """What the client's own closing line said; None before there is one."""
        self.error = ""
        self.status: int | None = None
        self.until: datetime | None = None
        self._clock = clock
        self._last: deque[str] = deque(maxlen=LAST_LINES)

    @property
    def final(self) -> str:
        """The final message so far: at most about the last KEPT characters of it."""
        # a client that cuts it into pieces may cut a character in two, each half a surrogate
        return "".join(self._final).encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    @final.setter
    def final(self, text: str) -> None:
        self._final, self._final_size = deque([text]), len(text)

    def says_more(self, text: str) -> None:
        """Another piece of the final message; a client may say millions, so none is ever copied."""
        self._final.append(text)
        self._final_size += len(text)
        while self._final_size - len(self._final[0]) >= KEPT:
            self._final_size -= len(self._final.popleft())

    def feed(self, stream: str, line: str) -> str:
        """Take one line of `stdout` or `stderr`; words that tell a person what it says, or ""."""
        if stream == "stderr":
            if self.tells_usage(line):
                return ""
            self._last.append(line)
            for pattern in self.signs.stuck:
                if found := pattern.search(line):
                    self.waits(until.said_in(found.groupdict(), self._clock()), line)
            return line
        return self.said(line)

    def said(self, line: str) -> str:
        """What a line of standard output means; most formats have one JSON object a line."""
        try:
            event = json.loads(line)
        except (ValueError, RecursionError):
            event = None
        if isinstance(event, dict):
            return self.event(event)
        if line.startswith("{"):  # the rest of a line that was cut
            return ""
        self._last.append(line)  # clients warn there too
        return line

    def event(self, event: Mapping[str, Any]) -> str:
        """What a JSON line means. Must take any shape: versions move."""
        raise NotImplementedError

    def tells_usage(self, line: str) -> bool:
        """Add up what a line says of tokens and money; False if it says nothing of them."""
        found = [match.groupdict() for pattern in self.signs.usage if (match := pattern.search(line))]
        for said in found:
            used = {name: _number(said.get(name)) for name in ("in", "out", "cached", "gross")}
            used["in"] += max(used["gross"] - used["cached"], 0)
            self.tokens = {name: tokens + used[name] for name, tokens in self.tokens.items()}
            self.cost_usd = float(said["usd"]) if said.get("usd") else self.cost_usd
            self.model = said.get("model") or self.model
        return bool(found)

    def waits(self, moment: datetime | None, words: str, status: Any = None) -> str:
        """The client said that it tries again by itself, at `moment`."""
        if self.stuck:
            return words
        self.error, self.status, self.until = words, status if isinstance(status, int) else None, moment
        if self.status in REFUSED or (moment and (moment - self._clock()).total_seconds() > PATIENCE):
            self.stuck = words
        return words

    def waits_for(self, seconds: Any, words: str, status: Any = None) -> str:
        """`waits`, for so many seconds."""
        known = isinstance(seconds, (int, float))
        return self.waits(until.after(self._clock(), seconds) if known else None, words, status)

    def goes_on(self) -> None:
        """The client got an answer after what it said last: that it waited or had ended is over."""
        if self.closed is not False:
            self.closed, self.error, self.status, self.until = None, "", None, None

    def end(self, exit: int | None, signalled: bool) -> Reading:
        """How the run went. `signalled`: kin ended it, for whatever reason."""
        wrong = next((line for line in self.final.splitlines() if matches(self.signs.failed, line)), "")
        ok = self.closed is True and exit == 0 and not signalled and not wrong
        error = "" if ok else wrong or self._why(exit, signalled)
        kind, moment = ("", None) if ok else self._kind(error)
        return Reading(
            ok=ok,
            kind=kind,
            error=error,
            until=times.rfc3339(moment) if moment else None,
            final=self.final.strip(),
            session=self.session,
            version=self.version,
            model=self.model,
            tokens=dict(self.tokens),
            cost_usd=self.cost_usd,
            turns=self.turns,
        )

    def _why(self, exit: int | None, signalled: bool) -> str:
        if self.error:
            return self.error
        ended = "was ended" if signalled else "ended without an exit code" if exit is None else f"ended with exit {exit}"
        if self.closed:
            return f"it said that all went well, but {ended}"
        last = "\n".join(line for line in self._last if line.strip())
        return f"{last}\nit {ended}, without its closing line".lstrip()

    def _kind(self, error: str) -> tuple[str, datetime | None]:
        """What kind of failure it is, and when the service takes us again."""
        if self.stuck and self.status not in REFUSED:
            return "limit", self.until
        lines = error.splitlines()
        now = self._clock()
        for kind in ("login", "budget", "limit", "overload"):
            # by pattern and then by line: an entry's patterns stand with the most telling first
            for found in filter(None, (pattern.search(line) for pattern in getattr(self.signs, kind) for line in lines)):
                moment = self.until or until.said_in(found.groupdict(), now)
                return kind, moment if kind in ("limit", "overload") else None
        if self.status in REFUSED:
            return "login", None
        soon = self.until is None or (self.until - now).total_seconds() < SOON
        if self.status in BUSY and soon:
            return "overload", self.until
        return ("limit", self.until) if self.until else ("error", None)


def _number(text: str | None) -> int:
    """`1.2k` as 1200; 0 if it is no number."""
    digits, scale = (text or "").replace(",", "").strip(), 1
    if digits and digits[-1] in "kM":
        digits, scale = digits[:-1], 1000 if digits[-1] == "k" else 1_000_000
    try:
        return int(float(digits) * scale)
    except ValueError:
        return 0


def matches(patterns: Iterable[Any], line: str) -> bool:
    return any(pattern.search(line) for pattern in patterns)
