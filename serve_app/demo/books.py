"""
The demo's own books: what must be counted of what its players sent, worked out without the tracker.

They follow what players are promised and how the ledger is kept, in the plainest way, from what was sent and when it was acknowledged; what a session
lived through is in `diary.py`. Where nobody outside can know (an input arrived within moments of a deadline; a request
was sent again, because the first answer was lost, and may have been taken twice) they hold a span of possible counts instead
of one. Times are seconds on one clock, which need not be the server's; stamps are the player's. They know no HTTP and no clock.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from statistics import median
from typing import Final

from serve_app.demo.diary import Diary, spans
from serve_app.demo.reckoning import UNKNOWN, Entry
from serve_app.demo.said import Counted, Said, Sending, Short, Span, Step
from serve_app.demo.script import Does

TICK_S: Final = 2.5
"""How late the tracker may notice a deadline."""

_ERRORS: Final = "stream_errors"
_AD_ERRORS: Final = "ad_errors"
"""Both are counted as they are taken, late or not; shown with quality, by stream."""
_PIXELS: Final = (Does.VIEW, Does.PLAY, Does.CHECK)


@dataclass(slots=True)
class _Session:
    stream: str
    diary: Diary
    stream_stamp: float = float("-inf")
    alive: bool = False
    known: bool = False
    """It was heard of before."""
    started: bool = False
    """Its start is known; else it is provisional."""
    ended_as: tuple[float, str, int] | None = None
    """When it ended, why, and how long it watched by its own account."""
    due: tuple[float, float] = (0.0, 0.0)
    """The earliest and the latest that its deadline can be."""
    alive_s: float = 0.0
    """How long it was last promised to stay alive."""
    heartbeat_stamp: float = float("-inf")
    events: set[str] = field(default_factory=set)
    pixels: set[Does] = field(default_factory=set)


class Books:
    """Everything that the players did, as counts."""

    def __init__(self) -> None:
        self._sessions: dict[str, _Session] = {}
        self._came_back = 0
        """How many of them are earlier viewings of somebody who came back."""
        self._low: dict[Counted, int] = defaultdict(int)
        self._high: dict[Counted, int] = defaultdict(int)
        self.course: list[Step] = []
        """How many were active when: every change, by session, not in order of time."""
        self._settled_at = float("inf")
        self.requests = 0
        self.outages_s = 0.0
        """How long the tracker was away, in all: it may have kept every session alive for as long as that."""

    def note(self, said: Said, sending: Sending) -> None:
        """Take down one acknowledged request."""
        self.requests += sending.tries
        session = self._sessions.get(said.session)
        before = None
        if session is not None and session.ended_as is not None:
            if said.does is not Does.START or said.stamp <= session.ended_as[0]:
                self._after_end(session, said, sending.tries - 1)
                return
            # The page came back: a new viewing under the same id, and the old one is kept under another.
            self._sessions[f"{said.session} until {session.ended_as[0]}"] = session
            self._came_back += 1
            before, session = session, None
        if session is None:
            stream = UNKNOWN if said.does is Does.END else said.stream
            session = self._sessions[said.session] = _Session(stream, Diary(beacon=said.does in _PIXELS))
            if before is not None:
                session.events = before.events
                session.diary.begin(said.stamp)
            self._add("started" if said.does is Does.START or said.does in _PIXELS else "provisional")
        elif session.alive:
            self._may_have_expired(session, sending)
        else:
            self._add("revived")
        was_on = session.stream if session.alive else None
        session.alive = True
        is_beat = said.does in _PIXELS or (said.does is Does.HEARTBEAT and said.stamp > session.heartbeat_stamp)
        _TAKES[said.does](self, session, said, sending)
        self._steps(was_on, session.stream if session.alive else None, sending.sent_at, sending.acknowledged_at)
        session.known = True
        self._postpone(session, sending, is_beat=is_beat)

    def _postpone(self, session: _Session, sending: Sending, *, is_beat: bool) -> None:
        """Move the deadline. When a beat is promised less than the one before, the longer promise stands until the next."""
        (low, high), held_s = session.due, session.alive_s
        session.alive_s = sending.alive_s
        session.due = (sending.sent_at + sending.alive_s, sending.acknowledged_at + sending.alive_s)
        if not is_beat or sending.alive_s < held_s:
            session.due = (max(low, session.due[0]), max(high, session.due[1]))
        elif sending.tries > 1:
            # Taken a second time, it was a repetition: no beat.
            session.due = (session.due[0], max(high, session.due[1]))

    def settle(self, *, now: float) -> None:
        """Count as expired whose deadline the tracker must have noticed by `now`."""
        self._settled_at = now
        for session in self._sessions.values():
            if session.alive and now > self._latest(session):
                self._expire(session)

    def last_deadline(self) -> float:
        """Return when the last living session must have expired; 0.0: none lives."""
        return max((self._latest(session) for session in self._sessions.values() if session.alive), default=0.0)

    def counts(self) -> Mapping[Counted, Span]:
        """Return what must be counted, but for the deadlines that were not settled yet."""
        return {counted: Span(self._low[counted], high) for counted, high in self._high.items() if counted[0] not in (_ERRORS, _AD_ERRORS)}

    def quality(self) -> Mapping[Counted, Span]:
        """Return what must be counted of quality, once everybody is gone: by stream, and ("startup", "count") and so on of histograms."""
        low: dict[Counted, float] = defaultdict(float, {key: count for key, count in self._low.items() if key[0] in (_ERRORS, _AD_ERRORS)})
        high: dict[Counted, float] = defaultdict(
            float, {key: count for key, count in self._high.items() if key[0] in (_ERRORS, _AD_ERRORS)}
        )
        for session in self._sessions.values():
            for key, (least, most) in spans(session.diary.outcomes(now=self._settled_at)).items():
                low[key] += least
                high[key] += most
        return {key: Span(low[key], most) for key, most in high.items()}

    def _observed(self, name: str) -> Mapping[str, list[float]]:
        """Return everything that a histogram must have seen, in order, by stream."""
        seen = sorted(
            pair for session in self._sessions.values() for pair in next(session.diary.outcomes(now=self._settled_at)).observed[name]
        )
        return {stream: [value for _, value in pairs] for stream, pairs in groupby(seen, key=itemgetter(0))}

    def in_short(self) -> Short:
        """Return the whole play in four numbers, as far as it can be known from outside."""
        active = peak = 0
        for step in sorted(self.course):
            active += step.high
            peak = max(peak, active)
        startups = [value for values in self._observed("startup").values() for value in values]
        quality = self.quality()
        playing, rebuffering = (sum(span.high for key, span in quality.items() if key[0] == name) for name in ("playing", "rebuffering"))
        watched = playing + rebuffering
        return Short(
            len(self._sessions) - self._came_back, peak, median(startups) if startups else None, rebuffering / watched if watched else 0.0
        )

    def as_json(self) -> dict[str, object]:
        """Return all of it, for whoever wants to compare it with something else: counts as [key, least, most]."""
        return {
            "counts": [[key, *span] for key, span in self.counts().items()],
            "quality": [[key, *span] for key, span in self.quality().items()],
            "startups_s": self._observed("startup"),
            "latencies_s": self._observed("live_latency"),
            "course": sorted(self.course),
        }

    def watching(self, *, since: float, now: float) -> Mapping[tuple[str, str], Span]:
        """Return the active sessions by (stream, state) that somebody may see who was told between `since` and `now`."""
        seen: dict[tuple[str, str], Span] = defaultdict(Span)
        for session in self._sessions.values():
            if session.alive and since <= self._latest(session):
                shown = session.stream, session.diary.playback()
                low, high = seen[shown]
                seen[shown] = Span(low + (now < session.due[0]), high + 1)
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

    def _expire(self, session: _Session) -> None:
        session.alive = False
        self._add("expired")
        self._steps(session.stream, None, session.due[0], self._latest(session))
        gone = session.due[0], self._latest(session)
        session.diary.finish(certain=True, provisional=not session.started, gone=gone)

    def _may_have_expired(self, session: _Session, sending: Sending) -> None:
        if sending.sent_at > self._latest(session):
            self._expire(session)
            self._add("revived")
        elif sending.acknowledged_at >= session.due[0]:
            self._unsure("expired")
            self._unsure("revived")
            self.course += (Step(session.due[0], session.stream, -1, 0), Step(sending.acknowledged_at, session.stream, 1, 0))
            gone = session.due[0], sending.acknowledged_at
            session.diary.finish(certain=False, provisional=not session.started, gone=gone)

    def _steps(self, old: str | None, new: str | None, earliest: float, latest: float) -> None:
        """Take down that somebody left one stream for another, or came, or went."""
        if old == new:
            return
        if old is not None:
            self.course += (Step(earliest, old, -1, 0), Step(latest, old, 0, -1))
        if new is not None:
            self.course += (Step(earliest, new, 0, 1), Step(latest, new, 1, 0))

    def _start(self, session: _Session, said: Said, sending: Sending) -> None:
        if session.started:
            self._add("duplicates")
        else:
            if session.known:
                self._add("promoted")
            session.started = True
            self._moves(session, Entry(said.stamp, "start", said.stream, sending.alive_s, quality=said.measured.quality))
        self._unsure("duplicates", more=sending.tries - 1)

    def _heartbeat(self, session: _Session, said: Said, sending: Sending) -> None:
        if said.stamp <= session.heartbeat_stamp:
            self._add("duplicates")
        else:
            session.heartbeat_stamp = said.stamp
            self._add("heartbeats")
            measured = said.measured
            entry = Entry(
                said.stamp,
                f"beat {said.playback}",
                said.stream,
                sending.alive_s,
                stalls=measured.stalls,
                bitrate_bps=None if measured.bitrate_kbps is None else measured.bitrate_kbps * 1_000,
                latency_s=None if measured.latency_ms is None else measured.latency_ms / 1_000,
                quality=measured.quality,
            )
            self._moves(session, entry)
        self._unsure("duplicates", more=sending.tries - 1)

    def _events(self, session: _Session, said: Said, sending: Sending) -> None:
        for event in sorted(said.events, key=lambda event: event.stamp):
            if event.event_id in session.events:
                self._add("duplicates")
            else:
                session.events.add(event.event_id)
                self._add("events", event.type)
                if event.type == "stream_error":
                    self._add(_ERRORS, said.stream, "true" if event.fatal else "false")
                if event.type == "ad_error":
                    self._add(_AD_ERRORS, said.stream)
                what = "fatal" if event.fatal else event.type
                if event.fatal:
                    session.diary.failed = sending.sent_at, sending.acknowledged_at
                self._moves(session, Entry(event.stamp, what, said.stream, sending.alive_s, quality=event.quality))
        self._unsure("duplicates", more=(sending.tries - 1) * len(said.events))

    def _pixel(self, session: _Session, said: Said, sending: Sending) -> None:
        what: str = said.does
        if said.does in session.pixels:
            self._add("duplicates")
            what = "check"
        else:
            self._add("beacons", said.does)
            if said.does is not Does.CHECK:
                session.pixels.add(said.does)
            elif not session.known:
                what = "first check"
        counted_again = ("beacons", "check") if said.does is Does.CHECK else ("duplicates",)
        self._unsure(*counted_again, more=sending.tries - 1)
        # It counts from when the server saw it.
        seen_at, slack_s = (sending.sent_at + sending.acknowledged_at) / 2, (sending.acknowledged_at - sending.sent_at) / 2
        self._moves(session, Entry(seen_at, what, said.stream, sending.alive_s, slack_s))

    def _end(self, session: _Session, said: Said, sending: Sending) -> None:
        again = sending.tries - 1
        self._add("ended", said.reason)
        session.alive, session.ended_as = False, _ending(said)
        what = "fatal" if said.reason == "error" else "end"
        session.diary.only_ended = not session.known
        last = Entry(max(said.stamp, session.diary.newest), what, None, sending.alive_s, stalls=said.measured.stalls)
        session.diary.note(last)
        session.diary.finish(certain=True, provisional=not session.started, watched_told_s=said.measured.watched_s)
        self._unsure("duplicates", more=again)

    def _after_end(self, session: _Session, said: Said, again: int) -> None:
        if said.does is Does.END:
            self._add("duplicates")
            self._unsure("duplicates", more=again)
            if session.ended_as == _ending(said):
                return
        self._add("rejected", said.does, "session_ended")
        self._unsure("rejected", said.does, "session_ended", more=again)

    def _moves(self, session: _Session, entry: Entry) -> None:
        if not session.diary.note(entry):
            self._add("late_events")
            return
        if entry.stream and entry.stamp >= session.stream_stamp:
            session.stream, session.stream_stamp = entry.stream, entry.stamp


def _ending(said: Said) -> tuple[float, str, int]:
    return said.stamp, said.reason, said.measured.watched_s


_TAKES: Final = {
    Does.START: Books._start,  # noqa: SLF001 - of the same class
    Does.HEARTBEAT: Books._heartbeat,  # noqa: SLF001
    Does.EVENTS: Books._events,  # noqa: SLF001
    Does.END: Books._end,  # noqa: SLF001
    **dict.fromkeys(_PIXELS, Books._pixel),  # noqa: SLF001
}
