"""
What must be counted of one viewer, in the plainest way: one pass over the inputs of each sitting, in the order of the player's time.

The time between two inputs belongs to the state that the first one set, is never more than was promised, and ends with the last sign of life.
A pixel has no time of its own: it counts from when the server saw it, which nobody outside knows better than from when it was sent
to when it was acknowledged; so its seconds have a slack. This is a second computation: it shares nothing with `sessions/`.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import exp, inf, sqrt
from typing import Final, NamedTuple

STALLED_S: Final = 300.0
"""Who waits for longer watches no more."""
STARTUP_S: Final = 600.0
"""What takes longer is no startup."""
SEEK_BEFORE_S: Final = 0.5
"""A stall that began so short a time before a seek was caused by it too."""
SEEK_S: Final = 5.0
"""A stall that begins within this time of a seek was caused by it."""
HASTY_S: Final = 1.0
"""Who leaves sooner has not waited for the first frame."""
UNKNOWN: Final = "unknown"
"""The stream of who named none."""

_LEADS_TO: Final = {
    "start": "starting",
    "view": "shown",
    **dict.fromkeys(("play", "first check", "stream_start"), "playing"),
    **dict.fromkeys(("stream_buffer_start", "stream_reconnect"), "rebuffering"),
    "fatal": "failed",
    **{f"beat {state}": state for state in ("playing", "rebuffering", "paused")},
}
_GOES_BACK: Final = frozenset({"stream_buffer_end", "stream_reconnect_success", "dvr_resume_live"})
"""To what it did before the stall."""
_PLAYS: Final = frozenset({"play", "first check", "stream_start", "stream_reconnect_success", "beat playing"})
"""What else is said of one that failed leaves it failed."""
_WAITS: Final = frozenset({"stream_buffer_start", "stream_reconnect", "beat rebuffering"})
_AD_BEGINS: Final = frozenset({"ad_break_start", "ad_start"})
_AD_ENDS: Final = frozenset({"ad_break_end", "ad_end"})
_ENDS_A_BREAK: Final = frozenset({"stream_start", "fatal"})
_BY_STREAM: Final = ("startup", "live_latency", "experience_score")
"""Observed for the stream as well."""
_TIMED: Final = ("playing", "rebuffering", "paused", "ad")

Key = tuple[str, ...]


class Entry(NamedTuple):
    """One input."""

    stamp: float
    """The player's time."""
    what: str
    """An event's type, "fatal", "start", "view", "play", "first check", "check", "beat" with what is done, or "end"."""
    stream: str | None
    cap_s: float
    """The most that the time after it may count."""
    slack_s: float = 0.0
    """How far the stamp may be off, either way."""
    bitrate_bps: float | None = None
    latency_s: float | None = None
    quality: str | None = None
    stalls: int | None = None
    """The player's own counter."""


@dataclass(slots=True)
class Sitting:
    """From the first sign of life, or from a return, until it ended or fell silent."""

    entries: list[Entry] = field(default_factory=list)
    over: str = ""
    """How it finished: "certain", "possible" (it may have expired before it went on), or not yet."""
    provisional: bool = False
    """When it finished, its start had not come."""
    watched_told_s: float | None = None
    """What the player said of its watching, if it said that it left."""
    gone: tuple[float, float] | None = None
    """When it was noticed that it had fallen silent, at the earliest and at the latest (server's time); None: it said that it left."""


class Account:
    """One session's sums, for one way that it may have gone."""

    def __init__(self, beacon: bool) -> None:  # noqa: FBT001 - there is nothing else
        self.counted: dict[Key, float] = defaultdict(float)
        self.slack: dict[Key, float] = defaultdict(float)
        """How far each may be off."""
        self.observed: dict[str, list[tuple[str, float]]] = defaultdict(list)
        """What the histograms saw, and on which stream."""
        self._beacon = beacon
        self._stream = UNKNOWN
        self.state = "starting"
        """What the player does, at last."""
        self._played = self._by_seek = False
        self._failed = False
        """A fatal error, and nothing since that plays."""
        self._since = -inf
        """When the state began."""
        self._before_stall = "playing"
        self._before_ads = "starting"
        self._break = ""
        """What it is in: a break that was told, or the one advertisement that was."""
        self._stalls_told = self._reading = 0
        """By how much the player's own counter rose after the first frame; what it said last."""
        self._quality: str | None = None
        self._bitrate_bps: float | None = None
        self._latency_s: float | None = None
        self._seek_at = -inf
        self._started: Entry | None = None
        self._first_frame: Entry | None = None
        self._ads_before_frame_s = 0.0
        self._newest_at = -inf
        self._spent: dict[str, float] = defaultdict(float)
        """Seconds by state, over all streams."""
        self._latencies: list[tuple[float, float]] = []
        """(latency, seconds of playing)."""
        self._stalls = self._stalls_added = 0

    def sit(self, entries: Iterable[Entry]) -> None:
        """Go through one sitting, in the order of the player's time."""
        before: Entry | None = None
        for entry in _without_idle_checks(sorted(entries, key=lambda entry: entry.stamp)):
            if before is not None:
                slack_s = before.slack_s + entry.slack_s
                self._pass(before, entry, slack_s)
            else:
                self._since = entry.stamp
            self._newest_at = max(self._newest_at, entry.stamp)
            self._stream = entry.stream or self._stream
            self._take(entry)
            before = entry

    def _pass(self, before: Entry, entry: Entry, slack_s: float) -> None:
        seconds = min(max(entry.stamp - before.stamp, 0.0), before.cap_s)
        waits = self.state == "rebuffering" or (self.state == "starting" and entry.what in {*_WAITS, "beat None"})
        if waits and entry.stamp - self._since > STALLED_S:
            self._spend(min(seconds, max(0.0, self._since + STALLED_S - before.stamp)), slack_s)
            self.state, self._since, self._by_seek = "stalled", self._since + STALLED_S, False
        else:
            self._spend(seconds, slack_s)

    def _spend(self, seconds: float, slack_s: float) -> None:
        self._spent[self.state] += seconds
        if self.state in _TIMED:
            self._add(self.state, seconds, slack=slack_s)
        if self.state == "rebuffering" and self._by_seek:
            self._add("seek_rebuffering", seconds, slack=slack_s)
        if self.state == "playing":
            if self._bitrate_bps is not None:
                self._add("bitrate", seconds)
                self._add("played_bytes", self._bitrate_bps * seconds / 8)
            if self._latency_s is not None:
                self._latencies.append((self._latency_s, seconds))

    def _take(self, entry: Entry) -> None:
        self._bitrate_bps = entry.bitrate_bps or self._bitrate_bps
        self._latency_s = self._latency_s if entry.latency_s is None else entry.latency_s
        if entry.quality and entry.quality not in {"auto", self._quality}:
            if self._quality:
                self._add("quality_switches", 1)
            self._quality = entry.quality
        played, state = self._played, self._state_after(entry)
        if state != self.state:
            self._enter(state, entry.stamp)
        if entry.what == "dvr_seek":
            self._seek(entry.stamp)
        if not played:
            self._startup(entry)
        if entry.stalls is not None and (entry.what not in {"end", "fatal"} or entry.stalls > self._reading):
            if self._played:
                self._stalls_told += entry.stalls - self._reading if entry.stalls >= self._reading else entry.stalls
            self._reading = entry.stalls

    def _state_after(self, entry: Entry) -> str:
        what = entry.what
        if self.state != "failed" and what in _AD_BEGINS:
            self._before_ads = self._before_ads if self._break else self.state
            self._break = self._break or what
            return "ad"
        if self._break and what in _AD_ENDS:
            if self._break == "ad_break_start" and what == "ad_end":
                return self.state
            self._break = ""
            return self._before_ads
        if self._break and what not in _ENDS_A_BREAK:
            # Whatever it says of the content, it shows an advertisement.
            if what in _GOES_BACK and self._before_ads == "rebuffering":
                self._before_ads = self._before_stall
            return self.state
        self._break = ""
        if what == "beat None":
            return "paused" if self._played and self.state != "failed" else self.state
        return self._state_after_word(entry)

    def _state_after_word(self, entry: Entry) -> str:
        stays = self.state == "failed" and entry.what not in _PLAYS
        if stays or (entry.what == "start" and self._played) or (self.state == "stalled" and entry.what in _WAITS):
            return self.state
        if entry.what in _WAITS and not self._played:
            return "starting"
        if entry.what in _GOES_BACK:
            if self.state in {"rebuffering", "stalled"}:
                return self._before_stall if self._played else "starting"
            return "playing" if self.state == "failed" and self._played else self.state
        return _LEADS_TO.get(entry.what, self.state)

    def _seek(self, at: float) -> None:
        if self.state != "rebuffering" or self._by_seek or at - self._since > SEEK_BEFORE_S:
            self._seek_at = at
            return
        self._by_seek = True
        self._add("rebuffers", -1, "connection")
        self._add("rebuffers", 1, "seek")
        self._add("seek_rebuffering", at - self._since)

    def _enter(self, state: str, at: float) -> None:
        before, self.state, self._since = self.state, state, at
        # A stall goes on after a break that interrupts it, with its cause.
        self._by_seek = self._by_seek and (state == "ad" or (before, state) == ("ad", "rebuffering"))
        if state == "playing" and not self._played:
            self._played = True
            self._add("plays", 1)
        if state == "playing":
            self._failed = False
        elif state == "failed":
            self._failed = True
        elif state == "rebuffering" and before != "ad":
            self._before_stall = "paused" if before == "paused" else "playing"
            self._by_seek = at - self._seek_at <= SEEK_S
            self._stalls += 1
            self._add("rebuffers", 1, "seek" if self._by_seek else "connection")
            if self._by_seek:
                self._seek_at = -inf

    def _startup(self, entry: Entry) -> None:
        if entry.what == "start" and self._started is None:
            self._started = entry
        elif entry.what == "stream_start":
            self._first_frame, self._ads_before_frame_s = entry, self._spent["ad"]
            if self._startup_s is not None:
                self._observe("startup", self._startup_s)

    @property
    def _startup_s(self) -> float | None:
        if self._started is None or self._first_frame is None:
            return None
        startup_s = self._first_frame.stamp - self._started.stamp - self._ads_before_frame_s
        return startup_s if 0.0 <= startup_s <= STARTUP_S else None

    def finish(self, sitting: Sitting, *, only_ended: bool) -> None:
        """Count stalls that nobody saw, and how far the player's own totals are off."""
        unseen = max(self._stalls, self._stalls_told) - self._stalls - self._stalls_added
        if unseen > 0:
            self._stalls_added += unseen
            self._add("rebuffers", unseen, "connection")
        if sitting.watched_told_s is not None and not only_ended:
            watched_s = self._spent["playing"] + self._spent["rebuffering"]
            self._observe("player_watch_difference", abs(sitting.watched_told_s - watched_s))

    def fail(self) -> None:
        """Count the failure that stands."""
        if self._failed:
            self._add("playback_failures" if self._played else "start_failures", 1)

    def tell(self, sitting: Sitting) -> None:
        """Count what only the whole session tells, once: it ended, or fell silent ten minutes ago."""
        if self.state == "ad":
            self._add("exits_during_ad", 1)
        self.fail()
        if not (self._played or self._failed or sitting.provisional or self._beacon):
            asked_for_s = inf if self._started is None else self._newest_at - self._started.stamp
            if asked_for_s >= HASTY_S or sitting.gone is not None:
                self._add("exits_before_start", 1)
        known_s = sum(seconds for _, seconds in self._latencies)
        if known_s > 0:
            self._observe("live_latency", sum(latency_s * seconds for latency_s, seconds in self._latencies) / known_s)
        if self._played or not self._beacon:
            slack_s = (
                sum(self.slack[state, stream] for state, stream, *_ in [*self.slack] if state in _TIMED) + self.slack["startup", "sum"]
            )
            self._observe("experience_score", self._score(), slack=5.0 * slack_s)
            self._observe("session", sum(self._spent[state] for state in ("starting", *_TIMED)), slack=slack_s)

    def _score(self) -> float:
        success = 0.0 if self._failed else 1.0 if self._played else 0.5
        if not self._played:
            return 50.0 * success
        watched_s = self._spent["playing"] + self._spent["rebuffering"]
        ratio = self._spent["rebuffering"] / watched_s if watched_s else 0.0
        stalls = self._stalls + self._stalls_added
        smoothness = 50.0 / sqrt(1.0 + (stalls / 2.0) ** 2) + 50.0 * exp(-10.0 * ratio)
        if self._startup_s is None:
            return success * smoothness
        return success * (0.4 * 100.0 * 8.0 / (8.0 + self._startup_s) + 0.6 * smoothness)

    def _add(self, name: str, amount: float, *labels: str, slack: float = 0.0) -> None:
        self.counted[name, self._stream, *labels] += amount
        if slack:
            self.slack[name, self._stream, *labels] += slack

    def _observe(self, name: str, value: float, *, slack: float = 0.0) -> None:
        self.observed[name].append((self._stream, value))
        self.counted[name, "count"] += 1
        self.counted[name, "sum"] += value
        if slack:
            self.slack[name, "sum"] += slack
        if name in _BY_STREAM:
            self._add(f"stream_{name}", 1, "count")
            self._add(f"stream_{name}", value, "sum", slack=slack)


def _without_idle_checks(entries: list[Entry]) -> Iterator[Entry]:
    """Leave pixels out that only said "still there" between two others, lest each adds its slack."""
    for number, entry in enumerate(entries):
        if entry.what == "check" and 0 < number < len(entries) - 1 and entry.slack_s:
            continue
        yield entry._replace(cap_s=inf) if entry.slack_s else entry
