"""
What a session remembers of its own past: packed bytes, bounded, told in words by `story.py`.

Three histories, each a `bytes` of equal records, oldest first. Of *entries* (what became of the session; server's clock) the oldest but
the first goes when there are too many; of *intervals* (player's clock) and of *ignored inputs* (both clocks) the oldest. An
interval is written as it begins, with the seconds counted until then; the next one says when it ended and what it counted.
"""

from collections.abc import Iterable
from enum import IntEnum
from struct import Struct
from typing import Final

from sessions.events import EVENT_TYPES
from sessions.limits import STORY_ENTRIES_MAX, STORY_IGNORED_MAX, STORY_INTERVALS_MAX

ENTRY: Final = Struct("<dBB")
"""Server's time, what (`What`), detail."""
_INTERVAL: Final = Struct("<ddBB")
"""Player's time at which it began, seconds counted before, stream index, state and `BY_SEEK`."""
_IGNORED: Final = Struct("<ddBB")
"""Server's time, player's time, which input (an index of `INPUTS`), why (`Why`)."""

Interval = tuple[float, float, int, int]
"""One interval's beginning, as it is packed."""

BY_SEEK: Final = 0b0000_1000
"""Beside an interval's state: a seek caused this stall."""
SILENCE: Final = 0b0000_0111
"""In the place of a state: the session was over; what follows is nobody's time."""
_MORE_STATES: Final = 0b0001_0000
"""Beside the states from the eighth on, whose number would be that of `SILENCE`."""
LOST_STREAM: Final = 255
"""In the place of a stream index: its name is no longer known."""

INPUTS: Final = ("start", "heartbeat", "end", "view", "play", "check", *EVENT_TYPES, "report")
"""What may be ignored, in this order for ever: new ones are added at the end."""


class What(IntEnum):
    """What an entry tells."""

    STARTED = 0
    PROVISIONAL = 1
    PROMOTED = 2
    EXPIRED = 3
    REVIVED = 4
    ENDED = 5
    """Detail: the reason, as an index of `END_REASONS`."""
    PLAYBACK = 6
    """Written by older builds only: intervals tell it. Detail: the state entered, as an index of `PLAYBACKS`."""
    STREAM = 7
    WILD_CLOCK = 8
    """The player's clock was set. Detail: 1 if back."""
    ERROR = 9
    """Detail: 1 if fatal."""


class Why(IntEnum):
    """Why an input was ignored."""

    REPEATED = 0
    OLDER = 1
    LATE = 2
    AFTER_END = 3


def code_of(state: int) -> int:
    """Return how a state, an index of `PLAYBACKS`, is written in an interval."""
    return state if state < SILENCE else _MORE_STATES | (state - SILENCE)


def state_of(code: int) -> int:
    """Return the index in `PLAYBACKS` of an interval's state, `BY_SEEK` or not."""
    code &= ~BY_SEEK
    return SILENCE + (code & ~_MORE_STATES) if code & _MORE_STATES else code


def with_entry(entries: bytes, now: float, what: int, detail: int) -> bytes:
    """Return the entries with one more."""
    entries, size = entries + ENTRY.pack(now, what, detail), ENTRY.size
    return entries if len(entries) <= STORY_ENTRIES_MAX * size else entries[:size] + entries[2 * size :]


def with_intervals(intervals: bytes, begun: Iterable[Interval]) -> bytes:
    """Return the intervals with those that have begun since."""
    return (intervals + b"".join(_INTERVAL.pack(*each) for each in begun))[-STORY_INTERVALS_MAX * _INTERVAL.size :]


def with_ignored(ignored: bytes, *, now: float, at: float, what: str, why: Why) -> bytes:
    """Return the ignored inputs with one more; `what` of `INPUTS`."""
    return (ignored + _IGNORED.pack(now, at, INPUTS.index(what), why))[-STORY_IGNORED_MAX * _IGNORED.size :]


def intervals_of(intervals: bytes) -> list[Interval]:
    """Return each interval's beginning."""
    return list(_INTERVAL.iter_unpack(intervals))


def ignored_of(ignored: bytes) -> list[tuple[float, float, str, Why]]:
    """Return (server's time, player's time, which input, why) of each ignored input; what a newer build knows more of is left out."""
    known = [each for each in _IGNORED.iter_unpack(ignored) if each[2] < len(INPUTS) and each[3] < len(Why)]
    return [(now, at, INPUTS[what], Why(why)) for now, at, what, why in known]


def after_streams_went(intervals: bytes, *, kept: int) -> bytes:
    """Return the intervals once every stream but `kept` has lost its name; its index is 0 from now on."""
    return with_intervals(
        b"", ((at, counted_s, 0 if stream == kept else LOST_STREAM, state) for at, counted_s, stream, state in intervals_of(intervals))
    )
