"""
What a session keeps of a player that reports by itself: the reports that may still change their place, and what tells one from another.

Theory of operation: reports come in any order, again and again, in bursts. Those of the last minute (of the player's time, and of ours: what a
player kept back comes all at once) stay sorted, by their time, then their number. What falls out of that is *settled*, in order: it cannot
change any more, and what it means is final. Only then are gaps in the numbers told from what is merely late, and a number that begins again
from one that was sent twice. A report is the same as another if time, number, kind and target are.

*Rhythm*: the longest of the last distances between posts that brought a `t`. It is all that tells how long a player that is there may be silent.

It knows neither what reports mean (`meaning.py`) nor what becomes of it (`reporting.py`).
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from struct import Struct
from typing import Any, Final, NamedTuple

from sessions.account import UNKNOWN_NUMBER
from sessions.events import REPORTED
from sessions.growing import fit
from sessions.limits import (
    REPORT_DISTANCES_MAX,
    REPORT_EXPIRY_S_MAX,
    REPORT_EXPIRY_S_MIN,
    REPORT_RHYTHM_S,
    REPORT_TARGETS_MAX,
)
from sessions.meaning import NOTHING, Known, is_blind

RECORD: Final = Struct("<dIIBBBBIII")
"""One report: its time, number and target; kind, state, flags, stream index; bitrate, latency; when it came (server's time, whole seconds)."""
Kept = tuple[float, int, int, int, int, int, int, int, int, int]
"""The same, unpacked."""
Key4 = tuple[float, int, int, int]
"""What makes a report the same as another: time, number, target, kind."""
HAS_MEDIA: Final = 1
NAMES_STREAM: Final = 2
WENT_BACK: Final = 4
"""Flags of a record; the last: it says that its page went into the background."""
NO_NUMBER: Final = UNKNOWN_NUMBER

_RUN: Final = Struct("<IIH")
"""Of one target: which, its highest number so far, and which of the sixteen up to it were there, the highest in the lowest bit."""
_RUN_LENGTH: Final = 16
_ALL_SEEN: Final = 0xFFFF
_DISTANCE: Final = Struct("<H")


class Reporter(NamedTuple):
    """What a session holds of its player's reports: those not settled, and what they told. Grows as `growing.py` says."""

    player: str = ""
    """Which player it is, as far as it has told."""
    records: bytes = b""
    """Reports that are not settled, sorted (`RECORD`)."""
    known: Known = NOTHING
    """What the settled ones told."""
    tip: Known = NOTHING
    """What all of them told."""
    runs: bytes = b""
    """Of each target, how far the numbers of its settled reports are (`_RUN`)."""
    distances: bytes = b""
    """Whole seconds between the last posts that brought a `t`."""
    beat_at: float = 0.0
    """When the last of them came, in the slot's clock; 0: none did."""
    said: tuple[tuple[float, float | str] | None, ...] = ()
    """When (player's time) each of `REPORTED` was last said, and its value."""
    taken: int = 0
    repeated: int = 0
    late: int = 0
    lost: int = 0
    """Numbers that never came."""
    distance_s: int = 0
    """Between two posts, as the page says."""


def loaded(values: Sequence[Any]) -> Reporter:
    """Return what was stored, by this build or another."""
    reporter = fit(Reporter, values)
    said = tuple(None if each is None else (each[0], each[1]) for each in reporter.said)
    return reporter._replace(known=fit(Known, reporter.known), tip=fit(Known, reporter.tip), said=said)


def records_of(records: bytes) -> Iterator[Kept]:
    """Yield reports in order."""
    return RECORD.iter_unpack(records)


def place_of(records: bytes, key: Key4) -> int | None:
    """Return where (in bytes) a report belongs among others; None: it is there already."""
    start = len(records)
    while start:
        before = RECORD.unpack_from(records, start - RECORD.size)[:4]
        if before == key:
            return None
        if before < key:
            return start
        start -= RECORD.size
    return 0


def settle(runs: bytes, settled: Iterable[Kept]) -> tuple[bytes, int]:
    """Return the targets' runs after these reports, in order, and how many numbers are known not to come any more."""
    by_target = {target: (highest, seen) for target, highest, seen in _RUN.iter_unpack(runs)}
    lost = 0
    for _, number, target, *_ in settled:
        if number == NO_NUMBER:
            continue
        run, gone = _after(by_target.pop(target, None), number)
        by_target[target] = run
        lost += gone
        if len(by_target) > REPORT_TARGETS_MAX:
            lost += _unseen(by_target.pop(next(iter(by_target)))[1])
    return b"".join(_RUN.pack(target, *run) for target, run in by_target.items()), lost


def close_runs(runs: bytes) -> tuple[bytes, int]:
    """Return the targets' runs as if nothing was missing any more, and how many numbers were: the session is over."""
    every = list(_RUN.iter_unpack(runs))
    return b"".join(_RUN.pack(target, highest, _ALL_SEEN) for target, highest, _ in every), sum(_unseen(seen) for *_, seen in every)


def was_settled(runs: bytes, key: Key4) -> bool:
    """Tell whether a report's number is among those of its target that were settled."""
    _, number, wanted, _ = key
    return any(
        target == wanted and number <= highest and (highest - number >= _RUN_LENGTH or bool(seen >> (highest - number) & 1))
        for target, highest, seen in _RUN.iter_unpack(runs)
    )


def filled(runs: bytes, key: Key4) -> bytes:
    """Return the targets' runs once a number came that was missing, too late to have a place: it is not lost."""
    _, number, wanted, _ = key
    return b"".join(
        _RUN.pack(target, highest, seen | 1 << (highest - number) if target == wanted and _fills(seen, highest - number) else seen)
        for target, highest, seen in _RUN.iter_unpack(runs)
    )


def closed(reporter: Reporter) -> tuple[Reporter, int]:
    """Return what is left once all that is kept is settled, and nothing that is missing will come; and how many numbers are lost by it."""
    runs, lost = settle(reporter.runs, records_of(reporter.records))
    runs, missing = close_runs(runs)
    return reporter._replace(records=b"", known=reporter.tip, runs=runs, lost=reporter.lost + lost + missing), lost + missing


def _after(run: tuple[int, int] | None, number: int) -> tuple[tuple[int, int], int]:
    """Return a target's run after one more number, and how many are lost by it."""
    if run is None:
        return (number, _ALL_SEEN), 0
    highest, seen = run
    if number > highest:
        seen, lost = _shifted(seen, number - highest)
        return (number, seen), lost
    if _fills(seen, highest - number):
        return (highest, seen | 1 << (highest - number)), 0
    return (number, _ALL_SEEN), _unseen(seen)


def _fills(seen: int, back: int) -> bool:
    """Tell whether a number so far back is missing in its run: else it begins another."""
    return 0 < back < _RUN_LENGTH and not seen >> back & 1


def _shifted(seen: int, by: int) -> tuple[int, int]:
    """Return what was seen of the sixteen up to a number that is greater by `by`, and how many fell out that were never seen."""
    if by >= _RUN_LENGTH:
        return 1, _unseen(seen) + by - _RUN_LENGTH
    out = seen >> (_RUN_LENGTH - by)
    return (seen << by | 1) & _ALL_SEEN, by - out.bit_count()


def _unseen(seen: int) -> int:
    return _RUN_LENGTH - seen.bit_count()


def rhythm_s(reporter: Reporter) -> int:
    """Return how far apart its posts are, at most; until two distances are known, at least what players do by themselves."""
    distances = [distance for (distance,) in _DISTANCE.iter_unpack(reporter.distances)]
    known = len(distances) > 1 or reporter.distance_s
    longest: int = max([*distances, reporter.distance_s, 0 if known else REPORT_RHYTHM_S])
    return longest


def expiry_s(reporter: Reporter) -> int:
    """Return for how long it may be silent."""
    return _expiry_s(reporter.distances, reporter.distance_s)


@lru_cache(maxsize=4_096)
def _expiry_s(distances: bytes, distance_s: int) -> int:
    # Players that nobody set all speak as often as each other.
    return min(max(3 * rhythm_s(Reporter(distances=distances, distance_s=distance_s)), REPORT_EXPIRY_S_MIN), REPORT_EXPIRY_S_MAX)


def beaten(reporter: Reporter, at: float) -> Reporter:
    """Return what is known of its rhythm once a post with a `t` has come; `at`: in the slot's clock."""
    return reporter._replace(beat_at=at, distances=distances_with(reporter, at))


def distances_with(reporter: Reporter, at: float) -> bytes:
    """Return the distances once a post with a `t` has come."""
    if not reporter.beat_at:
        return b""
    distance_s = min(max(round(at - reporter.beat_at), 0), REPORT_EXPIRY_S_MAX)
    return (reporter.distances + _DISTANCE.pack(distance_s))[-REPORT_DISTANCES_MAX * _DISTANCE.size :]


def with_said(
    said: Sequence[tuple[float, float | str] | None], at: float, values: Sequence[tuple[int, float | str]]
) -> tuple[tuple[float, float | str] | None, ...]:
    """Return the last known values after a report, which need not be the newest."""
    after = [*said, *(None for _ in range(len(REPORTED) - len(said)))]
    for which, value in values:
        before = after[which]
        if before is None or (at, str(value)) >= (before[0], str(before[1])):
            after[which] = (at, value)
    return tuple(after)


def said_of(reporter: Reporter) -> dict[str, float | str]:
    """Return the last known value of each of `REPORTED` that was said."""
    return {name: entry[1] for name, entry in zip(REPORTED, reporter.said, strict=False) if entry is not None}


def describe_reporter(reporter: Reporter) -> dict[str, object]:
    """Return what is known of a player that reports by itself, JSON-ready."""
    return {
        "player": reporter.player or None,
        "blind": is_blind(reporter.tip),
        "taken": reporter.taken,
        "repeated": reporter.repeated,
        "late": reporter.late,
        "lost": reporter.lost,
        "rhythm_s": rhythm_s(reporter),
        "said": said_of(reporter),
    }
