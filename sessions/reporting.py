"""
What the reports of a player that reports by itself do to its session.

Theory of operation: of what a post brings, what was there already is repeated, what is older than what was settled is late, and the rest
takes its place among the reports that are not settled (`reporter.py`). The session's window is nothing but what these mean (`meaning.py`): in
order, the newest is added to it; out of order, it is written anew. So the order in which reports come changes nothing. What is settled
leaves the window for the account, as every input does.

A *blind* player never says what it does. It counts as watching, and in no sum: its intervals count for no time, and what its inputs
would add is thrown away.

`now` is the server's wall clock, told by the caller.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from math import inf, nextafter
from operator import attrgetter
from sys import intern
from typing import Final

from sessions.account import NEVER, UNKNOWN_NUMBER, Account
from sessions.changes import Key, Receipt
from sessions.deadlines import bucket_of
from sessions.errors import InvariantError
from sessions.events import REPORTED, Report, Reports
from sessions.gains import Gains
from sessions.history import What, Why
from sessions.limits import (
    INTERVAL_CAP_S_MAX,
    REORDER_WINDOW_S,
    REPORT_CAP_S,
    REPORT_END_S,
    REPORT_GONE_S,
    REPORTS_PENDING_MAX,
    STREAMS_PER_WINDOW_MAX,
)
from sessions.meaning import KIND, STATE, Cues, Known, ending_of, is_blind, names_stream, read
from sessions.outcomes import add_error
from sessions.player_clock import Sign, Step, follow
from sessions.reporter import (
    HAS_MEDIA,
    NAMES_STREAM,
    NO_NUMBER,
    RECORD,
    WENT_BACK,
    Kept,
    Key4,
    Reporter,
    beaten,
    closed,
    distances_with,
    expiry_s,
    filled,
    place_of,
    records_of,
    rhythm_s,
    settle,
    was_settled,
    with_said,
)
from sessions.roster import Roster
from sessions.session import EVENT_ID_BYTES, UNKNOWN, Session
from sessions.states import Cue, Input, Liveness, Playback
from sessions.transitions import AFTER_FRAME
from sessions.window import INPUT, SAYS_STREAM, fingerprint

_EVENT_OF: Final = {
    "m": "mute", "um": "unmute", "pe": "fullscreen_enter", "pc": "fullscreen_exit", "as": "ad_start", "ae": "ad_end", "abs": "ad_break_start",
    "abe": "ad_break_end", "e": "stream_error",
}  # fmt: skip
"""As which type of event a report is counted."""
_PLAYS_AGAIN: Final = frozenset("dsprwka")
_USUAL: Final = frozenset({"t", "ps", "bc", "pr", "rr"})
"""Kinds that may only say that all goes on."""
_BEAT: Final = KIND["t"]
_TELLING: Final = (KIND["ps"], KIND["t"])
_BACKGROUND_SAID: Final = REPORTED.index("background")
_SHOWN_OF: Final = attrgetter("playback", "stream_id", "channel_id", "creator_id", "platform", "country", "quality")
_NAMES: Final = ("channel", "creator", "platform", "country", "quality", "player", "blind_player")
_STEADY: Final = (Playback.PLAYING, Playback.PAUSED)
"""States that time alone does not end."""


class Reporting(Roster):
    """The part of a tracker that takes reports of such players. For one thread; `now` is in seconds since the epoch."""

    def _reports(self, event: Reports, now: float, _interval_s: int) -> Receipt:
        session = self._sessions.get(event.session_id)
        if session is not None and len(event.reports) == 1 and self._hear_next(session, event, event.reports[0], now):
            return _TAKEN
        if event.joins and (session is None or session.reporter is None):
            return self._join(event, now)
        reports: Sequence[Report] = sorted(event.reports, key=_order)
        moved_by = Input.REPORT
        if session is not None and session.liveness is Liveness.ENDED:
            ended_at = NEVER if session.ending is None else session.ending.at
            after = [report for report in reports if report.at > ended_at]
            if not any(report.state in _PLAYS_AGAIN for report in after):
                return self._come_too_late(session, event, now)
            reports, moved_by = after, Input.START_AFTER_END
        if not reports:
            return Receipt(accepted=True)
        before = None if session is None else session.reporter
        first_at = reports[0].at if moved_by is Input.START_AFTER_END else reports[-1].at
        session = self._arrive(event.session_id, moved_by, first_at, now)
        if session.reporter is None and before is not None:
            # Another viewing of the same player.
            session.reporter = Reporter(player=before.player, distance_s=before.distance_s, runs=before.runs)
        shown, playback = _shown(session), session.playback
        self._introduce(session, event)
        self._follow_reporter(session, reports[-1].at, now)
        receipt = self._hear(session, event.target, reports, now)
        self._recount(session, shown)
        self._follow_failure(session, playback, now)
        self._be_heard(session, now)
        return receipt

    def _join(self, event: Reports, now: float) -> Receipt:
        """Take what a player says beside a client of ours: the numbers that only the player knows; what it does the client says."""
        known = self._sessions.get(event.session_id)
        if known is not None and known.liveness is Liveness.ENDED:
            return self._come_too_late(known, event, now)
        session = self._arrive(event.session_id, Input.HEARTBEAT, max((report.at for report in event.reports), default=now), now)
        shown, playback, repeated = _shown(session), session.playback, 0
        for report in sorted(event.reports, key=_order):
            digest = blake2b(repr((event.target, report[:4])).encode(), digest_size=EVENT_ID_BYTES).digest()
            if session.knows_event(digest):
                repeated += 1
                continue
            session.remember_event(digest)
            heard = follow(session, report.at, now=now, gains=self._gains, tells_most=False, says=Sign.EVENT)
            session.note(
                Cue.CHECK,
                report.at,
                gains=self._gains,
                cap_s=min(self.policy.heartbeat_interval_s * self.policy.expiry_intervals, INTERVAL_CAP_S_MAX),
                bitrate=report.bitrate_bps or UNKNOWN_NUMBER,
                latency=UNKNOWN_NUMBER if report.latency_us is None else report.latency_us,
                aside=heard.aside,
            )
        self._recount(session, shown)
        self._follow_failure(session, playback, now)
        self._alive(session, now, self.policy.heartbeat_interval_s)
        self._count_reports(event.player, taken=len(event.reports) - repeated, repeated=repeated)
        return _receipt(taken=len(event.reports) - repeated, repeated=repeated)

    def _come_too_late(self, session: Session, event: Reports, now: float) -> Receipt:
        """Answer reports of a session that is over."""
        reporter = session.reporter or Reporter()
        repeated = sum(was_settled(reporter.runs, _key_of(report, event.target)) for report in event.reports)
        late = len(event.reports) - repeated
        for report in event.reports[: min(late, 1)]:
            session.ignore("report", Why.AFTER_END, at=report.at, now=now)
        self._changed[session] = None
        self._count_reports(reporter.player or event.player, repeated=repeated, late=late)
        return _receipt(repeated=repeated, late=late)

    # Who it is.

    def _introduce(self, session: Session, event: Reports) -> None:
        """Take over what the page and the player say of themselves; the caller keeps the audience true."""
        reporter = session.reporter
        if reporter is None:
            session.reporter = Reporter(player=intern(event.player), distance_s=event.distance_s)
            session.profile = session.profile or event.profile
        elif event.player and event.player != reporter.player and not reporter.player:
            session.reporter = reporter._replace(player=intern(event.player))
        for name in ("channel_id", "creator_id", "platform", "country"):
            value: str | None = getattr(event, name)
            if value is not None and value != getattr(session, name):
                setattr(session, name, intern(value))

    def _follow_reporter(self, session: Session, newest_at: float, now: float) -> None:
        """Compare the newest report of a post with the clock of its player; where that was set, nothing is measured across."""
        step = follow(session, newest_at, now=now, gains=self._gains_of(session), says=Sign.LAST).step
        if step is None:
            return
        if step is Step.AHEAD:
            self._add(("wild_timestamps",))
            session.tally(wild=1)
        session.tell(What.WILD_CLOCK, now=now, detail=step)
        if not session.window:
            session.reporter, lost = closed(_reporter_of(session))
            self._lose(session, lost)

    def _gains_of(self, session: Session) -> Gains:
        """Return where what its inputs add is kept; a blind player's is thrown away."""
        return Gains() if is_blind(_reporter_of(session).tip) else self._gains

    # What it said.

    def _hear_next(self, session: Session, event: Reports, report: Report, now: float) -> bool:
        """
        Take the usual report at once: the newest one, of a session that goes on as it was. False: it is something else, and nothing was done.

        Most reports are of this kind, and the long way would do the same at four times the cost.
        """
        reporter, at, number = session.reporter, report.at, report.number
        if reporter is None or not _is_usual(session, reporter, event, report, now):
            return False
        kind, state = KIND[report.kind], STATE[report.state]
        known, cues = read(reporter.tip, kind, state, has_media=report.has_media)
        cue = cues[0]
        bitrate, quality = report.bitrate_bps or UNKNOWN_NUMBER, 0
        if bitrate != UNKNOWN_NUMBER:
            name, quality = _quality_of(bitrate)
            if name != session.quality:
                return False
        if known is not reporter.tip or AFTER_FRAME[cue] not in (None, session.playback):
            return False
        says_stream = report.stream_id is not None and names_stream(kind)
        flags = HAS_MEDIA * report.has_media | NAMES_STREAM * says_stream
        latency = UNKNOWN_NUMBER if report.latency_us is None else report.latency_us
        number = NO_NUMBER if number is None else number
        slot_now, is_beat = now - self.paused_s, kind == _BEAT
        session.reporter = Reporter(
            reporter.player,
            reporter.records + RECORD.pack(at, number, event.target, kind, state, flags, 0, bitrate, latency, int(now)),
            reporter.known,
            known,
            reporter.runs,
            distances_with(reporter, slot_now) if is_beat else reporter.distances,
            slot_now if is_beat else reporter.beat_at,
            with_said(reporter.said, at, report.said) if report.said else reporter.said,
            reporter.taken + 1,
            reporter.repeated,
            reporter.late,
            reporter.lost,
            reporter.distance_s,
        )
        session.window += INPUT.pack(at, cue | (SAYS_STREAM if says_stream else 0), 0, REPORT_CAP_S, bitrate, latency, quality)
        session.newest_at = at
        self._settle(session, now)
        self._be_heard(session, now)
        key = ("cmcd_reports", reporter.player or UNKNOWN, "taken")
        self._increments[key] = self._increments.get(key, 0) + 1
        return True

    def _hear(self, session: Session, target: int, reports: Sequence[Report], now: float) -> Receipt:
        """Give each report its place, and let the session be what all of them tell."""
        reporter = _reporter_of(session)
        records, said, runs = reporter.records, reporter.said, reporter.runs
        taken: list[Report] = []
        repeated = late = 0
        in_order = True
        for report in reports:
            key = _key_of(report, target)
            place = place_of(records, key)
            settled_at = NEVER if place or not session.account else Account(session.account).at
            if place is None or (report.at <= settled_at and was_settled(runs, key)):
                repeated += 1
            elif report.at < settled_at:
                # Older than what is in the account for good.
                late += 1
                runs = filled(runs, key)
                session.ignore("report", Why.LATE, at=report.at, now=now)
            else:
                in_order = in_order and place == len(records)
                kept = self._kept(session, key, report, now, is_newest=in_order)
                records = records[:place] + kept + records[place:]
                if report.said:
                    said = with_said(said, report.at, report.said)
                taken.append(report)
        self._count_reports(reporter.player, taken=len(taken), repeated=repeated, late=late)
        session.reporter = reporter = reporter._replace(
            records=records,
            said=said,
            runs=runs,
            taken=reporter.taken + len(taken),
            repeated=reporter.repeated + repeated,
            late=reporter.late + late,
        )
        if taken:
            session.newest_at = max(session.newest_at, taken[-1].at)
            if any(report.kind == "t" for report in taken):
                session.reporter = reporter = beaten(reporter, now - self.paused_s)
            self._mean(session, added=len(taken) if in_order else None, now=now)
            self._count_events(session, taken, now)
            self._settle(session, now)
        return _receipt(taken=len(taken), repeated=repeated, late=late)

    def _kept(self, session: Session, key: Key4, report: Report, now: float, *, is_newest: bool) -> bytes:
        """Return a report as it is kept; a stream that it names has a place among the session's from now on."""
        flags, stream = HAS_MEDIA * report.has_media, 0
        if report.stream_id is not None and names_stream(key[3]):
            flags |= NAMES_STREAM
            stream = self._stream_index(session, report.stream_id, now, is_newest=is_newest)
        if report.kind == "b" and (_BACKGROUND_SAID, True) in report.said:
            flags |= WENT_BACK
        return RECORD.pack(
            *key,
            STATE.get(report.state, 0),
            flags,
            stream,
            report.bitrate_bps or UNKNOWN_NUMBER,
            UNKNOWN_NUMBER if report.latency_us is None else report.latency_us,
            int(now),
        )

    def _stream_index(self, session: Session, stream_id: str, now: float, *, is_newest: bool) -> int:
        if stream_id == session.stream_id:
            return len(session.streams)
        if is_newest or session.stream_id == UNKNOWN:
            if len(session.streams) >= STREAMS_PER_WINDOW_MAX:
                self._settle(session, now, every=True)
            if session.stream_id != UNKNOWN:
                session.tell(What.STREAM, now=now)
            session.watch(intern(stream_id), self._gains)
            return len(session.streams)
        if stream_id in session.streams:
            return session.streams.index(stream_id)
        if len(session.streams) + 2 > STREAMS_PER_WINDOW_MAX:
            return len(session.streams)
        session.streams = (*session.streams, session.stream_id, intern(stream_id))
        return len(session.streams) - 1

    def _mean(self, session: Session, *, added: int | None, now: float) -> None:
        """Write into the window what the reports mean; `added`: only so many are new, and the newest. None: each may mean another thing now."""
        reporter = _reporter_of(session)
        if added is None:
            known, records, window = reporter.known, reporter.records, b""
            watched = _first_watched(session, records)
        else:
            start = len(reporter.records) - added * RECORD.size
            known, records, window = reporter.tip, reporter.records[start:], session.window
            watched = INPUT.unpack_from(window, len(window) - INPUT.size)[2] if window else _first_watched(session, records)
        steady = added is not None and session.frame
        parts = [window]
        for kept, after, cues, stream in _walk(session, known, records, watched):
            known, watched = after, stream
            at, bitrate = kept[0], kept[7]
            quality = 0
            if known.framed and bitrate != UNKNOWN_NUMBER:
                session.quality, quality = _quality_of(bitrate)
            cap_s = REPORT_CAP_S if known.speaks else 0
            says = SAYS_STREAM if kept[5] & NAMES_STREAM else 0
            parts += [INPUT.pack(at, cue | says, stream, cap_s, bitrate, kept[8], quality) for cue in cues]
            steady = steady and AFTER_FRAME[cues[-1]] is session.playback and len(cues) == 1
        session.window = b"".join(parts)
        session.reporter = reporter._replace(tip=known)
        if not steady or session.playback not in _STEADY:
            tip = session.settled()
            session.playback, session.frame = tip.playback, bool(tip.frame)
        name = _name_of(session, watched)
        if name != session.stream_id:
            # A report that came late names a stream, and those after it none.
            session.streams = (*session.streams, session.stream_id)
            session.stream_id = name
            session.tell(What.STREAM, now=now)

    def _settle(self, session: Session, now: float, *, every: bool = False) -> None:
        """Let go what cannot change its place any more, or what there is no room for."""
        reporter = _reporter_of(session)
        count = len(reporter.records) // RECORD.size
        oldest_at, *_, came = RECORD.unpack_from(reporter.records)
        waits = came + REORDER_WINDOW_S > now or oldest_at >= session.newest_at - REORDER_WINDOW_S
        if waits and count <= REPORTS_PENDING_MAX and not every:
            return
        settled: list[Kept] = []
        until, newest_at = NEVER, session.newest_at - REORDER_WINDOW_S
        for each in records_of(reporter.records):
            may_stay = each[0] >= newest_at or each[9] + REORDER_WINDOW_S > now
            if each[0] != until and may_stay and count - len(settled) <= REPORTS_PENDING_MAX and not every:
                break
            until = each[0]
            settled.append(each)
        if settled:
            self._let_go(session, settled, nextafter(until, inf))

    def _let_go(self, session: Session, settled: Sequence[Kept], until: float) -> None:
        reporter = _reporter_of(session)
        records = reporter.records[: len(settled) * RECORD.size]
        speaks_at = None if reporter.known.speaks else _first_word_at(settled)
        known = reporter.known
        for _, after, _, _ in _walk(session, known, records, _first_watched(session, records)):
            known = after
        if not reporter.known.speaks:
            # Until it speaks, what it adds is nobody's.
            session.fold(until if speaks_at is None else speaks_at, Gains())
        if reporter.known.speaks or speaks_at is not None:
            session.fold(until, self._gains)
        runs, lost = settle(reporter.runs, settled)
        session.reporter = reporter._replace(records=reporter.records[len(records) :], known=known, runs=runs, lost=reporter.lost + lost)
        self._lose(session, lost)

    # How long it is believed to be there, and what is counted.

    def _be_heard(self, session: Session, now: float) -> None:
        """Take a sign of life: when it is to come again depends on how often it comes, and on what it said last."""
        reporter = _reporter_of(session)
        session.seen_at = now
        within_s: float = expiry_s(reporter)
        session.interval_s = round(within_s / self.policy.expiry_intervals)
        if ending_of(reporter.tip) is not None:
            within_s = REPORT_END_S
        elif reporter.records and RECORD.unpack_from(reporter.records, len(reporter.records) - RECORD.size)[5] & WENT_BACK:
            within_s = min(within_s, rhythm_s(reporter) + REPORT_GONE_S)
        bucket = bucket_of(now - self.paused_s + within_s)
        if bucket != session.bucket:
            if session.bucket:
                self._deadlines.remove(session, session.bucket)
            else:
                self._count(session, 1)
            session.bucket = self._deadlines.add(session, bucket)
        self._changed[session] = None

    def _recount(self, session: Session, before: Sequence[str | None]) -> None:
        """Keep the audience true after whatever reports may have changed of a session; `before`: what it counted under."""
        after = _shown(session)
        if after != before and session.bucket:
            for key in _keys(before):
                self._shift(key, -1)
            for key in _keys(after):
                self._shift(key, 1)

    def _follow_failure(self, session: Session, before: Playback, now: float) -> None:
        if session.playback is not before:
            if before is Playback.FAILED:
                self._got_over(session)
            elif session.playback is Playback.FAILED:
                self._has_failed(session, now)

    def _count_events(self, session: Session, taken: Sequence[Report], now: float) -> None:
        for report in taken:
            counted_as = _EVENT_OF.get(report.kind)
            if counted_as is not None:
                self._add(("events", counted_as))
            if report.kind == "e":
                fatal = report.state == "f"
                session.tally(errors=1)
                session.tell(What.ERROR, now=now, detail=fatal)
                add_error(self._increments, session.stream_id, fatal=fatal)

    def _count_reports(self, player: str, **outcomes: int) -> None:
        for outcome, count in outcomes.items():
            if count:
                key = ("cmcd_reports", player or UNKNOWN, outcome)
                self._increments[key] = self._increments.get(key, 0) + count


def _is_usual(session: Session, reporter: Reporter, event: Reports, report: Report, now: float) -> bool:
    """Tell whether a report may be taken at once, as far as can be seen without reading it."""
    at = report.at
    return (
        at > session.newest_at
        and now - at >= session.offset
        and session.liveness is Liveness.ACTIVE
        and session.playback in _STEADY
        and session.frame
        and report.kind in _USUAL
        and bool(reporter.tip.speaks)
        and bool(session.window)
        and not (session.behind or session.streams)
        and report.stream_id in (None, session.stream_id)
        and event.player in ("", reporter.player)
        and event.channel_id in (None, session.channel_id)
        and event.creator_id in (None, session.creator_id)
        and event.platform in (None, session.platform)
        and event.country in (None, session.country)
    )


def _shown(session: Session) -> tuple[str | None, ...]:
    """Return what a session counts under, as far as reports may change it."""
    reporter = session.reporter
    if reporter is None:
        return (*_SHOWN_OF(session), None, None)
    player = reporter.player or UNKNOWN
    return (*_SHOWN_OF(session), player, player if is_blind(reporter.tip) else None)


def _keys(shown: Sequence[str | None]) -> list[Key]:
    """Return the keys of the audience of what a session counts under."""
    playback, stream_id, *values = shown
    keys: list[Key] = [("state", str(playback)), ("stream", str(stream_id), str(playback))]
    return keys + [(name, value) for name, value in zip(_NAMES, values, strict=True) if value is not None]


def _receipt(*, taken: int = 0, repeated: int = 0, late: int = 0) -> Receipt:
    return Receipt(accepted=True, accepted_count=taken, rejected=(("repeated", str(repeated)), ("late", str(late))))


def _reporter_of(session: Session) -> Reporter:
    reporter = session.reporter
    if reporter is None:
        raise InvariantError("a session of reports that has none", story=session.session_id)
    return reporter


def _order(report: Report) -> tuple[float, int]:
    return report.at, NO_NUMBER if report.number is None else report.number


def _key_of(report: Report, target: int) -> Key4:
    return report.at, NO_NUMBER if report.number is None else report.number, target, KIND.get(report.kind, 0)


def _name_of(session: Session, stream: int) -> str:
    return session.streams[stream] if stream < len(session.streams) else session.stream_id


def _first_watched(session: Session, records: bytes) -> int:
    """Return which stream was watched before these reports; at the very beginning the first that is named."""
    if session.account:
        return int(Account(session.account).stream)
    return next((kept[6] for kept in records_of(records) if kept[5] & NAMES_STREAM), len(session.streams))


def _walk(session: Session, known: Known, records: bytes, watched: int) -> Iterator[tuple[Kept, Known, Cues, int]]:
    """Yield each report in order, with what is known once it was read, the cues that it is, and the stream that is watched then."""
    for kept in records_of(records):
        flags, is_moved = kept[5], False
        if flags & NAMES_STREAM:
            is_moved = kept[6] != watched and _name_of(session, watched) not in (UNKNOWN, _name_of(session, kept[6]))
            watched = kept[6]
        known, cues = read(known, kept[3], kept[4], has_media=bool(flags & HAS_MEDIA), is_moved=is_moved)
        yield kept, known, cues, watched


def _first_word_at(reports: Iterable[Kept]) -> float | None:
    """Return the time of the first report that tells a state."""
    return next((kept[0] for kept in reports if kept[4] and kept[3] in _TELLING), None)


@lru_cache(maxsize=1_024)
def _quality_of(bitrate_bps: int) -> tuple[str, int]:
    """Name a quality of which nothing but its bitrate is known; and its fingerprint."""
    name = intern(f"{bitrate_bps // 1_000} kbps")
    return name, fingerprint(name)


_TAKEN: Final = _receipt(taken=1)
