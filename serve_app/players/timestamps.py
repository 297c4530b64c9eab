"""
Times as players write them, and as we answer them.

Decides which texts are a moment: ISO 8601 in the extended form with a date, a time and a zone, nothing less. It knows no
clock.
"""

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from pydantic_core import PydanticCustomError

_SHAPE: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]{1,9})?)?(?:[Zz]|[+-][0-9]{2}(?::?[0-9]{2})?)"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LEAP_SECOND: Final = slice(17, 19)


def seconds_of(written: object) -> float:
    """
    Return the seconds since the epoch (before it: negative) of an ISO 8601 time with a zone.

    The years 1 to 9999 in any zone are fine. A leap second (`:60`) is the second after `:59`. Raises
    `PydanticCustomError`, which pydantic turns into one of its errors: it is the validator of every timestamp.
    """
    if type(written) is not str or _SHAPE.fullmatch(written) is None:
        raise PydanticCustomError("timestamp", "must be an ISO 8601 date and time with a zone, like 2024-11-01T18:15:00Z")
    leap = 0
    if written[_LEAP_SECOND] == "60":
        written, leap = f"{written[:17]}59{written[19:]}", 1
    try:
        return (datetime.fromisoformat(written.upper()) - _EPOCH).total_seconds() + leap
    except ValueError:
        raise PydanticCustomError("timestamp", "is not a date and time that exists") from None


def written_utc(at: float) -> str:
    """Return a moment to the second, as in `2024-11-01T18:15:00Z`."""
    return _written_second(int(at))


@lru_cache(maxsize=4)
def _written_second(at: int) -> str:
    """Every answer of one second says the same, and writing it costs as much as all the rest of the answer."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def written_length(seconds: int) -> str:
    """Return a length of time as players show it: `39:00`, and from an hour on `1:02:03`."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"
