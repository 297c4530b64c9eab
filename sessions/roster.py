"""
Who is in one slot: sessions and their deadlines, the ledger, the live count, and what of it is to be written.

Which input does what to liveness and to the ledger stands in `transitions.LIVENESS`. `audience` is kept up to date change by
change, so that reading the live count costs nothing. What an input does to the session itself is `tracker.py`'s.

`now` is the server's wall clock, told by the caller. Deadlines live in the slot's own clock, `now - paused_s`, which stands still
while we are out of reach: our outages cost nobody.
"""

from collections.abc import Iterable, Mapping
from typing import Final, Self

from sessions.changes import Audience, Changes, Finished, Increments, Key, Ledger, Policy
from sessions.deadlines import BUCKETS_PER_S, Deadlines, bucket_of, due_at_of
from sessions.dimensions import DIMENSIONS
from sessions.errors import InvariantError
from sessions.events import END_REASONS
from sessions.gains import Gains
from sessions.histograms import observe
from sessions.history import What
from sessions.limits import FAILURE_AFTER_S, OUTCOME_AFTER_S, QUEUE_SPAN_S_MAX
from sessions.meaning import ending_of, is_blind
from sessions.outcomes import add_failure, add_finish, add_gains, add_outcome
from sessions.player_clock import believe
from sessions.reporter import closed
from sessions.session import UNKNOWN, Ending, Session
from sessions.states import Input, Liveness
from sessions.story import describe
from sessions.transitions import LIVENESS, MOVES_ACTIVE


def audience_keys(session: Session) -> list[Key]:
    """Return every key of `Audience` under which an active session counts."""
    keys: list[Key] = [("state", session.playback), ("stream", session.stream_id, session.playback)]
    return keys + [(name, value) for name, attribute in _NAMED if (value := getattr(session, attribute)) is not None]


_NAMED: Final = tuple((dimension.name, dimension.attribute) for dimension in DIMENSIONS)


def chosen_bytes(session: Session) -> int:
    """Return how much of a beacon session's size was a stranger's choice; others came with a token."""
    return len(session.session_id.encode()) + len(session.profile) if session.pixel is not None else 0


class Roster:
    """The sessions of one slot, with their deadlines, ledger and live count. For one thread. `now` is in seconds since the epoch."""

    def __init__(self, slot: int, *, policy: Policy) -> None:
        self.slot = slot
        self.policy = policy
        self._shortest_s = policy.heartbeat_interval_s
        """The least that is ever promised, as far as expiry goes."""
        self.ledger = Ledger()
        self.audience: Audience = {}
        self.changed_keys: set[Key] = set()
        """Keys of `audience` that changed; whoever reports them clears it."""
        self.beacons = 0
        """Remembered beacon sessions, in any state."""
        self.beacon_bytes = 0
        """What strangers chose of them: their ids and profiles."""
        self.paused_s = 0.0
        self._sessions: dict[str, Session] = {}
        self._deadlines: Deadlines[Session] = Deadlines()
        self._failing: Deadlines[Session] = Deadlines()
        """Sessions with a fatal error that nothing playing has followed yet, until that becomes a failure."""
        self._changed: dict[Session, None] = {}
        self._forgotten: dict[str, None] = {}
        self._finished: list[Finished] = []
        self._increments: Increments = {}
        self._gains = Gains()
        """What folded inputs added, by stream; `take_changes` makes increments of it."""

    @classmethod
    def restore(cls, slot: int, *, policy: Policy, sessions: Iterable[Session], ledger: Ledger, paused_s: float) -> Self:
        """Rebuild a slot from its journal; every key of the audience counts as changed."""
        roster = cls(slot, policy=policy)
        roster.ledger = _copy(ledger)
        roster.paused_s = paused_s
        for session in sessions:
            roster._sessions[session.session_id] = session
            roster.beacons += session.is_beacon
            roster.beacon_bytes += chosen_bytes(session)
            session.bucket = roster._deadlines.add(session, session.bucket)
            if session.liveness is Liveness.ACTIVE:
                roster._count(session, 1)
            if session.tallies.fails_in:
                roster._failing.add(session, session.tallies.fails_in)
        return roster

    @property
    def sessions(self) -> Mapping[str, Session]:
        """Return every remembered session by its id; to be read only."""
        return self._sessions

    def get(self, session_id: str) -> Session | None:
        """Return a remembered session, in any state."""
        return self._sessions.get(session_id)

    def advance(self, *, now: float, limit: int) -> int:
        """
        Do what is due of all sessions, at most `limit` times, and return how often: expire, tell failures and outcomes, forget.

        A session ends at its own last sign of life, not at `now`: a shard that was
        paused must not lengthen anyone's watch time.
        """
        worked_off = 0
        for session in self._deadlines.pop_due(now=now - self.paused_s, limit=limit):
            worked_off += 1
            before = session.liveness
            if before is Liveness.EXPIRED and not session.tallies.outcomes and self._tell_outcome(session):
                continue
            moved_by, reason = _moved_by_deadline(session)
            after, entries = LIVENESS[before, moved_by]
            self._book(entries, reason)
            if before is Liveness.ACTIVE:
                self._count(session, -1)
            if after is Liveness.UNKNOWN:
                self._forget(session)
            else:
                session.bucket = 0
                self._leave(session, after, now)
        for session in self._failing.pop_due(now=now - self.paused_s, limit=limit - worked_off):
            worked_off += 1
            session.tallies = session.tallies._replace(fails_in=0)
            add_failure(self._increments, session, session.settled())
            self._changed[session] = None
        return worked_off

    def _tell_outcome(self, session: Session) -> bool:
        """Count how an expired session went, which will not come back; True: it is remembered for longer than that."""
        add_outcome(self._increments, session)
        self._got_over(session)
        remembered_s = self.policy.revive_window_s - OUTCOME_AFTER_S
        if remembered_s <= 0:
            return False
        session.bucket = self._deadlines.add(session, session.bucket + int(remembered_s * BUCKETS_PER_S))
        self._changed[session] = None
        return True

    def _has_failed(self, session: Session, now: float) -> None:
        """Tell a failure in 30 s, if nothing that plays comes until then, and if it was not told yet how this viewing went."""
        if not (session.tallies.failures or session.tallies.outcomes):
            bucket = self._failing.add(session, bucket_of(now - self.paused_s + FAILURE_AFTER_S))
            session.tallies = session.tallies._replace(fails_in=bucket)

    def _got_over(self, session: Session) -> None:
        """Do not count the pending failure: it plays again, or the failure was counted already."""
        if session.tallies.fails_in:
            self._failing.remove(session, session.tallies.fails_in)
            session.tallies = session.tallies._replace(fails_in=0)

    def next_deadline(self) -> float | None:
        """Return when `advance` has work next, on the caller's clock; None: never."""
        due_ats = [due_at for each in (self._deadlines, self._failing) if (due_at := each.next_due_at()) is not None]
        return min(due_ats) + self.paused_s if due_ats else None

    def pause(self, seconds: float) -> None:
        """Count `seconds` of an outage of ours: every deadline moves by as much."""
        if seconds < 0:
            problem = f"slot {self.slot}: cannot pause for {seconds} s"
            raise InvariantError(problem)
        self.paused_s += seconds

    def carry_on(self, seconds: float) -> None:
        """Go on, on a clock that is `seconds` ahead of where the last owner's stood, or behind it: every deadline moves by as much."""
        self.paused_s += seconds

    def take_changes(self) -> Changes:
        """Return all that changed since the last call, which is the caller's to write from now on."""
        add_gains(self._increments, self._gains)
        changes = Changes(
            sessions=list(self._changed),
            forgotten=list(self._forgotten),
            finished=self._finished,
            ledger=_copy(self.ledger),
            paused_s=self.paused_s,
            increments=self._increments,
        )
        self._changed, self._forgotten, self._finished, self._increments = {}, {}, [], {}
        self._gains = Gains()
        return changes

    def all_changes(self) -> Changes:
        """Return everything held, for a journal that lost it; what had changed counts as taken."""
        return self.take_changes()._replace(sessions=list(self._sessions.values()), forgotten=[])

    def has_changes(self) -> bool:
        """Tell whether `take_changes` would return anything to write."""
        return bool(self._changed or self._forgotten or self._increments)

    def remaining_s(self, session: Session, *, now: float) -> float:
        """Return the seconds until the session's next deadline."""
        due_at = due_at_of(session.bucket)
        if session.liveness is Liveness.EXPIRED and not session.tallies.outcomes:
            due_at += max(0.0, self.policy.revive_window_s - OUTCOME_AFTER_S)
        return max(0.0, due_at + self.paused_s - now)

    # For the handlers of inputs.

    def _arrive(self, session_id: str, moved_by: Input, at: float, now: float, reason: str = "") -> Session:
        """Return the session that an input is about, opened or revived as the table says; it counts from the next `_alive`."""
        session = self._sessions.get(session_id)
        before = Liveness.UNKNOWN if session is None else session.liveness
        _, entries = LIVENESS[before, moved_by]
        self._book(entries, reason)
        if session is not None and before is Liveness.EXPIRED:
            self._deadlines.remove(session, session.bucket)
            session.bucket = 0
            session.liveness = Liveness.ACTIVE
            session.tell(What.REVIVED, now=now)
            return session
        if session is not None and before is Liveness.ACTIVE:
            return session
        opened = self._open(session_id, at, now, provisional="provisional" in entries)
        if session is not None:
            self._succeed(session, opened, at)
        return opened

    def _open(self, session_id: str, at: float, now: float, *, provisional: bool) -> Session:
        session = self._sessions[session_id] = Session(session_id, now=now)
        self._forgotten.pop(session_id, None)
        self.beacons += session.is_beacon
        session.offset = now - at
        session.provisional = provisional
        session.tell(What.PROVISIONAL if provisional else What.STARTED, now=now)
        if not session.is_beacon:
            observe(self._increments, "clock_skew", min(abs(session.offset), QUEUE_SPAN_S_MAX))
        return session

    def _succeed(self, ended: Session, opened: Session, at: float) -> None:
        """Let a new viewing take the place of one that is over, whose account is finished; what was stamped before it belongs to neither."""
        self._deadlines.remove(ended, ended.bucket)
        self._changed.pop(ended, None)
        self.beacons -= ended.is_beacon
        self.beacon_bytes -= chosen_bytes(ended)
        opened.event_ids = ended.event_ids
        opened.ending = ended.ending
        opened.break_off(at, self._gains)

    def _book(self, entries: Iterable[str], reason: str) -> None:
        """Raise these counts of the ledger by one; `reason`: of an end."""
        ledger = self.ledger
        for entry in entries:
            if entry == "ended":
                ledger.ended[reason] = ledger.ended.get(reason, 0) + 1
            else:
                setattr(ledger, entry, getattr(ledger, entry) + 1)
            ledger.active += MOVES_ACTIVE[entry]

    def _leave(self, session: Session, after: Liveness, now: float) -> None:
        """End or expire an active session: close its account, take it out of the count, remember it for the revive window."""
        session.liveness = after
        if session.bucket:
            self._count(session, -1)
            self._deadlines.remove(session, session.bucket)
        believe(session, self._gains)
        account = session.stop(self._close_reporter(session))
        session.revision += 1
        add_finish(self._increments, session, account)
        reason = session.end_reason
        if reason is None:
            session.tell(What.EXPIRED, now=now)
        else:
            session.tell(What.ENDED, now=now, detail=END_REASONS.index(reason))
        self._finished.append(Finished(session, session.revision))
        due_in_s = self.policy.revive_window_s
        if after is Liveness.ENDED:
            add_outcome(self._increments, session)
            self._got_over(session)
        elif not session.tallies.outcomes:
            due_in_s = min(due_in_s, OUTCOME_AFTER_S)
        session.bucket = self._deadlines.add(session, bucket_of(now - self.paused_s + due_in_s))
        self._changed[session] = None

    def _close_reporter(self, session: Session) -> Gains:
        """Settle what a player that reports by itself has said; return where what its session adds is kept: a blind one's is thrown away."""
        if session.reporter is None:
            return self._gains
        session.reporter, lost = closed(session.reporter)
        self._lose(session, lost)
        return Gains() if is_blind(session.reporter.tip) else self._gains

    def _lose(self, session: Session, reports: int) -> None:
        """Count reports of a player that will not come any more."""
        if reports:
            key: Key = ("cmcd_lost_reports", session.player or UNKNOWN)
            self._increments[key] = self._increments.get(key, 0) + reports

    def _forget(self, session: Session) -> None:
        self._got_over(session)
        del self._sessions[session.session_id]
        self.beacons -= session.is_beacon
        self.beacon_bytes -= chosen_bytes(session)
        self._changed.pop(session, None)
        self._forgotten[session.session_id] = None

    def _alive(self, session: Session, now: float, interval_s: int, *, is_beat: bool = False) -> None:
        """
        Take a sign of life: the deadline moves, and never back before the next beat.

        A promise that is shorter than the policy's, to spread players, expires no sooner. A beat (new, not repeated) that is promised less than the one before leaves the longer promise standing; the next one
        does not. What is no beat takes nothing back.
        """
        session.seen_at = now
        may_move_back = is_beat and interval_s >= session.interval_s
        session.interval_s = interval_s
        # A call of max() costs more than all the rest, and of `bucket_of` as much.
        longest_s = interval_s if interval_s > self._shortest_s else self._shortest_s  # noqa: FURB136
        bucket = bucket_of(now - self.paused_s + longest_s * self.policy.expiry_intervals)
        if bucket > session.bucket or (may_move_back and bucket < session.bucket):
            if session.bucket:
                self._deadlines.remove(session, session.bucket)
            else:
                self._count(session, 1)
            session.bucket = self._deadlines.add(session, bucket)
        self._changed[session] = None

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
        self._require(self.beacon_bytes == sum(map(chosen_bytes, self._sessions.values())), "the bytes of beacon sessions miscounted")
        self._require(self.beacons == sum(session.is_beacon for session in self._sessions.values()), "beacon sessions miscounted")
        scheduled = dict(self._deadlines.items())
        failing = {session: session.tallies.fails_in for session in self._sessions.values() if session.tallies.fails_in}
        self._require(dict(self._failing.items()) == failing, "failures to be told are out of place")
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
            on_it = not watched or watched[-1] == session.stream_id or bool(session.ahead)
            self._require(on_it, "the newest input is not of the live stream", session)
            self._require(session.liveness is Liveness.ACTIVE or not (times or session.ahead), "over, but not folded", session)

    def _require(self, holds: bool, problem: str, session: Session | None = None) -> None:  # noqa: FBT001 - reads as an assertion
        if not holds:
            story = None if session is None else describe(session, now=session.seen_at)
            raise InvariantError(f"slot {self.slot}: {problem}", story=story)


def _moved_by_deadline(session: Session) -> tuple[Input, str]:
    """Return what a session's deadline is: the end of one whose player had said so, and nothing else since; and then why."""
    reason = None if session.reporter is None or session.liveness is not Liveness.ACTIVE else ending_of(session.reporter.tip)
    if reason is None:
        return Input.DEADLINE, ""
    session.ending = Ending(session.newest_at, reason, None)
    return Input.END, reason


def _copy(ledger: Ledger) -> Ledger:
    return Ledger(ledger.active, ledger.started, ledger.provisional, ledger.promoted, ledger.revived, ledger.expired, dict(ledger.ended))
