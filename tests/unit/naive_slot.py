"""
The naive tracker: the rules of docs/session-states.md and docs/metrics.md, over a plain list of what was said.

It knows nothing of windows, packed records, buckets or incremental counts: whatever is asked is recounted from the first input
on. `test_tracker_model.py` drives the tracker beside it.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
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
    is_beat: bool = False
    is_start: bool = False
    """A start, be it one of a session that has one."""


def _place(said: Said) -> tuple[float, bool]:
    """A start sorts before everything else of its second."""
    return said.at, said.what != "start"


@dataclass
class Part:
    """Inputs in one order; a new part begins where the order was anchored anew, or everything was folded."""

    floor: float = float("-inf")
    """What is older than this was folded."""
    after_silence: bool = False
    """The interval before it is nobody's: the session had expired, or another clock stamped it."""
    anew: bool = False
    """Another clock stamps it."""
    said: list[Said] = field(default_factory=list)

    @property
    def last_at(self) -> float:
        return self.said[-1].at if self.said else self.floor


@dataclass
class Viewing:
    """One session, as a list of what it said."""

    provisional: bool
    offset: float
    created_at: float = 0.0
    seen_at: float = 0.0
    clock_since: float = 0.0
    ahead_since: tuple[float, float] | None = None
    """(server's time, offset) of the first input that was far ahead, with none in order since."""
    ahead: list[Said] = field(default_factory=list)
    """They count as nothing until something says that the clock was set; but what the player does is what they say."""
    behind_since: tuple[float, float] | None = None
    """(server's time, offset) of the first input that lay behind, with none in order since."""
    behind: list[Said] = field(default_factory=list)
    held_up: float = float("-inf")
    """What is older was held up by a delay that ended with an input of then."""
    liveness: str = "active"
    parts: list[Part] = field(default_factory=lambda: [Part()])
    newest_at: float = float("-inf")
    beat_at: float = float("-inf")
    beats: dict[float, Heartbeat] = field(default_factory=dict)
    """The last one of each stamp."""
    promised_s: int = 0
    due_at: float = 0.0
    """On the slot's clock."""
    ended_at: float = 0.0
    ending: tuple[float, str, int] | None = None
    """The end that stands, or that of the viewing before."""
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
        """Find its place, if it is not too late; what a delay of ours held up is not, until something newer is final."""
        part = self.parts[-1]
        if said.at < self.newest_at:
            self.lie_behind(said)
        if said.stream and self.replay()[2] == "unknown":
            self.first_stream = said.stream
        final_until = max([each.at for each in part.said if each.at < self.newest_at - 60], default=part.floor)
        held_up = final_until > float("-inf") and final_until <= said.at < self.held_up
        if said.at < max(self.newest_at - 60, part.floor) and not held_up:
            return False
        begun = any(each.at < self.newest_at - 60 for each in part.said)
        if said.what == "start" and begun and said.at == final_until:
            return False
        part.said.append(said)
        part.said.sort(key=_place)
        self.newest_at = max(self.newest_at, said.at)
        return True

    def names_stream_since(self, at: float, *, aside: bool) -> bool:
        """Tell whether something not older than `at` names a stream, or may have: what is late has no place."""
        if aside:
            return any(each.stream and each.at >= at for each in self.ahead)
        return not self.has_place(at) or any(each.stream and each.at >= at for each in [*self.parts[-1].said, *self.ahead])

    def has_place(self, at: float) -> bool:
        """Tell whether a start stamped `at` would be in time."""
        probe = Said(at, "start", None, 0)
        newest_at, behind = self.newest_at, list(self.behind)
        in_time = self.put(probe)
        if in_time:
            self.parts[-1].said = [each for each in self.parts[-1].said if each is not probe]
        self.newest_at, self.behind = newest_at, behind
        return in_time

    def zapped_by_event_alone(self, at: float, stream: str) -> bool:
        """Tell whether only events say since `at` that it is this stream, and another was watched until then."""
        if any(each.stream for each in self.ahead):
            return False
        watched, since = self.first_stream, []
        for said in (said for part in self.parts[:-1] for said in part.said):
            watched = said.stream or watched
        for said in self.parts[-1].said:
            if said.at >= at:
                since.append(said)
            else:
                watched = said.stream or watched
        return watched != stream and not any((said.is_beat or said.is_start) and said.stream for said in since)

    def lie_behind(self, said: Said) -> None:
        if self.behind_since is not None:
            self.behind.append(said)

    @property
    def is_sure(self) -> bool:
        return self.seen_at - self.newest_at - self.offset <= 5 and self.seen_at - self.clock_since >= 10

    def hear_clock(self, at: float, *, now: float, tells_most: bool, is_beat: bool) -> tuple[bool, bool]:
        """
        Tell whether a timestamp is the first wild one, and whether its input waits for what the next ones say.

        Wild is what lies more than 60 s ahead of what the smallest offset predicts, and is no delay that ended.
        """
        offset, sure = now - at, self.is_sure
        delay_ended = abs(offset) < abs(self.offset) and self.offset - offset <= 86_400 and not sure
        if at - 60 > now - self.offset and not delay_ended:
            if abs(offset) < abs(self.offset):
                self.anchor(at, offset, now=now)
                return True, False
            if self.ahead_since is not None and abs(offset - self.ahead_since[1]) <= 60:
                if not is_beat or now - self.ahead_since[0] < 10:
                    return False, True
                self.believe()
                self.offset = min(self.offset, offset)
                return False, False
            self.ahead_since, self.ahead = (now, offset), []
            return True, True
        if at - 60 > now - self.offset:
            self.held_up = at
        self.offset = min(self.offset, offset)
        if at > self.newest_at:
            self.ahead_since, self.ahead = None, []
        if at >= self.newest_at:
            if tells_most:
                self.behind_since, self.behind = None, []
        elif at < self.newest_at - 60 and abs(offset) < abs(self.offset) - 86_400:
            self.anchor(at, offset, now=now)
        elif tells_most:
            self.hear_behind(offset, now=now)
        return False, False

    def believe(self) -> None:
        """The clock was set, when the first of those came that are far ahead."""
        if self.ahead_since is None:
            return
        (since, offset), ahead = self.ahead_since, sorted(self.ahead, key=_place)
        self.begin_anew(ahead, offset, since=since)

    def begin_anew(self, kept: list[Said], offset: float, *, since: float) -> None:
        """Begin the order anew with inputs that were kept; who names no stream goes on with the present one."""
        stream = self.replay()[2] if not self.ahead else None
        self.anchor(kept[0].at if kept else since - offset, offset, now=since)
        for each in kept:
            self.newest_at = each.at
            self.beat_at = each.at if each.is_beat else self.beat_at
        if kept and stream is not None:
            kept[0].stream = kept[0].stream or stream
        self.parts[-1].said = kept

    def hear_behind(self, offset: float, *, now: float) -> None:
        """Ten seconds of inputs that lie behind, and agree about the clock within 5 s: it was set back when the first of them came."""
        if self.behind_since is None or abs(offset - self.behind_since[1]) > 5:
            self.behind_since, self.behind = (now, offset), []
            return
        since, first_offset = self.behind_since
        if now - since < 10:
            return
        behind = sorted(self.behind, key=_place)
        final = self.newest_at - 60
        self.parts[-1].said = [each for each in self.parts[-1].said if each.at < final or all(each is not other for other in behind)]
        self.begin_anew([replace(each) for each in behind], min(first_offset, offset), since=since)

    def anchor(self, at: float, offset: float, *, now: float) -> None:
        self.parts.append(Part(floor=at - 60, after_silence=True, anew=True))
        self.newest_at, self.beat_at, self.offset = at, float("-inf"), offset
        self.clock_since, self.held_up = now, float("-inf")
        self.behind_since, self.behind, self.ahead_since, self.ahead = None, [], None, []

    def close(self) -> None:
        """Everything is folded; what comes is late, or comes after a silence."""
        self.believe()
        self.parts.append(Part(floor=self.parts[-1].last_at, after_silence=True))
        self.behind_since, self.behind = None, []

    def whole(self) -> list[Part]:
        """Return all that was said, as if those that are far ahead were right."""
        if not self.ahead:
            return self.parts
        return [*self.parts, Part(after_silence=True, anew=True, said=sorted(self.ahead, key=_place))]

    def restates(self, event: Heartbeat) -> bool:
        """Tell whether a heartbeat with the stamp of the newest says something else than that did, which must still be provisional."""
        last = self.beats.get(event.at)
        noted = [*self.ahead, *(each for each in self.parts[-1].said if each.at >= self.newest_at - 60)]
        if last is None or not any(each.is_beat and each.at == event.at for each in noted):
            return False
        return (event.playback, event.stream_id) != (last.playback, last.stream_id) or event.rebuffer_count not in (None, self.reading)

    def replay(self) -> tuple[dict[str, float], Playback, str]:
        """Add up everything from the first input on: seconds by state, what it does, the stream."""
        spent = dict.fromkeys(("starting", "playing", "rebuffering", "paused"), 0.0)
        playback, stream = Playback(), self.first_stream
        since, cap_s, silent = 0.0, 0.0, True
        for part in self.whole():
            silent, since = silent or part.after_silence, min(since, part.floor)
            if part.anew:
                playback.seek_at = float("-inf")
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
    """One slot, counted anew from its inputs at every question."""

    def __init__(self) -> None:
        self.viewings: dict[str, Viewing] = {}
        self.counts: Counter[str] = Counter()
        self.added: Counter[str] = Counter()
        self.paused_s = 0.0

    def arrive(self, name: str, at: float, *, now: float, opens_as: str) -> Viewing:
        viewing = self.viewings.get(name)
        if viewing is None:
            offset = now - at
            viewing = Viewing(opens_as == "provisional", offset, created_at=now, seen_at=now, clock_since=now)
            self.viewings[name] = viewing
            self.counts[opens_as] += 1
        elif viewing.liveness == "expired":
            self.counts["revived"] += 1
            viewing.liveness, viewing.due_at = "active", 0.0
        return viewing

    def live_on(self, viewing: Viewing, interval_s: int, *, now: float, is_beat: bool) -> None:
        viewing.seen_at = now
        due_at = now - self.paused_s + 3 * interval_s
        shrinks = interval_s < viewing.promised_s
        viewing.due_at = due_at if is_beat and not shrinks else max(due_at, viewing.due_at)
        viewing.promised_s = interval_s

    def hear(self, viewing: Viewing, at: float, *, now: float, tells_most: bool = True, is_beat: bool = False) -> bool:
        is_wild, aside = viewing.hear_clock(at, now=now, tells_most=tells_most, is_beat=is_beat)
        self.added["wild"] += is_wild
        return aside

    def place(self, viewing: Viewing, said: Said, *, aside: bool = False) -> None:
        if aside:
            if said.stream and viewing.replay()[2] == "unknown":
                viewing.first_stream = said.stream
            viewing.ahead.append(said)
        else:
            self.added["late"] += not viewing.put(said)

    def finish(self, viewing: Viewing, how: str, *, now: float) -> None:
        viewing.liveness = how
        self.counts[how] += 1
        viewing.close()
        viewing.due_at = now - self.paused_s + POLICY.revive_window_s

    def receive(self, event: Event, interval_s: int, *, now: float) -> tuple[bool, int, int]:
        """Return (accepted, events accepted, events rejected)."""
        viewing = self.viewings.get(event.session_id)
        if viewing is not None and isinstance(event, End) and viewing.ending == (event.at, event.reason, event.total_watch_s):
            self.added["duplicates"] += 1
            return True, 0, 0
        if viewing is not None and viewing.liveness == "ended":
            if not isinstance(event, Start) or event.at <= viewing.ended_at:
                return self.after_end(viewing, event)
            self.begin_viewing(viewing, event, now=now)
        if not isinstance(event, (Start, Heartbeat)):
            interval_s = POLICY.heartbeat_interval_s
        return getattr(self, type(event).__name__.lower())(event, interval_s, now)  # type: ignore[no-any-return]

    def begin_viewing(self, viewing: Viewing, event: Start, *, now: float) -> None:
        """The page came back: the same id, watched anew; what was said before this start belongs to neither."""
        del self.viewings[event.session_id]
        anew = self.arrive(event.session_id, event.at, now=now, opens_as="started")
        anew.ids, anew.ending = viewing.ids, viewing.ending
        anew.parts = [Part(floor=event.at)]

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
        again = known is not None and known.liveness == "active" and not known.provisional and bool(known.due_at)
        viewing = self.arrive(event.session_id, event.at, now=now, opens_as="started")
        aside = self.hear(viewing, event.at, now=now, is_beat=True)
        is_there = event.stream_id == viewing.replay()[2]
        in_time = not aside and viewing.has_place(event.at)
        is_overtaken = is_there and in_time and viewing.zapped_by_event_alone(event.at, event.stream_id)
        if again and not is_overtaken and (is_there or viewing.names_stream_since(event.at, aside=aside)):
            self.added["duplicates"] += 1
        elif again:
            self.place(viewing, Said(event.at, "", event.stream_id, 3 * interval_s, is_start=True), aside=aside)
        else:
            self.counts["promoted"] += viewing.provisional
            viewing.provisional = False
            self.place(viewing, Said(event.at, "start", event.stream_id, 3 * interval_s, quality=event.quality, is_start=True), aside=aside)
        self.live_on(viewing, interval_s, now=now, is_beat=False)
        return True, 0, 0

    def heartbeat(self, event: Heartbeat, interval_s: int, now: float) -> tuple[bool, int, int]:
        viewing = self.arrive(event.session_id, event.at, now=now, opens_as="provisional")
        aside = self.hear(viewing, event.at, now=now, is_beat=True)
        beat_at = max([each.at for each in viewing.ahead if each.is_beat], default=float("-inf")) if aside else viewing.beat_at
        newer = event.at > beat_at or (event.at == beat_at and viewing.restates(event))
        said = Said(event.at, event.playback or "", event.stream_id, 3 * interval_s, event.bitrate_bps, event.quality, is_beat=True)
        if newer:
            viewing.beat_at, viewing.beats[event.at] = viewing.beat_at if aside else event.at, event
            self.added["heartbeats"] += 1
            self.place(viewing, said, aside=aside)
            if event.rebuffer_count is not None:
                viewing.tell_stalls(event.rebuffer_count)
        else:
            viewing.lie_behind(said)
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
            aside = self.hear(viewing, each.at, now=now, tells_most=False)
            stream = event.stream_id
            if aside and viewing.replay()[2] != "unknown":
                stream = None  # nobody knows when it was, so it speaks over nobody
            self.place(viewing, Said(each.at, "fatal" if each.fatal else each.type, stream, 3 * interval_s), aside=aside)
        self.live_on(viewing, interval_s, now=now, is_beat=False)
        return True, len(times), 0

    def end(self, event: End, interval_s: int, now: float) -> tuple[bool, int, int]:
        viewing = self.arrive(event.session_id, event.at, now=now, opens_as="provisional")
        if self.hear(viewing, event.at, now=now, is_beat=True):
            viewing.believe()
        viewing.ahead_since, viewing.ahead = None, []
        viewing.ended_at, viewing.total_watch_s = event.at, event.total_watch_s
        viewing.ending = (event.at, event.reason, event.total_watch_s)
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
