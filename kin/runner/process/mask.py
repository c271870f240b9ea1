"""Hiding secrets in what agents and gates print, before it reaches a log, a record or a prompt.

Masked are the values of the environment names that the caller gives, and shapes of tokens that are known everywhere. Works on
whole lines: whoever reads a pipe must not cut a line, or a key's block, between two calls (`unfinished`, `safe_cut`).
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping

Mask = Callable[[str], str]
HIDDEN = "***"
MIN_VALUE = 6
"""Shorter values would hide ordinary words and protect nobody."""
LONGEST = 4096
"""Characters of a secret, at most, for which a cut through a long line is checked."""

KEY_BLOCK = (
    r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----"
    r"(?:[A-Za-z0-9+/=\s\\]|(?:Proc-Type|DEK-Info|Version|Comment):[^\n\\]*)*"
    r"(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----)?"
)
SHAPES = {
    "PRIVATE KEY": KEY_BLOCK,
    "gh": r"gh(?<!\wgh)[pousr]_[A-Za-z0-9]{30,}",  # GitHub
    "github_pat_": r"github_pat_[A-Za-z0-9_]{30,}",
    "glpat-": r"glpat-[A-Za-z0-9_.-]{20,}",  # GitLab
    "sk-": r"sk-(?<!\wsk-)(?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{20,}",  # OpenAI, Anthropic
    "k_live_": r"k_live_(?<=[sr]k_live_)[A-Za-z0-9]{20,}",  # Stripe
    "AKIA": r"AKIA(?<!\wAKIA)[A-Z0-9]{16}(?!\w)",  # AWS
    "ASIA": r"ASIA(?<!\wASIA)[A-Z0-9]{16}(?!\w)",
    "xox": r"xox(?<!\wxox)[abeoprs]-[A-Za-z0-9-]{10,}",  # Slack
    "AIza": r"AIza(?<!\wAIza)[A-Za-z0-9_-]{35}(?!\w)",  # Google
    "npm_": r"npm_(?<!\wnpm_)[A-Za-z0-9]{36}(?!\w)",
    "pypi-": r"pypi-(?<!\wpypi-)[A-Za-z0-9_-]{50,}",
    "eyJ": r"eyJ(?<!\weyJ)[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*",  # JSON web tokens
}
"""What each shape has in it for certain, and the shape. The first is looked for alone, which is 100 times faster than an
alternation; a pattern begins with plain letters, and looks back over them for a word's beginning, for the same reason."""
OPEN_BLOCK = re.compile(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----(?:(?!-----END ).)*\Z", re.DOTALL)


def make_mask(environ: Mapping[str, str], names: Iterable[str]) -> Mask:
    """A function that puts *** for every secret in a text: values of `names` in `environ`, and the known shapes.

    A value is also found as JSON spells it; one of several lines (a key) is found line by line.
    """
    needles = set()
    for value in (environ.get(name, "") for name in names):
        for text in (value, *value.splitlines()):
            needles |= {text.strip(), json.dumps(text.strip())[1:-1], json.dumps(text.strip(), ensure_ascii=False)[1:-1]}
    values = sorted((n for n in needles if len(n) >= MIN_VALUE), key=len, reverse=True)
    shapes = [(sure, re.compile(pattern)) for sure, pattern in SHAPES.items()]

    def mask(text: str) -> str:
        for value in values:
            text = text.replace(value, HIDDEN)
        for sure, pattern in shapes:
            if sure in text:
                text = pattern.sub(HIDDEN, text)
        return text

    return mask


def unfinished(raw: bytes) -> int:
    """Where a private key begins whose end has not come yet; the length if there is none within the last 16 KiB."""
    start = max(0, len(raw) - 16384)
    if raw.find(b"PRIVATE KEY", start) < 0:
        return len(raw)
    found = OPEN_BLOCK.search(raw, start)
    return found.start() if found else len(raw)


def safe_cut(raw: bytes, mask: Mask) -> int:
    """Where an endless line may be cut near its end so that no half of a secret is left in the open."""
    for cut in range(len(raw) - LONGEST, len(raw) // 2, -LONGEST):
        while raw[cut] & 0xC0 == 0x80:  # never inside a character
            cut -= 1
        if is_safe(raw, cut, mask):
            return cut
    return len(raw)


def is_safe(raw: bytes, cut: int, mask: Mask) -> bool:
    """Whether the two sides of a cut hide the same as the whole does."""
    left, right = (side.decode("utf-8", "replace") for side in (raw[max(0, cut - LONGEST) : cut], raw[cut : cut + LONGEST]))
    return mask(left) + mask(right) == mask(left + right)
