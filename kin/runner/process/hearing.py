"""What a run's steps say, in words for people: a client prints lines for programs, and the log keeps them as they came."""

from contextlib import suppress
from typing import TYPE_CHECKING

from kin.errors import KinError
from kin.runner.process.logs import LONGEST_TEXT, LogLine
from kin.store.project import Project

if TYPE_CHECKING:
    from kin.streams import StreamReader

PLAYED_BY = "played by "
"""With an agent's name, what kin notes in a step's log where that agent begins."""


class Hearing:
    """Hears a run's log line by line, in its order. The reader of each step's client is told by kin's own note there.

    `streams` are the readers by step, which know what was used so far; `players` the agents' names.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self.streams: dict[str, StreamReader | None] = {}
        self.players: dict[str, str] = {}
        self._begun: dict[tuple[str, str], str] = {}

    def hear(self, line: LogLine) -> list[str]:
        """What a line says, a text a line; [] if that is nothing to a person. A command's lines say what they are."""
        if line.stream == "kin" and line.text.startswith(PLAYED_BY):
            name = self.players[line.step] = line.text.removeprefix(PLAYED_BY)
            self.streams[line.step] = _reader(self._project, name)
        stream = self.streams.get(line.step)
        if line.stream == "kin" or stream is None:
            return [line.text]
        whole = self._begun.pop((line.step, line.stream), "") + line.text
        if len(line.text) == LONGEST_TEXT:  # the log has its rest in the next record
            self._begun[line.step, line.stream] = whole
            return []
        return told(stream.feed(line.stream, whole)).splitlines()


def told(words: str) -> str:
    """A client's words, with the result that they end in as a person would say it."""
    if "kin-result" not in words:
        return words.strip()
    from kin.model.result import result_of, without_result

    with suppress(ValueError):  # one that is malformed is shown as it stands
        if result := result_of(words):
            ended = ": ".join(filter(None, (result.status, result.summary or result.question)))
            return f"{without_result(words)}\n{ended}".strip()
    return words.strip()


def _reader(project: Project, name: str) -> "StreamReader | None":
    """What reads the output of the agent called so; None if there is none of that name any more."""
    from kin import agents  # a log of commands does not pay for them
    from kin.store import config

    try:
        known = agents.known(config.load_settings(project))
    except KinError:  # settings that are broken say nothing
        known = agents.built_in()
    return agents.reader(known[name]) if name in known else None
