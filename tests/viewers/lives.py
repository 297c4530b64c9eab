"""
What faulty players send: the life of one viewer, made up from a seed, as the requests that reach us.

A life is lived on a true clock; each request says beside its body what only the maker knows: by which setting of the player's clock it
was stamped, and which of its events carry a stamp of no clock at all. Nothing here knows how a session is counted.

Arrivals are on the half second, so that the quarter of a second by which deadlines are rounded decides nothing; and whoever falls
silent does so for a time that is clearly shorter or longer than every period of ours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil, inf
from random import Random
from typing import Any, Final

BEGIN: Final = 1_700_000_000.0
YEAR_9999: Final = 253_402_300_799.0
BEAT_S: Final = 30.0

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it arrives."""

    arrives: float
    """By the server's clock."""
    order: int
    """Of those that arrive at the same moment."""
    path: str
    """start, heartbeat, events, end or pixel."""
    body: Body
    """As on the wire, but that times are numbers: see `wire_form.py`."""
    clock: int
    """Which setting of the player's clock stamped it."""
    wild: frozenset[str] = frozenset()
    """Events stamped by no clock."""


HABITS: Final = ("nulls", "minus one", "zero bitrate", "bits", "idle", "few flags", "lying", "auto", "counter starts again", "restates")


@dataclass
class Life:
    """One viewer and the player that tells of it."""

    name: str
    random: Random
    now: float = BEGIN
    skew: float = 0.0
    clock: int = 0
    whole: bool = False
    """Its stamps are whole seconds."""
    habits: frozenset[str] = frozenset()
    repeats: float = 0.0
    """Share of the requests that arrive twice."""
    doing: str = "starting"
    in_ad: bool = False
    stream: str = ""
    channel: str = "one"
    quality: str = "720p"
    behind_s: int = 0
    stalls: int = 0
    frame: bool = False
    next_beat: float = 0.0
    late_until: float = -inf
    """Until then nothing else of it is late, so that it is only late."""
    held_back_s: float = 0.0
    """How long the first that was heard of it had been kept back."""
    queued_until: float = 0.0
    """Until then nothing is taken of what it sends: all of it arrives together afterwards, in order."""
    pending: list[Body] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    wild: set[str] = field(default_factory=set)
    events: int = 0
    last_end: Body | None = None
    what: list[str] = field(default_factory=list)
    """The story, for whoever reads a failure."""

    def stamp(self) -> float:
        at = self.now + self.skew
        return float(int(at)) if self.whole else round(at, 3)

    def maybe(self, share: float) -> bool:
        return self.random.random() < share

    def has(self, habit: str, share: float = 0.5) -> bool:
        return habit in self.habits and self.maybe(share)

    # Sending.

    def post(self, path: str, body: Body, *, delay: float | None = None) -> None:
        if delay is None:
            delay = self.random.choice((0.0, 0.0, 0.5, 1.0))
        is_queued = self.queued_until > self.now
        arrives = ceil(max(self.now, self.queued_until) * 2) / 2 + (0.0 if is_queued else delay)
        self._arrive(arrives, path, body)
        if self.maybe(self.repeats):
            self._arrive(arrives + self.random.choice((0.0, 0.5, 1.0, 3.0)), path, body)

    def _arrive(self, arrives: float, path: str, body: Body) -> None:
        self.requests.append(Request(arrives, len(self.requests), path, body, self.clock, frozenset(self.wild)))

    def start(self, *, delay: float | None = None, at: float | None = None, lost: bool = False, quality: str = "") -> None:
        odd = self.maybe(0.1)
        body = {
            "session_id": self.name,
            "device_id": "device",
            "user_id": "" if self.has("minus one") else None if self.maybe(0.5) else "user",
            "platform": "tizen" if odd else "web",
            "stream": {"stream_id": self.stream, "channel_id": self.channel, "creator_id": "creator"},
            "epg": {"current_program_id": "program"},
            "playback": {
                "quality": quality or ("auto" if self.maybe(0.5) else self.quality),
                "latency_mode": "ultra-low" if odd else "low",
                "dvr_enabled": True,
            },
            "device": {"connection_type": "4g" if odd else "wifi"},
            "geo": {"country": "US"},
            "timestamp": self.stamp() if at is None else at,
        }
        if not lost:
            self.post("start", body, delay=delay)
        if not self.next_beat:
            self.next_beat = self.now + BEAT_S

    def beat(self) -> None:
        playback: Body = {
            "is_playing": self.doing == "playing",
            "is_paused": self.doing == "paused",
            "is_buffering": self.doing == "buffering",
            "quality": "auto" if "auto" in self.habits else self.quality,
            "dvr_offset_seconds": self.behind_s,
        }
        counter = self.stalls % 3 if "counter starts again" in self.habits else self.stalls
        performance: Body = {
            "rebuffer_count": counter,
            "bitrate_kbps": self.random.choice((800, 2_500, 5_000)),
            "latency_ms": 2_000 + self.behind_s * 1_000,
            "buffer_health_seconds": 4.5,
        }
        if self.doing == "paused" and "idle" in self.habits:
            playback["is_paused"] = False
        if self.has("few flags"):
            playback = {name: value for name, value in playback.items() if value is not False}
        if self.doing != "nothing" and self.has("lying", 0.1):
            playback[self.random.choice(("is_playing", "is_paused", "is_buffering"))] = self.random.choice((True, False))
        if self.has("minus one"):
            performance["latency_ms"] = performance["bitrate_kbps"] = -1
            playback["quality"] = ""
        if self.has("minus one", 0.2):
            performance["rebuffer_count"] = -1
        if self.has("zero bitrate"):
            performance["bitrate_kbps"] = 0
        if self.has("bits"):
            performance["bitrate_kbps"] = 4_500_000
        if self.has("nulls", 0.3):
            part = self.random.choice((playback, performance))
            for field_name in part:
                if self.maybe(0.5):
                    part[field_name] = None
        body: Body = {
            "session_id": self.name,
            "user_id": "" if self.has("minus one") else "user",
            "stream_id": self.stream,
            "channel_id": self.channel,
            "timestamp": self.stamp(),
            "playback": None if self.has("nulls", 0.1) else playback,
            "performance": None if self.has("nulls", 0.1) else performance,
        }
        self.post("heartbeat", body)
        if self.has("restates", 0.2):
            self.post("heartbeat", {**body, "playback": {**playback, "volume_level": 0.5}}, delay=1.0)

    def event(self, kind: str, *, at: float | None = None, send: bool = True, **metadata: object) -> None:
        self.events += 1
        event_id = f"{self.name}/{self.events}"
        if at is not None:
            self.wild.add(event_id)
        entry: Body = {"event_id": event_id, "event_type": kind, "timestamp": self.stamp() if at is None else at}
        if metadata or self.maybe(0.2):
            entry["metadata"] = metadata or None
        self.pending.append(entry)
        if send:
            self.flush()

    def flush(self, *, delay: float | None = None, shuffle: bool = False) -> None:
        if not self.pending:
            return
        if shuffle:
            self.random.shuffle(self.pending)
        body = {"session_id": self.name, "events": self.pending, "stream_id": self.stream if self.maybe(0.7) else None}
        self.pending = []
        if delay is None and self.maybe(0.15) and self.now > self.late_until:
            # Two that are late alike, with none in order between, say that a clock was set back.
            delay = self.random.randrange(2, 60) / 2
            self.late_until = self.now + delay + BEAT_S + 2
        self.post("events", body, delay=delay)

    def end(self, reason: str = "user_exit", *, delay: float | None = None) -> None:
        odd = self.maybe(0.1)
        body = {
            "session_id": self.name,
            "watch_summary": {"total_watch_seconds": 10**7 if odd else 10, "end_reason": reason, "programs_watched": []},
            "performance": {"total_rebuffer_count": 10**7 if odd else self.stalls, "quality_switches": 0},
            "engagement": {"total_chat_messages_sent": 0, "total_reactions_sent": 0},
            "timestamp": self.stamp(),
        }
        self.last_end = body
        self.post("end", body, delay=delay)

    def watch(self, seconds: float) -> None:
        """Let time pass; it beats when its beats are due."""
        until = self.now + seconds
        while self.next_beat and self.next_beat <= until:
            self.now = max(self.now, self.next_beat)
            self.beat()
            self.next_beat += BEAT_S
        self.now = until

    def quiet(self) -> None:
        """Watch on until nothing is on its way any more."""
        self.flush(delay=0.0)
        while (under_way := max((request.arrives for request in self.requests), default=self.now)) > self.now:
            self.watch(under_way - self.now + 0.5)

    def some(self, least: float, most: float) -> float:
        return round(self.random.uniform(least, most), 3)

    def plays(self) -> None:
        self.doing, self.frame = "playing", True

    # Chapters of a life.

    def watches(self) -> None:
        self.watch(self.some(5, 200))

    def stalls_for_a_while(self) -> None:
        begins, ends = self.random.choice((("stream_buffer_start", "stream_buffer_end"), ("stream_reconnect", "stream_reconnect_success")))
        self.event(begins, send=self.maybe(0.5))
        before, self.doing = self.doing, "buffering"
        self.stalls += 1
        self.watch(self.some(0.3, 12))
        self.doing = before
        self.event(ends)
        self.watch(self.some(1, 20))

    def stalls_unheard(self) -> None:
        self.stalls += 1
        self.doing = "buffering"
        self.watch(self.some(1, 70))
        self.plays()
        self.watch(self.some(1, 40))

    def seeks(self) -> None:
        self.event("dvr_seek", send=self.maybe(0.5))
        self.watch(self.some(0.1, 8))
        self.stalls_for_a_while()

    def stalls_before_it_says_that_it_seeks(self) -> None:
        self.event("stream_buffer_start", send=False)
        self.doing = "buffering"
        self.stalls += 1
        self.watch(self.some(0.02, 0.9))
        self.event("dvr_seek", send=False)
        self.watch(self.some(0.3, 5))
        self.plays()
        self.event("stream_buffer_end")
        self.watch(self.some(1, 10))

    def pauses(self) -> None:
        self.doing = "paused"
        self.watch(self.some(35, 100))
        if self.maybe(0.4):
            self.event("stream_buffer_start", send=False)
            self.watch(self.some(0.5, 5))
            self.event("stream_buffer_end")
            self.watch(self.some(1, 40))
        if self.maybe(0.3):
            self.event("dvr_resume_live")
            self.watch(self.some(1, 40))
        self.plays()
        self.watch(self.some(31, 70))

    def sees_advertisements(self) -> None:
        in_break = self.maybe(0.7)
        if in_break:
            self.event("ad_break_start")
        for _ in range(self.random.randrange(1, 3)):
            self.event("ad_start", send=self.maybe(0.5))
            self.watch(self.some(5, 40))
            if self.maybe(0.2):
                self.event("stream_buffer_start", send=False)
                self.watch(self.some(0.5, 5))
                self.event("stream_buffer_end")
            if self.maybe(0.1):
                self.event("ad_error")
            self.event("ad_end", send=self.maybe(0.5))
            self.watch(self.some(0.0, 0.5) if in_break else self.some(1, 5))
        if in_break:
            self.event("ad_break_end")
        self.flush()
        self.watch(self.some(1, 40))

    def meets_an_error(self) -> None:
        self.event("stream_error", **({"fatal": False} if self.maybe(0.5) else {}))
        self.watch(self.some(1, 40))

    def gets_over_an_error(self) -> None:
        self.quiet()
        self.event("stream_error", send=False, fatal=True)
        self.flush(delay=0.0)
        self.doing = self.random.choice(("buffering", "nothing"))
        self.watch(self.some(1, 15))
        self.plays()
        self.event("stream_start", send=False)
        self.flush(delay=0.0)
        self.watch(self.some(1, 100))

    def changes_quality(self) -> None:
        self.quality = self.random.choice(("480p", "720p", "1080p", "auto"))
        self.event("quality_change", quality=self.quality)
        self.watch(self.some(1, 60))

    def watches_the_past(self) -> None:
        self.event("dvr_seek")
        self.behind_s = self.random.choice((5, 600))
        self.watch(self.some(40, 120))
        self.behind_s = 0
        self.event("dvr_resume_live")
        self.watch(self.some(40, 120))

    def zaps(self) -> None:
        self.stream = f"{self.name}-{'b' if self.stream.endswith('a') else 'a'}"
        self.channel = "two" if self.channel == "one" else "one"
        how = self.random.randrange(5)
        if how == 0:
            self.start(quality="auto")
        elif how in (1, 4):
            # The event of the new stream overtakes the beat, or the start, that names it.
            self.now += 0.2
            self.event("mute", send=False)
            self.flush(delay=0.0)
            self.now -= 0.2
            if how == 1:
                self.beat()
                self.next_beat = self.now + BEAT_S
            else:
                self.start(quality="auto")
            self.now += 0.2
        elif how == 2:
            self.event("mute", send=False)
            self.flush()
        self.watch(self.some(1, 60))

    def locks_its_phone(self) -> None:
        silent_s = self.random.choice((self.some(20, 70), self.some(100, 600), self.some(770, 1_700), self.some(2_000, 4_000)))
        self.quiet()
        self.now += silent_s
        self.next_beat = self.now
        if self.maybe(0.3):
            self.event("unmute", send=False)
            self.flush(delay=0.0)
        if self.maybe(0.2):
            self.start()
        self.watch(self.some(1, 90))

    def is_refused_for_a_while(self) -> None:
        self.flush(delay=0.0)
        self.queued_until = self.now + self.some(10, 55)
        self.watch(self.queued_until - self.now + self.some(1, 40))

    def waits_for_ever(self) -> None:
        self.doing = "buffering"
        self.stalls += 1
        self.watch(self.some(100, 3_600 if self.maybe(0.1) else 700))
        self.plays()
        self.watch(self.some(31, 100))

    def says_the_year_9999(self) -> None:
        for _ in range(self.random.randrange(1, 10)):
            self.watch(self.random.choice((self.some(5, 29), BEAT_S)))
            self.event("mute", at=YEAR_9999)

    def sets_its_clock_back(self) -> None:
        self.quiet()
        self.watch(31)
        self.quiet()
        self.skew -= self.random.choice((600, 7_200, 100_000))
        self.clock += 1
        self.watch(self.some(75, 200))

    def engages(self) -> None:
        for _ in range(self.random.randrange(1, 5)):
            kind = self.random.choice(("mute", "unmute", "reaction", "share", "follow", "tip", "fullscreen_enter", "program_change"))
            self.event(kind, send=self.maybe(0.3))
            self.watch(self.some(0, 8))
        self.flush(shuffle=self.maybe(0.5))


Chapter = Callable[[Life], None]


# How a life begins.


def opens(life: Life) -> None:
    """As the documents say."""
    life.start()
    life.watch(life.some(0.3, 8))
    life.plays()
    life.event("stream_start")
    life.watch(life.some(1, 40))


def opens_late(life: Life) -> None:
    """Its start arrives after what follows it."""
    delay = life.random.randrange(4, 100) / 2
    life.start(delay=delay)
    life.late_until = life.now + delay + BEAT_S + 2
    life.watch(life.some(0.3, 5))
    life.plays()
    life.event("stream_start")
    life.watch(life.some(40, 100))


def opens_without_a_start(life: Life) -> None:
    """Its start is lost; it may come much later."""
    life.start(lost=True)
    life.plays()
    life.beat()
    life.watch(life.some(30, 130))
    if life.maybe(0.5):
        life.start()
        life.watch(life.some(1, 40))


def opens_without_a_frame_that_is_told(life: Life) -> None:
    """Nobody says stream_start."""
    life.start()
    life.plays()
    life.watch(life.some(30, 100))


def opens_with_advertisements(life: Life) -> None:
    """A break comes before the first frame."""
    life.start()
    life.watch(life.some(0.1, 2))
    life.event("ad_break_start")
    if life.maybe(0.5):
        life.event("ad_start", send=False)
    life.doing = "playing"
    life.watch(life.some(5, 45))
    life.event("ad_break_end")
    life.doing = "starting"
    life.watch(life.some(0.1, 3))
    life.plays()
    life.event("stream_start")
    life.watch(life.some(1, 40))


def opens_in_one_second(life: Life) -> None:
    """Its first frame is told before its start is."""
    life.whole = True
    life.start(delay=1.0)
    life.now += 0.1
    life.plays()
    life.event("stream_start", send=False)
    life.flush(delay=0.0)
    life.watch(life.some(40, 100))


def opens_with_a_frame_before_its_start(life: Life) -> None:
    """A player that preloads."""
    life.event("stream_start")
    life.watch(life.some(2, 5))
    life.plays()
    life.start()
    life.watch(life.some(1, 60))


def opens_in_1970(life: Life) -> None:
    """Its clock is set right after its first word."""
    life.start(at=round(life.some(1, 100), 3))
    life.clock += 1
    life.watch(life.some(4, 20))
    life.plays()
    life.event("stream_start")
    life.watch(life.some(61, 120))


def opens_with_a_fast_clock(life: Life) -> None:
    """Its clock is hours fast, and soon corrected."""
    life.skew += 7_200
    opens(life)
    life.watch(31)
    life.sets_its_clock_back()


def opens_while_we_refuse(life: Life) -> None:
    """What it says in its first 75 s is kept back: the start comes first, the beats in time, the events last."""
    life.skew, life.whole, life.held_back_s = 0.0, False, 75.0
    life.start(delay=75.0)
    begun = life.now
    life.now = begun + life.some(1, 10)
    life.event("stream_start", send=False)
    life.plays()
    life.now = begun + life.some(35, 45)
    life.event("stream_buffer_start", send=False)
    life.now += life.some(1, 6)
    life.event("stream_buffer_end", send=False)
    life.stalls += 1
    life.now = begun + 90
    life.beat()
    life.now = begun + 95
    life.flush(delay=0.0)
    life.next_beat = begun + 120
    life.watch(life.some(30, 90))


OPENINGS: Final = (
    opens, opens, opens, opens_late, opens_without_a_start, opens_without_a_frame_that_is_told, opens_with_advertisements,
    opens_in_one_second, opens_with_a_frame_before_its_start, opens_in_1970, opens_with_a_fast_clock, opens_while_we_refuse,
)  # fmt: skip

CHAPTERS: Final[tuple[Chapter, ...]] = (
    Life.watches, Life.watches, Life.stalls_for_a_while, Life.stalls_for_a_while, Life.stalls_unheard, Life.seeks,
    Life.stalls_before_it_says_that_it_seeks, Life.pauses, Life.sees_advertisements, Life.meets_an_error, Life.gets_over_an_error,
    Life.changes_quality, Life.watches_the_past, Life.zaps, Life.locks_its_phone, Life.is_refused_for_a_while, Life.waits_for_ever,
    Life.says_the_year_9999, Life.sets_its_clock_back, Life.engages,
)  # fmt: skip


# How it ends.


def leaves(life: Life) -> None:
    """It says so."""
    life.end(life.random.choice(("user_exit", "timeout", "inactivity", "closed the lid")))


def leaves_for_an_error(life: Life) -> None:
    """It says so, and why."""
    if life.maybe(0.5):
        life.event("stream_error", send=False, fatal=True)
        life.flush(delay=0.0)
        life.watch(life.some(1, 50))
    life.end("error")


def fails_and_stays(life: Life) -> None:
    """A fatal error, after which it beats on and never plays, or is not heard again."""
    life.event("stream_error", send=False, fatal=True)
    life.flush(delay=0.0)
    life.doing = "nothing"
    life.watch(life.random.choice((0.0, life.some(10, 200))))
    if life.maybe(0.5):
        life.end()


def vanishes(life: Life) -> None:
    """Not a word."""
    life.watch(life.some(0, 20))


def leaves_twice(life: Life) -> None:
    """It repeats its end, or says another."""
    life.end()
    life.now += life.some(1, 20)
    if life.maybe(0.5):
        assert life.last_end is not None
        life.post("end", life.last_end)
    else:
        life.end("timeout")


def talks_on(life: Life) -> None:
    """Events from before its end and from after it, and beats, come afterwards."""
    life.watch(2)
    life.event("reaction", send=False)
    life.now += 1
    life.end(delay=0.0)
    life.now += 1
    life.event("mute", send=False)
    life.now += 4
    life.flush(delay=0.0)
    life.beat()


def comes_back(life: Life) -> None:
    """The page comes back from the browser's cache, under the same id."""
    life.quiet()
    life.end()
    life.now += life.random.choice((life.some(5, 60), life.some(60, 1_000), life.some(2_000, 3_000)))
    life.doing, life.frame, life.stalls, life.next_beat = "starting", False, 0, 0.0
    opens(life)
    life.watch(life.some(10, 100))
    life.random.choice((leaves, vanishes))(life)


ENDINGS: Final = (leaves, leaves, leaves_for_an_error, fails_and_stays, vanishes, vanishes, leaves_twice, talks_on, comes_back)


# Lives that are short.


def closes_the_tab(life: Life) -> None:
    """Before the first beat."""
    life.start()
    life.watch(life.some(0.1, 20))


def gives_up(life: Life) -> None:
    """It waits, perhaps preloads, and goes before a frame."""
    life.start()
    if life.maybe(0.5):
        life.watch(life.some(0.1, 0.5))
        life.event("stream_buffer_start", send=False)
        life.watch(life.some(0.5, 3))
        life.event("stream_buffer_end")
    life.watch(life.some(0.1, 40))
    if life.maybe(0.2):
        life.event("stream_error", send=False, fatal=True)
        life.flush(delay=0.0)
    if life.maybe(0.8):
        life.end(life.random.choice(("user_exit", "user_exit", "error")))


def only_ends(life: Life) -> None:
    """All else of it was lost."""
    life.end()


def waits_without_a_start(life: Life) -> None:
    """Every beat says that it waits, and nothing else is heard."""
    life.next_beat = life.now
    life.doing = "buffering"
    life.watch(life.some(0, 3_600 if life.maybe(0.1) else 700))


SHORT: Final = (closes_the_tab, gives_up, gives_up, only_ends, waits_without_a_start)


def shows_pixels(life: Life) -> None:
    """A player that knows only the pixel."""

    def pixel(kind: str, delay: float = 0.0) -> None:
        life.post("pixel", {"type": kind, "v": life.stream, "p": "zone", "u": life.name, "visibility": "1"}, delay=delay)

    def checks(times: int) -> None:
        for _ in range(times):
            life.now += BEAT_S
            pixel("check")

    for _ in range(life.random.randrange(1, 4)):
        kind = life.random.randrange(4)
        if kind == 0:
            pixel("view")
            checks(life.random.randrange(0, 5))
            pixel("play", delay=1.0)
        elif kind == 1:
            # The view is overtaken on its way.
            pixel("play")
            pixel("view", delay=life.random.choice((0.5, 1.0, 3.0)))
        elif kind == 2:
            pixel("view")
        checks(life.random.randrange(1, 8))
        life.now += life.random.choice((life.some(10, 50), life.some(110, 600), life.some(770, 1_700), life.some(2_000, 3_000)))


def live_one(seed: str) -> Life:
    """Return the whole life of the viewer that a seed stands for."""
    random = Random(seed)
    name = seed.replace("/", "-")
    life = Life(name, random, stream=f"{name}-a")
    life.now += random.randrange(1_200) / 2
    life.skew = random.choice((0.0, 0.0, 0.0, 0.25, -3.0, 40.0, -900.0, 7_200.0, -200_000.0))
    life.whole = random.random() < 0.15
    life.repeats = random.choice((0.0, 0.0, 0.2, 1.0))
    life.habits = frozenset(random.sample(HABITS, random.randrange(4)))
    kind = random.random()
    if kind < 0.12:
        life.repeats = min(life.repeats, 0.2)
        shows_pixels(life)
    elif kind < 0.25:
        told(life, some_of(random, SHORT))
    else:
        told(life, some_of(random, OPENINGS))
        for _ in range(random.randrange(6)):
            told(life, some_of(random, CHAPTERS))
        life.flush(delay=0.0)
        told(life, some_of(random, ENDINGS))
        life.flush(delay=0.0)
    life.requests.sort(key=lambda request: (request.arrives, request.order))
    return life


def told(life: Life, chapter: Chapter) -> None:
    """Live through it, and write its name down."""
    life.what.append(chapter.__name__)
    chapter(life)


def some_of(random: Random, chapters: Sequence[Chapter]) -> Chapter:
    return random.choice(chapters)
