"""When a client says that it may go on: times and waits as services spell them in their messages."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

JUST_NOW = timedelta(minutes=10)
"""A time of day so little before now is the one that has just passed, not tomorrow's."""

_CLOCK = re.compile(
    r"(?:(?P<month>[a-z]{3})[a-z]*\.? (?P<day>\d{1,2})(?:st|nd|rd|th)?(?:,? (?P<year>\d{4}))?,? (?:at )?)?"
    r"(?P<hour>\d{1,2})(?::(?P<minute>\d\d))?(?::\d\d)? ?(?P<half>am|pm)?",
    re.IGNORECASE,
)
_SPAN = re.compile(r"(\d+(?:\.\d+)?) ?(ms|[dhms])", re.IGNORECASE)
_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def after(now: datetime, seconds: float) -> datetime | None:
    """The moment so many seconds from now; None if there is no such moment."""
    try:
        return now + timedelta(seconds=max(seconds, 0.0))
    except (OverflowError, ValueError):
        return None


def epoch(value: object) -> datetime | None:
    """A Unix time in seconds, or in milliseconds if it is too large for that; None if it is neither."""
    try:
        number = float(str(value))
        return datetime.fromtimestamp(number / 1000 if number > 1e11 else number, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def said_in(groups: Mapping[str, str | None], now: datetime) -> datetime | None:
    """The moment that the named groups of a match tell (see kin.model.agent.Signs); None if they tell none."""
    if found := groups.get("epoch"):
        return epoch(found)
    if found := groups.get("seconds"):
        return after(now, float(found))
    if found := groups.get("ms"):
        return after(now, float(found) / 1000)
    if found := groups.get("span"):
        return after(now, sum(float(number) * _UNITS[unit.lower()] for number, unit in _SPAN.findall(found)))
    if found := groups.get("clock"):
        return _clock(found, groups.get("zone"), now)
    return None


def _clock(text: str, zone: str | None, now: datetime) -> datetime | None:
    """A time of day, today or tomorrow, or with a date; in the zone that was named, else in this machine's."""
    if not (found := _CLOCK.search(text)):
        return None
    try:
        here: tzinfo | None = ZoneInfo(zone) if zone else None
        local = now.astimezone(here)
        hour = int(found["hour"]) % 12 + (12 if found["half"].lower() == "pm" else 0) if found["half"] else int(found["hour"])
        wanted = local.replace(hour=hour, minute=int(found["minute"] or 0), second=0, microsecond=0)
        if found["month"]:
            month = _MONTHS.index(found["month"].lower()) + 1
            wanted = wanted.replace(year=int(found["year"] or local.year), month=month, day=int(found["day"]))
            if not found["year"] and wanted < local - timedelta(days=180):
                wanted = wanted.replace(year=local.year + 1)
        elif wanted < local - JUST_NOW:
            wanted += timedelta(days=1)
        return wanted.astimezone(UTC)
    except (ValueError, KeyError, OverflowError):  # no such month, day, hour or zone
        return None
