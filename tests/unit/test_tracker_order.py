"""Duplicates, disorder, lateness and wrong clocks: what they move, and what they must not."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sessions.changes import Policy
from sessions.events import Event
from sessions.qoe import figures
from sessions.states import Liveness, Playback
from sessions.story import attributes
from sessions.tracker import Tracker
from tests.unit.inputs import account, beat, end, event, events, known, ledger, start

YEAR_9999 = 253_402_300_799.0


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    tracker = Tracker(7, policy=Policy())
    yield tracker
    tracker.validate()


# Sent twice.


def test_a_start_that_is_sent_again_changes_nothing_that_is_known(tracker: Tracker) -> None:
    tracker.receive(start(1_000, profile=b"who"), now=1_000)
    tracker.receive(beat(1_010, "playing", quality="720p"), now=1_010)
    before = attributes(known(tracker)), figures(known(tracker))
    tracker.take_changes()
    again = start(1_020, quality="240p", profile=b"somebody else")
    assert tracker.receive(again, now=1_020).accepted
    assert (attributes(known(tracker)), figures(known(tracker))) == before
    assert known(tracker).profile == b"who"
    assert tracker.take_changes().increments == {("duplicates",): 1}


def test_a_heartbeat_that_is_repeated_or_older_only_proves_life(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    newest = beat(1_030, "playing", rebuffer_count=1, vitals=b"new")
    tracker.receive(newest, now=1_030)
    before = attributes(known(tracker)), figures(known(tracker))
    tracker.take_changes()
    tracker.receive(newest, now=1_031)
    tracker.receive(beat(1_029, "paused", stream_id="another", rebuffer_count=9, vitals=b"old"), now=1_032)
    assert (attributes(known(tracker)), figures(known(tracker))) == before
    assert (known(tracker).seen_at, known(tracker).vitals) == (1_032, b"new")
    assert tracker.take_changes().increments == {("duplicates",): 2}


def test_an_event_id_counts_once_within_a_list_and_across_lists(tracker: Tracker) -> None:
    twice = event("tip", 1_000, event_id="e")
    receipt = tracker.receive(events(twice, twice), now=1_000)
    assert (receipt.accepted_count, receipt.rejected) == (2, ())
    receipt = tracker.receive(events(event("share", 1_005, event_id="e")), now=1_005)
    assert receipt.accepted_count == 1
    increments = tracker.take_changes().increments
    assert increments[("events", "tip")] == 1
    assert increments[("duplicates",)] == 2
    assert ("events", "share") not in increments


def test_event_ids_are_remembered_through_a_restart(tracker: Tracker) -> None:
    tracker.receive(events(event("tip", 1_000, event_id="e")), now=1_000)
    stored = [type(session).load(session.dump()) for session in tracker.sessions.values()]
    again = Tracker.restore(7, policy=Policy(), sessions=stored, ledger=tracker.ledger, paused_s=0.0)
    again.receive(events(event("tip", 1_000, event_id="e")), now=1_001)
    assert again.take_changes().increments == {("duplicates",): 1}


def test_two_sessions_may_use_the_same_event_id(tracker: Tracker) -> None:
    tracker.receive(events(event("tip", 1_000, event_id="e"), session_id="a"), now=1_000)
    tracker.receive(events(event("tip", 1_000, event_id="e"), session_id="b"), now=1_000)
    assert tracker.take_changes().increments[("events", "tip")] == 2


# Out of order.


def test_events_that_arrive_after_a_newer_heartbeat_still_fall_into_their_place(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.receive(beat(1_030, "playing"), now=1_030)
    tracker.receive(events(event("stream_start", 1_002), event("stream_buffer_start", 1_010), event("stream_buffer_end", 1_014)), now=1_031)
    tracker.receive(beat(1_040, "paused"), now=1_040)
    inside = account(tracker)
    assert (inside.starting_s, inside.playing_s, inside.rebuffering_s) == (2, 8 + 16 + 10, 4)
    assert inside.rebuffers == 1


def test_live_state_is_that_of_the_newest_timestamp(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.receive(beat(1_030, "paused"), now=1_030)
    tracker.receive(events(event("stream_start", 1_010)), now=1_031)
    assert known(tracker).playback is Playback.PAUSED
    tracker.receive(events(event("stream_start", 1_032)), now=1_033)
    assert known(tracker).playback is Playback.PLAYING


def test_a_first_frame_that_arrives_late_turns_a_stall_before_it_into_one_after_it(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.receive(beat(1_030, "rebuffering"), now=1_030)
    assert known(tracker).playback is Playback.STARTING
    tracker.receive(events(event("stream_start", 1_010)), now=1_031)
    assert known(tracker).playback is Playback.REBUFFERING


def test_a_heartbeat_that_an_event_has_overtaken_still_falls_into_its_place(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.receive(events(event("mute", 1_040)), now=1_040)
    tracker.receive(beat(1_030, "playing"), now=1_041)
    assert (account(tracker).starting_s, account(tracker).playing_s) == (30, 10)
    assert known(tracker).playback is Playback.PLAYING


@pytest.mark.parametrize(
    ("late", "name", "value"),
    [
        (events(event("quality_change", 1_010, quality="720p")), "quality", "720p"),
        (events(event("program_change", 1_010, program_id="next")), "program_id", "next"),
        (events(event("mute", 1_010), stream_id="another"), "stream_id", "another"),
        (events(event("mute", 1_010), creator_id="someone"), "creator_id", "someone"),
    ],
)
def test_what_an_overtaken_event_says_holds_if_nothing_newer_said_otherwise(tracker: Tracker, late: Event, name: str, value: str) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.receive(events(event("reaction", 1_020)), now=1_020)
    tracker.receive(late, now=1_021)
    assert getattr(known(tracker), name) == value


def test_what_an_overtaken_event_says_yields_to_what_is_newer(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    newer = event("quality_change", 1_020, quality="1080p"), event("program_change", 1_020, program_id="newer")
    tracker.receive(events(*newer, stream_id="stream"), now=1_020)
    older = event("quality_change", 1_010, quality="240p"), event("program_change", 1_010, program_id="older")
    tracker.receive(events(*older, stream_id="another"), now=1_021)
    session = known(tracker)
    assert (session.quality, session.program_id, session.stream_id) == ("1080p", "newer", "stream")
    assert account(tracker).switches == 1, "240p to 1080p; the start's auto is no quality"


def test_an_overtaken_change_of_stream_takes_the_time_that_is_its_own(tracker: Tracker) -> None:
    tracker.receive(start(1_000, stream_id="a"), now=1_000)
    tracker.receive(beat(1_030), now=1_030)
    tracker.receive(events(event("mute", 1_020), stream_id="b"), now=1_031)
    session = known(tracker)
    names = (*session.streams, session.stream_id)
    assert [(record[0], names[record[2]]) for record in session.window_inputs()] == [(1_000, "a"), (1_020, "b"), (1_030, "b")]


INPUTS: list[Event] = [
    start(1_000, stream_id="a", quality="auto"),
    beat(1_027, "playing", bitrate_bps=4_000_000),
    events(event("stream_start", 1_003)),
    events(event("stream_buffer_start", 1_009)),
    events(event("stream_buffer_end", 1_013)),
    events(event("quality_change", 1_017, quality="720p")),
    events(event("quality_change", 1_023, quality="1080p")),
    events(event("dvr_seek", 1_031)),
    events(event("stream_buffer_start", 1_034)),
    events(event("dvr_resume_live", 1_039)),
    events(event("program_change", 1_041, program_id="p2")),
    events(event("stream_error", 1_043)),
    events(event("reaction", 1_047), stream_id="b"),
    events(event("stream_error", 1_051, fatal=True)),
    events(event("program_change", 1_053, program_id="p3")),
    events(event("mute", 1_057)),
]


def _story_of(inputs: list[Event]) -> tuple[object, ...]:
    tracker = Tracker(7, policy=Policy())
    for each in inputs:
        tracker.receive(each, now=1_060)
    tracker.validate()
    session = known(tracker)
    names = (*session.streams, session.stream_id)
    streams = [(record[0], names[record[2]]) for record in session.window_inputs()]
    return figures(session), {**attributes(session), "provisional": False}, streams, dict(tracker.audience)


@settings(max_examples=200)
@given(st.permutations(INPUTS))
def test_the_same_inputs_within_sixty_seconds_give_the_same_session_in_any_order(order: list[Event]) -> None:
    assert _story_of(order) == _story_of(INPUTS)


def test_a_list_is_taken_in_the_order_of_the_players_time(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.receive(events(event("stream_buffer_start", 1_120), event("stream_start", 1_030)), now=1_120)
    assert (account(tracker).starting_s, account(tracker).playing_s) == (30, 90)
    assert known(tracker).tallies.late == 0


def test_a_start_that_revives_does_not_say_anew_who_is_watching(tracker: Tracker) -> None:
    tracker.receive(start(1_000, profile=b"who"), now=1_000)
    tracker.advance(now=1_100, limit=10)
    tracker.receive(start(1_200, profile=b"somebody else"), now=1_200)
    assert known(tracker).profile == b"who"


def test_the_start_of_a_provisional_session_says_who_is_watching(tracker: Tracker) -> None:
    tracker.receive(beat(1_010), now=1_010)
    tracker.receive(start(1_000, profile=b"who"), now=1_011)
    assert (known(tracker).profile, known(tracker).platform, known(tracker).country) == (b"who", "web", "US")


# Late.
@pytest.mark.reaches("REORDER_WINDOW_S")
def test_what_is_older_than_the_window_is_counted_by_type_and_moves_nothing(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.receive(beat(1_070, "playing"), now=1_070)
    tracker.receive(beat(1_100, "playing"), now=1_100)
    before = attributes(known(tracker)), figures(known(tracker))
    tracker.take_changes()
    receipt = tracker.receive(events(event("stream_buffer_start", 1_039.9)), now=1_101)
    assert receipt.accepted_count == 1
    assert (attributes(known(tracker)), figures(known(tracker))) == before
    assert tracker.take_changes().increments == {("events", "stream_buffer_start"): 1, ("late_events",): 1}
    assert known(tracker).tallies.late == 1


def test_what_is_exactly_sixty_seconds_old_still_falls_into_its_place(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.receive(beat(1_100, "paused"), now=1_100)
    tracker.receive(events(event("stream_start", 1_040)), now=1_101)
    # From the start to its cap of 90 s would be starting, had the event not come.
    assert (account(tracker).starting_s, account(tracker).playing_s) == (40, 60)


def test_late_starts_and_heartbeats_count_as_late_too(tracker: Tracker) -> None:
    tracker.receive(events(event("mute", 1_100)), now=1_100)
    tracker.receive(beat(1_039), now=1_101)
    tracker.receive(start(1_000), now=1_102)
    assert tracker.take_changes().increments[("late_events",)] == 2
    assert ledger(tracker) == {"active": 1, "provisional": 1, "promoted": 1}


def test_what_comes_after_a_revival_but_belongs_before_the_expiry_is_late(tracker: Tracker) -> None:
    tracker.receive(beat(1_000, "playing"), now=1_000)
    tracker.receive(beat(1_030, "playing"), now=1_030)
    tracker.advance(now=1_200, limit=10)
    tracker.receive(events(event("stream_buffer_start", 1_010)), now=1_201)
    assert ledger(tracker) == {"active": 1, "provisional": 1, "expired": 1, "revived": 1}
    assert (account(tracker).playing_s, account(tracker).rebuffering_s) == (30, 0)
    assert known(tracker).tallies.late == 1


# Clocks.


@pytest.mark.parametrize("at", [1_730_484_900.0, 0.0, YEAR_9999, -62_135_596_800.0])
def test_a_first_input_far_from_our_clock_is_no_wild_one(tracker: Tracker, at: float) -> None:
    assert tracker.receive(start(at), now=1_790_000_000).accepted
    tracker.receive(beat(at + 30, "playing"), now=1_790_000_030)
    tracker.receive(beat(at + 60, "playing"), now=1_790_000_060)
    assert ("wild_timestamps",) not in tracker.take_changes().increments
    assert (account(tracker).starting_s, account(tracker).playing_s) == (30, 30)


def test_a_timestamp_sixty_seconds_ahead_of_its_sessions_clock_is_not_wild(tracker: Tracker) -> None:
    tracker.receive(start(5_000), now=1_000)
    tracker.receive(beat(5_090), now=1_030)
    assert ("wild_timestamps",) not in tracker.take_changes().increments


@pytest.mark.reaches("WILD_AHEAD_S")
@pytest.mark.parametrize("at", [5_090.1, YEAR_9999])
def test_a_timestamp_further_ahead_is_accepted_counted_and_anchors_the_order_anew(tracker: Tracker, at: float) -> None:
    tracker.receive(start(5_000), now=1_000)
    assert tracker.receive(beat(at, "playing"), now=1_030).accepted
    assert tracker.take_changes().increments[("wild_timestamps",)] == 1
    assert known(tracker).tallies.wild == 1
    tracker.receive(beat(at + 30, "playing"), now=1_060)
    assert ("wild_timestamps",) not in tracker.take_changes().increments
    # The jump itself is nobody's time: it lies between two clocks.
    assert (account(tracker).starting_s, account(tracker).playing_s) == (0, 30)


@pytest.mark.parametrize("at", [YEAR_9999, 1_040 + 3_600])
@pytest.mark.parametrize("is_beat", [True, False])
def test_after_a_blip_of_the_clock_the_session_goes_on_where_it_was(tracker: Tracker, at: float, is_beat: bool) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.receive(beat(1_030, "playing"), now=1_030)
    tracker.receive(beat(at) if is_beat else events(event("mute", at)), now=1_040)
    tracker.receive(beat(1_060, "playing"), now=1_060)
    tracker.receive(beat(1_090, "paused"), now=1_090)
    # From 1,030 to 1,060 as if the blip had not been, then 30 s.
    assert account(tracker).playing_s == 30 + 30
    assert known(tracker).playback is Playback.PAUSED
    increments = tracker.take_changes().increments
    assert increments[("heartbeats",)] == 3 + is_beat
    assert increments[("wild_timestamps",)] == 1
    assert ("late_events",) not in increments


def test_a_repeated_start_with_a_wild_clock_anchors_the_order_though_it_moves_nothing_else(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.receive(start(1_200), now=1_000)
    tracker.receive(beat(1_195, "playing"), now=1_000)
    tracker.receive(beat(1_205), now=1_010)
    # What was between the two clocks is nobody's time; then 10 s.
    assert (account(tracker).starting_s, account(tracker).playing_s) == (0, 10)
    assert tracker.take_changes().increments[("wild_timestamps",)] == 1


def test_after_a_blip_events_fall_into_their_place_again(tracker: Tracker) -> None:
    tracker.receive(beat(1_000, "playing"), now=1_000)
    tracker.receive(events(event("mute", YEAR_9999)), now=1_010)
    tracker.receive(beat(1_030), now=1_030)
    tracker.receive(beat(1_060), now=1_060)
    tracker.receive(events(event("stream_buffer_start", 1_040)), now=1_061)
    assert known(tracker).tallies.late == 0
    assert account(tracker).rebuffering_s == 20


def test_two_blips_in_a_row_do_not_lose_the_way_back(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.receive(events(event("mute", 16_725_225_600.0), event("unmute", YEAR_9999)), now=1_010)
    tracker.receive(beat(1_030, "playing"), now=1_030)
    tracker.receive(beat(1_060, "paused"), now=1_060)
    assert known(tracker).playback is Playback.PAUSED
    assert account(tracker).playing_s == 30


def test_a_clock_that_was_set_and_then_blips_finds_back_to_what_it_was_set_to(tracker: Tracker) -> None:
    """A box that boots in 1970, hears the time, and later says 9999 once."""
    now = 1_790_000_000.0
    tracker.receive(start(100), now=now)
    tracker.receive(beat(now + 30, "playing"), now=now + 30)
    tracker.receive(events(event("mute", YEAR_9999)), now=now + 40)
    tracker.receive(beat(now + 60, "paused"), now=now + 60)
    assert known(tracker).playback is Playback.PAUSED


def test_a_blip_that_is_the_first_input_does_not_make_everything_after_it_late(tracker: Tracker) -> None:
    now = 1_790_000_000.0
    tracker.receive(events(event("mute", YEAR_9999)), now=now)
    tracker.receive(start(now - 1), now=now)
    tracker.receive(beat(now + 30, "playing"), now=now + 30)
    tracker.receive(beat(now + 60, "paused"), now=now + 60)
    assert known(tracker).playback is Playback.PAUSED
    assert account(tracker).playing_s == 30


def test_a_wild_end_ends_the_session_at_its_last_input(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.receive(beat(1_010, "playing"), now=1_010)
    assert tracker.receive(end(YEAR_9999), now=1_020).accepted
    assert known(tracker).liveness is Liveness.ENDED
    assert (account(tracker).starting_s, account(tracker).playing_s) == (10, 0)


def test_an_old_batch_that_was_queued_by_the_player_is_not_taken_for_its_clock(tracker: Tracker) -> None:
    """Offline for five minutes, the player sends what it kept; its next heartbeat is not wild."""
    queued = [event("mute", at) for at in (1_000, 1_100, 1_200, 1_300)]
    tracker.receive(events(*queued), now=1_310)
    tracker.receive(beat(1_330), now=1_330)
    assert ("wild_timestamps",) not in tracker.take_changes().increments


def test_a_batch_of_a_player_whose_clock_is_ahead_is_not_wild(tracker: Tracker) -> None:
    """Ten minutes ahead of us all the time, and its first contact is a list that spans two minutes."""
    tracker.receive(events(event("mute", 1_600), event("unmute", 1_720)), now=1_120)
    tracker.receive(beat(1_750), now=1_150)
    assert ("wild_timestamps",) not in tracker.take_changes().increments


# One interval, one cap.


def test_one_interval_never_counts_for_more_than_the_promise_times_the_expiry_intervals(tracker: Tracker) -> None:
    tracker.receive(start(1_000), now=1_000)
    tracker.receive(beat(1_010, "playing"), now=1_010)
    tracker.receive(beat(1_400, "playing"), now=1_400)
    assert account(tracker).playing_s == 90


def test_the_cap_is_the_promise_that_held_when_the_interval_began(tracker: Tracker) -> None:
    tracker.receive(beat(1_000, "playing"), now=1_000, interval_s=120)
    tracker.receive(beat(1_300, "playing"), now=1_300, interval_s=30)
    tracker.receive(beat(1_500, "playing"), now=1_500, interval_s=30)
    assert account(tracker).playing_s == 300 + 90


def test_a_stretched_session_keeps_its_cap_through_events(tracker: Tracker) -> None:
    tracker.receive(beat(1_000, "playing"), now=1_000, interval_s=120)
    tracker.receive(events(event("mute", 1_010)), now=1_010, interval_s=30)
    tracker.receive(beat(1_310, "playing"), now=1_310, interval_s=30)
    assert account(tracker).playing_s == 310
