"""
Every formula of docs/metrics.md beside a second, naive computation: a list of intervals, summed at the end.

`test_qoe.py` has each formula on a written-down timeline; here timelines are made up. The naive side knows the tables of docs/ and
nothing of ours; what it says of counters is in `naive_quality.py`.
"""

from dataclasses import dataclass, field
from math import e, isclose
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from sessions.changes import Policy
from sessions.events import End, Happenings, Heartbeat, Start
from sessions.qoe import figures
from sessions.tracker import Tracker
from tests.unit.inputs import beat, end, event, events, known, start
from tests.unit.naive_playback import Playback

CAP_S: Final = 90


@dataclass
class Interval:
    state: str
    seconds: float
    bitrate: int | None
    latency: int | None
    by_seek: bool


@dataclass
class Lived:
    """One session as it was lived: its intervals, and what happened between them."""

    intervals: list[Interval] = field(default_factory=list)
    qualities: list[str] = field(default_factory=list)
    stalls: int = 0
    told_stalls: int = 0
    started_at: float | None = None
    frame_at: float | None = None
    played: bool = False
    failure: str | None = None
    newest_at: float = 0.0

    def total(self, *states: str) -> float:
        return sum(each.seconds for each in self.intervals if each.state in states)

    def weighed(self, name: str) -> float | None:
        known_of = [each for each in self.intervals if each.state == "playing" and getattr(each, name) is not None]
        spent = sum(each.seconds for each in known_of)
        return sum(getattr(each, name) * each.seconds for each in known_of) / spent if spent else None

    def figures(self, *, over: bool) -> dict[str, Any]:
        watched = self.total("playing", "rebuffering")
        by_seek = sum(each.seconds for each in self.intervals if each.state == "rebuffering" and each.by_seek)
        ratio = self.total("rebuffering") / watched if watched else None
        startup = None if self.started_at is None or self.frame_at is None else self.frame_at - self.started_at
        startup = None if startup is None or not 0 <= startup <= 600 else startup
        count = max(self.stalls, self.told_stalls)
        exited = over and self.started_at is not None and not self.played and not self.failure and self.newest_at - self.started_at >= 1
        latency_us = self.weighed("latency")
        return {
            "startup_time_s": startup,
            "starting_time_s": self.total("starting"),
            "playing_time_s": self.total("playing"),
            "rebuffering_time_s": self.total("rebuffering"),
            "paused_time_s": self.total("paused"),
            "watch_time_s": watched,
            "ad_time_s": self.total("ad"),
            "session_time_s": self.total("starting", "playing", "rebuffering", "paused", "ad"),
            "rebuffering_ratio": ratio,
            "connection_induced_rebuffering_ratio": None if ratio is None else (self.total("rebuffering") - by_seek) / watched,
            "rebuffer_count": count,
            "quality_switches": sum(one != other for one, other in zip(self.qualities, self.qualities[1:], strict=False)),
            "average_bitrate_bps": self.weighed("bitrate"),
            "live_latency_s": None if latency_us is None else latency_us / 1e6,
            "failure": self.failure,
            "exit_before_video_start": exited,
            "experience_score": self.score(startup, count, ratio or 0) if over else None,
        }

    def score(self, startup: float | None, n: int, r: float) -> float:
        if self.failure:
            return 0
        if not self.played:
            return 25
        smoothness = 50 / (1 + n * n / 4) ** 0.5 + 50 / e ** (10 * r)
        return smoothness if startup is None else 0.4 * 800 / (8 + startup) + 0.6 * smoothness


@dataclass
class Said:
    """One input, as both sides are told it."""

    at: float
    what: str
    sent: Start | Heartbeat | Happenings | End
    bitrate: int | None = None
    latency: int | None = None
    quality: str | None = None
    stalls: int | None = None


def live(said: list[Said]) -> Lived:
    lived, playback, bitrate, latency, reading = Lived(), Playback(), None, None, 0
    for number, one in enumerate(said):
        if number:
            since, by_seek = said[number - 1].at, playback.by_seek
            for state, seconds in playback.spend(since, one.at, CAP_S, one.what):
                lived.intervals.append(Interval(state, seconds, bitrate, latency, by_seek))
        bitrate = one.bitrate or bitrate
        latency = latency if one.latency is None else one.latency
        lived.qualities += [one.quality] if one.quality and one.quality != "auto" else []
        lived.newest_at = one.at
        had_frame, seek_stalls, stall_at = playback.frame, playback.seek_stalls, playback.since
        playback.hear(one.what, one.at, after_silence=not number)
        if one.what == "dvr_seek" and playback.seek_stalls > seek_stalls:
            lived.intervals[-1].by_seek = stall_at < one.at
        if one.what == "start" and not had_frame:
            lived.started_at = one.at
        if one.what == "stream_start" and not had_frame:
            lived.frame_at = one.at - lived.total("ad")
        if one.stalls is not None:
            if playback.frame:
                lived.told_stalls += one.stalls - reading if one.stalls >= reading else one.stalls
            reading = one.stalls
    lived.stalls, lived.played, lived.failure = playback.stalls, playback.frame, playback.failure
    return lived


KINDS: Final = (
    "stream_start", "stream_buffer_start", "stream_buffer_end", "stream_reconnect", "stream_reconnect_success", "dvr_seek", "dvr_resume_live",
    "mute", "fatal", "ad_break_start", "ad_break_end", "ad_start", "ad_end",
)  # fmt: skip
steps = st.one_of(st.integers(1, 12), st.integers(0, 130))
heartbeats = st.tuples(
    steps,
    st.sampled_from(["playing", "playing", "rebuffering", "paused", "idle", None]),
    st.sampled_from([None, 0, 800_000, 8_000_000]),
    st.sampled_from([None, 2_000_000, 5_500_000]),
    st.sampled_from([None, "auto", "720p", "1080p"]),
    st.sampled_from([0, 0, 1, 4]),
)
happenings = st.tuples(steps, st.sampled_from(KINDS))


@settings(max_examples=250)
@given(
    st.booleans(),
    st.lists(st.one_of(heartbeats, happenings, happenings), min_size=1, max_size=25),
    st.sampled_from(["user_exit", "error", "vanishes", "watches on"]),
    st.integers(0, 100),
)
def test_every_formula_is_the_sum_of_its_intervals(starts: bool, made: list[Any], leaves: str, last_step: int) -> None:
    at = 1_000.0
    said = [Said(at, "start", start(at), quality="auto")] if starts else []
    for number, (step, what, *more) in enumerate(made):
        at += step or (0 if more else 1)
        if more:
            bitrate, latency, quality, stalls = more
            at += 1  # else it would be a repeated heartbeat
            sent = beat(at, what, bitrate_bps=bitrate, latency_us=latency, quality=quality, rebuffer_count=stalls)
            said.append(Said(at, what or "", sent, bitrate, latency, quality, stalls))
        elif what == "fatal":
            said.append(Said(at, what, events(event("stream_error", at, event_id=f"e{number}", fatal=True))))
        else:
            said.append(Said(at, what, events(event(what, at, event_id=f"e{number}"))))
    if leaves in ("user_exit", "error"):
        at += last_step
        said.append(Said(at, "fatal" if leaves == "error" else "", end(at, reason=leaves)))
    tracker = Tracker(7, policy=Policy())
    for each in said:
        tracker.receive(each.sent, now=each.at)
    if leaves == "vanishes":
        tracker.advance(now=at + 91, limit=10)
    tracker.validate()
    ours, naive = figures(known(tracker)), live(said).figures(over=leaves != "watches on")
    for name, expected in naive.items():
        got = ours[name]
        same = got == expected or (got is not None and expected is not None and isclose(got, expected, rel_tol=1e-9))  # type: ignore[arg-type]
        assert same, f"{name}: {got}, not {expected}"
