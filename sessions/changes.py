"""
What comes out of a `Tracker`: receipts for players, changes for the journal, reports for the exporter.

All of it is plain data. `Increments` and `Audience` map a key to a number; a key is a tuple whose first entry
names what is counted and whose others are its labels. `metrics/catalog.py` gives each a metric.

A `Receipt` and a `Ledger` cross between processes, and grow as `growing.py` says: at their end, by fields with a default.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from sessions.growing import grows

if TYPE_CHECKING:
    from sessions.session import Session

Key = tuple[str, ...]
"""What is counted, then its labels, as ("events", "share") or ("stream", stream_id, state)."""
Increments = dict[Key, float]
"""Amounts to add to counters. Histograms arrive as (name, "le", bound index) counts and (name, "sum")."""
Audience = dict[Key, int]
"""Active sessions by key: ("state", s), ("stream", id, s), and (name, v) of each of `dimensions.DIMENSIONS`. Keys that reach zero are removed."""


class Reason(StrEnum):
    """Why an input was not taken, or not counted. Closed."""

    SESSION_ENDED = "session_ended"
    TOO_MANY_SESSIONS = "too_many_sessions"


class Receipt(NamedTuple):
    """What a player is told of one request, once it is durable."""

    accepted: bool
    reason: str | None = None
    interval_s: int = 0
    """The promised heartbeat interval."""
    accepted_count: int = 0
    """Events taken, duplicates among them."""
    rejected: tuple[tuple[str, str], ...] = ()
    """(event_id, reason) of each event not taken."""
    total_watch_s: int | None = None
    """The player's own total, from the end that counts."""
    end_reason: str | None = None
    """From the end that counts."""
    start_wanted: bool = False
    """The session's start never arrived (yet)."""


@lru_cache(maxsize=1_024)
def taken(interval_s: int, start_wanted: bool = False) -> Receipt:  # noqa: FBT001, FBT002 - by position: a keyword costs a heartbeat 100 ns
    """Return the receipt of a request that was taken, without any details: the usual one, cached because finding it is cheaper than making it."""
    return Receipt(accepted=True, interval_s=interval_s, start_wanted=start_wanted)


@grows
@dataclass(slots=True)
class Ledger:
    """
    The count that must add up, absolute since the data set began.

    `active = started + provisional + revived - ended - expired`, always.
    """

    active: int = 0
    started: int = 0
    provisional: int = 0
    promoted: int = 0
    """Provisional sessions whose start came after all; outside the equation."""
    revived: int = 0
    expired: int = 0
    ended: dict[str, int] = field(default_factory=dict)
    """By end reason."""

    @property
    def balance(self) -> int:
        """What `active` must be."""
        return self.started + self.provisional + self.revived - sum(self.ended.values()) - self.expired


class Finished(NamedTuple):
    """A session that ended or expired just now, to be summarised for other systems."""

    session: "Session"
    revision: int
    """1 for its first finish; one more each time that it finishes again after a revival."""


class Changes(NamedTuple):
    """All that changed in one slot since the last call of `Tracker.take_changes`."""

    sessions: Sequence["Session"]
    """To be written in full."""
    forgotten: Sequence[str]
    """Session ids to be deleted."""
    finished: Sequence[Finished]
    ledger: Ledger
    """A copy."""
    paused_s: float
    increments: Increments
    """Amounts that are new since the last call."""


class Policy(NamedTuple):
    """The settings that sessions live by; the interval and the window in seconds."""

    heartbeat_interval_s: int = 30
    expiry_intervals: int = 3
    revive_window_s: float = 1_800.0


Counts = Mapping[Key, float]
