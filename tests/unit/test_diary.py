"""A diary's sums, worked out by hand."""

from math import exp, sqrt

import pytest

from serve_app.demo.diary import WINDOW_S, Diary, spans
from serve_app.demo.reckoning import Entry


def noted(*entries: tuple[float, str], beacon: bool = False, slack_s: float = 0.0, **measured: float) -> Diary:
    diary = Diary(beacon=beacon)
    for stamp, what in entries:
        assert diary.note(Entry(stamp, what, "live", 90.0, slack_s, **measured))  # type: ignore[arg-type]
    return diary


def exact(diary: Diary) -> dict[tuple[str, ...], float]:
    """What is counted when there is only one way."""
    (account,) = diary.outcomes()
    return dict(account.counted)


def test_a_life_with_every_state_is_summed_up() -> None:
    """
    0 start · 2 first frame · 10 stall · 13 on · 20 seek · 22 stall · 24 on · 30 paused · 40 end.

    playing 8 + 9 + 6 = 23, rebuffering 3 + 2 = 5 of which 2 for the seek, paused 10, starting 2: a session of 40. The score:
    startup 100·8/(8 + 2) = 80; smoothness of two stalls and a ratio of 5/28.
    """
    diary = noted(
        (0, "start"), (2, "stream_start"), (10, "stream_buffer_start"), (13, "stream_buffer_end"), (20, "dvr_seek"),
        (22, "stream_buffer_start"), (24, "stream_buffer_end"), (30, "beat paused"), (40, "end"),
    )  # fmt: skip
    diary.finish(certain=True, provisional=False, watched_told_s=30.0)
    counted = exact(diary)
    smoothness = 50 / sqrt(2) + 50 * exp(-10 * 5 / 28)
    assert counted == pytest.approx({
        ("plays", "live"): 1,
        ("playing", "live"): 23,
        ("rebuffering", "live"): 5,
        ("seek_rebuffering", "live"): 2,
        ("paused", "live"): 10,
        ("rebuffers", "live", "connection"): 1,
        ("rebuffers", "live", "seek"): 1,
        ("startup", "count"): 1,
        ("startup", "sum"): 2,
        ("session", "count"): 1,
        ("session", "sum"): 40,
        ("experience_score", "count"): 1,
        ("experience_score", "sum"): 0.4 * 80 + 0.6 * smoothness,
        ("stream_startup", "live", "count"): 1,
        ("stream_startup", "live", "sum"): 2,
        ("stream_experience_score", "live", "count"): 1,
        ("stream_experience_score", "live", "sum"): 0.4 * 80 + 0.6 * smoothness,
        ("player_watch_difference", "count"): 1,
        ("player_watch_difference", "sum"): 2,
    })  # fmt: skip


def test_order_is_that_of_the_stamps_and_what_is_too_old_moves_nothing() -> None:
    """0 playing · 20 on, told before the stall at 15: 15 s of playing, 5 s of stall. What is 61 s older than the newest is late."""
    diary = noted((0, "beat playing"), (20, "stream_buffer_end"), (15, "stream_buffer_start"), (30, "end"))
    assert exact(diary)["playing", "live"] == 25
    assert exact(diary)["rebuffering", "live"] == 5
    assert not diary.note(Entry(30 - WINDOW_S - 1, "stream_buffer_start", "live", 90.0))


def test_the_time_of_a_silence_is_nobodys_and_one_interval_is_never_more_than_promised() -> None:
    """0 playing · 200 playing, with 90 s promised: 90. Then silence until 1,000; 1,000 playing · 1,010: 10 more."""
    diary = noted((0, "beat playing"), (200, "beat playing"))
    diary.finish(certain=True, provisional=True)
    diary.note(Entry(1_000, "beat playing", "live", 90.0))
    diary.note(Entry(1_010, "beat playing", "live", 90.0))
    assert exact(diary)["playing", "live"] == 100


def test_what_is_not_known_is_a_span() -> None:
    """0 playing · perhaps it expired · 80 playing · 90 end: 90 s, or 10; how it went is counted once, at the end."""
    diary = noted((0, "beat playing"))
    diary.finish(certain=False, provisional=True)
    diary.note(Entry(80, "beat playing", "live", 90.0))
    diary.note(Entry(90, "end", "live", 90.0))
    diary.finish(certain=True, provisional=True)
    told = spans(diary.outcomes())
    assert told["playing", "live"] == (10, 90)
    assert told["session", "count"] == (1, 1)
    assert told["session", "sum"] == (10, 90)


def test_a_pixels_seconds_have_the_slack_of_its_first_and_last_and_not_of_each_check() -> None:
    diary = noted((0, "view"), (10, "play"), (40, "check"), (70, "check"), (100, "check"), beacon=True, slack_s=0.1)
    told = spans(diary.outcomes())
    assert told["playing", "live"] == pytest.approx((89.8, 90.2))


@pytest.mark.parametrize(("waited_s", "exits"), [(0.9, 0), (1.0, 1)])
def test_who_left_before_the_first_frame_counts_from_a_second_on(waited_s: float, exits: int) -> None:
    diary = noted((0, "start"), (waited_s, "end"))
    diary.finish(certain=True, provisional=False)
    assert exact(diary).get(("exits_before_start", "live"), 0) == exits
    assert exact(diary)["experience_score", "sum"] == 25


@pytest.mark.parametrize(("first", "failure"), [("start", "start_failures"), ("stream_start", "playback_failures")])
def test_a_failure_is_of_the_start_or_of_playback_and_scores_nothing(first: str, failure: str) -> None:
    diary = noted((0, first), (5, "fatal"), (6, "fatal"))
    diary.finish(certain=True, provisional=False)
    assert exact(diary)[failure, "live"] == 1
    assert exact(diary)["experience_score", "sum"] == 0


def test_bytes_are_bitrate_times_the_playing_time_for_which_it_is_known() -> None:
    """0 playing, unknown · 10 known, 8 Mbit/s · 40 end: 30 s, 30 MB; latency the same way."""
    diary = noted((0, "beat playing"))
    diary.note(Entry(10, "beat playing", "live", 90.0, bitrate_bps=8e6, latency_s=2.0))
    diary.note(Entry(40, "end", "live", 90.0))
    diary.finish(certain=True, provisional=True)
    assert exact(diary)["bitrate", "live"] == 30
    assert exact(diary)["played_bytes", "live"] == 30e6
    assert exact(diary)["live_latency", "sum"] == 2.0


def test_stalls_that_only_the_player_counted_are_the_connections_and_come_once() -> None:
    diary = noted((0, "beat playing"), (5, "stream_buffer_start"), (6, "stream_buffer_end"))
    diary.note(Entry(7, "beat playing", "live", 90.0, stalls=3))
    diary.finish(certain=True, provisional=True)
    diary.note(Entry(500, "beat playing", "live", 90.0))
    diary.finish(certain=True, provisional=True)
    assert exact(diary)["rebuffers", "live", "connection"] == 3
