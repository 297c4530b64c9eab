"""
The demo's own books: what must be counted of what its players sent, worked out without the tracker.

They follow `design.md`, sections 3 and 6, in the plainest way, from what was sent and when it was acknowledged. Where
nobody outside can know (an input arrived within moments of a deadline; a request was sent again, because the first
answer was lost, and may have been taken twice) they hold a span of possible counts instead of one. Times are seconds on
one clock, which need not be the server's; stamps are the player's. They know no HTTP and no clock.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from serve_app.audience import Does

TICK_S: Final = 2.5
"""How late the tracker may notice a deadline."""
LATE_S: Final = 60.0
"""Events this much older than their session's newest stamp are late."""

_AFTER: Final = {"stream_start": "playing", "stream_buffer_start": "rebuffering", "stream_buffer_end": "playing"}
_PIXELS: Final = (Does.VIEW, Does.PLAY, Does.CHECK)

Counted = tuple[str, ...]
"""What is counted, as in ("ended", reason) or ("events", type)."""


class Span(NamedTuple):
    """The least and the most that a count can be."""

    low: int = 0
    high: int = 0

    def __str__(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low} to {self.high}"

    def holds(self, count: float) -> bool:
        """Tell whether a count is possible."""
        return self.low <= count <= self.high


class Event(NamedTuple):
    """One event as it was sent."""

    event_id: str
    type: str
    stamp: float
    fatal: bool = False


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


class Sending(NamedTuple):
    """How a request came to be acknowledged."""

    sent_at: float
    """When it was sent first."""
    acknowledged_at: float
    alive_s: float
    """How long its session stays alive after it: the promised interval times the expiry intervals."""
    tries: int = 1
    """How often it was sent until that."""


@dataclass(slots=True)
class _Session:
    stream: str
    alive: bool = False
    known: bool = False
    """It was heard of before."""
    started: bool = False
    """Its start is known; else it is provisional."""
    over: bool = False
    """It has ended."""
    due: tuple[float, float] = (0.0, 0.0)
    """The earliest and the latest that its deadline can be."""
    playback: str = ""
    playback_stamp: float = float("-inf")
    newest_stamp: float = float("-inf")
    heartbeat_stamp: float = float("-inf")
    events: set[str] = field(default_factory=set)
    pixels: set[Does] = field(default_factory=set)


class Books:
    """Everything that the players did, as counts."""

    def __init__(self) -> None:
        self._sessions: dict[str, _Session] = {}
        self._low: dict[Counted, int] = defaultdict(int)
        self._high: dict[Counted, int] = defaultdict(int)
        self.requests = 0
        self.outages_s = 0.0
        """How long the tracker was away, in all: it may have kept every session alive for as long as that."""

    def note(self, said: Said, sending: Sending) -> None:
        """Take down one acknowledged request."""
        again = sending.tries - 1
        self.requests += sending.tries
        session = self._sessions.get(said.session)
        if session is not None and session.over:
            self._after_end(said, again)
            return
        if session is None:
            session = self._sessions[said.session] = _Session(said.stream)
            self._add("started" if said.does is Does.START or said.does in _PIXELS else "provisional")
        elif session.alive:
            self._may_have_expired(session, sending)
        else:
            self._add("revived")
        session.alive = True
        _TAKES[said.does](self, session, said, again)
        session.known = True
        low, high = session.due
        session.due = (max(low, sending.sent_at + sending.alive_s), max(high, sending.acknowledged_at + sending.alive_s))

    def settle(self, *, now: float) -> None:
        """Count as expired whose deadline the tracker must have noticed by `now`."""
        for session in self._sessions.values():
            if session.alive and now > self._latest(session):
                session.alive = False
                self._add("expired")

    def last_deadline(self) -> float:
        """Return when the last living session must have expired; 0.0: none lives."""
        return max((self._latest(session) for session in self._sessions.values() if session.alive), default=0.0)

    def counts(self) -> Mapping[Counted, Span]:
        """Return what must be counted, but for the deadlines that were not settled yet."""
        return {counted: Span(self._low[counted], high) for counted, high in self._high.items()}

    def watching(self, *, since: float, now: float) -> Mapping[tuple[str, str], Span]:
        """Return the active sessions by (stream, state) that somebody may see who was told between `since` and `now`."""
        seen: dict[tuple[str, str], Span] = defaultdict(Span)
        for session in self._sessions.values():
            if session.alive and since <= self._latest(session):
                low, high = seen[session.stream, session.playback]
                seen[session.stream, session.playback] = Span(low + (now < session.due[0]), high + 1)
        return seen

    def active(self) -> int:
        """Return how many sessions are alive, as far as is settled."""
        return sum(session.alive for session in self._sessions.values())

    def _latest(self, session: _Session) -> float:
        return session.due[1] + TICK_S + self.outages_s

    def _add(self, *counted: str) -> None:
        self._low[counted] += 1
        self._high[counted] += 1

    def _unsure(self, *counted: str, more: int = 1) -> None:
        if more:
            self._high[counted] += more

    def _may_have_expired(self, session: _Session, sending: Sending) -> None:
        if sending.sent_at > self._latest(session):
            self._add("expired")
            self._add("revived")
        elif sending.acknowledged_at >= session.due[0]:
            self._unsure("expired")
            self._unsure("revived")

    def _start(self, session: _Session, said: Said, again: int) -> None:
        if session.started:
            self._add("duplicates")
        else:
            if session.known:
                self._add("promoted")
            session.started = True
            self._moves(session, said.stamp, said.playback)
        self._unsure("duplicates", more=again)

    def _heartbeat(self, session: _Session, said: Said, again: int) -> None:
        if said.stamp <= session.heartbeat_stamp:
            self._add("duplicates")
        else:
            session.heartbeat_stamp = said.stamp
            self._add("heartbeats")
            self._moves(session, said.stamp, said.playback)
        self._unsure("duplicates", more=again)

    def _events(self, session: _Session, said: Said, again: int) -> None:
        for event in sorted(said.events, key=lambda event: event.stamp):
            if event.event_id in session.events:
                self._add("duplicates")
            else:
                session.events.add(event.event_id)
                self._add("events", event.type)
                if event.stamp < session.newest_stamp - LATE_S:
                    self._add("late_events")
                else:
                    self._moves(session, event.stamp, "failed" if event.fatal else _AFTER.get(event.type))
        self._unsure("duplicates", more=again * len(said.events))

    def _pixel(self, session: _Session, said: Said, again: int) -> None:
        if said.does in session.pixels:
            self._add("duplicates")
        else:
            self._add("beacons", said.does)
            if said.does is not Does.CHECK:
                session.pixels.add(said.does)
        counted_again = ("beacons", "check") if said.does is Does.CHECK else ("duplicates",)
        self._unsure(*counted_again, more=again)
        self._moves(session, said.stamp, said.playback)

    def _end(self, session: _Session, said: Said, again: int) -> None:
        self._add("ended", said.reason)
        session.alive, session.over = False, True
        self._unsure("duplicates", more=again)
        self._unsure("rejected", said.does, "session_ended", more=again)

    def _after_end(self, said: Said, again: int) -> None:
        if said.does is Does.END:
            self._add("duplicates")
            self._unsure("duplicates", more=again)
        self._add("rejected", said.does, "session_ended")
        self._unsure("rejected", said.does, "session_ended", more=again)

    def _moves(self, session: _Session, stamp: float, playback: str | None) -> None:
        session.newest_stamp = max(session.newest_stamp, stamp)
        if playback and stamp >= session.playback_stamp:
            session.playback, session.playback_stamp = playback, stamp


_TAKES: Final = {
    Does.START: Books._start,  # noqa: SLF001 - of the same class
    Does.HEARTBEAT: Books._heartbeat,  # noqa: SLF001
    Does.EVENTS: Books._events,  # noqa: SLF001
    Does.END: Books._end,  # noqa: SLF001
    **dict.fromkeys(_PIXELS, Books._pixel),  # noqa: SLF001
}
