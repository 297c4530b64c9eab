"""
All sessions of one slot: what a player's input does to them, when they expire, and what of it is to be written.

Theory of operation: the owner of the slot feeds `receive` with events and `advance` with time, takes `take_changes` to its journal,
and hands the receipts out once that is done. Which input does what to liveness and to the ledger stands in
`transitions.LIVENESS`; playback is the session's own (`session.py`). `audience` is kept up to date change by change, so that
reading the live count costs nothing.

`now` is the server's wall clock, told by the caller. Deadlines live in the slot's own clock, `now - paused_s`, which stands still
while we are out of reach: our outages cost nobody.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from hashlib import blake2b
from sys import intern
from typing import Any, Final

from sessions.account import NEVER, UNKNOWN_NUMBER
from sessions.changes import Audience, Changes, Finished, Increments, Key, Ledger, Policy, Reason, Receipt
from sessions.deadlines import Deadlines, bucket_of, due_at_of
from sessions.errors import InvariantError
from sessions.events import END_REASONS, Beacon, End, Event, Happening, Happenings, Heartbeat, Start
from sessions.histograms import observe
from sessions.limits import INTERVAL_CAP_S_MAX, QUEUE_SPAN_S_MAX, WILD_AHEAD_S
from sessions.session import (
    EVENT_ID_BYTES,
    SAYS_CREATOR,
    SAYS_MORE,
    SAYS_PROGRAM,
    SAYS_QUALITY,
    SAYS_STREAM,
    UNKNOWN,
    Ending,
    Pixel,
    Session,
    fingerprint,
)
from sessions.states import PLAYBACKS, Cue, Input, Liveness
from sessions.story import What, describe
from sessions.transitions import CUE_OF_BEACON, CUE_OF_EVENT, CUE_OF_FLAG, LIVENESS

_HEARTBEATS: Final[Key] = ("heartbeats",)
_DUPLICATES: Final[Key] = ("duplicates",)
_LATE: Final[Key] = ("late_events",)
_WILD: Final[Key] = ("wild_timestamps",)

_DIMENSION_OF: Final = {
    "channel_id": "channel",
    "creator_id": "creator",
    "program_id": "program",
    "platform": "platform",
    "country": "country",
    "quality": "quality",
    "connection_type": "connection",
}

_SAYS_OF: Final = {
    "stream_id": SAYS_STREAM,
    "channel_id": SAYS_STREAM,  # who names the one names the other
    "creator_id": SAYS_CREATOR,
    "program_id": SAYS_PROGRAM,
    "quality": SAYS_QUALITY,
}


def audience_keys(session: Session) -> list[Key]:
    """Return every key of `Audience` under which an active session counts."""
    keys: list[Key] = [("state", session.playback), ("stream", session.stream_id, session.playback)]
    keys += [(dimension, getattr(session, name)) for name, dimension in _DIMENSION_OF.items()]
    if session.pixel is not None:
        keys.append(("pullzone", session.pixel.pullzone))
    return keys


class Tracker:
    """See the module."""

    def __init__(self, slot: int, *, policy: Policy) -> None:
        self.slot = slot
        self.policy = policy
        self.ledger = Ledger()
        self.audience: Audience = {}
        self.changed_keys: set[Key] = set()
        """Keys of `audience` that changed; whoever reports them clears it."""
        self.beacons = 0
        """Remembered beacon sessions, in any state."""
        self.paused_s = 0.0
        self._sessions: dict[str, Session] = {}
        self._deadlines: Deadlines[Session] = Deadlines()
        self._changed: dict[Session, None] = {}
        self._forgotten: dict[str, None] = {}
        self._finished: list[Finished] = []
        self._increments: Increments = {}

    @classmethod
    def restore(cls, slot: int, *, policy: Policy, sessions: Iterable[Session], ledger: Ledger, paused_s: float) -> "Tracker":
        """Rebuild a slot from its journal; every key of the audience counts as changed."""
        tracker = cls(slot, policy=policy)
        tracker.ledger = _copy(ledger)
        tracker.paused_s = paused_s
        for session in sessions:
            tracker._sessions[session.session_id] = session
            tracker.beacons += session.is_beacon
            session.bucket = tracker._deadlines.add(session, session.bucket)
            if session.liveness is Liveness.ACTIVE:
                tracker._count(session, 1)
        return tracker

    @property
    def sessions(self) -> Mapping[str, Session]:
        """Return every remembered session by its id; to be read only."""
        return self._sessions

    def get(self, session_id: str) -> Session | None:
        """Return a remembered session, in any state."""
        return self._sessions.get(session_id)

    def receive(self, event: Event, *, now: float, interval_s: int | None = None) -> Receipt:
        """
        Apply one input and return its receipt, to be handed out once the changes are durable.

        `interval_s`: the heartbeat interval to promise, at least the policy's (which None means); the session's expiry
        stretches with it.
        """
        return _HANDLERS[type(event)](self, event, now, interval_s or self.policy.heartbeat_interval_s)

    def advance(self, *, now: float, limit: int) -> int:
        """
        Expire the sessions whose heartbeats stopped, and forget those whose revive window is over; return how many, at most `limit`.

        A session ends at its own last sign of life, not at `now`: a shard that was
        paused must not lengthen anyone's watch time.
        """
        worked_off = 0
        for session in self._deadlines.pop_due(now=now - self.paused_s, limit=limit):
            worked_off += 1
            if session.liveness is Liveness.ACTIVE:
                self._count(session, -1)
                session.bucket = 0
                self._leave(session, Input.DEADLINE, now)
            else:
                self._forget(session)
        return worked_off

    def next_deadline(self) -> float | None:
        """Return when `advance` has work next, on the caller's clock; None: never."""
        due_at = self._deadlines.next_due_at()
        return None if due_at is None else due_at + self.paused_s

    def pause(self, seconds: float) -> None:
        """Count `seconds` of an outage of ours: every deadline moves by as much."""
        if seconds < 0:
            problem = f"slot {self.slot}: cannot pause for {seconds} s"
            raise InvariantError(problem)
        self.paused_s += seconds

    def take_changes(self) -> Changes:
        """Return all that changed since the last call, which is the caller's to write from now on."""
        changes = Changes(
            sessions=list(self._changed),
            forgotten=list(self._forgotten),
            finished=self._finished,
            ledger=_copy(self.ledger),
            paused_s=self.paused_s,
            increments=self._increments,
        )
        self._changed, self._forgotten, self._finished, self._increments = {}, {}, [], {}
        return changes

    def all_changes(self) -> Changes:
        """Return everything held, for a journal that lost it; what had changed counts as taken."""
        return self.take_changes()._replace(sessions=list(self._sessions.values()), forgotten=[])

    def has_changes(self) -> bool:
        """Tell whether `take_changes` would return anything to write."""
        return bool(self._changed or self._forgotten or self._increments)

    def remaining_s(self, session: Session, *, now: float) -> float:
        """Return the seconds until the session's next deadline."""
        return max(0.0, due_at_of(session.bucket) + self.paused_s - now)

    # One handler per kind of input; `receive` calls them.

    def _start(self, event: Start, now: float, interval_s: int) -> Receipt:
        known = self._sessions.get(event.session_id)
        if known is not None and known.liveness is Liveness.ENDED:
            return self._refuse(known, interval_s)
        again = known is not None and known.liveness is Liveness.ACTIVE and not known.provisional
        session = self._arrive(event.session_id, Input.START, event.at, now)
        self._follow_clock(session, event.at, now)
        if again:
            self._ignore_duplicate(session)
        else:
            if session.provisional:
                self.ledger.promoted += 1
                session.provisional = False
                session.tell(What.PROMOTED, now=now)
            session.profile = session.profile or event.profile
            said = session.said_since(event.at)
            self._follow(session, event, now, said)
            for name in ("platform", "country", "connection_type"):
                self._set(session, name, getattr(event, name), now, said)
            self._note(
                session,
                Cue.START,
                event.at,
                now,
                interval_s,
                quality=fingerprint(event.quality),
                stream_id=event.stream_id,
                says=SAYS_STREAM | SAYS_PROGRAM | SAYS_CREATOR,
            )
        self._alive(session, now, interval_s)
        return Receipt(accepted=True, interval_s=session.interval_s)

    def _heartbeat(self, event: Heartbeat, now: float, interval_s: int) -> Receipt:
        session = self._sessions.get(event.session_id)
        if session is None or session.liveness is not Liveness.ACTIVE:
            if session is not None and session.liveness is Liveness.ENDED:
                return self._refuse(session, interval_s)
            session = self._arrive(event.session_id, Input.HEARTBEAT, event.at, now)
        at, is_beat = event.at, False
        self._follow_clock(session, at, now)
        if at <= session.heartbeat_at:
            # Older or repeated: it only proves that the player is alive.
            self._ignore_duplicate(session)
        else:
            session.heartbeat_at = at
            self._increments[_HEARTBEATS] = self._increments.get(_HEARTBEATS, 0) + 1
            said = session.said_since(at)
            self._follow(session, event, now, said)
            if event.vitals:
                session.vitals = event.vitals
            if event.rebuffer_count is not None and event.rebuffer_count > session.player_rebuffers:
                session.player_rebuffers = event.rebuffer_count
            bitrate, latency, quality = event.bitrate_bps, event.latency_us, event.quality
            self._note(
                session,
                CUE_OF_FLAG[event.playback],
                at,
                now,
                interval_s,
                bitrate=UNKNOWN_NUMBER if bitrate is None else bitrate,
                latency=UNKNOWN_NUMBER if latency is None else latency,
                quality=0 if quality is None else fingerprint(quality),
                stream_id=event.stream_id,
                says=_says(event.stream_id, event.program_id, event.creator_id),
            )
            is_beat = True
        self._alive(session, now, interval_s, is_beat=is_beat)
        return Receipt(accepted=True, interval_s=session.interval_s)

    def _happenings(self, event: Happenings, now: float, interval_s: int) -> Receipt:
        known = self._sessions.get(event.session_id)
        if known is not None and known.liveness is Liveness.ENDED:
            return self._happenings_after_end(known, event, interval_s)
        if not event.happenings and (known is None or known.liveness is Liveness.EXPIRED):
            return Receipt(accepted=True, interval_s=interval_s)
        session = self._arrive(event.session_id, Input.EVENT, _anchor(event.happenings, until=now), now)
        interval_s = session.interval_s or interval_s
        if event.happenings:
            # The newest of a batch says most about the player's clock; the older ones only waited.
            predicted_at = now - session.offset
            self._follow_clock(session, _anchor(event.happenings, until=predicted_at), now)
        for happening in sorted(event.happenings, key=_time_of):
            if not self._is_new_event(session, happening):
                continue
            cue = CUE_OF_EVENT[happening.type]
            if cue is Cue.ERROR:
                session.tally(errors=1)
                session.tell(What.ERROR, now=now, detail=happening.fatal)
                cue = Cue.FATAL_ERROR if happening.fatal else cue
            at = happening.at
            self._follow_clock(session, at, now)
            said = session.said_since(at)
            self._set(session, "stream_id", event.stream_id, now, said)
            self._set(session, "creator_id", event.creator_id, now, said)
            self._set(session, "program_id", happening.program_id, now, said)
            self._set(session, "quality", happening.quality, now, said)
            self._note(
                session,
                cue,
                at,
                now,
                interval_s,
                quality=0 if happening.quality is None else fingerprint(happening.quality),
                stream_id=event.stream_id,
                says=_says(event.stream_id, happening.program_id, event.creator_id),
            )
        self._alive(session, now, interval_s)
        return Receipt(accepted=True, interval_s=session.interval_s, accepted_count=len(event.happenings))

    def _happenings_after_end(self, session: Session, event: Happenings, interval_s: int) -> Receipt:
        # Those stamped before the end are still taken, but the end has folded everything: they are late. What was taken before stays taken.
        ended_at = NEVER if session.ending is None else session.ending.at
        rejected: list[tuple[str, str]] = []
        for happening in event.happenings:
            if happening.at > ended_at and not session.knows_event(_digest(happening.event_id)):
                rejected.append((happening.event_id, Reason.SESSION_ENDED.value))
            elif self._is_new_event(session, happening):
                session.tally(late=1, errors=happening.type == "stream_error")
                self._add(_LATE)
        self._changed[session] = None
        accepted_count = len(event.happenings) - len(rejected)
        return self._refuse(session, interval_s)._replace(
            accepted=accepted_count > 0,
            reason=None if accepted_count else Reason.SESSION_ENDED.value,
            accepted_count=accepted_count,
            rejected=tuple(rejected),
        )

    def _end(self, event: End, now: float, interval_s: int) -> Receipt:
        known = self._sessions.get(event.session_id)
        if known is not None and known.liveness is Liveness.ENDED:
            self._ignore_duplicate(known)
            return self._refuse(known, interval_s)
        session = self._arrive(event.session_id, Input.END, event.at, now)
        self._follow_clock(session, event.at, now)
        session.seen_at = now
        session.ending = Ending(event.at, event.reason, event.total_watch_s, event.farewell)
        session.player_rebuffers = max(session.player_rebuffers, event.rebuffer_count)
        cue = Cue.END_FOR_ERROR if event.reason == "error" else Cue.END
        self._note(session, cue, max(event.at, session.newest_at), now, interval_s)
        self._leave(session, Input.END, now)
        return Receipt(accepted=True, interval_s=interval_s, total_watch_s=event.total_watch_s, end_reason=event.reason)

    def _beacon(self, event: Beacon, now: float, interval_s: int) -> Receipt:
        known = self._sessions.get(event.session_id)
        if known is not None and known.liveness is Liveness.ENDED:
            return self._refuse(known, interval_s)
        session = self._arrive(event.session_id, Input.BEACON, now, now)
        cue = CUE_OF_BEACON[event.type]
        pixel = session.pixel
        if pixel is None:
            pixel = Pixel(intern(event.pullzone))
            session.profile = event.profile
            session.watch(intern(event.video_id))
            if cue is Cue.CHECK:
                cue = Cue.FIRST_CHECK
        if event.type in pixel.types:
            self._ignore_duplicate(session)
            cue = Cue.CHECK
        else:
            self._add(("beacons", event.type))
            if event.type != "check":
                pixel = pixel._replace(types=(*pixel.types, event.type))
        session.pixel = pixel._replace(visible=event.visible)
        self._note(session, cue, max(now, session.newest_at), now, interval_s)
        self._alive(session, now, interval_s, is_beat=True)
        return Receipt(accepted=True, interval_s=session.interval_s)

    # What the handlers are made of.

    def _arrive(self, session_id: str, moved_by: Input, at: float, now: float) -> Session:
        """Return the session that an input is about, opened or revived as the table says; it counts from the next `_alive`."""
        session = self._sessions.get(session_id)
        before = Liveness.UNKNOWN if session is None else session.liveness
        _, entries = LIVENESS[before, moved_by]
        if session is None:
            session = self._sessions[session_id] = Session(session_id, now=now)
            self._forgotten.pop(session_id, None)
            self.beacons += session.is_beacon
            session.offset = now - at
            session.provisional = entries[0] == "provisional"
            session.tell(What.PROVISIONAL if session.provisional else What.STARTED, now=now)
            if not session.is_beacon:
                observe(self._increments, "clock_skew", abs(session.offset))
        elif before is Liveness.EXPIRED:
            self._deadlines.remove(session, session.bucket)
            session.bucket = 0
            session.liveness = Liveness.ACTIVE
            session.tell(What.REVIVED, now=now)
        else:
            return session
        self._enter(entries[0])
        return session

    def _enter(self, entry: str) -> None:
        setattr(self.ledger, entry, getattr(self.ledger, entry) + 1)
        self.ledger.active += 1

    def _leave(self, session: Session, moved_by: Input, now: float) -> None:
        """End or expire an active session: close its account, take it out of the count, remember it for the revive window."""
        session.liveness, _ = LIVENESS[Liveness.ACTIVE, moved_by]
        if session.bucket:
            self._count(session, -1)
            self._deadlines.remove(session, session.bucket)
        session.stop()
        session.revision += 1
        reason = session.end_reason
        if reason is None:
            self.ledger.expired += 1
            session.tell(What.EXPIRED, now=now)
        else:
            self.ledger.ended[reason] = self.ledger.ended.get(reason, 0) + 1
            session.tell(What.ENDED, now=now, detail=END_REASONS.index(reason))
        self.ledger.active -= 1
        self._finished.append(Finished(session, session.revision))
        session.bucket = self._deadlines.add(session, bucket_of(now - self.paused_s + self.policy.revive_window_s))
        self._changed[session] = None

    def _forget(self, session: Session) -> None:
        del self._sessions[session.session_id]
        self.beacons -= session.is_beacon
        self._changed.pop(session, None)
        self._forgotten[session.session_id] = None

    def _alive(self, session: Session, now: float, interval_s: int, *, is_beat: bool = False) -> None:
        """
        Take a sign of life: the deadline moves, and never back before the next beat.

        A beat (new, not repeated) that is promised less than the one before leaves the longer promise standing; the next one
        does not. What is no beat takes nothing back.
        """
        session.seen_at = now
        may_move_back = is_beat and interval_s >= session.interval_s
        session.interval_s = interval_s
        bucket = bucket_of(now - self.paused_s + interval_s * self.policy.expiry_intervals)
        if bucket > session.bucket or (may_move_back and bucket < session.bucket):
            if session.bucket:
                self._deadlines.remove(session, session.bucket)
            else:
                self._count(session, 1)
            session.bucket = self._deadlines.add(session, bucket)
        self._changed[session] = None

    def _note(  # noqa: PLR0913 - an input is what it is
        self,
        session: Session,
        cue: Cue,
        at: float,
        now: float,
        interval_s: int,
        *,
        bitrate: int = UNKNOWN_NUMBER,
        latency: int = UNKNOWN_NUMBER,
        quality: int = 0,
        stream_id: str | None = None,
        says: int = 0,
    ) -> None:
        """Put an input into the session's window, and keep the audience true if that changed its state; count it if it is too late."""
        before = session.playback
        taken = session.note(
            cue,
            at,
            cap_s=min(interval_s * self.policy.expiry_intervals, INTERVAL_CAP_S_MAX),
            bitrate=bitrate,
            latency=latency,
            quality=quality,
            stream_id=stream_id,
            says=says,
        )
        if not taken:
            session.tally(late=1)
            self._add(_LATE)
        elif session.playback is not before:
            session.tell(What.PLAYBACK, now=now, detail=PLAYBACKS.index(session.playback))
            self._move_if_counted(session, ("state", before), ("state", session.playback))
            stream_id = session.stream_id
            self._move_if_counted(session, ("stream", stream_id, before), ("stream", stream_id, session.playback))

    def _follow_clock(self, session: Session, at: float, now: float) -> None:
        if session.sync_clock(at, now=now):
            self._add(_WILD)
            session.tell(What.WILD_CLOCK, now=now)

    def _follow(self, session: Session, event: Start | Heartbeat, now: float, said: int) -> None:
        """Take over what an input says of stream, channel, creator, program and quality; `said`: what newer ones have said."""
        if event.stream_id != session.stream_id:
            self._set(session, "stream_id", event.stream_id, now, said)
        if event.channel_id != session.channel_id:
            self._set(session, "channel_id", event.channel_id, now, said)
        if event.creator_id != session.creator_id:
            self._set(session, "creator_id", event.creator_id, now, said)
        if event.program_id != session.program_id:
            self._set(session, "program_id", event.program_id, now, said)
        if event.quality != session.quality:
            self._set(session, "quality", event.quality, now, said)

    def _set(self, session: Session, name: str, value: str | None, now: float, said: int) -> None:
        """Set a dimension: the newest input that names it counts; any other only fills what was unknown."""
        before: str = getattr(session, name)
        if value is None or value == before or (said & _SAYS_OF.get(name, SAYS_MORE) and before != UNKNOWN):
            return
        value = intern(value)
        if name == "stream_id":
            if before != UNKNOWN:
                session.tell(What.STREAM, now=now)
            session.watch(value)
            self._move_if_counted(session, ("stream", before, session.playback), ("stream", value, session.playback))
        else:
            setattr(session, name, value)
            dimension = _DIMENSION_OF[name]
            self._move_if_counted(session, (dimension, before), (dimension, value))

    def _is_new_event(self, session: Session, happening: Happening) -> bool:
        digest = _digest(happening.event_id)
        if session.knows_event(digest):
            self._ignore_duplicate(session)
            return False
        session.remember_event(digest)
        self._add(("events", happening.type))
        return True

    def _ignore_duplicate(self, session: Session) -> None:
        session.tally(duplicates=1)
        self._add(_DUPLICATES)
        self._changed[session] = None

    def _refuse(self, session: Session, interval_s: int) -> Receipt:
        return Receipt(
            accepted=False,
            reason=Reason.SESSION_ENDED.value,
            interval_s=interval_s,
            total_watch_s=None if session.ending is None else session.ending.total_watch_s,
            end_reason=session.end_reason,
        )

    def _add(self, key: Key) -> None:
        self._increments[key] = self._increments.get(key, 0) + 1

    def _count(self, session: Session, amount: int) -> None:
        for key in audience_keys(session):
            self._shift(key, amount)

    def _move_if_counted(self, session: Session, old: Key, new: Key) -> None:
        if session.bucket:
            self._move(old, new)

    def _move(self, old: Key, new: Key) -> None:
        self._shift(old, -1)
        self._shift(new, 1)

    def _shift(self, key: Key, amount: int) -> None:
        count = self.audience.get(key, 0) + amount
        if count:
            self.audience[key] = count
        else:
            del self.audience[key]
        self.changed_keys.add(key)

    def validate(self) -> None:
        """Check every invariant the slow way; raises `InvariantError` with the story of what is wrong. For tests and audits."""
        active = [session for session in self._sessions.values() if session.liveness is Liveness.ACTIVE]
        recount: Audience = {}
        for session in active:
            for key in audience_keys(session):
                recount[key] = recount.get(key, 0) + 1
        self._require(recount == self.audience, "the audience is not the sum of its sessions")
        self._require(
            self.ledger.active == self.ledger.balance == len(active), f"the ledger does not hold: {self.ledger}, {len(active)} active"
        )
        self._require(self.beacons == sum(session.is_beacon for session in self._sessions.values()), "beacon sessions miscounted")
        scheduled = dict(self._deadlines.items())
        self._require(len(scheduled) == len(self._sessions), "not every session has exactly one deadline")
        for session_id, session in self._sessions.items():
            self._require(session.session_id == session_id, "filed under another id", session)
            self._require(scheduled.get(session) == session.bucket, "deadline out of place", session)
            times = [record[0] for record in session.window_inputs()]
            self._require(times == sorted(times), "the window is out of order", session)
            # Not equal: a repeated input may have anchored the order anew, and is not in the window itself.
            self._require(not times or times[-1] <= session.newest_at, "the window goes beyond the newest input", session)
            tip = session.settled()
            self._require((tip.playback, tip.frame) == (session.playback, session.frame), "live state is not the newest input's", session)
            known_streams = len(session.streams) + 1
            self._require(all(record[2] < known_streams for record in session.window_inputs()), "an input of no known stream", session)
            watched = [(*session.streams, session.stream_id)[record[2]] for record in session.window_inputs()]
            self._require(not watched or watched[-1] == session.stream_id, "the newest input is not of the live stream", session)
            self._require(session.liveness is Liveness.ACTIVE or not times, "over, but not folded", session)

    def _require(self, holds: bool, problem: str, session: Session | None = None) -> None:  # noqa: FBT001 - reads as an assertion
        if not holds:
            story = None if session is None else describe(session, now=session.seen_at)
            raise InvariantError(f"slot {self.slot}: {problem}", story=story)


_HANDLERS: Final[dict[type[Event], Callable[[Tracker, Any, float, int], Receipt]]] = {
    Start: Tracker._start,  # noqa: SLF001 - the class's own table
    Heartbeat: Tracker._heartbeat,  # noqa: SLF001
    Happenings: Tracker._happenings,  # noqa: SLF001
    End: Tracker._end,  # noqa: SLF001
    Beacon: Tracker._beacon,  # noqa: SLF001
}


def _says(stream_id: str | None, program_id: str | None, creator_id: str | None) -> int:
    return (
        (0 if stream_id is None else SAYS_STREAM)
        | (0 if program_id is None else SAYS_PROGRAM)
        | (0 if creator_id is None else SAYS_CREATOR)
    )


def _copy(ledger: Ledger) -> Ledger:
    return replace(ledger, ended=dict(ledger.ended))


def _time_of(happening: Happening) -> float:
    return happening.at


def _digest(event_id: str) -> bytes:
    return blake2b(event_id.encode(), digest_size=EVENT_ID_BYTES).digest()


def _anchor(happenings: Iterable[Happening], *, until: float) -> float:
    """Return the timestamp that tells most of the player's clock: the newest that is not wild, else the newest of the oldest's day."""
    times = [happening.at for happening in happenings]
    newest_believed = until + WILD_AHEAD_S
    oldest = min(times, default=until)
    if oldest > newest_believed:
        newest_believed = oldest + QUEUE_SPAN_S_MAX
    return max((at for at in times if at <= newest_believed), default=until)
