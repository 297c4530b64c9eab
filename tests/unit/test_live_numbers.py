"""What the live page shows, as the exporter keeps it: lines, courses, quality of late, and what a replica does not know yet."""

from typing import Any

import pytest

from metrics.catalog import STATES
from metrics.live import Live, Sums, _quality, quantile
from metrics.reports import ReplicaReport, ShardReport, SlotReport
from metrics.totals import Totals
from sessions.changes import Audience, Increments, Ledger
from sessions.histograms import observe


class Tracker:
    """One shard with one slot, whose exporter looks whenever it is told to."""

    def __init__(self, *, slots: int = 1) -> None:
        self.totals = Totals(now=0.0, slots=slots)
        self.live = Live("life")
        self.number = 0

    def says(self, *, now: float, ledger: Ledger | None = None, increments: Increments | None = None, **streams: int) -> None:
        """Report an audience that plays, by stream."""
        self.number += 1
        audience: Audience = {("stream", stream, "playing"): count for stream, count in streams.items()}
        if streams:
            audience["state", "playing"] = sum(streams.values())
        slot = SlotReport(0, 1, True, audience, ledger or Ledger(), self.number, increments or {})
        report = ShardReport("shard", "a", self.number, {0: 1}, [slot], sum(streams.values()), 0, 0, True, 0, 1)
        self.totals.add_shard(report, now=now)

    def looks(self, *, now: float, closes_second: bool = True) -> bool:
        if closes_second:
            self.totals.tick(now=now)
        return self.live.look(self.totals, now=now, closes_second=closes_second)

    def news(self, *, now: float, life: str = "", newest: int = 0) -> Any:
        return self.live.news(self.totals, now=now, life=life, newest=newest)


PLAYING = 1 + STATES.index("playing")


def test_each_second_has_a_line_with_who_joined_and_left_since_the_last() -> None:
    tracker = Tracker()
    tracker.says(now=100.2, ledger=Ledger(started=10, expired=1), a=9)
    tracker.looks(now=100.2)
    tracker.says(now=101.2, ledger=Ledger(started=13, provisional=1, revived=1, expired=2, ended={"user_exit": 2}), a=11)
    tracker.looks(now=101.2)
    first, second = tracker.news(now=101.3).lines
    assert (first[0], first[PLAYING], first[-2:]) == (100, 9, (None, None))
    # 15 have joined by now where 10 had, 4 have left where 1 had.
    assert (second[0], second[PLAYING], second[-2:]) == (101, 11, (5, 3))


def test_while_a_slot_was_not_heard_of_nobody_is_said_to_have_joined() -> None:
    tracker = Tracker(slots=2)
    tracker.says(now=1.5, ledger=Ledger(started=10), a=10)
    tracker.looks(now=1.5)
    tracker.says(now=2.5, ledger=Ledger(started=12), a=12)
    tracker.looks(now=2.5)
    assert [line[-2:] for line in tracker.news(now=2.6).lines] == [(None, None), (None, None)]


def test_a_tick_that_comes_late_or_early_by_less_than_half_a_second_has_the_line_of_its_own_second() -> None:
    tracker = Tracker()
    for now in (100.95, 102.4, 102.5, 104.4):
        tracker.looks(now=now)
    # The first is taken for the middle of 100; 101.45 s later is 101, a tenth of a second later 102, and 103 is over before the last.
    assert [line[0] for line in tracker.news(now=105.0).lines] == [100, 101, 102, 103]


def test_two_looks_in_one_second_make_one_line_and_the_next_line_has_what_the_second_saw() -> None:
    tracker = Tracker()
    tracker.says(now=100.5, ledger=Ledger(started=1), a=1)
    tracker.looks(now=100.5)
    tracker.says(now=100.8, ledger=Ledger(started=3), a=3)
    tracker.looks(now=100.8)
    tracker.looks(now=101.5)
    assert [(line[0], line[-2]) for line in tracker.news(now=101.6).lines] == [(100, None), (101, 2)]


def test_a_look_between_two_seconds_is_news_only_if_the_audience_changed() -> None:
    tracker = Tracker()
    tracker.says(now=1.5, a=1)
    assert tracker.looks(now=1.5)
    assert not tracker.looks(now=2.0, closes_second=False)
    tracker.says(now=2.4, a=2)
    assert tracker.looks(now=2.5, closes_second=False)
    assert tracker.news(now=2.6).now["sessions"] == 2
    assert len(tracker.news(now=2.6).lines) == 1
    assert tracker.looks(now=3.0), "a second that is over is news"


def test_who_knows_the_hour_is_told_what_is_new_and_who_knows_another_exporters_all_of_it() -> None:
    tracker = Tracker()
    for now in (10.5, 11.5, 12.5):
        tracker.looks(now=now)
    assert [line[0] for line in tracker.news(now=12.6, life="life", newest=11).lines] == [12]
    assert [line[0] for line in tracker.news(now=12.6, life="life", newest=12).lines] == []
    assert [line[0] for line in tracker.news(now=12.6, life="before", newest=11).lines] == [10, 11, 12]
    assert tracker.news(now=12.6).since == 10


@pytest.mark.reaches("LIVE_SECONDS_MAX")
def test_the_hour_has_3_600_seconds() -> None:
    tracker = Tracker()
    for second in range(3_601):
        tracker.looks(now=second + 0.5)
    lines = tracker.news(now=3_601.0).lines
    assert (len(lines), lines[0][0], lines[-1][0], tracker.news(now=3_601.0).since) == (3_600, 1, 3_600, 1)


@pytest.mark.reaches("LIVE_STREAMS_MAX")
def test_the_50_biggest_streams_are_shown_and_of_the_others_how_many() -> None:
    tracker = Tracker()
    tracker.says(now=1.5, **{f"s{number}": number for number in range(1, 53)})
    tracker.looks(now=1.5)
    now = tracker.news(now=1.6).now
    assert (len(now["streams"]), now["more_streams"], len(now["sparks"])) == (50, 2, 50)
    assert set(now["streams"]) == {f"s{number}" for number in range(3, 53)}
    assert now["streams"]["s52"] == [52 if state == "playing" else 0 for state in STATES]


@pytest.mark.reaches("LIVE_SPARKS_MAX")
def test_a_streams_course_has_a_point_for_five_seconds_and_120_of_them() -> None:
    tracker = Tracker()
    for second in range(605):
        tracker.says(now=second + 0.4, a=1 + second)
        tracker.looks(now=second + 0.5)
    course = tracker.news(now=605.0).now["sparks"]["a"]
    # 121 times five seconds: the point of second 0 has gone; that of second 600 is the newest.
    assert (len(course), course[0], course[-1]) == (120, 6, 601)


def test_a_stream_that_comes_to_be_one_of_the_biggest_begins_its_course_then() -> None:
    tracker = Tracker()
    tracker.says(now=0.4, a=1)
    tracker.looks(now=0.5)
    tracker.says(now=5.4, a=1, b=7)
    tracker.looks(now=5.5)
    assert tracker.news(now=5.6).now["sparks"] == {"b": [7], "a": [1, 1]}


def test_quality_is_of_the_last_five_minutes_and_says_of_how_many_seconds() -> None:
    tracker = Tracker()
    tracker.says(now=0.4, increments={("playing", "a"): 1_000.0, ("rebuffering", "a"): 500.0, ("start_failures", "a"): 9}, a=1)
    tracker.looks(now=0.5)
    tracker.says(now=100.4, increments={("playing", "a"): 90.0, ("rebuffering", "a"): 10.0, ("plays", "a"): 2}, a=1)
    tracker.looks(now=100.5)
    quality = tracker.news(now=100.6).now["quality"]
    assert (quality["window_s"], quality["rebuffering_ratio"], quality["plays"], quality["start_failures"]) == (100, 0.1, 2, 0)
    assert (quality["score"], quality["startup_p50_s"]) == (None, None)
    for second in range(101, 405):
        tracker.looks(now=second + 0.5)
    # What was counted at 100.4 lies more than 300 s back.
    quality = tracker.news(now=404.6).now["quality"]
    assert (quality["rebuffering_ratio"], quality["plays"]) == (None, 0)
    assert 300 <= quality["window_s"] <= 310


def test_quality_does_not_fall_when_a_stream_loses_its_label() -> None:
    tracker = Tracker()
    tracker.looks(now=0.5)
    tracker.says(now=1.4, increments={("plays", "a"): 5, ("plays", "b"): 1}, a=1)
    tracker.totals.counted.forget("stream", {"a"})
    tracker.looks(now=1.5)
    assert tracker.news(now=1.6).now["quality"]["plays"] == 6


def test_startup_and_score_come_from_their_histograms() -> None:
    increments: Increments = {}
    for startup in (0.3, 0.3, 0.3, 5.0):
        observe(increments, "startup", startup)
    observe(increments, "experience_score", 80.0)
    observe(increments, "experience_score", 100.0)
    quality = _quality(increments, window_s=10)
    # Two of four lie below two thirds of the way from 0.25 to 0.5; 95 of 100 below four fifths of that from 4 to 6.
    assert (quality["startup_p50_s"], quality["startup_p95_s"]) == (0.417, 5.6)
    assert (quality["score"], quality["scored"]) == (90.0, 2)


@pytest.mark.parametrize(("counts", "expected"), [([0, 0, 0], None), ([4, 0, 0], 0.5), ([0, 0, 3], 2.0), ([1, 1, 0], 1.0)])
def test_half_of_what_was_observed_lies_below_the_median(counts: list[float], expected: float | None) -> None:
    assert quantile(0.5, counts, (1.0, 2.0)) == expected


def test_health_names_the_fields_that_were_dropped_most_of_late() -> None:
    tracker = Tracker()
    tracker.says(now=0.4, a=1)
    tracker.totals.add_replica(ReplicaReport("r", 1, {("dropped_fields", "heartbeat", "performance.latency_ms"): 100}), now=0.4)
    tracker.looks(now=0.5)
    said: Sums = {
        ("dropped_fields", "heartbeat", "performance.latency_ms"): 2,
        ("dropped_fields", "start", "platform"): 3,
        ("rejected", "start", "bad_json"): 1,
    }
    tracker.totals.add_replica(ReplicaReport("r", 2, said), now=1.4)
    tracker.looks(now=1.5)
    health = tracker.news(now=1.6).now["health"]
    assert (health["dropped_fields"], health["rejected"]) == (5, 1)
    assert health["dropped_most"] == [["start", "platform", 3], ["heartbeat", "performance.latency_ms", 2]]
    assert (health["journal_up"], health["shards"], health["age_s"]) == (True, 1, 1)
