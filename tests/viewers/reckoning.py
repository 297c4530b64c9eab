"""
The independent model: what one faulty viewer must add to every count, reckoned from the list of all it said.

It keeps every input, sorts them by the player's time within each setting of the player's clock (which the maker of the life told: it
guesses nothing about clocks), and goes through all of them from the first whenever it is asked. It knows the wire and the rules of the
documents, and nothing of ours: no window, no packed bytes, no sums that are carried on.
"""

from collections import Counter
from dataclasses import dataclass, field
from math import exp, inf, sqrt
from typing import Any, Final

from tests.viewers.lives import Life, Request

Key = tuple[str, ...]

SILENT_S: Final = 90.25
"""Three beats of 30 s, and the quarter of a second by which deadlines are rounded."""
FAILED_S: Final = 30.25
"""So long nothing that plays may follow a fatal error, and the quarter of a second."""
TOLD_S: Final = 600.0
REMEMBERED_S: Final = 1_800.0
LATE_S: Final = 60.0
CAP_S: Final = 90.0
TOO_LONG_S: Final = 300.0
WAITING: Final = ("rebuffering", "stream_buffer_start", "stream_reconnect")
RESUMING: Final = ("stream_buffer_end", "stream_reconnect_success", "dvr_resume_live")
ALWAYS: Final = {
    "fatal": "failed",
    "end for error": "failed",
    "stream_start": "playing",
    "play": "playing",
    "first check": "playing",
    "view": "shown",
}
"""Where an input leads whatever was before it, a break too."""


def wanted(number: object, *, least: float, most: float) -> Any:
    """Return a number that a player reports, if it is plausible."""
    return number if isinstance(number, int | float) and least <= number <= most else None


@dataclass
class Said:
    """One input, as the rules read it."""

    at: float
    what: str
    arrival: int
    stream: str | None = None
    channel: str | None = None
    bitrate_kbps: float | None = None
    latency_ms: float | None = None
    behind: bool = False
    counter: int | None = None
    quality: str | None = None
    term: int = 0
    """Inputs of one term follow each other on one clock, with no silence between."""


@dataclass
class Told:
    """What all inputs together tell."""

    stream: str
    channel: str = "unknown"
    sums: Counter[Key] = field(default_factory=Counter)
    state: str = "starting"
    since: float = -inf
    """When that state began."""
    before_stall: str = "starting"
    before_ad: str = "starting"
    ads: str = ""
    """`break` or `ad`, while in one."""
    frame: bool = False
    failure: str = ""
    bitrate_kbps: float | None = None
    latency_ms: float | None = None
    latency_ms_s: float = 0.0
    latency_s: float = 0.0
    quality: str | None = None
    switches: int = 0
    seek_at: float = -inf
    by_seek: bool = False
    by_seek_s: float = 0.0
    """Of the present stall, spent so far."""
    stalls: int = 0
    counted: int = 0
    """By the player's own counter, after the first frame."""
    started_at: float | None = None
    startup_s: float | None = None
    ad_s: float = 0.0
    terms: int = 0
    stall_key: Key | None = None
    total: Counter[str] = field(default_factory=Counter)

    # Time.

    def spend(self, seconds: float, state: str) -> None:
        self.total[state] += seconds  # type: ignore[assignment]
        if state in ("playing", "rebuffering", "paused", "ad"):
            self.sums[state, self.stream] += seconds  # type: ignore[assignment]
        if state == "ad":
            self.ad_s += seconds
        if state == "rebuffering":
            self.by_seek_s += seconds
            if self.by_seek:
                self.sums["seek_rebuffering", self.stream] += seconds  # type: ignore[assignment]
        if state == "playing" and self.bitrate_kbps is not None:
            self.sums["bitrate", self.stream] += seconds  # type: ignore[assignment]
            self.sums["played_bytes", self.stream] += self.bitrate_kbps * 125 * seconds  # type: ignore[assignment]
        if state == "playing" and self.latency_ms is not None:
            self.latency_s += seconds
            self.latency_ms_s += self.latency_ms * seconds

    def pass_until(self, said: Said, since: float) -> None:
        waits = self.state == "rebuffering" or (self.state == "starting" and said.what in (*WAITING, "idle"))
        too_long_at = max(self.since + TOO_LONG_S, since)
        seconds = min(max(said.at - since, 0.0), CAP_S)
        if waits and said.at > self.since + TOO_LONG_S:
            before = min(seconds, too_long_at - since)
            self.spend(before, self.state)
            # Nobody watches a wheel turn for so long: a state of its own, in no sum.
            self.spend(seconds - before, "stalled")
            self.enter("stalled", self.since + TOO_LONG_S)
        else:
            self.spend(seconds, self.state)

    # States.

    def enter(self, state: str, at: float) -> None:
        if state == self.state:
            return
        before, self.state, self.since = self.state, state, at
        if state != "stalled":
            self.by_seek = False
        if state == "playing":
            self.failure = ""
            if not self.frame:
                self.frame = True
                self.sums["plays", self.stream] += 1
        elif state == "failed":
            self.failure = "playback_failures" if self.frame else "start_failures"
        elif state == "rebuffering" and before == "ad":
            # The stall that was under way when the break began goes on.
            self.by_seek = self.stall_key is not None and self.stall_key[2] == "seek"
        elif state == "rebuffering":
            self.before_stall = "paused" if before == "paused" else "playing"
            self.stalls += 1
            self.by_seek_s = 0.0
            self.by_seek = 0 <= at - self.seek_at <= 5
            if self.by_seek:
                self.seek_at = -inf
            self.stall_key = ("rebuffers", self.stream, "seek" if self.by_seek else "connection")
            self.sums[self.stall_key] += 1

    def is_caused(self) -> None:
        """The stall that began just before a seek is the seek's."""
        assert self.stall_key is not None
        self.by_seek = True
        self.sums[self.stall_key] -= 1
        self.stall_key = ("rebuffers", self.stall_key[1], "seek")
        self.sums[self.stall_key] += 1
        self.sums["seek_rebuffering", self.stall_key[1]] += self.by_seek_s  # type: ignore[assignment]

    def resumed(self, state: str) -> str:
        if state in ("rebuffering", "stalled"):
            return self.before_stall if self.frame else "starting"
        return state

    def after(self, what: str) -> str:
        """Return the state that an input leads to: the table of the documents."""
        if what in ALWAYS:
            self.ads = ""
            return ALWAYS[what]
        if what == "start":
            return self.state if self.frame else "starting"
        if self.state == "failed":
            # It stays so until something says that it plays.
            return "playing" if what == "playing" or (what == "stream_reconnect_success" and self.frame) else "failed"
        if what.startswith("ad_"):
            return self.after_advertisement(what)
        if self.ads:
            # Waiting inside a break is no stall, and whoever says that it plays plays the advertisement; who waits no more does so afterwards, too.
            self.before_ad = self.resumed(self.before_ad) if what in RESUMING else self.before_ad
            return self.state
        return self.after_word(what)

    def after_advertisement(self, what: str) -> str:
        if what in ("ad_break_start", "ad_start"):
            if not self.ads:
                self.before_ad = self.state
            self.ads = "break" if what == "ad_break_start" else self.ads or "ad"
            return "ad"
        if (what == "ad_break_end" and self.ads) or (what == "ad_end" and self.ads == "ad"):
            self.ads = ""
            return self.before_ad
        return self.state

    def after_word(self, what: str) -> str:
        if what in RESUMING:
            # Of somebody who comes back to the live edge, too: it does not wait any more.
            return self.resumed(self.state)
        if what in WAITING:
            return self.state if self.state == "stalled" else "rebuffering" if self.frame else "starting"
        if what == "idle":
            return "paused" if self.frame else self.state
        return what if what in ("playing", "paused") else self.state

    def hear(self, said: Said) -> None:
        self.stream = said.stream or self.stream
        self.channel = said.channel or self.channel
        self.bitrate_kbps = self.bitrate_kbps if said.bitrate_kbps is None else said.bitrate_kbps
        if said.behind:
            self.latency_ms = None
        elif said.latency_ms is not None:
            self.latency_ms = said.latency_ms
        if said.quality is not None and said.quality != self.quality:
            if self.quality is not None:
                self.switches += 1
                self.sums["quality_switches", self.stream] += 1
            self.quality = said.quality
        had_frame = self.frame
        self.enter(self.after(said.what), said.at)
        if said.what == "dvr_seek":
            is_fresh = self.stall_key is not None and self.stall_key[1] == self.stream and said.at - self.since <= 0.5
            if self.state == "rebuffering" and not self.by_seek and is_fresh:
                self.is_caused()
            else:
                self.seek_at = said.at
        if said.what == "start" and self.started_at is None and not self.frame:
            self.started_at, self.terms = said.at, said.term
        if said.what == "stream_start" and not had_frame and self.started_at is not None and self.terms == said.term:
            startup_s = said.at - self.started_at - self.ad_s
            self.startup_s = startup_s if 0 <= startup_s <= 600 else None

    # Formulas.

    @property
    def session_s(self) -> float:
        return sum(self.total[state] for state in ("starting", "playing", "rebuffering", "paused", "ad"))

    def score(self) -> float:
        if self.failure:
            return 0.0
        if not self.frame:
            return 25.0
        watched_s = self.total["playing"] + self.total["rebuffering"]
        ratio = self.total["rebuffering"] / watched_s if watched_s else 0.0
        stalls = max(self.stalls, self.counted)
        smoothness = 50 / sqrt(1 + (stalls / 2) ** 2) + 50 * exp(-10 * ratio)
        return smoothness if self.startup_s is None else 0.4 * 800 / (8 + self.startup_s) + 0.6 * smoothness


@dataclass
class Viewing:
    """One viewing of one session."""

    provisional: bool
    is_pixel: bool
    liveness: str = "active"
    alive_at: float = 0.0
    over_at: float = 0.0
    said: list[Said] = field(default_factory=list)
    term: int = 0
    clock: int = 0
    newest_at: float = -inf
    floor: float = -inf
    """What is older was folded when it fell silent."""
    beat: dict[str, Any] | None = None
    ids: set[str] = field(default_factory=set)
    pixels: set[str] = field(default_factory=set)
    played_at: float = -inf
    end: dict[str, Any] | None = None
    end_only: bool = False
    is_first_beat: bool = False
    doubted_until: float = -inf
    """A clock that was set back is believed from then on; what came before is placed, but was counted as it looked at the time."""
    is_told: bool = False
    failed_at: float = inf
    """When the error arrived that it has not got over."""
    failure_told: bool = False
    counter: int = 0
    """The player's own, as it was said last; that of a late input was never compared."""
    counted: int = 0
    unseen: int = 0
    """Stalls of the player's counter beyond ours, that were counted."""
    start_stream: str | None = None


class Reckoning:
    """One viewer, request by request."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.viewing: Viewing | None = None
        self.ledger: Counter[str] = Counter()
        self.counts: Counter[Key] = Counter()
        self.now = 0.0
        self.arrivals = 0
        self.outcomes: list[str] = []

    # Time.

    def pass_until(self, now: float) -> None:
        """Let every period pass that ends before now."""
        self.now = now
        viewing = self.viewing
        if viewing is None:
            return
        if viewing.liveness == "active" and now > viewing.alive_at + SILENT_S:
            self.ledger["expired"] += 1
            self.fall_silent(viewing, "expired", viewing.alive_at + SILENT_S)
        if now > viewing.failed_at + FAILED_S and not (viewing.is_told or viewing.failure_told):
            told = told_of(viewing)
            self.counts[told.failure, told.stream] += 1
            viewing.failure_told = True
        if viewing.liveness == "expired" and now > viewing.over_at + TOLD_S:
            self.tell(viewing)
        if viewing.liveness != "active" and now > viewing.over_at + REMEMBERED_S:
            self.close(viewing)
            self.viewing = None

    def fall_silent(self, viewing: Viewing, how: str, at: float) -> None:
        viewing.liveness, viewing.over_at = how, at
        viewing.floor, viewing.term = viewing.newest_at, viewing.term + 1
        # What the player's counter knows and we did not see is counted whenever it falls silent, and never twice.
        told = told_of(viewing)
        unseen = told.counted - told.stalls - viewing.unseen
        if unseen > 0:
            viewing.unseen += unseen
            self.counts["rebuffers", told.stream, "connection"] += unseen

    def tell(self, viewing: Viewing) -> None:
        """Count how it went: once per viewing."""
        if viewing.is_told or viewing.end_only:
            return
        viewing.is_told = True
        told = told_of(viewing)
        if told.failure and not viewing.failure_told:
            self.counts[told.failure, told.stream] += 1
        if told.state == "ad":
            self.counts["exits_during_ad", told.stream] += 1
        if not (viewing.provisional or viewing.is_pixel or told.frame or told.failure):
            started_at = next((said.at for said in viewing.said if said.what == "start"), None)
            waited = started_at is None or viewing.liveness == "expired" or viewing.newest_at - started_at >= 1
            self.counts["exits_before_start", told.stream] += waited
        if told.latency_s:
            self.observe("live_latency", told.latency_ms_s / told.latency_s / 1_000)
        if told.frame or not viewing.is_pixel:
            self.observe("experience_score", told.score())
            self.observe("session", told.session_s)

    def observe(self, name: str, value: float) -> None:
        self.counts[name, "count"] += 1
        self.counts[name, "sum"] += value  # type: ignore[assignment]

    def close(self, viewing: Viewing) -> None:
        """It is over for good: count what its time was spent on."""
        told = told_of(viewing)
        self.counts.update(told.sums)
        if told.startup_s is not None:
            self.observe("startup", told.startup_s)

    # Requests.

    def hear(self, request: Request) -> tuple[bool, int, int]:
        """Return (accepted, events accepted, events rejected)."""
        self.pass_until(request.arrives)
        self.arrivals += 1
        viewing = self.viewing
        if viewing is not None and viewing.liveness == "ended":
            if request.path == "start" and viewing.end is not None and request.body["timestamp"] > viewing.end["timestamp"]:
                self.close(viewing)
                self.viewing, seen = None, viewing.ids
                receipt = self.start(request)
                assert self.viewing is not None
                self.viewing.ids |= seen
                return receipt
            return self.hear_after_end(viewing, request)
        receipt: tuple[bool, int, int] = getattr(self, request.path)(request)
        self.follow_failure()
        return receipt

    def follow_failure(self) -> None:
        viewing = self.viewing
        if viewing is not None and any(said.what == "fatal" for said in viewing.said):
            viewing.failed_at = min(viewing.failed_at, self.now) if told_of(viewing).state == "failed" else inf

    def arrive(self, request: Request, opens_as: str) -> Viewing:
        viewing = self.viewing
        if viewing is None:
            self.ledger[opens_as] += 1
            viewing = self.viewing = Viewing(opens_as == "provisional", request.path == "pixel", clock=request.clock)
        elif viewing.liveness == "expired":
            self.ledger["revived"] += 1
            viewing.liveness = "active"
        viewing.alive_at = request.arrives
        if request.clock != viewing.clock:
            # Its clock was set: nothing is measured from one setting to the other.
            is_back = request.path == "heartbeat" and request.body["timestamp"] < viewing.newest_at
            viewing.doubted_until = request.arrives + 10 if is_back else -inf
            self.counts["late_events",] += is_back and viewing.beat is None
            viewing.is_first_beat = viewing.beat is None
            viewing.clock, viewing.term = request.clock, viewing.term + 1
            viewing.newest_at, viewing.floor, viewing.beat = -inf, -inf, None
        return viewing

    def put(self, viewing: Viewing, said: Said, *, wild: bool = False) -> None:
        if wild:
            # It says nothing of when it was; whatever it moves, it moves no time.
            return
        # What was kept back with the first that was heard of it is no later than that was.
        held_back_s = self.life.held_back_s if self.now < self.life.requests[0].arrives + 25 else 0.0
        if said.at < max(viewing.newest_at - LATE_S - held_back_s, viewing.floor):
            self.counts["late_events",] += 1
            return
        said.term = viewing.term
        viewing.said.append(said)
        if said.counter is not None and said.counter != viewing.counter:
            # Whether a frame was shown is known by what has arrived: a count is not taken back.
            if told_of(viewing).frame:
                viewing.counted += said.counter - viewing.counter if said.counter > viewing.counter else said.counter
            viewing.counter = said.counter
        viewing.newest_at = max(viewing.newest_at, said.at)

    def start(self, request: Request) -> tuple[bool, int, int]:
        body = request.body
        was = self.viewing
        again = was is not None and was.liveness == "active" and not was.provisional
        stream = body["stream"]["stream_id"]
        named_at = -inf if was is None else max((said.at for said in was.said if said.stream and said.term == was.term), default=-inf)
        moves = again and was is not None and told_of(was).stream != stream and body["timestamp"] > named_at
        moves = moves or (again and was is not None and is_overtaken(was, body["timestamp"], stream))
        viewing = self.arrive(request, "started")
        self.ledger["promoted"] += viewing.provisional
        viewing.provisional = False
        if again and not moves:
            self.counts["duplicates",] += 1
            return True, 0, 0
        quality = body["playback"]["quality"]
        said = Said(body["timestamp"], "start", self.arrivals, stream, body["stream"]["channel_id"])
        said.quality = None if quality == "auto" else quality
        self.put(viewing, said)
        return True, 0, 0

    def heartbeat(self, request: Request) -> tuple[bool, int, int]:
        body = request.body
        viewing = self.arrive(request, "provisional")
        at, last = body["timestamp"], viewing.beat
        if last is not None and (at < last["timestamp"] or body == last):
            self.counts["duplicates",] += 1
            return True, 0, 0
        viewing.beat = body
        is_doubted = request.arrives < viewing.doubted_until and not viewing.is_first_beat
        self.counts["duplicates" if is_doubted else "heartbeats",] += 1
        viewing.is_first_beat = False
        playback, performance = body.get("playback") or {}, body.get("performance") or {}
        flags = [playback.get(flag) for flag in ("is_paused", "is_buffering", "is_playing")]
        names = ("paused", "rebuffering", "playing")
        what = next((name for name, flag in zip(names, flags, strict=True) if flag), "idle" if None not in flags else "")
        quality = playback.get("quality")
        kbps = wanted(performance.get("bitrate_kbps"), least=0, most=1_000_000)
        said = Said(
            at,
            what,
            self.arrivals,
            body.get("stream_id"),
            body.get("channel_id"),
            bitrate_kbps=kbps or None,
            latency_ms=wanted(performance.get("latency_ms"), least=0, most=3_600_000),
            behind=(wanted(playback.get("dvr_offset_seconds"), least=0, most=1_000_000) or 0) >= 10,
            counter=wanted(performance.get("rebuffer_count"), least=0, most=1_000_000),
            quality=None if quality in ("", "auto") else quality,
        )
        self.put(viewing, said)
        return True, 0, 0

    def events(self, request: Request) -> tuple[bool, int, int]:
        body = request.body
        viewing = self.arrive(request, "provisional")
        for entry in body["events"]:
            if not self.is_new(viewing, entry):
                continue
            self.count_error(viewing, body, entry)
            metadata = entry.get("metadata") or {}
            what = "fatal" if entry["event_type"] == "stream_error" and metadata.get("fatal") is True else entry["event_type"]
            quality = metadata.get("quality")
            said = Said(entry["timestamp"], what, self.arrivals, body.get("stream_id"))
            said.quality = None if quality in (None, "auto") else quality
            self.put(viewing, said, wild=entry["event_id"] in request.wild)
        return True, len(body["events"]), 0

    def is_new(self, viewing: Viewing, entry: dict[str, Any]) -> bool:
        if entry["event_id"] in viewing.ids:
            self.counts["duplicates",] += 1
            return False
        viewing.ids.add(entry["event_id"])
        self.counts["events", entry["event_type"]] += 1
        return True

    def count_error(self, viewing: Viewing, body: dict[str, Any], entry: dict[str, Any]) -> None:
        metadata = entry.get("metadata") or {}
        if entry["event_type"] == "stream_error":
            self.counts["stream_errors", "true" if metadata.get("fatal") is True else "false"] += 1
        if entry["event_type"] == "ad_error":
            self.counts["ad_errors",] += 1

    def end(self, request: Request) -> tuple[bool, int, int]:
        body, end_only = request.body, self.viewing is None
        viewing = self.arrive(request, "provisional")
        viewing.end_only = end_only
        viewing.end = body
        reason, counter = body["watch_summary"]["end_reason"], body["performance"]["total_rebuffer_count"]
        said = Said(max(body["timestamp"], viewing.newest_at), "end for error" if reason == "error" else "end", self.arrivals)
        said.counter = wanted(counter, least=0, most=1_000_000)
        self.put(viewing, said)
        self.ledger["ended"] += 1
        self.fall_silent(viewing, "ended", request.arrives + 0.25)
        self.tell(viewing)
        return True, 0, 0

    def hear_after_end(self, viewing: Viewing, request: Request) -> tuple[bool, int, int]:
        body = request.body
        if request.path == "end":
            self.counts["duplicates",] += 1
            return body == viewing.end, 0, 0
        if request.path != "events":
            return False, 0, 0
        assert viewing.end is not None
        taken = 0
        for entry in body["events"]:
            if entry["event_id"] in viewing.ids or entry["timestamp"] <= viewing.end["timestamp"]:
                if self.is_new(viewing, entry):
                    self.counts["late_events",] += 1
                    self.count_error(viewing, body, entry)
                taken += 1
        return taken > 0, taken, len(body["events"]) - taken

    def pixel(self, request: Request) -> tuple[bool, int, int]:
        body, first = request.body, self.viewing is None
        viewing = self.arrive(request, "started")
        what = kind = body["type"]
        is_again, before = kind in viewing.pixels, told_of(viewing).state
        if not is_again:
            self.counts["beacons", kind] += 1
            viewing.pixels |= {kind} - {"check"}
        if kind == "check" and first:
            what = "first check"
        if kind == "view" and request.arrives - viewing.played_at <= 5:
            what = ""
        if kind == "play":
            viewing.played_at = request.arrives
        self.put(viewing, Said(request.arrives, what, self.arrivals, body["v"]))
        # One that says anew what it said, and moves something, is a page that was loaded again.
        self.counts["duplicates",] += is_again and told_of(viewing).state == before
        return True, 0, 0


def is_overtaken(viewing: Viewing, at: float, stream: str) -> bool:
    """Tell whether events alone say since this time that it is this stream, while another was watched until then: a start comes after its event."""
    of_now = [said for said in viewing.said if said.term == viewing.term]
    newer = [said.channel for said in of_now if said.stream and said.at >= at]
    before = Viewing(**{**vars(viewing), "said": [said for said in viewing.said if said.term != viewing.term or said.at < at]})
    return told_of(viewing).stream == stream and bool(newer) and not any(newer) and told_of(before).stream != stream


def told_of(viewing: Viewing) -> Told:
    """Go through all that was said, in the order of the player's time."""
    in_order = sorted(viewing.said, key=lambda said: (said.term, said.at, said.what != "start", said.arrival))
    told = Told(next((said.stream for said in in_order if said.stream), "unknown"), counted=viewing.counted)
    before: Said | None = None
    for said in in_order:
        if before is not None and said.term == before.term:
            told.pass_until(said, before.at)
        else:
            # The time before it is nobody's, and what was under way there is over.
            told.since = said.at
            told.seek_at = -inf
        told.hear(said)
        before = said
    return told
