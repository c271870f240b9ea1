"""One output stream of a step: from bytes as they come to whole, masked lines, with bounded memory and no stall.

Apart from the loop that reads, because what may be cut, held back or left out is a question of its own. Text is decoded and
masked once for all lines of a read, which is what lets a step that floods its output be read at full speed.
"""

from kin.runner.mask import Mask, is_safe, safe_cut, unfinished

__all__ = ["READ_SIZE", "Lines"]

READ_SIZE = 1024 * 1024
LONGEST_LINE = 4 * 1024 * 1024
"""Bytes: a longer line is handed on in pieces. A model's client prints JSON lines of some MB, and those must stay whole."""
TAIL = 4000
"""Characters of a stream's end that are kept for reasons and summaries."""
FLOOD_AFTER = 32 * 1024 * 1024
"""Bytes of a stream that are always handed on in full."""
FLOOD_KEEP = 64 * 1024
FLOOD_EVERY = 1.0
"""Past that, of output that comes faster than it is read the last bytes of each second are handed on, and the rest counted."""


class Lines:
    """Give it bytes, take whole masked lines. `tail` is the end of what was handed on, `left_out` what was not, in bytes."""

    def __init__(self, mask: Mask) -> None:
        self.tail = ""
        self.left_out = 0
        self._mask = mask
        self._rest: list[bytes] = []
        self._rest_size = 0
        self._seen = 0
        self._shown = 0.0

    def feed(self, raw: bytes, now: float) -> list[str]:
        """The lines that `raw` completes. `now` is monotonic, in seconds."""
        self._seen += len(raw)
        if len(raw) == READ_SIZE and self._seen > FLOOD_AFTER:
            if now - self._shown < FLOOD_EVERY:
                return self._leave_out(raw)
            self._shown = now
        if self._rest_size + len(raw) < LONGEST_LINE and b"\n" not in raw:
            self._keep(raw)
            return []
        raw = b"".join([*self._rest, raw])
        cut = raw.rfind(b"\n") + 1
        cut = unfinished(raw[:cut]) if cut else cut
        if len(raw) - cut >= LONGEST_LINE:
            cut = safe_cut(raw, self._mask)
        self._rest, self._rest_size = [], 0
        self._keep(raw[cut:])
        return self._lines(raw[:cut])

    def finish(self) -> list[str]:
        """The last line, which nothing ended."""
        raw, self._rest, self._rest_size = b"".join(self._rest), [], 0
        return self._lines(raw)

    def _keep(self, raw: bytes) -> None:
        self._rest.append(raw)
        self._rest_size += len(raw)

    def _leave_out(self, raw: bytes) -> list[str]:
        """Keep only the end of `raw`, from a line's beginning, in place of all that waits."""
        start = raw.find(b"\n", len(raw) - FLOOD_KEEP) + 1
        if not start or not is_safe(raw, start, self._mask):
            start = len(raw) - 2 * FLOOD_KEEP + safe_cut(raw[-2 * FLOOD_KEEP :], self._mask)
        self.left_out += self._rest_size + start
        self._rest, self._rest_size = [raw[start:]], len(raw) - start
        return []

    def _lines(self, raw: bytes) -> list[str]:
        if not raw:
            return []
        text = self._mask(raw.decode("utf-8", "replace").replace("\r\n", "\n"))
        self.tail = (self.tail[-TAIL:] + text[-TAIL:])[-TAIL:]
        return text.removesuffix("\n").split("\n")
