"""What a crowd lived through, as numbers over time: to be laid beside what Prometheus saw of it."""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import NamedTuple

from sessions.limits import STRETCH_MAX
from tests.chaos.crowd import END, HEARTBEAT, START, Heard

FRESH_S = 2.0
"""What was acknowledged is shown within this time."""
HELD_S = 15.0
"""What a lost shard had is shown for so long; then the truth is."""
WINDOW_S = 60.0
INTERVAL_S = 5.0
EXPIRY_INTERVALS = 3
CAP_S = INTERVAL_S * EXPIRY_INTERVALS
"""The most that one interval counts while nothing is stretched."""
GONE_WITHIN_S = CAP_S * STRETCH_MAX + 15.0
"""Whoever falls silent has expired by then, whatever was promised, and a shard that died in the meantime is back."""


class Life(NamedTuple):
    """When one session was active: between which moments it came, and went."""

    sent_at: float
    acknowledged_at: float
    leaves_at: float = inf
    left_at: float = inf


@dataclass(frozen=True)
class Grown:
    """A counter as it was lived: by how much it grew when."""

    times: Sequence[float]
    sums: Sequence[float]
    """Before each of these times, and after the last."""

    def between(self, begin: float, end: float) -> float:
        return self.sums[bisect_left(self.times, end)] - self.sums[bisect_left(self.times, begin)]

    def most_in(self, seconds: float) -> float:
        """Return the most that it grew in any window of this length."""
        return max((self.between(begin, begin + seconds) for begin in self.times), default=0.0)

    @property
    def total(self) -> float:
        return self.sums[-1]


def lives(heard: Iterable[Heard]) -> list[Life]:
    found: dict[str, Life] = {}
    for each in heard:
        if each.path == START:
            found[each.session_id] = Life(each.sent_at, each.acknowledged_at)
        elif each.path == END:
            found[each.session_id] = found[each.session_id]._replace(leaves_at=each.sent_at, left_at=each.acknowledged_at)
    return list(found.values())


def bounds(there: Iterable[Life], begin: float, end: float) -> tuple[int, int]:
    """Return how many were surely active from `begin` to `end`, and how many may have been at some instant of it."""
    surely = possibly = 0
    for life in there:
        surely += life.acknowledged_at <= begin and life.leaves_at >= end
        possibly += life.sent_at <= end and life.left_at >= begin
    return surely, possibly


def grown(heard: Sequence[Heard], *, surely: bool = False) -> dict[str, Grown]:
    """
    Return the counters that this load moves, by the part of their name that tells them apart, each at its acknowledgement.

    Exact, but for one thing that no player can know: an interval counts for no more than three times the interval that was promised
    when it began, which is up to four times as long under load. What was sent again may have been taken the first time, under a
    promise that nobody heard. `surely`: that promise was the shortest, and else it was the one that was heard.
    """
    steps: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for each in heard:
        for name, amount in (
            ("heartbeats_total", each.path == HEARTBEAT),
            ("events_total", each.events),
            ("sessions_started_total", each.path == START),
            ("sessions_ended_total", each.path == END),
        ):
            steps[name].append((each.acknowledged_at, float(amount)))
    folded = _folded(heard, surely=surely)
    steps["playing_seconds_total"] = [(at, seconds) for at, seconds, _ in folded]
    steps["quality_switches_total"] = [(at, float(switches)) for at, _, switches in folded]
    return {name: _summed(found) for name, found in steps.items()}


def _folded(heard: Sequence[Heard], *, surely: bool) -> list[tuple[float, float, int]]:
    """
    Return (when it was acknowledged, seconds of playing, switches) that became final with each request.

    Final is what is older than the reordering window, and all of it at the end. From the first beat on everybody plays, and
    each beat names another quality. Who has not ended expires, when nobody watches any more: that comes last.
    """
    found: list[tuple[float, float, int]] = []
    waiting: dict[str, list[Heard]] = defaultdict(list)
    caps: dict[str, float] = defaultdict(lambda: CAP_S)
    plays: set[str] = set()
    for each in [*heard, *_silences(heard)]:
        inputs = waiting[each.session_id]
        inputs.append(each)
        inputs.sort(key=lambda said: said.stamp)
        final_until = inf if each.path == END else max(said.stamp for said in inputs) - WINDOW_S
        seconds, switches = 0.0, 0
        # The first of them opens an interval as it is folded; the next closes it.
        while len(inputs) > 1 and inputs[1].stamp < final_until:
            before = inputs.pop(0)
            switches += before.path == HEARTBEAT
            if before.path == HEARTBEAT:
                plays.add(each.session_id)
            if before.promised_s:
                caps[each.session_id] = CAP_S if surely and before.resent else before.promised_s * EXPIRY_INTERVALS
            if each.session_id in plays:
                seconds += min(inputs[0].stamp - before.stamp, caps[each.session_id])
        found.append((each.acknowledged_at, seconds, switches))
    return found


def _silences(heard: Sequence[Heard]) -> list[Heard]:
    """Return what stands for the expiry of those who have not ended."""
    last: dict[str, Heard] = {}
    for each in heard:
        last[each.session_id] = each
    end = max(each.acknowledged_at for each in heard)
    return [each._replace(path=END, acknowledged_at=end + CAP_S) for each in last.values() if each.path != END]


def _summed(steps: list[tuple[float, float]]) -> Grown:
    sums = [0.0]
    for _, amount in sorted(steps):
        sums.append(sums[-1] + amount)
    return Grown([at for at, _ in sorted(steps)], sums)
