"""
What a player's input does: one handler per kind of event, on top of the slot's roster.

Theory of operation: the owner of the slot feeds `receive` with events and `advance` with time, takes `take_changes` to its journal,
and hands the receipts out once that is done. Who is in the slot, until when, and what it does to the ledger is the
roster's (`roster.py`); time spent, and in which order, is the session's own (`session.py`).

`now` is the server's wall clock, told by the caller.
"""

from collections.abc import Callable, Iterable
from hashlib import blake2b
from sys import intern
from typing import Any, Final

from sessions.account import NEVER, NOT_LIVE, UNKNOWN_NUMBER
from sessions.changes import Key, Reason, Receipt, taken
from sessions.dimensions import DIMENSIONS, FROM_START, STREAM
from sessions.events import Beacon, End, Event, Happening, Happenings, Heartbeat, Reports, Start
from sessions.history import What, Why
from sessions.limits import INTERVAL_CAP_S_MAX, QUEUE_SPAN_S_MAX, VIEW_OVERTAKEN_S, WILD_AHEAD_S
from sessions.outcomes import add_differences, add_error
from sessions.player_clock import Sign, Step, follow
from sessions.reporting import Reporting
from sessions.roster import chosen_bytes
from sessions.session import EVENT_ID_BYTES, UNKNOWN, Ending, Pixel, Session
from sessions.states import Cue, Input, Liveness, Playback
from sessions.transitions import CUE_OF_BEACON, CUE_OF_EVENT, CUE_OF_FLAG, GOES_ON, LIVENESS, is_refused
from sessions.window import AUTO, INPUT, SAYS_ALL, SAYS_CHANNEL, SAYS_CREATOR, SAYS_PROGRAM, SAYS_STREAM, fingerprint, was_heard

_ACTIVE: Final = Liveness.ACTIVE
_BEATS_ON: Final = (Liveness.ACTIVE, Input.HEARTBEAT)
"""Spelled once: to look a name up in an enum costs a heartbeat."""
_HEARTBEATS: Final[Key] = ("heartbeats",)
_DUPLICATES: Final[Key] = ("duplicates",)
_LATE: Final[Key] = ("late_events",)
_WILD: Final[Key] = ("wild_timestamps",)

_BY_ATTRIBUTE: Final = {dimension.attribute: dimension for dimension in DIMENSIONS}
_SAYS_OF: Final = {STREAM: SAYS_STREAM, **{name: dimension.says for name, dimension in _BY_ATTRIBUTE.items()}}


class Tracker(Reporting):
    """One slot: a roster, and what each kind of input does to it. For one thread. `now` is in seconds since the epoch."""

    def receive(self, event: Event, *, now: float, interval_s: int | None = None) -> Receipt:
        """
        Apply one input and return its receipt, to be handed out once the changes are durable.

        `interval_s`: the heartbeat interval to promise (None: the policy's). A longer one makes the session expire later. It counts for
        a start and a heartbeat only: the answers to other inputs cannot tell the player of it, so they promise the policy's.
        """
        kind = type(event)
        if interval_s is None or not (kind is Heartbeat or kind is Start):
            interval_s = self.policy.heartbeat_interval_s
        receipt = _HANDLERS[kind](self, event, now, interval_s)
        if event.dropped:
            self._count_dropped(event)
        return receipt

    def _count_dropped(self, event: Event) -> None:
        """Count by platform what was dropped of an input: only here is it known whose players send it."""
        session = self._sessions.get(event.session_id)
        platform = UNKNOWN if session is None else session.platform
        for name in event.dropped.split(","):
            self._add(("platform_dropped_fields", name, platform))

    # One handler per kind of input; `receive` calls them.

    def _start(self, event: Start, now: float, interval_s: int) -> Receipt:
        known, moved_by = self._sessions.get(event.session_id), Input.START
        if known is not None and known.liveness is Liveness.ENDED and known.ending is not None and event.at > known.ending.at:
            moved_by = Input.START_AFTER_END
        if known is not None and is_refused(known.liveness, moved_by):
            return self._refuse(known, interval_s, "start", event.at, now)
        again = known is not None and known.liveness is Liveness.ACTIVE and not known.provisional
        session = self._arrive(event.session_id, moved_by, event.at, now)
        aside = self._follow_clock(session, event.at, now, says=Sign.BEAT)
        if again:
            self._start_again(session, event, now, interval_s, aside=aside)
        else:
            if session.provisional:
                self.ledger.promoted += 1
                session.provisional = False
                session.tell(What.PROMOTED, now=now)
            session.profile = session.profile or event.profile
            said = session.said_since(event.at, is_start=True)
            dimensions = (event.stream_id, event.channel_id, event.creator_id, event.program_id, event.quality)
            self._follow(session, *dimensions, now=now, said=said)
            for name in FROM_START:
                self._set(session, name, getattr(event, name), now, said)
            self._note(
                session,
                "start",
                Cue.START,
                event.at,
                now,
                interval_s,
                quality=fingerprint(event.quality),
                stream_id=event.stream_id,
                says=SAYS_STREAM | SAYS_PROGRAM | SAYS_CREATOR,
                aside=aside,
            )
        self._alive(session, now, interval_s)
        return taken(session.interval_s)

    def _start_again(self, session: Session, event: Start, now: float, interval_s: int, *, aside: bool) -> None:
        """Take a start of a session that has one: it changes nothing, unless it names another stream than anything newer."""
        said = session.said_since(event.at, is_start=True)
        is_there = event.stream_id == session.stream_id
        # An event of the new stream may have overtaken the start that names the channel too.
        is_overtaken = is_there and said & (SAYS_STREAM | SAYS_CHANNEL) == SAYS_STREAM
        if is_overtaken:
            is_overtaken = session.stream_at(event.at, is_start=True) != event.stream_id
        if not is_overtaken and (is_there or said & SAYS_STREAM):
            self._ignore_duplicate(session, "start", event.at, now)
            return
        self._follow(session, event.stream_id, event.channel_id, event.creator_id, event.program_id, None, now=now, said=said)
        says = SAYS_STREAM | SAYS_PROGRAM | SAYS_CREATOR
        self._note(session, "start", Cue.CHECK, event.at, now, interval_s, stream_id=event.stream_id, says=says, aside=aside)

    def _heartbeat(self, event: Heartbeat, now: float, interval_s: int) -> Receipt:
        # All of it at once: a name at a time costs more than all the rest of this line.
        (
            session_id,
            at,
            playback,
            stream_id,
            channel_id,
            creator_id,
            program_id,
            quality,
            bitrate,
            latency,
            rebuffer_count,
            vitals,
            _,
            behind,
        ) = event
        session = self._sessions.get(session_id)
        if session is None or session.liveness is not _ACTIVE or LIVENESS[_BEATS_ON] is not GOES_ON:
            if session is not None and is_refused(session.liveness, Input.HEARTBEAT):
                return self._refuse(session, interval_s, "heartbeat", at, now)
            session = self._arrive(session_id, Input.HEARTBEAT, at, now)
        is_beat = aside = False
        beat_at = session.heartbeat_at
        if at < session.newest_at or now - at < session.offset or session.behind or session.ahead:
            # Else it is in order, and no sooner than its clock predicts: the usual case.
            aside = self._follow_clock(session, at, now, says=Sign.BEAT)
            beat_at = session.newest_beat_ahead() if aside else session.heartbeat_at
        flow = bitrate or UNKNOWN_NUMBER
        delay = NOT_LIVE if behind else UNKNOWN_NUMBER if latency is None else latency
        shown = 0 if quality is None else fingerprint(quality)
        if at < beat_at or (at == beat_at and not self._restates(session, event)):
            # Older or repeated: it only proves that the player is alive.
            if session.behind:
                says = _says(stream_id, program_id, creator_id)
                session.keep_behind(INPUT.pack(at, CUE_OF_FLAG[playback] | says, 0, self._cap_s(interval_s), flow, delay, shown), stream_id)
            self._ignore_duplicate(session, "heartbeat", at, now, Why.REPEATED if at == beat_at else Why.OLDER)
        else:
            if not aside:
                session.heartbeat_at = at
            self._increments[_HEARTBEATS] = self._increments.get(_HEARTBEATS, 0) + 1
            said = 0 if at >= session.newest_at and not session.ahead else session.said_since(at)
            self._follow(session, stream_id, channel_id, creator_id, program_id, quality, now=now, said=said)
            if vitals:
                session.vitals = vitals
            self._note(
                session,
                "heartbeat",
                CUE_OF_FLAG[playback],
                at,
                now,
                interval_s,
                bitrate=flow,
                latency=delay,
                quality=shown,
                stream_id=stream_id,
                says=_says(stream_id, program_id, creator_id),
                aside=aside,
            )
            if rebuffer_count is not None and rebuffer_count != session.rebuffer_counter:
                session.follow_counter(rebuffer_count)
            is_beat = True
        self._alive(session, now, interval_s, is_beat=is_beat)
        return taken(session.interval_s, True) if session.provisional else taken(session.interval_s)

    def _restates(self, session: Session, event: Heartbeat) -> bool:
        """Tell whether a heartbeat, stamped as the newest one was, says something else than that did; else it is the same again."""
        noted = session.beat_noted(event.at)
        if noted is None:
            return False
        _, cue, stream, _, bitrate, latency, quality = noted
        flow = event.bitrate_bps or UNKNOWN_NUMBER
        delay = NOT_LIVE if event.behind_live else UNKNOWN_NUMBER if event.latency_us is None else event.latency_us
        shown = 0 if event.quality is None else fingerprint(event.quality)
        says = _says(event.stream_id, event.program_id, event.creator_id)
        if (cue, bitrate, latency, quality) != (CUE_OF_FLAG[event.playback] | says, flow, delay, shown):
            return True
        said = session.said_since(event.at)
        return (
            event.stream_id not in (None, session.name_of(stream))
            or any(
                value not in (None, getattr(session, name)) and not said & _SAYS_OF[name]
                for name, value in (("channel_id", event.channel_id), ("creator_id", event.creator_id), ("program_id", event.program_id))
            )
            or event.vitals not in (b"", session.vitals)
            or event.rebuffer_count not in (None, session.rebuffer_counter)
        )

    def _happenings(self, event: Happenings, now: float, interval_s: int) -> Receipt:
        known = self._sessions.get(event.session_id)
        if known is not None and is_refused(known.liveness, Input.EVENT):
            return self._happenings_after_end(known, event, now, interval_s)
        if not event.happenings and (known is None or known.liveness is Liveness.EXPIRED):
            return taken(interval_s)
        session = self._arrive(event.session_id, Input.EVENT, _anchor(event.happenings, until=now), now)
        interval_s = session.interval_s or interval_s
        if event.happenings:
            # The newest of a batch says most about the player's clock; the older ones only waited.
            predicted_at = now - session.offset
            self._follow_clock(session, _anchor(event.happenings, until=predicted_at), now)
        for happening in sorted(event.happenings, key=_time_of):
            if not self._is_new_event(session, happening, now):
                continue
            cue = CUE_OF_EVENT[happening.type]
            if cue is Cue.ERROR:
                session.tally(errors=1)
                session.tell(What.ERROR, now=now, detail=happening.fatal)
                add_error(self._increments, event.stream_id or session.stream_at(happening.at), fatal=happening.fatal)
                cue = Cue.FATAL_ERROR if happening.fatal else cue
            elif happening.type == "ad_error":
                self._add(("ad_errors", event.stream_id or session.stream_at(happening.at)))
            at = happening.at
            aside = self._follow_clock(session, at, now, tells_most=False)
            # Nobody knows when a stray one was, so it speaks over nobody.
            said = SAYS_ALL if aside else session.said_since(at)
            self._set(session, "stream_id", event.stream_id, now, said)
            self._set(session, "creator_id", event.creator_id, now, said)
            self._set(session, "program_id", happening.program_id, now, said)
            if happening.program_title is not None and not said & SAYS_PROGRAM:
                session.program_title = intern(happening.program_title)
            self._set(session, "quality", happening.quality, now, said)
            self._note(
                session,
                happening.type,
                cue,
                at,
                now,
                interval_s,
                quality=0 if happening.quality is None else fingerprint(happening.quality),
                stream_id=event.stream_id,
                says=0 if aside else _says(event.stream_id, happening.program_id, event.creator_id),
                aside=aside,
            )
        self._alive(session, now, interval_s)
        return taken(session.interval_s, session.provisional)._replace(accepted_count=len(event.happenings))

    def _happenings_after_end(self, session: Session, event: Happenings, now: float, interval_s: int) -> Receipt:
        # Those stamped before the end are still taken, but the end has folded everything: they are late. What was taken before stays taken.
        ended_at = NEVER if session.ending is None else session.ending.at
        rejected: list[tuple[str, str]] = []
        for happening in event.happenings:
            if happening.at > ended_at and not session.knows_event(_digest(happening.event_id)):
                rejected.append((happening.event_id, Reason.SESSION_ENDED.value))
                session.ignore(happening.type, Why.AFTER_END, at=happening.at, now=now)
            elif self._is_new_event(session, happening, now):
                self._ignore_late(session, happening.type, happening.at, now)
                session.tally(errors=happening.type == "stream_error")
                if happening.type == "stream_error":
                    add_error(self._increments, event.stream_id or session.stream_id, fatal=happening.fatal)
                elif happening.type == "ad_error":
                    self._add(("ad_errors", event.stream_id or session.stream_id))
        self._changed[session] = None
        accepted_count = len(event.happenings) - len(rejected)
        return self._refusal(session, interval_s)._replace(
            accepted=accepted_count > 0,
            reason=None if accepted_count else Reason.SESSION_ENDED.value,
            accepted_count=accepted_count,
            rejected=tuple(rejected),
        )

    def _end(self, event: End, now: float, interval_s: int) -> Receipt:
        known, ending = self._sessions.get(event.session_id), Ending(event.at, event.reason, event.total_watch_s, event.farewell)
        receipt = Receipt(accepted=True, interval_s=interval_s, total_watch_s=event.total_watch_s, end_reason=event.reason)
        if known is not None and (known.ending == ending or is_refused(known.liveness, Input.END)):
            # The same again is answered as the first time; it may also be of the viewing before.
            self._ignore_duplicate(known, "end", event.at, now)
            return receipt if known.ending == ending else self._refusal(known, interval_s)
        after, _ = LIVENESS[Liveness.UNKNOWN if known is None else known.liveness, Input.END]
        session = self._arrive(event.session_id, Input.END, event.at, now, event.reason)
        self._follow_clock(session, event.at, now, says=Sign.LAST)
        session.seen_at = now
        session.ending = ending
        if event.rebuffer_count is not None and event.rebuffer_count > session.rebuffer_counter:
            session.follow_counter(event.rebuffer_count)
        cue = Cue.END_FOR_ERROR if event.reason == "error" else Cue.END
        self._note(session, "end", cue, max(event.at, session.newest_at), now, interval_s)
        if known is None:
            session.tally(outcomes=1)  # nothing is known of how it went
        self._leave(session, after, now)
        if known is not None:
            add_differences(self._increments, session, event)
        return receipt

    def _beacon(self, event: Beacon, now: float, interval_s: int) -> Receipt:
        known = self._sessions.get(event.session_id)
        if known is not None and is_refused(known.liveness, Input.BEACON):
            return self._refuse(known, interval_s, event.type, now, now)
        session = self._arrive(event.session_id, Input.BEACON, now, now)
        cue = CUE_OF_BEACON[event.type]
        pixel = session.pixel
        if pixel is None:
            pixel = Pixel(intern(event.pullzone))
            session.profile = event.profile
            session.watch(intern(event.video_id), self._gains)
            if cue is Cue.CHECK:
                cue = Cue.FIRST_CHECK
        is_again, before = event.type in pixel.types, session.playback
        if not is_again:
            self._add(("beacons", event.type))
            if event.type != "check":
                pixel = pixel._replace(types=(*pixel.types, event.type))
        is_new, session.pixel = session.pixel is None, pixel._replace(visible=event.visible)
        if is_new:
            self.beacon_bytes += chosen_bytes(session)
        at = max(now, session.newest_at)
        if cue is Cue.VIEW and was_heard(session.window, Cue.PLAY, since=at - VIEW_OVERTAKEN_S):
            cue = Cue.CHECK
        self._note(session, event.type, cue, at, now, interval_s)
        if is_again and session.playback is before:
            self._ignore_duplicate(session, event.type, now, now)
        self._alive(session, now, interval_s, is_beat=True)
        return taken(session.interval_s)

    # What the handlers are made of.

    def _note(  # noqa: PLR0913 - an input is what it is
        self,
        session: Session,
        what: str,
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
        aside: bool = False,
    ) -> None:
        """Put an input into the session's window, and keep the audience true if that changed its state; count it if it is too late."""
        before = session.playback
        # As `_cap_s` has it: a call costs more than all the rest.
        cap_s = (interval_s if interval_s > self._shortest_s else self._shortest_s) * self.policy.expiry_intervals  # noqa: FURB136
        if cap_s > INTERVAL_CAP_S_MAX:  # noqa: PLR1730
            cap_s = INTERVAL_CAP_S_MAX
        in_time = session.note(
            cue,
            at,
            gains=self._gains,
            cap_s=cap_s,
            bitrate=bitrate,
            latency=latency,
            quality=quality,
            stream_id=stream_id,
            says=says,
            aside=aside,
        )
        if not in_time:
            self._ignore_late(session, what, at, now)
        elif session.playback is not before:
            self._follow_playback(session, before, now)

    def _cap_s(self, interval_s: int) -> int:
        """Return the most that an interval counts which begins under this promise."""
        return min(max(interval_s, self.policy.heartbeat_interval_s) * self.policy.expiry_intervals, INTERVAL_CAP_S_MAX)

    def _follow_clock(self, session: Session, at: float, now: float, *, tells_most: bool = True, says: Sign = Sign.EVENT) -> bool:
        """Hear what a timestamp tells of the player's clock; True: its input is to be kept apart (`player_clock.py`)."""
        before, kept = session.playback, session.ahead
        heard = follow(session, at, now=now, gains=self._gains, tells_most=tells_most, says=says)
        if heard.step is Step.AHEAD:
            self._add(_WILD)
            session.tally(wild=1)
        if heard.step is not None:
            session.tell(What.WILD_CLOCK, now=now, detail=heard.step)
        self._follow_playback(session, before, now)
        if kept and not session.ahead.startswith(kept):
            # What was stray moved nobody to another stream.
            self._set(session, STREAM, session.newest_stream(), now, 0)
        return heard.aside

    def _follow_playback(self, session: Session, before: Playback, now: float) -> None:
        """Keep the audience true after what may have changed a session's state."""
        if session.playback is not before:
            self._move_if_counted(session, ("state", before), ("state", session.playback))
            stream_id = session.stream_id
            self._move_if_counted(session, ("stream", stream_id, before), ("stream", stream_id, session.playback))
            if before is Playback.FAILED:
                self._got_over(session)
            elif session.playback is Playback.FAILED:
                self._has_failed(session, now)

    def _follow(
        self,
        session: Session,
        stream_id: str | None,
        channel_id: str | None,
        creator_id: str | None,
        program_id: str | None,
        quality: str | None,
        *,
        now: float,
        said: int,
    ) -> None:
        """Take over what an input says of these; `said`: what newer ones have said."""
        if stream_id != session.stream_id:
            self._set(session, "stream_id", stream_id, now, said)
        if channel_id != session.channel_id:
            self._set(session, "channel_id", channel_id, now, said)
        if creator_id != session.creator_id:
            self._set(session, "creator_id", creator_id, now, said)
        if program_id != session.program_id:
            self._set(session, "program_id", program_id, now, said)
        if quality != session.quality:
            self._set(session, "quality", quality, now, said)

    def _set(self, session: Session, name: str, value: str | None, now: float, said: int) -> None:
        """Set a dimension: the newest input that names it counts; any other only fills what was unknown."""
        before: str = getattr(session, name)
        if value is None or value == before or (said & _SAYS_OF[name] and before != UNKNOWN):
            return
        if value == AUTO and name == "quality" and before != UNKNOWN:
            return
        value = intern(value)
        if name == STREAM:
            if before != UNKNOWN:
                session.tell(What.STREAM, now=now)
            session.watch(value, self._gains)
            self._move_if_counted(session, ("stream", before, session.playback), ("stream", value, session.playback))
        else:
            setattr(session, name, value)
            if name == "program_id":
                session.program_title = None
            dimension = _BY_ATTRIBUTE[name].name
            self._move_if_counted(session, (dimension, before), (dimension, value))

    def _is_new_event(self, session: Session, happening: Happening, now: float) -> bool:
        digest = _digest(happening.event_id)
        if session.knows_event(digest):
            self._ignore_duplicate(session, happening.type, happening.at, now)
            return False
        session.remember_event(digest)
        self._add(("events", happening.type))
        return True

    def _ignore_duplicate(self, session: Session, what: str, at: float, now: float, why: Why = Why.REPEATED) -> None:
        session.tally(duplicates=1)
        session.ignore(what, why, at=at, now=now)
        self._add(_DUPLICATES)
        self._changed[session] = None

    def _ignore_late(self, session: Session, what: str, at: float, now: float) -> None:
        session.tally(late=1)
        session.ignore(what, Why.LATE, at=at, now=now)
        self._add(_LATE)

    def _refuse(self, session: Session, interval_s: int, what: str, at: float, now: float) -> Receipt:
        session.ignore(what, Why.AFTER_END, at=at, now=now)
        self._changed[session] = None
        return self._refusal(session, interval_s)

    def _refusal(self, session: Session, interval_s: int) -> Receipt:
        return Receipt(
            accepted=False,
            reason=Reason.SESSION_ENDED.value,
            interval_s=interval_s,
            total_watch_s=None if session.ending is None else session.ending.total_watch_s,
            end_reason=session.end_reason,
        )


_HANDLERS: Final[dict[type[Event], Callable[[Tracker, Any, float, int], Receipt]]] = {
    Start: Tracker._start,  # noqa: SLF001 - the class's own table
    Heartbeat: Tracker._heartbeat,  # noqa: SLF001
    Happenings: Tracker._happenings,  # noqa: SLF001
    End: Tracker._end,  # noqa: SLF001
    Beacon: Tracker._beacon,  # noqa: SLF001
    Reports: Tracker._reports,  # noqa: SLF001
}


def _says(stream_id: str | None, program_id: str | None, creator_id: str | None) -> int:
    return (
        (0 if stream_id is None else SAYS_STREAM)
        | (0 if program_id is None else SAYS_PROGRAM)
        | (0 if creator_id is None else SAYS_CREATOR)
    )


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
