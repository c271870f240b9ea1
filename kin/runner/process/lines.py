"""One output stream of a step: from bytes as they come to whole, masked lines, with bounded memory and no stall.

Apart from the loop that reads, because what may be cut, held back or left out is a question of its own. Text is decoded and
masked once for all lines of a read, which is what lets a step that floods its output be read at full speed.
"""

from kin.runner.process.mask import Mask, is_safe, safe_cut, unfinished

READ_SIZE = 256 * 1024
LONGEST_LINE = 2 * 1024 * 1024
"""Bytes: a longer line is handed on in pieces. A model's client prints JSON lines of some MB, and those must stay whole."""
TAIL = 4000
"""Characters of a stream's end that are kept for reasons and summaries."""
FLOOD_AFTER = 16 * 1024 * 1024
"""Bytes of a stream that are always handed on in full."""
FLOOD_RATE = 512 * 1024
"""Bytes a second that are handed on past that. Of what comes faster only the end is kept: handling it holds up the agent."""
FLOOD_KEEP = 64 * 1024


class Lines:
    """Give it bytes, take whole masked lines. `tail` is the end of what was handed on, `left_out` what was not, in bytes."""

    def __init__(self, mask: Mask) -> None:
        self.tail = ""
        self.left_out = 0
        self._mask = mask
        self._rest: list[bytes] = []
        self._rest_size = 0
        self._seen = 0
        self._second = 0.0
        self._budget = 0

    def feed(self, raw: bytes, now: float) -> list[str]:
        """The lines that `raw` completes. `now` is monotonic, in seconds."""
        self._seen += len(raw)
        self._keep(raw)
        if self._seen > FLOOD_AFTER and self._is_flood(len(raw), now):
            if self._rest_size > 4 * FLOOD_KEEP:
                self._leave_out()
            return []
        if self._rest_size < LONGEST_LINE and b"\n" not in raw:
            return []
        raw = self._take()
        cut = raw.rfind(b"\n") + 1
        if (waits := unfinished(raw[:cut])) < cut:
            cut = raw.rfind(b"\n", 0, waits) + 1
        if len(raw) - cut >= LONGEST_LINE:
            cut = safe_cut(raw, self._mask)
        self._keep(raw[cut:])
        return self._lines(raw[:cut])

    def finish(self) -> list[str]:
        return self._lines(self._take())

    def _keep(self, raw: bytes) -> None:
        self._rest.append(raw)
        self._rest_size += len(raw)

    def _take(self) -> bytes:
        raw, self._rest, self._rest_size = b"".join(self._rest), [], 0
        return raw

    def _is_flood(self, size: int, now: float) -> bool:
        if now - self._second >= 1.0:
            self._second, self._budget = now, FLOOD_RATE
        self._budget -= size
        return self._budget < 0

    def _leave_out(self) -> None:
        """Keep only the end of what waits, from a line's beginning if there is one."""
        raw = self._take()
        start = raw.find(b"\n", len(raw) - FLOOD_KEEP) + 1
        if not start or not is_safe(raw, start, self._mask):
            start = len(raw) - 2 * FLOOD_KEEP + safe_cut(raw[-2 * FLOOD_KEEP :], self._mask)
        self.left_out += start
        self._keep(raw[start:])

    def _lines(self, raw: bytes) -> list[str]:
        if not raw:
            return []
        text = self._mask(raw.decode("utf-8", "replace").replace("\r\n", "\n"))
        self.tail = (self.tail[-TAIL:] + text[-TAIL:])[-TAIL:]
        return text.removesuffix("\n").split("\n")
