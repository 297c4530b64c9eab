"""
The reordering window of a session: the last 60 s of its inputs (player's time), sorted.

Most sessions hold a handful of inputs and there are a million of them, so a window is one `bytes` of packed records. These are
functions over such bytes; they know neither the account that follows nor who names a stream's index.
"""

from collections.abc import Iterator
from functools import lru_cache
from struct import Struct
from typing import Final
from zlib import crc32

from sessions.account import CUE_BITS, Noted
from sessions.states import Cue
from sessions.transitions import BEATS

INPUT: Final = Struct("<dBBHIII")
"""One input: player's time, cue and what it said, stream index, cap in s, bitrate, latency, quality's fingerprint."""
RUN: Final = Struct("<dd")
"""Before inputs that are kept apart for their clock: the server's time of the first, and its offset; they follow, packed as in the window."""
_STREAM_AT: Final = 9
"""Where in an input its stream index stands."""

AUTO: Final = "auto"
"""The player chooses: no quality of its own, it neither switches nor hides the one that is known."""
SAYS_STREAM: Final = 0b0010_0000
SAYS_PROGRAM: Final = 0b0100_0000
SAYS_CREATOR: Final = 0b1000_0000
"""Bits beside a cue in the window: which dimensions its input named, so that an older one does not speak over it."""
SAYS_QUALITY: Final = 0b0001_0000_0000
"""The same for quality; in the window its fingerprint tells."""
SAYS_MORE: Final = 0b0010_0000_0000
"""The same for what only a start names."""
SAYS_CHANNEL: Final = 0b0100_0000_0000
"""The same for the channel: who names the stream in a start or a heartbeat names it too; an event cannot."""
SAYS_ALL: Final = SAYS_STREAM | SAYS_PROGRAM | SAYS_CREATOR | SAYS_QUALITY | SAYS_MORE | SAYS_CHANNEL
_NAMES_CHANNEL: Final = BEATS | {Cue.START, Cue.CHECK}
"""Cues of starts and heartbeats; a start that is repeated is a check."""


@lru_cache(maxsize=1_024)
def fingerprint(quality: str) -> int:
    """Return the number that represents a quality in the window: 0 for `auto`, which is not a quality, and never 0 for another."""
    return 0 if quality == AUTO else crc32(quality.encode()) or 1


def inputs_of(window: bytes) -> Iterator[Noted]:
    """Yield the inputs in order, as `Account.apply` takes them."""
    return INPUT.iter_unpack(window)


def kept_apart(run: bytes) -> list[bytes]:
    """Return the inputs (packed) that a run holds, in their order: by their stamps, and among equals a start first."""
    records = [run[start : start + INPUT.size] for start in range(RUN.size, len(run), INPUT.size)]
    return sorted(records, key=_order)


def _order(record: bytes) -> tuple[float, bool]:
    at, cue, *_ = INPUT.unpack_from(record)
    return at, cue & CUE_BITS != Cue.START


def time_of(record: bytes) -> float:
    """Return the stamp of an input (packed)."""
    at: float = INPUT.unpack_from(record)[0]
    return at


def said_since(window: bytes, at: float, *, is_start: bool) -> int:
    """Return SAYS_... of all that inputs newer than `at` named; to a start its equals are newer."""
    said = SAYS_MORE
    for other_at, cue, *_, quality in INPUT.iter_unpack(window):
        if other_at > at or (is_start and other_at == at):
            said |= (cue & ~CUE_BITS) | (SAYS_QUALITY if quality else 0)
            if cue & SAYS_STREAM and cue & CUE_BITS in _NAMES_CHANNEL:
                said |= SAYS_CHANNEL
    return said


def was_heard(window: bytes, cue: int, *, since: float) -> bool:
    """Tell whether an input of this cue, stamped `since` or later, is in the window."""
    return any(at >= since and said & CUE_BITS == cue for at, said, *_ in INPUT.iter_unpack(window))


def place_of(window: bytes, at: float, *, is_start: bool = False) -> tuple[int, int | None]:
    """Return where an input belongs, and the stream index of the one before it; among equals a start is first, then the order of arrival stands."""
    place, stream = 0, None
    for start in range(0, len(window), INPUT.size):
        other_at, _, other_stream, *_ = INPUT.unpack_from(window, start)
        if other_at > at or (is_start and other_at == at):
            break
        place, stream = start + INPUT.size, other_stream
    return place, stream


def put(window: bytes, place: int, record: bytes, *, stream: int, moved: bool) -> bytes:
    """Return the window with an input (packed) more, given its stream; `moved`: those that follow and name none watch it too."""
    after = window[place:]
    return window[:place] + of_stream(record, stream) + (_watched_on(after, stream) if moved else after)


def of_stream(record: bytes, stream: int) -> bytes:
    """Return an input (packed) as one of this stream."""
    return record[:_STREAM_AT] + bytes((stream,)) + record[_STREAM_AT + 1 :]


def without(window: bytes, record: bytes) -> bytes:
    """Return the window without one input (packed), whatever stream it was given; as it is, if the input is not in it."""
    for start in range(0, len(window), INPUT.size):
        if of_stream(window[start : start + INPUT.size], 0) == of_stream(record, 0):
            return window[:start] + window[start + INPUT.size :]
    return window


def watched_anew(window: bytes, stream: int) -> bytes:
    """Give each input that names no stream that of the one before it; `stream`: of what came before the window."""
    given = bytearray(window)
    for start in range(0, len(window), INPUT.size):
        _, cue, named, *_ = INPUT.unpack_from(window, start)
        if cue & SAYS_STREAM:
            stream = named
        given[start + _STREAM_AT] = stream
    return bytes(given)


def _watched_on(inputs: bytes, stream: int) -> bytes:
    """Give a stream to the inputs (packed) that come before the first that names one itself."""
    given = bytearray(inputs)
    for start in range(0, len(inputs), INPUT.size):
        if INPUT.unpack_from(inputs, start)[1] & SAYS_STREAM:
            break
        given[start + _STREAM_AT] = stream
    return bytes(given)
