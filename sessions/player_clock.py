"""
What one session's timestamps say about its player's clock, and when its order begins anew.

Theory of operation: `offset` is the server's time minus the player's, the smallest seen: what the network delayed least. It
predicts the next timestamp, and three things break with it.

- A timestamp more than 60 s *ahead* of the prediction that brings the offset nearer to zero: either a delay that ended, and then nothing is
  anchored, and what the delay held up still finds its place; or a clock (inputs had agreed about it for 10 s) that is right now.
- One that takes the offset farther away from zero is *stray*, or the clock was set. Such inputs are kept apart, and the live state is theirs. The
  next one in order by the clock of before says that they were stray, and it is as if they had not come. A heartbeat or a start that agrees with them 10 s
  later, or the end of the session, says that the clock was set: the order is anchored at the first of them, and they count from there.
- Inputs that lie *behind*, with none in order between, agree with each other about the clock and go on for 10 s of the server's time: the
  clock was set back. The order is anchored at the first of them, and they count from there. Until then they are only late.

Wherever the order is anchored anew, the open interval is closed at its last input, a pending seek is forgotten, and no startup is
measured across it: no duration is ever a mixture of two clocks.

It knows neither liveness nor the ledger.
"""

from enum import IntEnum
from typing import Final, NamedTuple

from sessions.account import NEVER
from sessions.gains import Gains
from sessions.limits import (
    CLOCK_SURE_AFTER_S,
    CLOCKS_AGREE_S,
    QUEUE_SPAN_S_MAX,
    REORDER_WINDOW_S,
    WILD_AHEAD_S,
    WINDOW_INPUTS_MAX,
)
from sessions.session import Session
from sessions.window import INPUT, RUN, kept_apart, time_of


class Step(IntEnum):
    """How a player's clock moved: the detail of the story's entry."""

    AHEAD = 0
    BACK = 1


class Sign(IntEnum):
    """How much an input's timestamp says of the player's clock."""

    EVENT = 0
    """May be stamped by whoever wrote it: events by themselves set no clock ahead."""
    BEAT = 1
    """A heartbeat's, or a start's."""
    LAST = 2
    """An end's, after which nothing could tell more, or that of reports, which have an order of their own: what it says is believed."""


class Heard(NamedTuple):
    """What a timestamp told."""

    step: Step | None = None
    """How the clock was set, as far as this one tells it first."""
    aside: bool = False
    """Its input is to be kept apart (`Session.note`): whether the clock was set is not known yet."""


_FITS: Final = Heard()


def follow(session: Session, at: float, *, now: float, gains: Gains, tells_most: bool = True, says: Sign) -> Heard:
    """
    Compare a timestamp with what the session's clock predicts, before its input is noted.

    `tells_most`: of a list of events, the newest says most about the clock; the older ones waited for it, and say nothing of its being set back.
    """
    offset = now - at
    if session.offset == NEVER:
        session.offset = offset
    if session.offset - offset > WILD_AHEAD_S:
        if not _is_ended_delay(session, offset):
            if abs(offset) < abs(session.offset):
                _anchor(session, at, offset=offset, now=now, gains=gains)
                return Heard(Step.AHEAD)
            return _run_ahead(session, offset, now=now, gains=gains, says=says)
        session.held_up = at
    session.offset = min(offset, session.offset)
    if at >= session.newest_at:
        if tells_most:
            session.behind = b""
        if at > session.newest_at or says is Sign.LAST:  # else it may be a copy, from before the clock was set
            _forget_ahead(session)
        return _FITS
    if says is Sign.LAST:
        _forget_ahead(session)
    if at < session.newest_at - REORDER_WINDOW_S and abs(offset) < abs(session.offset) - QUEUE_SPAN_S_MAX:
        _anchor(session, at, offset=offset, now=now, gains=gains)
        return _FITS
    return _lie_behind(session, offset, now=now, gains=gains) if tells_most else _FITS


def believe(session: Session, gains: Gains) -> None:
    """Take the inputs that are far ahead for what they say, if there are any: the clock was set when the first of them came."""
    if not session.ahead:
        return
    since, offset = RUN.unpack_from(session.ahead)
    records = kept_apart(session.ahead)
    _anchor(session, time_of(records[0]) if records else since - offset, offset=offset, now=since, gains=gains)
    session.replay(records, gains)


def _forget_ahead(session: Session) -> None:
    if session.ahead:
        session.ahead = b""
        session.look_again()


def _is_sure(session: Session) -> bool:
    # What inputs agreed about for so long is a clock; a delay does not stay the same.
    since = session.created_at if session.clock_since == NEVER else session.clock_since
    agrees: bool = session.seen_at - session.newest_at - session.offset <= CLOCKS_AGREE_S
    return agrees and session.seen_at - since >= CLOCK_SURE_AFTER_S


def _is_ended_delay(session: Session, offset: float) -> bool:
    nearer = abs(offset) < abs(session.offset)
    return nearer and session.offset - offset <= QUEUE_SPAN_S_MAX and not _is_sure(session)


def _run_ahead(session: Session, offset: float, *, now: float, gains: Gains, says: Sign) -> Heard:
    if session.ahead:
        first_now, first_offset = RUN.unpack_from(session.ahead)
        if abs(offset - first_offset) <= WILD_AHEAD_S:
            is_full = len(session.ahead) >= WINDOW_INPUTS_MAX * INPUT.size
            is_sure = says is Sign.BEAT and now - first_now >= CLOCK_SURE_AFTER_S
            if not (is_full or is_sure or says is Sign.LAST):
                return Heard(aside=True)
            believe(session, gains)
            session.offset = min(session.offset, offset)
            return _FITS
    _forget_ahead(session)
    session.ahead = RUN.pack(now, offset)
    if says is Sign.LAST:
        believe(session, gains)
    return Heard(Step.AHEAD, aside=says is not Sign.LAST)


def _lie_behind(session: Session, offset: float, *, now: float, gains: Gains) -> Heard:
    if session.behind:
        first_now, first_offset = RUN.unpack_from(session.behind)
        if abs(offset - first_offset) <= CLOCKS_AGREE_S:
            if now - first_now < CLOCK_SURE_AFTER_S:
                return _FITS
            _set_back(session, min(first_offset, offset), since=first_now, gains=gains)
            return Heard(Step.BACK)
    session.behind = RUN.pack(now, offset)
    return _FITS


def _set_back(session: Session, offset: float, *, since: float, gains: Gains) -> None:
    records = kept_apart(session.behind)
    session.take_out(records)
    _anchor(session, time_of(records[0]) if records else since - offset, offset=offset, now=since, gains=gains)
    session.replay(records, gains)


def _anchor(session: Session, at: float, *, offset: float, now: float, gains: Gains) -> None:
    """Begin the order anew at an input's time; those of the last minute before it may still follow."""
    session.break_off(at - REORDER_WINDOW_S, gains)
    session.newest_at = at
    session.heartbeat_at = NEVER
    session.offset = offset
    session.clock_since = now
    session.behind = session.ahead = b""
    session.held_up = NEVER
