"""The demo's books, beside the tracker itself in one thread, and by hand."""

from collections import Counter
from collections.abc import Mapping
from heapq import heapify, heappop, heappush

import pytest

from serve_app.demo.books import TICK_S, Books
from serve_app.demo.diary import WINDOW_S
from serve_app.demo.player import PULLZONE, Player
from serve_app.demo.said import Event, Said, Sending, Span
from serve_app.demo.script import STREAMS, Does, audience
from serve_app.demo.verdict import COMPARED, QUALITY
from sessions import events
from sessions.changes import Policy
from sessions.events import beacon_id
from sessions.tracker import Tracker

INTERVAL_S = 30


def wire(said: Said, *, beacon: bool) -> events.Event:
    """What the ingest makes of a request, in short."""
    told = said.measured
    if beacon:
        session = beacon_id(pullzone=PULLZONE, video_id=said.stream, user_id=said.session)
        return events.Beacon(session, said.does, said.stream, PULLZONE)
    if said.does is Does.START:
        return events.Start(said.session, said.stamp, said.stream, "c", "k", "p", "web", "US", "wifi", told.quality or "")
    if said.does is Does.HEARTBEAT:
        bitrate_bps, latency_us = (each and each * 1_000 for each in (told.bitrate_kbps, told.latency_ms))
        measured = {"bitrate_bps": bitrate_bps, "latency_us": latency_us, "rebuffer_count": told.stalls, "quality": told.quality}
        return events.Heartbeat(said.session, said.stamp, said.playback or "idle", said.stream, **measured)  # type: ignore[arg-type]
    if said.does is Does.END:
        return events.End(said.session, said.stamp, said.reason, told.watched_s, told.stalls, 0)
    happened = tuple(events.Happening(event.event_id, event.type, event.stamp, event.fatal, quality=event.quality) for event in said.events)
    return events.Happenings(said.session, said.stream, None, happened)


class Play:
    """An audience against one tracker, in virtual time."""

    def __init__(self, *, viewers: int, duration_s: float, seed: int, stretches: Mapping[float, float] | None = None) -> None:
        """`stretches`: how far the interval is stretched from when on; None: never."""
        self.stretches = stretches or {}
        self.tracker = Tracker(0, policy=Policy(heartbeat_interval_s=INTERVAL_S))
        self.books = Books()
        self.counted: Counter[tuple[str, ...]] = Counter()
        self.gained: Counter[tuple[str, ...]] = Counter()
        players = [
            Player(viewer, run="run", began_at=1_000.0, interval_s=INTERVAL_S, expiry_intervals=3)
            for viewer in audience(viewers, duration_s=duration_s, seed=seed)
        ]
        self.queue = [(due_at, player.viewer.number, player) for player in players if (due_at := player.due_at()) is not None]
        heapify(self.queue)
        self.now = 1_000.0

    def go_on(self, *, until: float) -> None:
        while self.queue and self.queue[0][0] <= until:
            due_at, number, player = heappop(self.queue)
            self.now = max(self.now + 0.001, due_at)
            self.pass_time()
            said = player.speak(now=self.now)
            receipt = self.tracker.receive(wire(said, beacon=player.viewer.beacon), now=self.now, interval_s=self.interval_s())
            if receipt.reason:
                self.counted["rejected", said.does, receipt.reason] += 1
            promised_s = receipt.interval_s if said.does in {Does.START, Does.HEARTBEAT} else None
            sending = Sending(self.now, self.now, promised_s * player.expiry_intervals if promised_s else player.alive_s)
            self.books.note(said, sending)
            player.heard(said, sending, interval_s=promised_s)
            if (due_at_next := player.due_at()) is not None:
                heappush(self.queue, (due_at_next, number, player))
        self.now = max(self.now, until)
        self.pass_time()

    def interval_s(self) -> int:
        past = [stretch for from_s, stretch in self.stretches.items() if self.now >= 1_000.0 + from_s]
        return round(INTERVAL_S * (past[-1] if past else 1.0))

    def pass_time(self) -> None:
        while (due_at := self.tracker.next_deadline()) is not None and due_at <= self.now:
            self.tracker.advance(now=due_at, limit=1_000)

    def seen(self) -> dict[tuple[str, str], int]:
        return {(key[1], key[2]): count for key, count in self.tracker.audience.items() if key[0] == "stream"}

    def quality(self) -> dict[tuple[str, ...], float]:
        self.gained.update(self.tracker.take_changes().increments)
        counted: Counter[tuple[str, ...]] = Counter()
        for key, amount in self.gained.items():
            if key[0] in QUALITY:
                if key[1] == "le":
                    counted[(key[0], *key[3:], "count")] += amount
                else:
                    counted[(key[0], *key[2:], "sum") if key[1] == "sum" else key] += amount
        return dict(counted)

    def told(self) -> dict[tuple[str, ...], float]:
        ledger = self.tracker.ledger
        told: dict[tuple[str, ...], float] = dict(self.counted)
        for name in ("started", "provisional", "promoted", "revived", "expired"):
            told[(name,)] = getattr(ledger, name)
        told |= {("ended", reason): count for reason, count in ledger.ended.items()}
        changes = self.tracker.take_changes()
        told |= {key: amount for key, amount in changes.increments.items() if key[0] in COMPARED and key[0] != "wild_timestamps"}
        return {key: count for key, count in told.items() if count}


@pytest.mark.parametrize("seed", range(8))
def test_books_and_tracker_agree_exactly_on_everything(seed: int) -> None:
    play = Play(viewers=300, duration_s=60.0, seed=seed)
    play.go_on(until=1_000.0 + 10_000.0)
    assert not play.queue
    play.books.settle(now=play.now)
    assert play.books.active() == 0
    assert {key: span for key, span in play.books.counts().items() if span.high} == {
        key: Span(int(n), int(n)) for key, n in play.told().items()
    }
    play.tracker.validate()


@pytest.mark.parametrize(("seed", "duration_s"), [(0, 60.0), (1, 60.0), (2, 120.0), (3, 600.0), (4, 12.0), (5, 3_600.0)])
def test_books_and_tracker_agree_on_the_quality_of_every_stream(seed: int, duration_s: float) -> None:
    play = Play(viewers=400, duration_s=duration_s, seed=seed)
    play.go_on(until=1_000.0 + 20_000.0)
    play.books.settle(now=play.now)
    counted = play.quality()
    expected = play.books.quality()
    assert {key for key, span in expected.items() if span.high} == {key for key, count in counted.items() if count}
    for key, span in expected.items():
        assert counted.get(key, 0) == pytest.approx(span.low, rel=1e-9, abs=1e-6), key
        assert span.low == pytest.approx(span.high, rel=1e-9, abs=1e-6), key


def test_the_audience_suffers_everything_that_is_counted() -> None:
    play = Play(viewers=300, duration_s=120.0, seed=1)
    play.go_on(until=1_000.0 + 10_000.0)
    seen = Counter(key[0] for key, count in play.quality().items() if count)
    assert {name for name in ("playing", "rebuffering", "plays", "bitrate", "played_bytes") if seen[name] < STREAMS} == set()
    assert {name for name in QUALITY if seen[name] < min(2, STREAMS)} == set()
    assert {key[2] for key in play.quality() if key[0] in {"rebuffers", "stream_errors"}} == {"connection", "seek", "true", "false"}


@pytest.mark.parametrize("stretches", [{}, {5.0: 4.0, 15.0: 1.0}, {0.0: 2.0, 20.0: 3.5, 30.0: 1.2, 50.0: 1.0}])
def test_books_and_tracker_agree_on_who_is_watching_at_any_time(stretches: Mapping[float, float]) -> None:
    play = Play(viewers=600, duration_s=60.0, seed=11, stretches=stretches)
    for at_s in (3.0, 20.0, 45.0, 60.0, 100.0, 200.0):
        play.go_on(until=1_000.0 + at_s)
        seen = play.seen()
        expected = play.books.watching(since=play.now, now=play.now)
        assert seen.keys() <= expected.keys()
        for key, span in expected.items():
            assert span.holds(seen.get(key, 0)), (at_s, key, span, seen.get(key, 0))
        assert sum(span.high for span in expected.values()) - sum(span.low for span in expected.values()) <= 15


def said(does: Does, stamp: float = 0.0, **others: object) -> Said:
    return Said(session="s", stream="live", does=does, stamp=stamp, **others)  # type: ignore[arg-type]


def sending(at: float, *, until: float | None = None, tries: int = 1) -> Sending:
    return Sending(at, at if until is None else until, 90.0, tries)


def test_who_stays_silent_is_alive_until_the_deadline_and_surely_gone_after_the_tick() -> None:
    books = Books()
    books.note(said(Does.START, playback="starting"), sending(100.0, until=101.0))
    assert books.watching(since=189.9, now=189.9) == {("live", "starting"): Span(1, 1)}
    assert books.watching(since=190.0, now=190.0) == {("live", "starting"): Span(0, 1)}
    assert books.watching(since=191.1 + TICK_S, now=200.0) == {}
    assert books.last_deadline() == 191.0 + TICK_S


def happens(*events: tuple[str, float]) -> Said:
    return said(Does.EVENTS, events[-1][1], events=tuple(Event(f"{kind}@{stamp}", kind, stamp) for kind, stamp in events))


def test_a_break_before_the_first_frame_is_no_startup_and_waiting_in_it_no_stall() -> None:
    """0 start · 1 break · 10-12 waits in it · 31 over · 32.5 frame · 60 end: 1 + 1.5 s of starting, 30 s of advertisements, 27.5 s of playing."""
    books = Books()
    books.note(said(Does.START, 0.0, playback="starting"), sending(0.0))
    books.note(
        happens(("ad_break_start", 1.0), ("stream_buffer_start", 10.0), ("stream_buffer_end", 12.0), ("ad_break_end", 31.0)), sending(31.0)
    )
    books.note(happens(("stream_start", 32.5)), sending(32.5))
    books.note(said(Does.END, 60.0, reason="user_exit"), sending(60.0))
    quality = books.quality()
    assert quality["startup", "sum"] == Span(2.5, 2.5)
    assert (quality["ad", "live"], quality["playing", "live"]) == (Span(30, 30), Span(27.5, 27.5))
    assert not any(key[0] in {"rebuffers", "exits_during_ad"} for key in quality)


def test_who_leaves_in_an_advertisement_is_counted_as_that_and_who_neither_plays_nor_waits_is_paused() -> None:
    """0 first frame · 20 neither plays, nor waits, nor is paused · 50 an advertisement · 60 end: 20 s of playing, 30 paused, 10 of the advertisement."""
    books = Books()
    books.note(happens(("stream_start", 0.0)), sending(0.0))
    books.note(said(Does.HEARTBEAT, 20.0, playback=None), sending(20.0))
    books.note(happens(("ad_start", 50.0)), sending(50.0))
    books.note(said(Does.END, 60.0, reason="user_exit"), sending(60.0))
    quality = books.quality()
    assert [quality[state, "live"].high for state in ("playing", "paused", "ad")] == [20, 30, 10]
    assert quality["exits_during_ad", "live"] == Span(1, 1)


def test_a_longer_promise_stands_until_the_beat_after_the_next() -> None:
    books = Books()
    books.note(said(Does.HEARTBEAT, 1.0), Sending(100.0, 100.0, 360.0))
    for stamp, at in ((2.0, 110.0), (2.0, 120.0)):  # less is promised; then it is sent again, and is no beat
        books.note(said(Does.HEARTBEAT, stamp), Sending(at, at, 90.0))
        assert books.last_deadline() == 460.0 + TICK_S
    books.note(said(Does.EVENTS, events=(Event("a", "share", 3.0),)), Sending(130.0, 130.0, 90.0))
    assert books.last_deadline() == 460.0 + TICK_S
    books.note(said(Does.HEARTBEAT, 4.0), Sending(140.0, 140.0, 90.0))
    assert books.last_deadline() == 230.0 + TICK_S


def test_a_heartbeat_around_the_deadline_may_or_may_not_revive() -> None:
    books = Books()
    books.note(said(Does.START), sending(100.0))
    books.note(said(Does.HEARTBEAT, 1.0), sending(190.5))
    assert books.counts()["expired",] == books.counts()["revived",] == Span(0, 1)


def test_a_heartbeat_long_after_the_deadline_revives() -> None:
    books = Books()
    books.note(said(Does.START), sending(100.0))
    books.note(said(Does.HEARTBEAT, 1.0), sending(190.1 + TICK_S))
    assert books.counts()["expired",] == books.counts()["revived",] == Span(1, 1)


def test_what_was_sent_again_may_have_been_taken_twice() -> None:
    books = Books()
    books.note(said(Does.START), sending(100.0, tries=3))
    books.note(said(Does.EVENTS, events=(Event("a", "share", 1.0), Event("b", "share", 2.0))), sending(101.0, tries=2))
    counts = books.counts()
    assert counts["started",] == Span(1, 1)
    assert counts["events", "share"] == Span(2, 2)
    assert counts["duplicates",] == Span(0, 4)
    assert books.requests == 5


def test_an_event_older_than_the_window_is_late_and_moves_nothing() -> None:
    books = Books()
    books.note(said(Does.HEARTBEAT, 1_000.0, playback="playing"), sending(100.0))
    books.note(said(Does.EVENTS, events=(Event("a", "stream_buffer_start", 1_000.0 - WINDOW_S - 1),)), sending(101.0))
    assert books.counts()["late_events",] == Span(1, 1)
    assert books.watching(since=102.0, now=102.0) == {("live", "playing"): Span(1, 1)}


def test_a_span_reads_as_a_number_when_it_is_one() -> None:
    assert (str(Span(3, 3)), str(Span(3, 5))) == ("3", "3 to 5")
    assert Span(3, 5).holds(5)
    assert not Span(3, 5).holds(6)
