"""Random YAML: data, documents that say it in every style that people use, and how many examples a property test tries.

`HYPOTHESIS_PROFILE=nightly` tries 20,000 examples of each property, the suite 500 (always the same ones).
"""

import json
import os
import re
from random import Random
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

_COMMON: dict[str, Any] = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
settings.register_profile("suite", max_examples=500, derandomize=True, **_COMMON)
settings.register_profile("nightly", max_examples=20_000, **_COMMON)
PROFILE = settings.get_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))

PLAIN_WORDS = [
    *(
        "true",
        "yes",
        "no",
        "NO",
        "on",
        "1",
        "1.10",
        "1e3",
        "0o14",
        "014",
        "0x1F",
        "1:30",
        "2026-11-24",
        "12e4567",
        "-5",
        "-x",
        ".5",
    ),
    *(
        "https://x.org/a?b=c#d",
        "it's",
        'say "hi"',
        "C:\\dir",
        "é ü",
        "日本語",
        "😀",
        "a&b*c",
        "x  y",
        "?x",
        ":x",
        "=",
        "(a)",
        "$x",
        "a|b",
    ),
]
ODD_WORDS = [
    *("null", "~", "Null", "", "-", "--- x", "a: b", "a #b", "#x", "- x", "[x", "{x}", "&a", "*a", "!t", "%x", "@x", "`x`"),
    *(
        "|",
        ">",
        "?",
        "x:",
        '"',
        "'",
        ",",
        "a, b",
        "<<",
        "...",
        "=======",
        " x",
        "x ",
        "\t",
        "\\",
        "\x00",
        "\x85",
        "a\u2028b",
        "\ufeff",
    ),
]
KEY_WORDS = [
    "id",
    "title",
    "status",
    "labels",
    "deps",
    "description",
    "x-a",
    "zeta",
    "a b",
    "on",
    "1",
    "é",
    "a.b/c",
    "it's",
    "null",
]

_CHARS = st.characters(codec="utf-8") | st.sampled_from(list(" :#-[]{},'\"\\\t\n\x85\u2028\ufeff\x07\x7f|>&*!%@`~?"))
# One draw each: a draw costs as much as what most tests do with it.
WORDS = st.sampled_from(PLAIN_WORDS + ODD_WORDS) | st.text("abcnxyz019 ", max_size=20).map(lambda t: " ".join(f"a{t}".split()))
LINE_WORDS = ["", "text", "  deep", "# heading", "- item", "a: b", "tab\there", "end ", "日本", "'q", '"q']
LINES = st.text("0123456789a", min_size=2, max_size=6).map(lambda text: "\n".join(LINE_WORDS[int(n, 16)] for n in text))
TEXTS = WORDS | LINES | LINES.map(lambda text: text + "\n") | st.text(_CHARS, max_size=12)
KEYS = st.sampled_from(KEY_WORDS)
DATA = st.dictionaries(
    KEYS,
    st.recursive(
        TEXTS | st.none(), lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=6
    ),
    min_size=1,
    max_size=7,
)

_PRINTABLE = re.compile("[ -~\xa0-\ud7ff\U00010000-\U0010ffff]*")
_PLAIN = re.compile(r"[a-z日é][\w./日本-]*( [\w./-]+)*")
_NULLS = ("", "~", "null", "Null", "NULL")


def escaped(text: str) -> str:
    """JSON without the characters that it allows and YAML does not."""
    return re.sub("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]", lambda match: f"\\u{ord(match[0]):04X}", text)


class Style:
    """One person's way of writing, drawn by lot; `document` says `data` in it."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.comments: list[str] = []
        self.anchors = 0
        self.in_block = False
        self.noise = random.choice([0.0, 0.0, 0.3])

    def maybe(self, chance: float) -> bool:
        return self.random.random() < chance

    def pick(self, *choices: Any) -> Any:
        return self.random.choice(choices)

    def document(self, data: dict[str, Any]) -> str:
        """The text of a file that holds `data`."""
        lines = self.flow_lines(data) if self.maybe(0.25) else self.block(data, self.pick(0, 0, 0, 2))
        if self.maybe(0.1):
            lines = ["%YAML 1.2", "---" + self.comment(), *lines] if self.maybe(0.3) else ["---" + self.comment(), *lines]
        lines += self.pick([], [], [], ["..."], [self.comment().lstrip()])
        ends = [[""], [""], ["", "", ""]] + [[]] * (not self.in_block)  # without a line end a block of lines has none either
        text = self.pick("\n", "\n", "\r\n").join([*lines, *self.pick(*ends)])
        return self.pick("", "", "", "\ufeff") + text

    def flow_lines(self, data: dict[str, Any]) -> list[str]:
        if self.maybe(0.5):
            return escaped(json.dumps(data, ensure_ascii=self.maybe(0.5), indent=self.pick(None, 2, "\t"))).split("\n")
        return self.flow(data, "").split("\n")

    def comment(self) -> str:
        """Nothing, or a comment with what must be before it."""
        if not self.maybe(self.noise):
            return self.pick("", "", "", " ", "\t") if self.noise else ""
        self.comments.append(f"# c{len(self.comments)};" + self.pick("", ": x", ", y", " [ {", " \u2028", " - &a *b"))
        return self.pick(" ", "   ", "\t", " \t ") + self.comments[-1]

    def comment_line(self, indent: int) -> str:
        """A line of its own; deeper than `indent` it could belong to a block of lines before it."""
        comment = self.comment().lstrip()
        return comment and " " * indent + comment

    def anchor(self) -> str:
        self.anchors += 1
        return f"&a{self.anchors} " if self.maybe(self.noise / 2) else ""

    def key(self, key: str) -> str:
        plain = key not in _NULLS and (_PLAIN.fullmatch(key) or key in PLAIN_WORDS)
        return self.quoted(key) if not plain or self.maybe(0.15) else key

    def quoted(self, text: str) -> str:
        if _PRINTABLE.fullmatch(text) and self.maybe(0.5):
            return "'" + text.replace("'", "''") + "'"
        return self.double(text)

    def double(self, text: str) -> str:
        return escaped(json.dumps(text, ensure_ascii=self.maybe(0.3)))

    def scalar(self, text: str | None, indent: int, *, in_flow: bool = False) -> list[str]:
        """The value's lines; `indent` is that of the mapping or list around it."""
        if text is None:
            return [self.pick(*_NULLS[1:]) if in_flow or self.maybe(0.7) else ""]
        pad = " " * (indent + self.pick(1, 2, 4))
        ways = [[self.quoted(text)], [self.double(text)]]
        if text not in _NULLS and (_PLAIN.fullmatch(text) or (text in PLAIN_WORDS and not in_flow)):
            ways += [[text]] * 4
        if " " in text and _PLAIN.fullmatch(text):
            first, *rest = text.split(" ")
            ways += [
                [first, *(pad + word for word in rest)],
                ['"' + first, *(pad + word for word in rest[:-1]), f'{pad}{rest[-1]}"'],
            ]
        if not in_flow:
            ways += self.blocks(text, pad, indent)
        return self.pick(*ways)

    def blocks(self, text: str, pad: str, indent: int) -> list[list[str]]:
        """The ways to write it as a block of lines, if there are any."""
        body = text.removesuffix("\n")
        lines = body.split("\n")
        odd = [line for line in lines if line and not line.strip(" \t")]
        if not body or body.endswith("\n") or odd or not all(_PRINTABLE.fullmatch(line.replace("\t", "")) for line in lines):
            return []
        chomp = "" if text != body else "-"
        if not lines[0] or lines[0][0] in " \t" or self.maybe(0.2):
            chomp = self.pick(chomp + str(len(pad) - indent), str(len(pad) - indent) + chomp)
        out = [[f"|{chomp}{self.comment()}", *(pad + line if line else "" for line in lines)]] * 2
        if re.fullmatch(r"[^\s#-]\S*( [^\s#-]\S*)+", body):
            out.append([f">{chomp}{self.comment()}", *(pad + word for word in body.split(" "))])
        return out

    def flow(self, value: Any, pad: str) -> str:
        """The value in brackets."""
        if not isinstance(value, (list, dict)):
            return "\n".join(self.scalar(value, len(pad), in_flow=True))
        eol, inner = ("\n" + pad + "  ", pad + "  ") if self.maybe(0.2) else ("", pad)
        if isinstance(value, list):
            parts = [self.flow(item, inner) for item in value]
        else:
            parts = [f"{self.key(key)}: {self.flow(item, inner)}" for key, item in value.items()]
        gap = "," + (eol or self.pick(" ", "", "  ")) if all(part[-1:] in "\"']}" for part in parts) else "," + (eol or " ")
        open_, close = "[]" if isinstance(value, list) else "{}"
        trailing = "," if parts and self.maybe(0.05) else ""
        lead = eol if parts else ""
        return open_ + lead + gap.join(parts) + trailing + (lead and "\n" + pad) + close

    def block(self, data: dict[str, Any], indent: int) -> list[str]:
        """The mapping's lines, one key each or more."""
        lines: list[str] = []
        blank = self.pick(0, 0.5, 1)
        for number, (key, value) in enumerate(data.items()):
            if self.maybe(self.noise / 2):
                lines += [*[""] * self.maybe(0.5), self.comment_line(self.pick(indent, 0))] if number else []
            if number and self.maybe(blank):
                lines.append("")
            lines += self.behind(f"{' ' * indent}{self.key(key)}:", value, indent)
        return lines

    def behind(self, head: str, value: Any, indent: int) -> list[str]:
        """The lines of a key or a dash and its value."""
        if isinstance(value, (list, dict)) and value and self.maybe(0.7):
            if head.endswith("-") and self.maybe(0.7):
                inner = self.below(value, len(head) + 1)
                return [f"{head} {inner[0].lstrip(' ')}", *inner[1:]]
            step = 0 if isinstance(value, list) and head.endswith(":") and self.maybe(0.3) else self.pick(2, 2, 4)
            anchor = self.anchor().rstrip()
            return [f"{head}{' ' * bool(anchor)}{anchor}{self.comment()}", *self.below(value, indent + step)]
        gap = self.pick(" ", " ", " ", "   ", "\t") if self.noise and head.endswith(":") else " "
        if isinstance(value, (list, dict)):
            self.in_block = False
            return (head + gap + self.anchor() + self.flow(value, " " * (indent + 2)) + self.comment()).split("\n")
        first, *rest = self.scalar(value, indent)
        self.in_block = first[:1] in ("|", ">") and bool(rest)
        lines = [f"{head}{gap}{self.anchor()}{first}" if first else head, *rest]
        if not self.in_block:
            lines[-1] += self.comment()
        return lines

    def below(self, value: Any, indent: int) -> list[str]:
        if isinstance(value, dict):
            return self.block(value, indent)
        lines = []
        for number, item in enumerate(value):
            if number and self.maybe(self.noise / 3):
                lines.append(self.comment_line(indent))
            lines += self.behind(f"{' ' * indent}-", item, indent)
        return lines
