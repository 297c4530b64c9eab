"""
The naive tracker: the rules of docs/session-states.md and docs/metrics.md, over a plain list of what was said.

It knows nothing of windows, packed records, buckets or incremental counts: whatever is asked is recounted from the first input
on. `test_tracker_model.py` drives the tracker beside it.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from sessions.changes import Policy
from sessions.events import Beacon, End, Event, Happenings, Heartbeat, Start
from tests.unit.naive_playback import Playback

POLICY: Final = Policy(heartbeat_interval_s=30, expiry_intervals=3, revive_window_s=300)


@dataclass
class Said:
    """One input that fell into its place."""

    at: float
    what: str
    stream: str | None
    cap_s: float
    bitrate_bps: int | None = None
    quality: str | None = None


@dataclass
class Part:
    """Inputs in one order; a new part begins where the order was anchored anew, or everything was folded."""

    floor: float = float("-inf")
    """What is older than this was folded."""
    after_silence: bool = False
    """The interval before it is nobody's: the session had expired."""
    said: list[Said] = field(default_factory=list)

    @property
    def last_at(self) -> float:
        return self.said[-1].at if self.said else self.floor


@dataclass
class Viewing:
    """One session, as a list of what it said."""

    provisional: bool
    offset: float
    before_wild: float | None = None
    liveness: str = "active"
    parts: list[Part] = field(default_factory=lambda: [Part()])
    newest_at: float = float("-inf")
    beat_at: float = float("-inf")
    promised_s: int = 0
    due_at: float = 0.0
    """On the slot's clock."""
    ended_at: float = 0.0
    total_watch_s: int = 0
    ids: set[str] = field(default_factory=set)
    beacon_types: set[str] = field(default_factory=set)
    played_at: float = float("-inf")
    """Of its last pixel that said play."""
    stalls_told: int = 0
    reading: int = 0
    first_stream: str = "unknown"
    """The first stream that is named names what was watched before, too; even an input that is late may name it."""

    def put(self, said: Said) -> bool:
        """Find its place, if it is not too late."""
        part = self.parts[-1]
        if said.stream and self.replay()[2] == "unknown":
            self.first_stream = said.stream
        if said.at < max(self.newest_at - 60, part.floor):
            return False
        part.said.append(said)
        part.said.sort(key=lambda each: each.at)
        self.newest_at = max(self.newest_at, said.at)
        return True

    def hear_clock(self, at: float, *, now: float) -> bool:
        """Tell whether a timestamp is wild; more than 60 s ahead of what the smallest offset predicts."""
        offset = now - at
        if at - 60 > now - self.offset:
            before = self.offset
            self.anchor(at, offset)
            self.before_wild = before
            return True
        fits = self.before_wild is not None and abs(offset - self.before_wild) <= 60
        if at < self.newest_at - 60 and (fits or abs(offset) < abs(self.offset) - 86_400):
            self.anchor(at, offset)
        self.offset = min(self.offset, offset)
        return False

    def anchor(self, at: float, offset: float) -> None:
        self.parts.append(Part(floor=min(self.parts[-1].last_at, at)))
        self.newest_at, self.beat_at, self.offset, self.before_wild = at, float("-inf"), offset, None

    def close(self) -> None:
        """Everything is folded; what comes is late, or comes after a silence."""
        self.parts.append(Part(floor=self.parts[-1].last_at, after_silence=True))

    def replay(self) -> tuple[dict[str, float], Playback, str]:
        """Add up everything from the first input on: seconds by state, what it does, the stream."""
        spent = dict.fromkeys(("starting", "playing", "rebuffering", "paused"), 0.0)
        playback, stream = Playback(), self.first_stream
        since, cap_s, silent = 0.0, 0.0, True
        for part in self.parts:
            silent, since = silent or part.after_silence, min(since, part.floor)
            for said in part.said:
                if not silent:
                    for state, seconds in playback.spend(since, said.at, cap_s, said.what):
                        spent[state] = spent.get(state, 0.0) + seconds
                playback.hear(said.what, said.at, after_silence=silent)
                stream, since, cap_s, silent = said.stream or stream, said.at, said.cap_s, False
        return spent, playback, stream

    def tell_stalls(self, reading: int) -> None:
        """Follow the player's own counter: it counts as it rises after the first frame, and may start again."""
        if self.replay()[1].frame:
            self.stalls_told += reading - self.reading if reading >= self.reading else reading
        self.reading = reading


class NaiveSlot:
    """See the module."""

    def __init__(self) -> None:
        self.viewings: dict[str, Viewing] = {}
        self.counts: Counter[str] = Counter()
        self.added: Counter[str] = Counter()
        self.paused_s = 0.0

    def arrive(self, name: str, at: float, *, now: float, opens_as: str) -> Viewing:
        viewing = self.viewings.get(name)
        if viewing is None:
            offset = now - at
            viewing = Viewing(opens_as == "provisional", offset)
            self.viewings[name] = viewing
            self.counts[opens_as] += 1
        elif viewing.liveness == "expired":
            self.counts["revived"] += 1
            viewing.liveness, viewing.due_at = "active", 0.0
        return viewing

    def live_on(self, viewing: Viewing, interval_s: int, *, now: float, is_beat: bool) -> None:
        due_at = now - self.paused_s + 3 * interval_s
        shrinks = interval_s < viewing.promised_s
        viewing.due_at = due_at if is_beat and not shrinks else max(due_at, viewing.due_at)
        viewing.promised_s = interval_s

    def hear(self, viewing: Viewing, at: float, *, now: float) -> None:
        self.added["wild"] += viewing.hear_clock(at, now=now)

    def place(self, viewing: Viewing, said: Said) -> None:
        self.added["late"] += not viewing.put(said)

    def finish(self, viewing: Viewing, how: str, *, now: float) -> None:
        viewing.liveness = how
        self.counts[how] += 1
        viewing.close()
        viewing.due_at = now - self.paused_s + POLICY.revive_window_s

    def receive(self, event: Event, interval_s: int, *, now: float) -> tuple[bool, int, int]:
        """Return (accepted, events accepted, events rejected)."""
        viewing = self.viewings.get(event.session_id)
        if viewing is not None and viewing.liveness == "ended":
            return self.after_end(viewing, event)
        if not isinstance(event, (Start, Heartbeat)):
            interval_s = POLICY.heartbeat_interval_s
        return getattr(self, type(event).__name__.lower())(event, interval_s, now)  # type: ignore[no-any-return]

    def after_end(self, viewing: Viewing, event: Event) -> tuple[bool, int, int]:
        if isinstance(event, End):
            self.added["duplicates"] += 1
        if not isinstance(event, Happenings):
            return False, 0, 0
        taken = 0
        for each in event.happenings:
            if each.event_id in viewing.ids:
                self.added["duplicates"] += 1
                taken += 1
            elif each.at <= viewing.ended_at:
                viewing.ids.add(each.event_id)
                self.added["events"] += 1
                self.added["late"] += 1
                taken += 1
        return taken > 0, taken, len(event.happenings) - taken

    def start(self, event: Start, interval_s: int, now: float) -> tuple[bool, int, int]:
        known = self.viewings.get(event.session_id)
        again = known is not None and known.liveness == "active" and not known.provisional
        viewing = self.arrive(event.session_id, event.at, now=now, opens_as="started")
        self.hear(viewing, event.at, now=now)
        if again:
            self.added["duplicates"] += 1
        else:
            self.counts["promoted"] += viewing.provisional
            viewing.provisional = False
            self.place(viewing, Said(event.at, "start", event.stream_id, 3 * interval_s, quality=event.quality))
        self.live_on(viewing, interval_s, now=now, is_beat=False)
        return True, 0, 0

    def heartbeat(self, event: Heartbeat, interval_s: int, now: float) -> tuple[bool, int, int]:
        viewing = self.arrive(event.session_id, event.at, now=now, opens_as="provisional")
        self.hear(viewing, event.at, now=now)
        newer = event.at > viewing.beat_at
        if newer:
            viewing.beat_at = event.at
            self.added["heartbeats"] += 1
            said = Said(event.at, event.playback or "", event.stream_id, 3 * interval_s, event.bitrate_bps, event.quality)
            self.place(viewing, said)
            if event.rebuffer_count is not None:
                viewing.tell_stalls(event.rebuffer_count)
        else:
            self.added["duplicates"] += 1
        self.live_on(viewing, interval_s, now=now, is_beat=newer)
        return True, 0, 0

    def happenings(self, event: Happenings, interval_s: int, now: float) -> tuple[bool, int, int]:
        known = self.viewings.get(event.session_id)
        if not event.happenings and (known is None or known.liveness == "expired"):
            return True, 0, 0
        times = sorted(each.at for each in event.happenings)

        def best_clock(predicted_at: float) -> float:
            until = predicted_at + 60 if not times or times[0] <= predicted_at + 60 else times[0] + 86_400
            return max([at for at in times if at <= until], default=predicted_at)

        viewing = self.arrive(event.session_id, best_clock(now), now=now, opens_as="provisional")
        if times:
            self.hear(viewing, best_clock(now - viewing.offset), now=now)
        interval_s = viewing.promised_s or interval_s
        for each in sorted(event.happenings, key=lambda happening: happening.at):
            if each.event_id in viewing.ids:
                self.added["duplicates"] += 1
                continue
            viewing.ids.add(each.event_id)
            self.added["events"] += 1
            self.hear(viewing, each.at, now=now)
            self.place(viewing, Said(each.at, "fatal" if each.fatal else each.type, event.stream_id, 3 * interval_s))
        self.live_on(viewing, interval_s, now=now, is_beat=False)
        return True, len(times), 0

    def end(self, event: End, interval_s: int, now: float) -> tuple[bool, int, int]:
        viewing = self.arrive(event.session_id, event.at, now=now, opens_as="provisional")
        self.hear(viewing, event.at, now=now)
        viewing.ended_at, viewing.total_watch_s = event.at, event.total_watch_s
        if event.rebuffer_count is not None and event.rebuffer_count > viewing.reading:
            viewing.tell_stalls(event.rebuffer_count)
        what = "fatal" if event.reason == "error" else ""
        viewing.put(Said(max(event.at, viewing.newest_at), what, None, 3 * interval_s))
        self.finish(viewing, "ended", now=now)
        return True, 0, 0

    def beacon(self, event: Beacon, interval_s: int, now: float) -> tuple[bool, int, int]:
        first = event.session_id not in self.viewings
        viewing = self.arrive(event.session_id, now, now=now, opens_as="started")
        what = "first check" if first and event.type == "check" else event.type
        before, at = viewing.replay()[1].state, max(now, viewing.newest_at)
        if what == "view" and viewing.played_at >= at - 5:
            what = ""
        viewing.played_at = at if what == "play" else viewing.played_at
        viewing.put(Said(at, what, event.video_id, 3 * interval_s))
        if event.type not in viewing.beacon_types:
            self.added["beacons"] += 1
            viewing.beacon_types |= {event.type} - {"check"}
        elif viewing.replay()[1].state == before:
            self.added["duplicates"] += 1
        self.live_on(viewing, interval_s, now=now, is_beat=True)
        return True, 0, 0

    def advance(self, *, now: float) -> None:
        for name, viewing in list(self.viewings.items()):
            if viewing.due_at < now - self.paused_s:
                if viewing.liveness == "active":
                    self.finish(viewing, "expired", now=now)
                else:
                    del self.viewings[name]
