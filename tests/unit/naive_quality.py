"""
The naive account of quality (qoe.md, sections 1, 2 and 4): a list of intervals, summed at the end.

It stands on `naive_slot.py` and goes through all that a viewing said, from the first input on, whenever it is asked.
`test_exactly_once.py` compares what the counters hold with it.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from sessions.changes import Key
from sessions.events import End, Event, Happenings
from tests.unit.naive_slot import EFFECTS, NaiveSlot, Said, Viewing

COUNTED_STATES = ("playing", "rebuffering", "paused")


def lived_intervals(viewing: Viewing) -> Iterator[tuple[float, Said]]:
    """Yield (seconds since the input before, nobody's silence left out; what was said), in the order of the player's time."""
    since, cap_s, silent = 0.0, 0.0, True
    for part in viewing.parts:
        silent, since = silent or part.after_silence, min(since, part.floor)
        for said in part.said:
            yield 0.0 if silent else min(max(said.at - since, 0), cap_s), said
            since, cap_s, silent = said.at, said.cap_s, False


@dataclass
class Quality:
    """One viewing's counters, as it goes through what was said."""

    stream: str
    sums: Counter[Key] = field(default_factory=Counter)
    state: str = "starting"
    bitrate_bps: int | None = None
    quality: str | None = None
    seek_at: float = float("-inf")
    by_seek: bool = False
    frame: bool = False
    failure: bool = False
    stalls: int = 0
    spent_s: float = 0.0
    watched_s: float = 0.0
    started_at: float | None = None
    first_frame_at: float | None = None

    @property
    def startup_s(self) -> float | None:
        known = self.started_at is not None and self.first_frame_at is not None
        return max(0.0, self.first_frame_at - self.started_at) if known else None  # type: ignore[operator]

    def spend(self, elapsed_s: float) -> None:
        if self.state in COUNTED_STATES:
            self.sums[self.state, self.stream] += elapsed_s
            if self.state == "rebuffering" and self.by_seek:
                self.sums["seek_rebuffering", self.stream] += elapsed_s
            self.watched_s += elapsed_s * (self.state != "paused")
        self.spent_s += elapsed_s * (self.state in (*COUNTED_STATES, "starting"))
        if self.state == "playing" and self.bitrate_bps is not None:
            self.sums["bitrate", self.stream] += elapsed_s
            self.sums["played_bytes", self.stream] += self.bitrate_bps * elapsed_s / 8

    def hear(self, said: Said) -> None:
        self.stream = said.stream or self.stream
        self.bitrate_bps = self.bitrate_bps if said.bitrate_bps is None else said.bitrate_bps
        if said.quality and said.quality != self.quality:
            self.sums["quality_switches", self.stream] += self.quality is not None
            self.quality = said.quality
        after = EFFECTS.get(said.what, self.state)
        if said.what in EFFECTS and after == "rebuffering" and not self.frame:
            after = "starting"
        if said.what == "view" and not self.frame:
            after = "shown"
        if after != self.state:
            self.enter(after, said.at)
        self.mark(said)

    def enter(self, after: str, at: float) -> None:
        self.state = after
        if after == "rebuffering":
            self.by_seek = at - self.seek_at <= 5
            self.seek_at = float("-inf") if self.by_seek else self.seek_at
            self.stalls += 1
            self.sums["rebuffers", self.stream, "seek" if self.by_seek else "connection"] += 1
        elif after == "failed" and not self.failure:
            self.failure = True
            self.sums["playback_failures" if self.frame else "start_failures", self.stream] += 1
        elif after == "playing" and not self.frame:
            self.frame = True
            self.sums["plays", self.stream] += 1

    def mark(self, said: Said) -> None:
        if said.what == "dvr_seek":
            self.seek_at = said.at
        elif said.what in ("start", "view") and self.started_at is None:
            self.started_at = said.at
        elif self.first_frame_at is None and (said.what == "stream_start" or (said.what == "play" and self.started_at is not None)):
            self.first_frame_at = said.at


def quality_of(viewing: Viewing) -> Quality:
    """Go through everything that it said, from the beginning."""
    told = Quality(viewing.first_stream)
    for elapsed_s, said in lived_intervals(viewing):
        told.spend(elapsed_s)
        told.hear(said)
    return told


class NaiveQuality(NaiveSlot):
    """A naive slot that knows what its counters of quality must hold."""

    def __init__(self) -> None:
        super().__init__()
        self.gone: list[Viewing] = []
        self.once: Counter[Key] = Counter()
        """What is counted at a finish, at the end, or as it is taken."""
        self.finished: dict[str, int] = {}
        """How many stalls of the player's were added, by those who have finished."""

    def truth(self) -> Counter[Key]:
        """Return every counter, by key; of histograms how many were observed, and the sum."""
        total: Counter[Key] = Counter(self.once)
        for viewing in (*self.gone, *self.viewings.values()):
            told = quality_of(viewing)
            total.update(told.sums)
            if told.startup_s is not None:
                total["startup", "count"] += 1
                total["startup", "sum"] += told.startup_s
        return total

    def finish(self, viewing: Viewing, how: str, *, now: float) -> None:
        super().finish(viewing, how, now=now)
        [name] = [name for name, each in self.viewings.items() if each is viewing]
        told, stream = quality_of(viewing), viewing.replay()[2]
        unseen = viewing.stalls_told - told.stalls - self.finished.get(name, 0)
        if unseen > 0:
            self.once["rebuffers", stream, "connection"] += unseen
        if name not in self.finished:
            is_beacon = name.startswith("\0")
            waited = told.started_at is None or viewing.newest_at - told.started_at >= 1
            if not (told.frame or told.failure or viewing.provisional or is_beacon) and waited:
                self.once["exits_before_start", stream] += 1
            if told.frame or not is_beacon:
                self.once["session", "count"] += 1
                self.once["session", "sum"] += told.spent_s
        self.finished[name] = self.finished.get(name, 0) + max(0, unseen)

    def end(self, event: End, interval_s: int, now: float) -> tuple[bool, int, int]:
        receipt = super().end(event, interval_s, now)
        watched_s = quality_of(self.viewings[event.session_id]).watched_s
        self.once["player_watch_difference", "count"] += 1
        self.once["player_watch_difference", "sum"] += abs(event.total_watch_s - watched_s)
        return receipt

    def receive(self, event: Event, interval_s: int, *, now: float) -> tuple[bool, int, int]:
        viewing = self.viewings.get(event.session_id)
        known = set(viewing.ids) if viewing is not None else set()
        receipt = super().receive(event, interval_s, now=now)
        if isinstance(event, Happenings) and event.session_id in self.viewings:
            for each in event.happenings:
                if each.type == "stream_error" and each.event_id in self.viewings[event.session_id].ids - known:
                    self.once["stream_errors", "true" if each.fatal else "false"] += 1
        return receipt

    def advance(self, *, now: float) -> None:
        before = dict(self.viewings)
        super().advance(now=now)
        for name in before.keys() - self.viewings.keys():
            self.gone.append(before[name])
            self.finished.pop(name)
