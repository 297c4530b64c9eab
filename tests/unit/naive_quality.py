"""
The naive account of quality (the formulas of docs/metrics.md): a list of intervals, summed at the end.

It stands on `naive_slot.py` and goes through all that a viewing said, from the first input on, whenever it is asked.
`test_exactly_once.py` compares what the counters hold with it.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from sessions.changes import Key
from sessions.events import End, Event, Happenings, Start
from tests.unit.naive_playback import Playback
from tests.unit.naive_slot import NaiveSlot, Said, Viewing

COUNTED_STATES = ("playing", "rebuffering", "paused", "ad")


def lived_intervals(viewing: Viewing) -> Iterator[tuple[float | None, float, Said | None]]:
    """Yield (when it said something before, None after a silence; the most that the time since may count; what was said), in order; None: the clock is another."""
    since, cap_s, silent = 0.0, 0.0, True
    for part in viewing.whole():
        silent, since = silent or part.after_silence, min(since, part.floor)
        if part.anew:
            yield None, 0.0, None
            yield since, 0.0, None
        for said in part.said:
            yield None if silent else since, cap_s, said
            since, cap_s, silent = said.at, said.cap_s, False


@dataclass
class Quality:
    """One viewing's counters, as it goes through what was said."""

    stream: str
    sums: Counter[Key] = field(default_factory=Counter)
    playback: Playback = field(default_factory=Playback)
    bitrate_bps: int | None = None
    quality: str | None = None
    spent_s: float = 0.0
    watched_s: float = 0.0
    started_at: float | None = None
    first_frame_at: float | None = None
    ad_s: float = 0.0
    across_clocks: bool = False

    @property
    def startup_s(self) -> float | None:
        if self.started_at is None or self.first_frame_at is None or self.across_clocks:
            return None
        startup_s = self.first_frame_at - self.started_at
        return startup_s if 0 <= startup_s <= 600 else None

    def begin_anew(self) -> None:
        """Another clock: no seek is remembered, and no startup is measured across it."""
        self.playback.seek_at = float("-inf")
        self.across_clocks = self.across_clocks or (self.started_at is not None and self.first_frame_at is None)

    def spend(self, state: str, elapsed_s: float) -> None:
        if state in COUNTED_STATES:
            self.sums[state, self.stream] += elapsed_s
            if state == "rebuffering" and self.playback.by_seek:
                self.sums["seek_rebuffering", self.stream] += elapsed_s
            self.watched_s += elapsed_s * (state in ("playing", "rebuffering"))
            self.ad_s += elapsed_s * (state == "ad")
        self.spent_s += elapsed_s * (state in (*COUNTED_STATES, "starting"))
        if state == "playing" and self.bitrate_bps is not None:
            self.sums["bitrate", self.stream] += elapsed_s
            self.sums["played_bytes", self.stream] += self.bitrate_bps * elapsed_s / 8

    def hear(self, said: Said, *, since: float | None, cap_s: float) -> None:
        playback = self.playback
        if since is not None:
            by_seek = playback.by_seek
            for state, seconds in playback.spend(since, said.at, cap_s, said.what):
                playback.by_seek, now_by_seek = by_seek, playback.by_seek
                self.spend(state, seconds)
                playback.by_seek = now_by_seek
        stalled_on = self.stream
        self.stream = said.stream or self.stream
        self.bitrate_bps = said.bitrate_bps or self.bitrate_bps
        if said.quality and said.quality not in ("auto", self.quality):
            self.sums["quality_switches", self.stream] += self.quality is not None
            self.quality = said.quality
        frame, stalls, seek_stalls, stall_at = playback.frame, playback.stalls, playback.seek_stalls, playback.since
        playback.hear(said.what, said.at, after_silence=since is None)
        if playback.stalls > stalls:
            self.sums["rebuffers", self.stream, "seek" if playback.by_seek else "connection"] += 1
        elif playback.seek_stalls > seek_stalls:
            self.sums["rebuffers", stalled_on, "connection"] -= 1
            self.sums["rebuffers", stalled_on, "seek"] += 1
            self.sums["seek_rebuffering", stalled_on] += said.at - stall_at
        if playback.frame and not frame:
            self.sums["plays", self.stream] += 1
        if said.what == "start" and not frame and self.started_at is None:
            self.started_at = said.at
        if said.what == "stream_start" and not frame:
            self.first_frame_at = said.at - self.ad_s


def quality_of(viewing: Viewing) -> Quality:
    """Go through everything that it said, from the beginning."""
    told = Quality(viewing.first_stream)
    for since, cap_s, said in lived_intervals(viewing):
        if said is not None:
            told.hear(said, since=since, cap_s=cap_s)
        elif since is None:
            told.begin_anew()
        else:
            told.playback.since = since
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
        self.told: set[str] = set()
        """Of whom it was counted how it went."""
        self.failed: set[str] = set()
        """Of whom a failure was counted."""
        self.failing: dict[str, float] = {}
        """Who has a fatal error that nothing playing has followed, and since when (slot's clock)."""

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
        unseen = viewing.stalls_told - told.playback.stalls - self.finished.get(name, 0)
        if unseen > 0:
            self.once["rebuffers", stream, "connection"] += unseen
        self.finished[name] = self.finished.get(name, 0) + max(0, unseen)
        if how == "ended":
            self.tell(name, viewing)

    def tell(self, name: str, viewing: Viewing) -> None:
        """Count how it went, once: at its end, or when it was forgotten without one."""
        if name in self.told:
            return
        self.told.add(name)
        told, stream = quality_of(viewing), viewing.replay()[2]
        is_beacon = name.startswith("\0")
        waited = told.started_at is None or told.across_clocks or viewing.newest_at - told.started_at >= 1 or viewing.liveness == "expired"
        if not (told.playback.frame or told.playback.failure or viewing.provisional or is_beacon) and waited:
            self.once["exits_before_start", stream] += 1
        self.fail(name, viewing)
        if told.playback.frame or not is_beacon:
            self.once["session", "count"] += 1
            self.once["session", "sum"] += told.spent_s

    def fail(self, name: str, viewing: Viewing) -> None:
        failure = quality_of(viewing).playback.failure
        self.failing.pop(name, None)
        if failure and name not in self.failed:
            self.failed.add(name)
            self.once[f"{failure}_failures", viewing.replay()[2]] += 1

    def watch_failure(self, name: str, *, now: float) -> None:
        viewing = self.viewings.get(name)
        if viewing is None or viewing.liveness == "ended" or viewing.replay()[1].state != "failed":
            self.failing.pop(name, None)
        elif name not in self.failed | self.told:
            self.failing.setdefault(name, now - self.paused_s)

    def forget(self, name: str) -> None:
        """Let go of what a name stood for."""
        self.finished.pop(name, None)
        self.told.discard(name)
        self.failed.discard(name)
        self.failing.pop(name, None)

    def begin_viewing(self, viewing: Viewing, event: Start, *, now: float) -> None:
        super().begin_viewing(viewing, event, now=now)
        self.gone.append(viewing)
        self.forget(event.session_id)

    def end(self, event: End, interval_s: int, now: float) -> tuple[bool, int, int]:
        if event.session_id not in self.viewings:
            # Only its end was heard: nothing is known of how it went.
            self.told.add(event.session_id)
            return super().end(event, interval_s, now)
        receipt = super().end(event, interval_s, now)
        watched_s = quality_of(self.viewings[event.session_id]).watched_s
        self.once["player_watch_difference", "count"] += 1
        self.once["player_watch_difference", "sum"] += abs(event.total_watch_s - watched_s)
        return receipt

    def receive(self, event: Event, interval_s: int, *, now: float) -> tuple[bool, int, int]:
        viewing = self.viewings.get(event.session_id)
        known = set(viewing.ids) if viewing is not None else set()
        receipt = super().receive(event, interval_s, now=now)
        self.watch_failure(event.session_id, now=now)
        if isinstance(event, Happenings) and event.session_id in self.viewings:
            for each in event.happenings:
                if each.type == "stream_error" and each.event_id in self.viewings[event.session_id].ids - known:
                    self.once["stream_errors", "true" if each.fatal else "false"] += 1
        return receipt

    def advance(self, *, now: float) -> None:
        before = dict(self.viewings)
        super().advance(now=now)
        for name in before.keys() - self.viewings.keys():
            self.tell(name, before[name])
            self.gone.append(before[name])
            self.forget(name)
        for name, since in list(self.failing.items()):
            if since + 30 < now - self.paused_s:
                self.fail(name, self.viewings[name])
