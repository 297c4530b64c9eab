"""What of the time that went by was an outage of ours."""

import pytest

from actors.shard.outages import Outages


@pytest.fixture
def outages() -> Outages:
    outages = Outages(gap_s=5.0, door_word_s=10.0)
    assert outages.arrive(1_000.0) == 0.0
    return outages


def test_a_silence_longer_than_the_gap_is_an_outage_and_a_shorter_one_is_not(outages: Outages) -> None:
    assert outages.arrive(1_005.0) == 0.0
    outages.lived(1_005.0)
    assert outages.arrive(1_010.5) == 5.5
    assert outages.arrive(1_010.5) == 0.0


def test_slow_writes_are_no_outage_while_players_are_answered(outages: Outages) -> None:
    """An hour of writes that take two seconds each, one after the other, and every one of them taken."""
    for write in range(1_800):
        began_at = 1_000.0 + 2 * write
        assert outages.arrive(began_at) == 0.0
        outages.lived(began_at)


def test_time_in_which_players_were_turned_away_is_an_outage_however_short(outages: Outages) -> None:
    """Lived until 1,001; from then on refused, and taken again at 1,003: two seconds. After them time counts as ever."""
    outages.lived(1_001.0)
    outages.refuse()
    outages.lived(1_002.0)
    assert outages.arrive(1_003.0) == 2.0
    outages.lived(1_004.0)
    assert outages.arrive(1_008.0) == 0.0


def test_while_the_front_door_is_down_no_time_counts_as_lived(outages: Outages) -> None:
    outages.tell_door(up=False, now=1_001.0)
    assert outages.alive_at(1_003.0) == 1_000.0
    outages.tell_door(up=True, now=1_004.0)
    assert outages.alive_at(1_004.0) == 1_004.0


def test_a_door_that_was_called_down_is_down_until_somebody_says_or_proves_otherwise(outages: Outages) -> None:
    """The directory is cut off from the shard right after it said so: an hour later nobody has been able to send anything."""
    outages.tell_door(up=False, now=1_001.0)
    assert outages.door_is_down(4_600.0)
    assert outages.arrive(4_600.0) == 3_600.0
    outages.hear_player(4_600.0)
    assert not outages.door_is_down(4_600.0)


def test_a_door_that_nobody_speaks_of_any_more_and_no_player_comes_through_is_not_taken_for_open(outages: Outages) -> None:
    """Called up at 1,001, and by a player's request at 1,008: believed for ten seconds each."""
    outages.tell_door(up=True, now=1_001.0)
    outages.hear_player(1_008.0)
    assert not outages.door_is_down(1_017.9)
    assert outages.door_is_down(1_018.0)
    outages.tell_door(up=True, now=1_020.0)
    assert not outages.door_is_down(1_020.0)


def test_where_nobody_watches_the_door_it_is_open(outages: Outages) -> None:
    assert not outages.door_is_down(1_000_000.0)
    outages.hear_player(1_000_000.0)
    assert not outages.door_is_down(2_000_000.0)
