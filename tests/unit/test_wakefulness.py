"""What of the time that went by was an outage of ours."""

import pytest

from actors.shard.outages import Wakefulness


@pytest.fixture
def wakefulness() -> Wakefulness:
    wakefulness = Wakefulness(gap_s=5.0, slow_s=0.5, door_word_s=10.0)
    assert wakefulness.arrive(1_000.0) == 0.0
    return wakefulness


def test_a_silence_longer_than_the_gap_is_an_outage_and_a_shorter_one_is_not(wakefulness: Wakefulness) -> None:
    assert wakefulness.arrive(1_005.0) == 0.0
    wakefulness.lived(1_005.0, took_s=0.01)
    assert wakefulness.arrive(1_010.5) == 5.5
    assert wakefulness.arrive(1_010.5) == 0.0


def test_time_in_slow_writes_is_an_outage_however_short_each_is(wakefulness: Wakefulness) -> None:
    """Ten writes of two seconds, one after the other: nobody was acknowledged in less, and all twenty seconds are paused."""
    paused_s = 0.0
    for write in range(10):
        began_at = 1_000.0 + 2 * write
        paused_s += wakefulness.arrive(began_at)
        wakefulness.lived(began_at, took_s=2.0)
    paused_s += wakefulness.arrive(1_020.0)
    assert paused_s == 20.0


def test_after_a_slow_write_time_counts_again(wakefulness: Wakefulness) -> None:
    wakefulness.lived(1_000.0, took_s=2.0)
    assert wakefulness.arrive(1_002.0) == 2.0
    wakefulness.lived(1_002.0, took_s=0.01)
    assert wakefulness.arrive(1_006.0) == 0.0


def test_while_the_front_door_is_down_no_time_counts_as_lived(wakefulness: Wakefulness) -> None:
    wakefulness.tell_door(up=False, now=1_001.0)
    assert wakefulness.alive_at(1_003.0) == 1_000.0
    wakefulness.tell_door(up=True, now=1_004.0)
    assert wakefulness.alive_at(1_004.0) == 1_004.0
