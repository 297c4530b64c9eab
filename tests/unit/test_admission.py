"""A shard opens so many sessions, and so many of them in a minute; pixels are counted apart."""

import pytest

from actors.shard.admission import Admission
from sessions.changes import Policy
from sessions.events import Beacon, beacon_id
from sessions.roster import chosen_bytes
from sessions.tracker import Tracker


def opened(admission: Admission, count: int, *, now: float, prefix: str = "s") -> int:
    taken = 0
    for number in range(count):
        if admission.admits(f"{prefix}{number}", now=now):
            admission.fill(f"{prefix}{number}")
            taken += 1
    return taken


@pytest.mark.reaches("BEACON_SHARE")
def test_a_minutes_worth_may_come_at_once_and_then_it_comes_evenly() -> None:
    admission = Admission(new_per_minute=600)
    assert opened(admission, 1_000, now=1_000.0) == 600
    assert opened(admission, 1_000, now=1_001.0) == 10
    assert opened(admission, 1_000, now=1_031.0) == 300
    assert opened(admission, 1_000, now=9_000.0) == 600
    assert opened(admission, 1_000, now=9_000.0, prefix="\0") == 150


def test_a_stream_of_100_000_a_minute_hits_the_bound_within_two_minutes() -> None:
    admission = Admission()
    taken = [opened(admission, 1_667, now=1_000.0 + second) for second in range(180)]
    assert sum(taken[:60]) == 60 * 1_667
    assert taken[120:] == [1_000] * 60
    assert sum(taken) == 60_000 + 179 * 1_000


def test_pixels_of_strangers_cannot_keep_posts_out() -> None:
    admission = Admission(new_per_minute=600)
    assert opened(admission, 10_000, now=1_000.0, prefix="\0") == 150
    assert opened(admission, 10, now=1_000.0) == 10


def test_a_clock_that_is_set_back_neither_fills_nor_blocks() -> None:
    admission = Admission(new_per_minute=60)
    assert opened(admission, 100, now=1_000.0) == 60
    assert opened(admission, 100, now=500.0) == 0
    assert opened(admission, 100, now=510.0) == 10


def test_the_smallest_setting_lets_a_pixel_in_too() -> None:
    assert opened(Admission(new_per_minute=1), 10, now=1_000.0, prefix="\0") == 1


@pytest.mark.reaches("BEACON_NETWORKS_MAX")
def test_one_range_of_addresses_cannot_use_up_what_is_there_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened_from(network: str, count: int, now: float) -> int:
        taken = 0
        for number in range(count):
            session_id = f"\0{network}\0{now}\0{number}"
            if admission.admits(session_id, now=now, network=network):
                admission.fill(session_id, network=network)
                taken += 1
        return taken

    admission = Admission(new_per_minute=40_000, per_network_per_minute=60)
    assert opened_from("203.0.113.0", 1_000, 1_000.0) == 60
    assert opened_from("198.51.100.0", 1_000, 1_000.0) == 60
    assert opened_from("203.0.113.0", 1_000, 1_010.0) == 10, "one a second comes back"
    assert opened_from("", 1_000, 1_010.0) == 1_000, "where no range is known none is bounded"
    assert admission.admits("posted", now=1_010.0, network="203.0.113.0"), "who comes with a token is not bounded by address"
    monkeypatch.setattr("actors.shard.admission.BEACON_NETWORKS_MAX", 3)
    for number in range(10):
        opened_from(f"10.0.{number}.0", 1, 1_020.0)
    assert len(admission._networks) == 3


@pytest.mark.reaches("BEACON_BYTES_PER_SHARD_MAX")
def test_what_strangers_say_is_bounded_in_bytes_and_posts_go_on() -> None:
    tracker = Tracker(0, policy=Policy())
    admission = Admission(beacon_bytes_max=1_000)
    for number in range(20):
        session_id = beacon_id(pullzone="zone", video_id="video", user_id=f"{number:04}")
        if admission.admits(session_id, now=1_000.0):
            tracker.receive(Beacon(session_id, "play", "video", "zone", profile=b"x" * 184), now=1_000.0)
            admission.fill(session_id, chosen_bytes=chosen_bytes(tracker.sessions[session_id]))
    # Each is 184 bytes and an id of 16: five of them are a thousand.
    assert (len(tracker.sessions), tracker.beacon_bytes) == (5, 1_000)
    admission.count([tracker])
    assert not admission.admits("\0more", now=1_000.0)
    assert admission.admits("posted", now=1_000.0)
    tracker.advance(now=1_100.0, limit=100)
    tracker.advance(now=9_000.0, limit=100)
    admission.count([tracker])
    assert (tracker.beacon_bytes, admission.admits("\0more", now=9_000.0)) == (0, True)
    tracker.validate()
