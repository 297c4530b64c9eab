"""The heartbeat interval stretches while requests wait, holds, and comes back: literal curves of waiting, four looks a second."""

from collections.abc import Iterable

import pytest

from actors.shard.lever import Lever
from sessions import limits

LOOK_S = 0.25


def promised(waits: Iterable[float], *, lever: Lever | None = None, from_s: float = 0.0) -> list[int]:
    """Return what is promised after each look."""
    used = lever or Lever(interval_s=30)
    told = []
    for number, wait_s in enumerate(waits, start=1):
        used.feel(wait_s, now=from_s + number * LOOK_S)
        told.append(used.interval_s)
    return told


def seconds(length_s: float, wait_s: float) -> list[float]:
    return [wait_s] * round(length_s / LOOK_S)


def test_at_rest_and_when_busy_the_configured_interval_is_promised() -> None:
    assert set(promised(seconds(60, 0.02) + seconds(60, 0.28))) == {30}


def test_one_slow_moment_stretches_nothing() -> None:
    assert set(promised([0.0, 0.0, 1.2, 0.0, 0.0, 0.05, 0.0])) == {30}


@pytest.mark.reaches("STRETCH_MAX")
def test_waiting_stretches_in_proportion_and_four_times_at_most() -> None:
    assert promised(seconds(20, 0.5))[-1] == 60
    assert promised(seconds(20, 0.7))[-1] == 90
    assert promised(seconds(20, 1.2))[-1] == promised(seconds(20, 60.0))[-1] == 120 == limits.STRETCH_MAX * 30


def test_it_stretches_before_the_first_is_refused() -> None:
    # A wait that grows by 0.1 s a second would be refused at the front door's bound, ten seconds on.
    lever = Lever(interval_s=30)
    waits = [number * LOOK_S * 0.1 for number in range(41)]
    told = promised(waits, lever=lever)
    first = next(number for number, interval_s in enumerate(told) if interval_s > 30)
    assert waits[first] < 0.5
    assert max(told) > 90
    assert min(limits.FRONT_DOOR_WAITING_S_MAX, limits.SHARD_WAITING_S_MAX, limits.WAITING_S_MAX) >= waits[-1]


def test_between_calm_and_ease_it_holds() -> None:
    lever = Lever(interval_s=30)
    assert promised(seconds(20, 0.5), lever=lever)[-1] == 60
    assert set(promised(seconds(60, 0.2), lever=lever, from_s=20)) == {60}


def test_it_comes_back_slowly_and_to_exactly_what_is_configured() -> None:
    lever = Lever(interval_s=30)
    promised(seconds(20, 1.2), lever=lever)
    back = promised(seconds(30, 0.01), lever=lever, from_s=20)
    assert back == sorted(back, reverse=True)
    assert back[round(5 / LOOK_S)] > 90
    assert back[round(18 / LOOK_S)] == back[-1] == 30
    assert lever.stretch == 1.0


def test_an_outage_of_a_minute_is_forgotten_as_soon_as_any() -> None:
    lever = Lever(interval_s=30)
    lever.feel(0.0, now=0.0)
    lever.feel(60.0, now=60.0)
    assert promised(seconds(20, 0.0), lever=lever, from_s=60)[-1] == 30


def test_a_clock_that_stands_moves_nothing() -> None:
    lever = Lever(interval_s=30)
    for _ in range(100):
        lever.feel(60.0, now=7.0)
    assert lever.interval_s == 30


@pytest.mark.parametrize(("configured_s", "most_s"), [(1, 4), (2, 8), (3_600, 14_400)])
def test_a_promise_is_whole_seconds_and_never_less_than_configured(configured_s: int, most_s: int) -> None:
    lever = Lever(interval_s=configured_s)
    told = promised(seconds(5, 0.0) + seconds(20, 1.2) + seconds(30, 0.0), lever=lever)
    assert (min(told), max(told)) == (configured_s, most_s)
    assert all(isinstance(each, int) for each in told)
