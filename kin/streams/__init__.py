"""What agents' clients print while they work, read into one form: a few formats, shared by all clients."""

from kin.streams.formats import ClaudeStream, CodexStream, GeminiStream, OpenCodeStream, TextStream
from kin.streams.reading import Reading, StreamReader

__all__ = ["READERS", "Reading", "StreamReader"]

READERS: dict[str, type[StreamReader]] = {
    "text": TextStream,
    "claude-stream-json": ClaudeStream,
    "codex-jsonl": CodexStream,
    "gemini-stream-json": GeminiStream,
    "opencode-json": OpenCodeStream,
}
"""The reader of each format that kin.model.agent names."""
