"""Sessions that live on pixels."""

from collections.abc import Iterator

import pytest

from sessions.changes import Policy
from sessions.events import Beacon, beacon_id
from sessions.qoe import exited_before_start, score, startup_time_s
from sessions.states import Playback
from sessions.tracker import Tracker
from tests.unit.inputs import PIXEL, account, known, ledger, pixel


@pytest.fixture
def tracker() -> Iterator[Tracker]:
    tracker = Tracker(7, policy=Policy())
    yield tracker
    tracker.validate()


@pytest.mark.parametrize(
    ("sent", "state"),
    [
        (["view"], Playback.SHOWN),
        (["play"], Playback.PLAYING),
        (["check"], Playback.PLAYING),
        (["view", "check"], Playback.SHOWN),
        (["view", "play"], Playback.PLAYING),
        (["view", "play", "check"], Playback.PLAYING),
        (["play", "view"], Playback.PLAYING),
        (["view", "play", "view"], Playback.PLAYING),
        (["view", "play", "play"], Playback.PLAYING),
    ],
)
def test_view_shows_play_plays_and_check_stays_unless_it_comes_first(tracker: Tracker, sent: list[str], state: Playback) -> None:
    for second, kind in enumerate(sent):
        tracker.receive(pixel(kind), now=1_000 + second)
    assert known(tracker, PIXEL).playback is state
    assert tracker.audience[("stream", "video", state)] == 1


def test_a_page_that_is_loaded_again_after_it_expired_shows_a_player_and_plays_nothing(tracker: Tracker) -> None:
    """View, play and a check until 1,032; ten minutes later the page is opened again, and nobody pressed play: 30 s of playing, not 90."""
    for now, kind in ((1_000, "view"), (1_002, "play"), (1_032, "check")):
        tracker.receive(pixel(kind), now=now)
    tracker.advance(now=1_200, limit=10)
    tracker.receive(pixel("view"), now=1_632)
    tracker.receive(pixel("check"), now=1_662)
    tracker.receive(pixel("check"), now=1_692)
    assert known(tracker, PIXEL).playback is Playback.SHOWN
    assert account(tracker, PIXEL).playing_s == 30
    assert tracker.audience[("state", "shown")] == 1


def test_a_page_that_is_loaded_again_while_it_counts_shows_a_player_until_it_plays_again(tracker: Tracker) -> None:
    """Play at 1,000, loaded again at 1,040, played again at 1,050, still there at 1,080: 40 and 30 s of playing."""
    seen = []
    for now, kind in ((1_000, "play"), (1_020, "check"), (1_040, "view"), (1_050, "play"), (1_080, "check")):
        tracker.receive(pixel(kind), now=now)
        seen.append(str(known(tracker, PIXEL).playback))
    assert seen == ["playing", "playing", "shown", "playing", "playing"]
    assert account(tracker, PIXEL).playing_s == 70
    increments = tracker.take_changes().increments
    assert (increments[("beacons", "play")], increments[("beacons", "view")]) == (1, 1)
    assert ("duplicates",) not in increments, "what moved something was no duplicate"


@pytest.mark.reaches("VIEW_OVERTAKEN_S")
@pytest.mark.parametrize(("view_at", "state"), [(1_000.2, Playback.PLAYING), (1_005.0, Playback.PLAYING), (1_005.1, Playback.SHOWN)])
def test_a_view_within_five_seconds_after_the_play_was_overtaken_and_moves_nothing(
    tracker: Tracker, view_at: float, state: Playback
) -> None:
    tracker.receive(pixel("play"), now=1_000.0)
    tracker.receive(pixel("view"), now=view_at)
    assert known(tracker, PIXEL).playback is state


def test_view_and_play_count_once_and_every_check_counts(tracker: Tracker) -> None:
    for second, kind in enumerate(["view", "view", "play", "check", "play", "check"]):
        tracker.receive(pixel(kind), now=1_000 + second)
    increments = tracker.take_changes().increments
    assert {key: amount for key, amount in increments.items() if key[0] == "beacons"} == {
        ("beacons", "view"): 1,
        ("beacons", "play"): 1,
        ("beacons", "check"): 2,
    }
    assert increments[("duplicates",)] == 2


def test_view_and_play_count_once_even_across_a_revival(tracker: Tracker) -> None:
    tracker.receive(pixel("play"), now=1_000)
    tracker.advance(now=1_100, limit=10)
    tracker.receive(pixel("play"), now=1_200)
    assert tracker.take_changes().increments[("beacons", "play")] == 1
    assert ledger(tracker) == {"active": 1, "started": 1, "expired": 1, "revived": 1}


def test_one_viewer_of_one_video_is_one_session_of_that_stream(tracker: Tracker) -> None:
    for user in ("u1", "u2"):
        for _ in range(2):
            name = beacon_id(pullzone="zone", video_id="video", user_id=user)
            tracker.receive(Beacon(name, "check", "video", "zone"), now=1_000)
    assert ledger(tracker) == {"active": 2, "started": 2}
    assert tracker.beacons == 2
    assert tracker.audience[("pullzone", "zone")] == 2
    assert tracker.audience[("stream", "video", "playing")] == 2


def test_no_posted_id_can_name_a_beacon_session() -> None:
    assert "\0" in beacon_id(pullzone="zone", video_id="video", user_id="viewer")
    names = {beacon_id(pullzone=p, video_id=v, user_id=u) for p, v, u in (("a", "b", "c"), ("ab", "", "c"), ("a", "bc", ""))}
    assert len(names) == 3


def test_visibility_is_an_attribute_and_no_state(tracker: Tracker) -> None:
    tracker.receive(pixel("play"), now=1_000)
    tracker.receive(pixel("check", visible=False), now=1_010)
    session = known(tracker, PIXEL)
    assert session.pixel is not None
    assert (session.pixel.visible, session.playback) == (False, Playback.PLAYING)
    tracker.receive(pixel("play", visible=True), now=1_020)
    assert session.pixel is not None
    assert session.pixel.visible


def test_a_page_that_was_open_for_five_minutes_before_the_play_gives_no_startup(tracker: Tracker) -> None:
    tracker.receive(pixel("view"), now=1_000)
    tracker.receive(pixel("play"), now=1_300)
    assert startup_time_s(account(tracker, PIXEL)) is None


def test_a_beacons_time_is_ours_and_adds_up(tracker: Tracker) -> None:
    tracker.receive(pixel("view"), now=1_000)
    tracker.receive(pixel("play"), now=1_005)
    tracker.receive(pixel("check"), now=1_035)
    tracker.receive(pixel("check"), now=1_065)
    assert account(tracker, PIXEL).playing_s == 60
    assert account(tracker, PIXEL).starting_s == 0
    assert ("wild_timestamps",) not in tracker.take_changes().increments


def test_a_beacon_that_our_clock_puts_before_the_last_is_no_late_one(tracker: Tracker) -> None:
    tracker.receive(pixel("view"), now=1_000)
    tracker.receive(pixel("play"), now=900)
    assert known(tracker, PIXEL).playback is Playback.PLAYING
    assert known(tracker, PIXEL).tallies.late == 0


def test_a_player_that_was_merely_shown_neither_exits_before_start_nor_has_a_score(tracker: Tracker) -> None:
    tracker.receive(pixel("view"), now=1_000)
    tracker.receive(pixel("check"), now=1_030)
    tracker.advance(now=1_200, limit=10)
    assert not exited_before_start(known(tracker, PIXEL))
    assert score(known(tracker, PIXEL)) is None


def test_beacon_sessions_have_no_clock_skew(tracker: Tracker) -> None:
    tracker.receive(pixel("view"), now=1_000)
    assert not [key for key in tracker.take_changes().increments if key[0] == "clock_skew"]
