"""
What the demo's players say and were told, and the numbers in which the books answer: plain data.

Times are seconds on one clock, which need not be the server's; stamps are the player's.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from serve_app.demo.script import Does
from sessions.words import counted

Counted = tuple[str, ...]
"""What is counted, as in ("ended", reason) or ("events", type)."""


class Span(NamedTuple):
    """The least and the most that a count, or a sum of seconds, can be."""

    low: float = 0
    high: float = 0

    def __str__(self) -> str:
        low, high = written(self.low), written(self.high)
        return low if low == high else f"{low} to {high}"

    def holds(self, count: float, *, within: float = 0.0) -> bool:
        """Tell whether a count is possible, or a sum that may be off by a share of itself."""
        return self.low * (1 - within) <= count <= self.high * (1 + within)


def written(count: float) -> str:
    """Return a count as people read it: whole numbers as such, seconds to the tenth."""
    return str(round(count)) if count == round(count) else f"{count:.1f}"


class Event(NamedTuple):
    """One event as it was sent."""

    event_id: str
    type: str
    stamp: float
    fatal: bool = False
    quality: str | None = None
    """Of a change of quality: the new one."""


class Measured(NamedTuple):
    """What a player says of itself: a start the quality, a heartbeat all but the last, an end the last two."""

    quality: str | None = None
    bitrate_kbps: int | None = None
    latency_ms: int | None = None
    stalls: int = 0
    """Since it began."""
    watched_s: int = 0


_NOTHING: Final = Measured()


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One request, before it meets HTTP."""

    session: str
    stream: str
    does: Does
    stamp: float
    playback: str | None = None
    """What a start, a heartbeat or a pixel says that the player does."""
    events: tuple[Event, ...] = ()
    reason: str = ""
    """Of an end."""
    measured: Measured = _NOTHING


class Sending(NamedTuple):
    """How a request came to be acknowledged."""

    sent_at: float
    """When it was sent first."""
    acknowledged_at: float
    alive_s: float
    """How long its session stays alive after it: the promised interval times the expiry intervals."""
    tries: int = 1
    """How often it was sent until that."""


class Short(NamedTuple):
    """What went on, in four numbers."""

    viewers: int
    peak: int
    """The most who were active at one moment."""
    median_startup_s: float | None
    """None: nobody saw a first frame whose wait is known."""
    rebuffering_ratio: float

    def __str__(self) -> str:
        waited = "" if self.median_startup_s is None else f", median start {self.median_startup_s:.1f} s"
        return f"{counted(self.viewers, 'viewer')}, {self.peak:,} at the peak{waited}, {self.rebuffering_ratio:.1%} rebuffering"


class Step(NamedTuple):
    """A moment at which the least or the most that can be active on a stream changes."""

    at: float
    stream: str
    low: int
    high: int
