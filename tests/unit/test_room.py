"""A shard opens so many sessions, and so many of them in a minute; pixels are counted apart."""

import pytest

from actors.shard.admission import Room


def opened(room: Room, count: int, *, now: float, prefix: str = "s") -> int:
    taken = 0
    for number in range(count):
        if room.admits(f"{prefix}{number}", now=now):
            room.fill(f"{prefix}{number}")
            taken += 1
    return taken


@pytest.mark.reaches("BEACON_SHARE")
def test_a_minutes_worth_may_come_at_once_and_then_it_comes_evenly() -> None:
    room = Room(new_per_minute=600)
    assert opened(room, 1_000, now=1_000.0) == 600
    assert opened(room, 1_000, now=1_001.0) == 10
    assert opened(room, 1_000, now=1_031.0) == 300
    assert opened(room, 1_000, now=9_000.0) == 600
    assert opened(room, 1_000, now=9_000.0, prefix="\0") == 150


def test_a_stream_of_100_000_a_minute_hits_the_bound_within_two_minutes() -> None:
    room = Room()
    taken = [opened(room, 1_667, now=1_000.0 + second) for second in range(180)]
    assert sum(taken[:60]) == 60 * 1_667
    assert taken[120:] == [1_000] * 60
    assert sum(taken) == 60_000 + 179 * 1_000


def test_pixels_of_strangers_cannot_keep_posts_out() -> None:
    room = Room(new_per_minute=600)
    assert opened(room, 10_000, now=1_000.0, prefix="\0") == 150
    assert opened(room, 10, now=1_000.0) == 10


def test_a_clock_that_is_set_back_neither_fills_nor_blocks() -> None:
    room = Room(new_per_minute=60)
    assert opened(room, 100, now=1_000.0) == 60
    assert opened(room, 100, now=500.0) == 0
    assert opened(room, 100, now=510.0) == 10


def test_the_smallest_setting_lets_a_pixel_in_too() -> None:
    assert opened(Room(new_per_minute=1), 10, now=1_000.0, prefix="\0") == 1
