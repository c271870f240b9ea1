"""Times as kin writes them: RFC 3339 in UTC to the second, and the sortable stamp in a run's name."""

from datetime import UTC, datetime


def now() -> datetime:
    """The clock, asked in one place."""
    return datetime.now(UTC)


def written() -> str:
    """Now, as files hold it."""
    return rfc3339(now())


def today() -> str:
    """The day by this machine's calendar, `2026-11-24`: what `created` says."""
    return now().astimezone().strftime("%Y-%m-%d")


def rfc3339(moment: datetime) -> str:
    """`2026-11-24T09:32:00Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def stamp(moment: datetime) -> str:
    """`20261124T093200Z`."""
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def parse(text: str) -> datetime:
    """The moment that `rfc3339` wrote. Raises ValueError."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
