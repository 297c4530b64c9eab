"""
Players' clocks, as they are: set while somebody watches, wrong from the start, or only made to look wrong by a delay of ours.

The last test walks random clocks beside the true times.
"""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessions.changes import Policy
from sessions.histograms import BOUNDS
from sessions.qoe import figures
from sessions.states import Playback
from sessions.tracker import Tracker
from tests.unit.inputs import account, beat, end, event, events, known, start

NOW = 1_790_000_000.0
YEAR_9999 = 253_402_300_799.0
TWO_HOURS = 7_200.0


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    tracker = Tracker(3, policy=Policy())
    yield tracker
    tracker.validate()


def watch(tracker: Tracker, *, since: float, until: float, ahead_s: float = 0.0) -> None:
    """Beat every 30 s (server's time), both ends included, by a clock that is ahead."""
    at = since
    while at <= until:
        tracker.receive(beat(at + ahead_s, "playing"), now=at)
        at += 30


def spent_s(tracker: Tracker) -> float:
    return account(tracker).counted_s


# A clock that was wrong from the start.


def test_no_startup_is_measured_from_a_start_of_1970_to_a_first_frame_of_today(tracker: Tracker) -> None:
    tracker.receive(start(12.0), now=NOW)
    tracker.receive(events(event("stream_start", NOW + 2)), now=NOW + 2)
    watch(tracker, since=NOW + 32, until=NOW + 92)
    tracker.receive(end(NOW + 102), now=NOW + 102)
    assert figures(known(tracker))["startup_time_s"] is None
    # From the first frame on: 100 s. What was before it lies between two clocks.
    assert (account(tracker).starting_s, account(tracker).playing_s) == (0, 100)
    increments = tracker.take_changes().increments
    assert not [key for key in increments if key[0] in ("startup", "stream_startup")]
    assert increments[("wild_timestamps",)] == 1


def test_a_start_by_another_clock_that_comes_after_its_first_frame_gives_no_startup_either(tracker: Tracker) -> None:
    tracker.receive(events(event("stream_start", 14.0)), now=NOW + 2)
    tracker.receive(start(NOW), now=NOW + 3)
    watch(tracker, since=NOW + 32, until=NOW + 62)
    assert figures(known(tracker))["startup_time_s"] is None


def test_a_clock_that_is_fifty_years_off_counts_as_one_day_in_the_histogram(tracker: Tracker) -> None:
    tracker.receive(start(12.0), now=NOW)
    increments = tracker.take_changes().increments
    assert increments["clock_skew", "sum"] == 86_400
    assert increments["clock_skew", "le", str(BOUNDS["clock_skew"].index(86_400.0))] == 1


# A blip.


def test_a_stray_timestamp_after_every_beat_takes_no_time_away_and_adds_none(tracker: Tracker) -> None:
    tracker.receive(start(NOW), now=NOW)
    tracker.receive(events(event("stream_start", NOW)), now=NOW)
    for number in range(1, 11):
        at = NOW + 30 * number
        tracker.receive(beat(at, "playing"), now=at)
        tracker.receive(events(event("mute", YEAR_9999, event_id=f"mute {number}")), now=at + 1)
    assert (spent_s(tracker), account(tracker).playing_s) == (300, 300)


def test_what_a_blip_counted_by_itself_is_not_counted_again_by_the_interval_that_it_cut_off(tracker: Tracker) -> None:
    tracker.receive(beat(NOW, "playing"), now=NOW)
    tracker.receive(events(event("mute", YEAR_9999)), now=NOW + 5)
    tracker.receive(events(event("unmute", YEAR_9999 + 4)), now=NOW + 9)
    tracker.receive(beat(NOW + 30, "playing"), now=NOW + 30)
    assert spent_s(tracker) == 30


def test_the_second_copy_of_a_beat_is_a_copy_though_a_blip_came_between(tracker: Tracker) -> None:
    tracker.receive(start(NOW), now=NOW)
    tracker.receive(beat(NOW + 30, "playing"), now=NOW + 30)
    tracker.receive(events(event("mute", YEAR_9999)), now=NOW + 31)
    tracker.receive(beat(NOW + 30, "playing"), now=NOW + 32)
    increments = tracker.take_changes().increments
    assert (increments[("heartbeats",)], increments[("duplicates",)]) == (1, 1)


# A clock that is set while somebody watches.


def test_a_clock_two_hours_fast_that_is_corrected_after_thirty_seconds_costs_thirty_of_an_hour(tracker: Tracker) -> None:
    tracker.receive(start(NOW + TWO_HOURS), now=NOW)
    watch(tracker, since=NOW, until=NOW + 30, ahead_s=TWO_HOURS)
    watch(tracker, since=NOW + 60, until=NOW + 3_600)
    tracker.receive(end(NOW + 3_600), now=NOW + 3_600)
    # From 0 to 30 by the one clock, from 60 on by the other.
    assert account(tracker).playing_s == 30 + 3_540
    assert figures(known(tracker))["failure"] is None
    assert figures(known(tracker))["exit_before_video_start"] is False


def test_what_lies_behind_counts_from_the_first_of_it_once_the_clock_is_known_to_be_set_back(tracker: Tracker) -> None:
    watch(tracker, since=NOW, until=NOW + 60)
    tracker.receive(beat(NOW + 90 - TWO_HOURS, "paused"), now=NOW + 90)
    assert known(tracker).playback is Playback.PLAYING
    tracker.receive(beat(NOW + 120 - TWO_HOURS, "playing"), now=NOW + 120)
    tracker.receive(beat(NOW + 150 - TWO_HOURS, "paused"), now=NOW + 150)
    assert known(tracker).playback is Playback.PAUSED
    # Playing from 0 to 60 and from 120 to 150, paused between 90 and 120; 60 to 90 lies between two clocks.
    assert (account(tracker).playing_s, account(tracker).paused_s) == (90, 30)


def test_events_that_a_clock_set_back_by_forty_seconds_had_put_into_the_past_are_taken_out_of_it_again(tracker: Tracker) -> None:
    watch(tracker, since=NOW, until=NOW + 90)
    for number, kind in enumerate(("stream_buffer_start", "stream_buffer_end", "mute", "unmute")):
        at = NOW + 92 + 4 * number
        tracker.receive(events(event(kind, at - 40)), now=at)
    # The stall lasted from 92 to 96, not from 52 to 56 in the middle of what was played.
    assert (account(tracker).playing_s, account(tracker).rebuffering_s) == (90 + 8, 4)
    assert account(tracker).rebuffers == 1


def test_a_step_back_is_told_in_the_story_and_is_no_wild_timestamp(tracker: Tracker) -> None:
    watch(tracker, since=NOW, until=NOW + 60)
    watch(tracker, since=NOW + 90, until=NOW + 120, ahead_s=-TWO_HOURS)
    assert ("wild_timestamps",) not in tracker.take_changes().increments
    [(_, _, detail)] = [entry for entry in known(tracker).story_entries() if entry[1] == 8]
    assert detail == 1


@pytest.mark.reaches("CLOCK_SURE_AFTER_S")
@pytest.mark.parametrize(("seconds", "is_set_back"), [(9.9, False), (10.0, True)])
def test_a_clock_was_set_back_once_inputs_have_lain_behind_for_ten_seconds(tracker: Tracker, seconds: float, is_set_back: bool) -> None:
    watch(tracker, since=NOW, until=NOW + 60)
    tracker.receive(events(event("mute", NOW + 70 - TWO_HOURS)), now=NOW + 70)
    tracker.receive(events(event("unmute", NOW + 70 + seconds - TWO_HOURS)), now=NOW + 70 + seconds)
    assert (known(tracker).newest_at < NOW) is is_set_back


@pytest.mark.reaches("CLOCKS_AGREE_S")
@pytest.mark.parametrize(("apart_s", "is_set_back"), [(5.0, True), (5.1, False)])
def test_inputs_that_lie_behind_must_agree_about_the_clock_within_five_seconds(tracker: Tracker, apart_s: float, is_set_back: bool) -> None:
    watch(tracker, since=NOW, until=NOW + 60)
    tracker.receive(events(event("mute", NOW + 70 - TWO_HOURS)), now=NOW + 70)
    tracker.receive(events(event("unmute", NOW + 90 - TWO_HOURS - apart_s)), now=NOW + 90)
    assert (known(tracker).newest_at < NOW) is is_set_back


def test_one_input_in_order_between_them_says_that_the_others_were_only_late(tracker: Tracker) -> None:
    watch(tracker, since=NOW, until=NOW + 60)
    tracker.receive(events(event("mute", NOW - 3_000)), now=NOW + 70)
    tracker.receive(beat(NOW + 75, "playing"), now=NOW + 75)
    tracker.receive(events(event("unmute", NOW - 2_980)), now=NOW + 90)
    assert known(tracker).newest_at == NOW + 75
    assert account(tracker).playing_s == 75


def test_a_queue_that_is_flushed_at_once_is_only_late(tracker: Tracker) -> None:
    watch(tracker, since=NOW, until=NOW + 600)
    for number in range(20):
        tracker.receive(events(event("mute", NOW + 100 + number, event_id=str(number))), now=NOW + 601 + number / 10)
    assert known(tracker).newest_at == NOW + 600
    assert known(tracker).tallies.late == 20


# A delay of ours.


def test_a_start_that_our_own_refusals_held_up_for_75_seconds_spoils_nothing(tracker: Tracker) -> None:
    tracker.receive(start(NOW), now=NOW + 75)
    tracker.receive(beat(NOW + 90, "playing"), now=NOW + 90)
    kept = (event("stream_start", NOW + 2), event("stream_buffer_start", NOW + 40), event("stream_buffer_end", NOW + 44))
    tracker.receive(events(*kept), now=NOW + 95)
    tracker.receive(beat(NOW + 120, "playing"), now=NOW + 120)
    tracker.receive(end(NOW + 130), now=NOW + 130)
    told = account(tracker)
    # Two seconds to the first frame, a stall of four, and 130 s in all.
    assert (told.starting_s, told.playing_s, told.rebuffering_s) == (2, 124, 4)
    assert figures(known(tracker))["startup_time_s"] == 2
    assert known(tracker).tallies.wild == 0


def test_an_offset_that_inputs_agreed_about_is_a_clock_and_no_delay_that_could_end(tracker: Tracker) -> None:
    tracker.receive(start(NOW - TWO_HOURS), now=NOW)
    watch(tracker, since=NOW, until=NOW + 60, ahead_s=-TWO_HOURS)
    watch(tracker, since=NOW + 90, until=NOW + 150)
    # 60 s by the slow clock, 60 s by the right one; the 30 s between belong to neither, and are not the 90 s of a long interval.
    assert spent_s(tracker) == 120
    assert known(tracker).tallies.wild == 1


# Any clock.

AN_HOUR = 3_600
steps = st.lists(
    st.tuples(
        st.integers(60, AN_HOUR - 60),
        st.one_of(st.integers(-90_000, -1), st.integers(64, 90_000), st.just(-1_700_000_000), st.just(200_000_000_000)),
    ),
    max_size=4,
)
"""When a player's clock is set, and by how much; by up to a minute ahead looks like a beat that was not late."""
says = st.lists(st.sampled_from(("playing", "paused", "rebuffering")), max_size=5)
"""What its beats say, over and over, after one that it plays."""
jitters = st.lists(st.integers(0, 3), min_size=1, max_size=7)
OURS = st.lists(st.tuples(st.integers(60, AN_HOUR - 60), st.integers(-90_000, 90_000)), max_size=3)
"""When our clock is found set, and by how much: by whoever owns the slot next, as an owner carries its first time on."""
Steps = list[tuple[int, int]]


def an_hour_s(*, players: Steps, ours: Steps, skew: int, jitter: list[int], says: list[str]) -> float:
    """Return what is counted of an hour in which both clocks are set."""
    tracker = Tracker(3, policy=Policy())

    def at(true_s: float) -> float:
        return NOW + true_s + skew + sum(by for since, by in players if since <= true_s)

    def now(true_s: float) -> float:
        return NOW + true_s + sum(by for since, by in ours if since <= true_s)

    tracker.receive(start(at(0)), now=now(0))
    tracker.receive(events(event("stream_start", at(1))), now=now(1))
    said = ("playing", *says)
    for number, true_s in enumerate(range(30, AN_HOUR, 30)):
        tracker.receive(beat(at(true_s), said[number % len(said)]), now=now(true_s + jitter[number % len(jitter)]))
    tracker.receive(end(at(AN_HOUR)), now=now(AN_HOUR))
    tracker.validate()
    return spent_s(tracker)


@settings(max_examples=150)
@given(skew=st.sampled_from((0, 0, -7_200, 7_200, 40, -1_700_000_000)), players=steps, jitter=jitters, says=says)
def test_whatever_the_players_clock_does_no_time_is_invented_and_little_is_lost(
    skew: int, players: Steps, jitter: list[int], says: list[str]
) -> None:
    counted_s = an_hour_s(players=players, ours=[], skew=skew, jitter=jitter, says=says)
    assert counted_s <= AN_HOUR + 1
    if len(players) <= 1:
        assert counted_s >= 0.95 * AN_HOUR


@settings(max_examples=100)
@given(skew=st.sampled_from((0, -7_200, 7_200, 40, -1_700_000_000)), ours=OURS, jitter=jitters, says=says)
def test_whatever_our_clock_does_no_time_is_invented_and_little_is_lost(skew: int, ours: Steps, jitter: list[int], says: list[str]) -> None:
    counted_s = an_hour_s(players=[], ours=ours, skew=skew, jitter=jitter, says=says)
    assert 0.95 * AN_HOUR <= counted_s <= AN_HOUR + 1
