"""
What the live page shows, as the exporter keeps it: now, and the last hour at a second's resolution.

The hour is a *line* for each second: sessions by state, and how many joined and left since the line before. A second in which nobody
looked has no line: whoever draws it draws a gap. What is shown of *now* (the biggest streams, quality, health) is worked out only when
somebody asks. Quality is of the last minutes: what the counters have grown by since a *mark*, a note of where they stood.

After the exporter's restart the hour begins anew, under another `life`, and says since when it knows. It knows no clock and adds
nothing up: see `totals.py`. Memory: `LIVE_SECONDS_MAX` lines, `LIVE_STREAMS_MAX` streams with `LIVE_SPARKS_MAX` numbers each.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Final, NamedTuple

from metrics import catalog
from metrics.catalog import INCREMENTS, STATES
from metrics.totals import Totals
from sessions.growing import grows
from sessions.histograms import BOUNDS
from sessions.limits import LIVE_SECONDS_MAX, LIVE_SPARKS_MAX, LIVE_STREAMS_MAX
from sessions.states import WATCHING

SPARK_S: Final = 5
"""A stream's course has a point for so many seconds: the first look in them."""
QUALITY_S: Final = 300.0
"""How far back quality looks."""
MARK_S: Final = 10.0
DROPPED_NAMED: Final = 5
"""Fields that are named as dropped: those that were most often."""

Line = tuple[int | None, ...]
"""When (whole seconds since the epoch), sessions in each of `STATES`, joined, left. The last two are None where they are not known."""
Sums = Mapping[tuple[str, ...], float]


@grows
class News(NamedTuple):
    """What the exporter tells a replica that has listeners."""

    life: str
    """Of this exporter; another one knows nothing of its hour."""
    version: int
    """Of what is told as now."""
    since: int
    """When the hour begins, at the earliest: nothing is known from before."""
    lines: list[Line]
    """Those that the replica does not have."""
    now: Mapping[str, Any] = {}
    """Plain values; see `Live.now`."""


class Live:
    """The last hour, and now."""

    def __init__(self, life: str) -> None:
        self.life = life
        self.version = 0
        """Grows with every look that is worth telling."""
        self._lines: deque[Line] = deque(maxlen=LIVE_SECONDS_MAX)
        self._seen: tuple[int, ...] = ()
        self._ledger: tuple[int, int] | None = None
        self._offset: float | None = None
        self._sparks: dict[str, deque[int]] = {}
        """Of the biggest streams, their sessions: the newest last, and as long ago as they are among the biggest."""
        self._marks: deque[tuple[float, Sums]] = deque()
        self._told: tuple[int, dict[str, Any]] = (0, {})

    def look(self, totals: Totals, *, now: float, closes_second: bool) -> bool:
        """
        Take in what the totals say; return whether it is worth telling: the audience changed, or a second is over.

        Call it often, and with `closes_second` once a second.
        """
        states = tuple(totals.states().values())
        if closes_second:
            self._close_second(totals, states, now=now)
        if not closes_second and states == self._seen:
            return False
        self._seen = states
        self.version += 1
        return True

    def news(self, totals: Totals, *, now: float, life: str, newest: int) -> News:
        """Return what somebody does not know who has the lines of `life` up to the second `newest`."""
        version, told = self._told
        if version != self.version:
            told = self.now(totals, now=now)
            self._told = (self.version, told)
        lines = list(self._after(newest) if life == self.life else self._lines)
        since = self._lines[0][0] if self._lines else int(now)
        return News(self.life, self.version, since or 0, lines, told)

    def now(self, totals: Totals, *, now: float) -> dict[str, Any]:
        """Return what is shown of this moment, as plain values."""
        states = totals.states()
        return {
            "sessions": sum(states.values()),
            "watching": sum(states[state] for state in WATCHING),
            "states": dict(states),
            "streams": {label: [watched.states[state] for state in STATES] for label, watched in totals.biggest(LIVE_STREAMS_MAX)},
            "sparks": {label: list(sizes) for label, sizes in self._sparks.items()},
            "more_streams": max(0, len(totals.labels["stream"].sizes) - LIVE_STREAMS_MAX),
            **self._lately(totals, now=now),
        }

    def _close_second(self, totals: Totals, states: tuple[int, ...], *, now: float) -> None:
        if self._offset is None:
            self._offset = now - int(now) - 0.5  # the middle of a second is where a late tick does least harm
        at = int(now - self._offset)
        newest = self._lines[-1][0] if self._lines else None
        if newest is not None and at <= newest:
            return  # its changes are the next one's
        ledger = _ledger(totals)
        changes: tuple[int | None, int | None] = (None, None)
        if ledger is not None and self._ledger is not None:
            changes = (ledger[0] - self._ledger[0], ledger[1] - self._ledger[1])
        self._ledger = ledger
        self._lines.append((at, *states, *changes))
        if newest is None or at // SPARK_S != newest // SPARK_S:
            self._add_sparks(totals)
        if not self._marks or now - self._marks[-1][0] >= MARK_S:
            self._marks.append((now, _sums(totals)))
            while len(self._marks) > 1 and now - self._marks[1][0] >= QUALITY_S:
                self._marks.popleft()

    def _add_sparks(self, totals: Totals) -> None:
        before, self._sparks = self._sparks, {}
        for label, watched in totals.biggest(LIVE_STREAMS_MAX):
            sizes = self._sparks[label] = before.get(label, deque(maxlen=LIVE_SPARKS_MAX))
            sizes.append(watched.sessions)

    def _after(self, newest: int) -> Iterable[Line]:
        """Return the lines of later seconds, without a look at all the others."""
        count = 0
        for line in reversed(self._lines):
            if (line[0] or 0) <= newest:
                break
            count += 1
        return islice(self._lines, len(self._lines) - count, None)

    def _lately(self, totals: Totals, *, now: float) -> dict[str, Any]:
        marked_at, before = self._marks[0] if self._marks else (now, {})
        after = _sums(totals)
        grown = {key: amount - before.get(key, 0.0) for key, amount in after.items()} if self._marks else {}
        return {"quality": _quality(grown, window_s=round(now - marked_at)), "health": _health(totals, grown, now=now)}


def _ledger(totals: Totals) -> tuple[int, int] | None:
    """Return how many ever joined and left; None: not every slot was heard of, and the sum would jump when it is."""
    if not totals.ledgers.complete:
        return None
    sums = totals.ledgers.sums
    joined = sum(sums.get((name,), 0) for name in ("started", "provisional", "revived"))
    return joined, sum(count for key, count in sums.items() if key[0] in {"expired", "ended"})


_BY_STREAM: Final = ("playing", "rebuffering", "rebuffers", "plays", "start_failures", "playback_failures", "exits_before_start")
_HISTOGRAMS: Final = ("startup", "experience_score")


def _sums(totals: Totals) -> Sums:
    """Return where the counters stand that quality and health are worked out from. None of them falls when a stream loses its label."""
    sums: dict[tuple[str, ...], float] = {(name,): totals.counted.whole.get(name, 0.0) for name in _BY_STREAM}
    for name in _HISTOGRAMS:
        ((_, counts, total),) = totals.counted.histograms(INCREMENTS[name])
        sums |= {(name, "le", str(index)): count for index, count in enumerate(counts)}
        sums[name, "sum"] = total
    for name in ("dropped_fields", "rejected"):
        sums |= {(name, *labels): amount for labels, amount in totals.counted.counters(INCREMENTS[name]).items()}
    return sums


def _quality(grown: Sums, *, window_s: int) -> dict[str, Any]:
    """Return how it went lately; None: nothing was counted that would tell."""
    counts = {name: [grown.get((name, "le", str(index)), 0.0) for index in range(len(BOUNDS[name]) + 1)] for name in _HISTOGRAMS}
    playing, rebuffering = grown.get(("playing",), 0.0), grown.get(("rebuffering",), 0.0)
    scored = sum(counts["experience_score"])
    failures = {name: round(grown.get((name,), 0.0)) for name in ("plays", "start_failures", "playback_failures", "exits_before_start")}
    return {
        "window_s": window_s,
        "startup_p50_s": quantile(0.5, counts["startup"], BOUNDS["startup"]),
        "startup_p95_s": quantile(0.95, counts["startup"], BOUNDS["startup"]),
        "rebuffering_ratio": round(rebuffering / (playing + rebuffering), 5) if playing + rebuffering > 0 else None,
        "stalls": round(grown.get(("rebuffers",), 0.0)),
        "score": round(grown.get(("experience_score", "sum"), 0.0) / scored, 1) if scored else None,
        "scored": round(scored),
        **failures,
    }


def quantile(share: float, counts: list[float], bounds: tuple[float, ...]) -> float | None:
    """Return below what value this share of the observations lies, as Prometheus guesses it inside a bucket; None: there are none."""
    wanted = share * sum(counts)
    if not wanted:
        return None
    below, lower = 0.0, 0.0
    for count, upper in zip(counts, bounds, strict=False):
        if below + count >= wanted:
            return round(lower + (upper - lower) * (wanted - below) / count, 3)
        below, lower = below + count, upper
    return lower


def _health(totals: Totals, grown: Sums, *, now: float) -> dict[str, Any]:
    shards = list(totals.shards(now=now))
    dropped = {key[1:]: round(amount) for key, amount in grown.items() if key[0] == "dropped_fields" and amount > 0}
    most = sorted(dropped.items(), key=lambda entry: (-entry[1], entry[0]))[:DROPPED_NAMED]
    return {
        "journal_up": bool(shards) and all(report.journal_up for report in shards),
        "shards": len(shards),
        "restarts": sum(totals.restarts(report.shard) for report in shards),
        "age_s": int(totals.age_s(now=now)),
        "stretch": max((report.stretch for report in shards), default=1.0),
        catalog.UNWRITTEN.name: sum(report.unwritten_sessions for report in shards),
        catalog.SET_ASIDE.name: sum(report.set_aside for report in shards),
        catalog.MISMATCHED.name: sum(report.mismatched_slots for report in shards),
        "rejected": round(sum(amount for key, amount in grown.items() if key[0] == "rejected")),
        "dropped_fields": sum(dropped.values()),
        "dropped_most": [[*key, amount] for key, amount in most],
    }
