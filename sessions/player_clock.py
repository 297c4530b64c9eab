"""
What one session's timestamps say about its player's clock, and when its order begins anew.

Theory of operation: `offset` is the server's time minus the player's, the smallest seen: what the network delayed least. It
predicts the next timestamp, and three things break with it.

- A timestamp more than 60 s *ahead* of the prediction is wild: the order is anchored anew. If it brings the offset nearer to zero, it is
  a delay that ended, nothing is anchored, and what the delay held up still finds its place; unless the offset was no delay, but a clock: inputs had agreed about it for 10 s.
- A wild one that was a *blip*: the next timestamp fits the clock of before, or one nearer to ours by more than a day. The order goes back to
  where it was, and the interval that the blip cut off goes on.
- Inputs that lie *behind*, with none in order between, agree with each other about the clock and go on for 10 s of the server's time: the
  clock was set back. The order is anchored at the first of them, and they count from there. Until then they are only late.

Wherever the order is anchored anew, the open interval is closed at its last input, a pending seek is forgotten, and no startup is
measured across it: no duration is ever a mixture of two clocks.

It knows neither liveness nor the ledger.
"""

from enum import IntEnum
from struct import Struct
from typing import Final

from sessions.account import NEVER, Gains
from sessions.limits import CLOCK_SURE_AFTER_S, CLOCKS_AGREE_S, QUEUE_SPAN_S_MAX, REORDER_WINDOW_S, WILD_AHEAD_S
from sessions.session import Session
from sessions.window import INPUT

_RUN: Final = Struct("<dd")
"""Of inputs that lie behind: the server's time of the first, and its offset; the inputs follow, packed as in the window."""


class Step(IntEnum):
    """How a player's clock moved: the detail of the story's entry."""

    AHEAD = 0
    BACK = 1


def follow(session: Session, at: float, *, now: float, gains: Gains, tells_most: bool = True) -> Step | None:
    """
    Compare a timestamp with what the session's clock predicts, before its input is noted; return how the clock was set, if it was.

    `tells_most`: of a list of events, the newest says most about the clock; the older ones waited for it, and say nothing of its being set back.
    """
    offset = now - at
    if session.offset == NEVER:
        session.offset = offset
    ahead_s = session.offset - offset
    if ahead_s > WILD_AHEAD_S:
        if not _is_ended_delay(session, offset):
            _leap(session, at, now=now, gains=gains)
            return Step.AHEAD
        session.held_up = at
    session.offset = min(offset, session.offset)
    if at >= session.newest_at:
        if tells_most:
            session.behind = b""
        return None
    if at < session.newest_at - REORDER_WINDOW_S and _goes_back(session, offset):
        _return(session, at, now=now, gains=gains)
        return None
    return _lie_behind(session, offset, now=now, gains=gains) if tells_most else None


def _is_sure(session: Session) -> bool:
    # What inputs agreed about for so long is a clock; a delay does not stay the same.
    since = session.created_at if session.clock_since == NEVER else session.clock_since
    agrees: bool = session.seen_at - session.newest_at - session.offset <= CLOCKS_AGREE_S
    return agrees and session.seen_at - since >= CLOCK_SURE_AFTER_S


def _is_ended_delay(session: Session, offset: float) -> bool:
    nearer = abs(offset) < abs(session.offset)
    return nearer and session.offset - offset <= QUEUE_SPAN_S_MAX and not _is_sure(session)


def _leap(session: Session, at: float, *, now: float, gains: Gains) -> None:
    is_blip_of_blip = session.previous_offset is not None and not _is_sure(session)
    previous, resume, beat_at = session.previous_offset, session.resume, session.heartbeat_at
    account = session.fold_all(gains)
    if not is_blip_of_blip:
        previous = session.offset
        resume = (account.at, account.counted_s, beat_at) if account.running else None
    _anchor(session, at, offset=now - at, now=now, gains=gains)
    session.previous_offset, session.resume = previous, resume


def _goes_back(session: Session, offset: float) -> bool:
    return _fits_previous(session, offset) or abs(offset) < abs(session.offset) - QUEUE_SPAN_S_MAX


def _fits_previous(session: Session, offset: float) -> bool:
    previous = session.previous_offset
    return previous is not None and abs(offset - previous) <= WILD_AHEAD_S and not _is_sure(session)


def _return(session: Session, at: float, *, now: float, gains: Gains) -> None:
    offset = now - at
    previous, resume, fits = session.previous_offset, session.resume, _fits_previous(session, offset)
    _anchor(session, at, offset=offset, now=now, gains=gains)
    if not fits or previous is None:
        return
    session.offset = min(offset, previous)
    if resume is not None:
        cut_off_at, counted_s, session.heartbeat_at = resume
        session.newest_at = max(at, session.go_on(cut_off_at, counted_s))


def _lie_behind(session: Session, offset: float, *, now: float, gains: Gains) -> Step | None:
    if session.behind:
        first_now, first_offset = _RUN.unpack_from(session.behind)
        if abs(offset - first_offset) <= CLOCKS_AGREE_S:
            if now - first_now < CLOCK_SURE_AFTER_S:
                return None
            _set_back(session, min(first_offset, offset), since=first_now, gains=gains)
            return Step.BACK
    session.behind = _RUN.pack(now, offset)
    return None


def _set_back(session: Session, offset: float, *, since: float, gains: Gains) -> None:
    kept = session.behind[_RUN.size :]
    records = sorted((kept[place : place + INPUT.size] for place in range(0, len(kept), INPUT.size)), key=_time_of)
    session.take_out(records)
    first_at = _time_of(records[0]) if records else since - offset
    _anchor(session, first_at, offset=offset, now=since, gains=gains)
    session.replay(records, gains)


def _anchor(session: Session, at: float, *, offset: float, now: float, gains: Gains) -> None:
    """Begin the order anew at an input's time; those of the last minute before it may still follow."""
    session.break_off(at - REORDER_WINDOW_S, gains)
    session.newest_at = at
    session.heartbeat_at = NEVER
    session.offset = offset
    session.previous_offset = None
    session.resume = None
    session.clock_since = now
    session.behind = b""
    session.held_up = NEVER


def _time_of(record: bytes) -> float:
    at: float = INPUT.unpack_from(record)[0]
    return at
