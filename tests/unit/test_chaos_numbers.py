"""The truth that chaos tests lay beside Prometheus, worked out by hand."""

from math import inf

from tests.chaos.crowd import END, HEARTBEAT, START, Heard
from tests.chaos.numbers import CAP_S, Life, bounds, grown, lives


def heard(path: str, at: float, *, session: str = "a", late_s: float = 0.0) -> Heard:
    return Heard(path, session, at, at + late_s, at, 0)


def test_a_session_was_surely_there_between_its_acknowledgements_and_possibly_between_its_requests() -> None:
    (life,) = there = lives([heard(START, 10, late_s=1), heard(END, 50, late_s=5)])
    assert life == Life(10, 11, 50, 55)
    assert bounds(there, 12, 20) == (1, 1)
    assert bounds(there, 10.5, 20) == (0, 1)
    assert bounds(there, 52, 54) == (0, 1)
    assert bounds(there, 56, 58) == (0, 0)
    assert lives([heard(START, 1)])[0].left_at == inf


def test_seconds_become_final_a_minute_later_and_at_the_end() -> None:
    """
    0 start · 10 beat · 20 beat · 75 beat, which is 55 s later than the one before and counts 15 · 81: 10-20 is final · 90 end.

    Final at 81: 10 s. At the end 15 + 6 + 9 = 30 more, and the switches of four beats, of which the first was folded at 75.
    """
    told = [heard(START, 0), *(heard(HEARTBEAT, at) for at in (10, 20, 75, 81)), heard(END, 90)]
    playing = grown(told)["playing_seconds_total"]
    assert playing.between(0, 80.5) == 0
    assert playing.between(80.5, 82) == 10
    assert playing.total == 10 + CAP_S + 6 + 9
    assert grown(told)["quality_switches_total"].total == 4
    assert grown(told)["heartbeats_total"].most_in(11) == 2


def test_who_falls_silent_is_counted_last() -> None:
    """0 start · 5 beat · 9 beat, and nothing more: 4 s and two switches when it expires."""
    told = grown([heard(START, 0), heard(HEARTBEAT, 5), heard(HEARTBEAT, 9)])
    assert told["playing_seconds_total"].total == 4
    assert told["playing_seconds_total"].between(0, 20) == 0
    assert told["quality_switches_total"].total == 2


def test_an_interval_counts_as_long_as_three_of_what_was_promised() -> None:
    """
    0 start · 10 beat, promised 20 s, that had been sent before · 32 beat, promised 5 s · 50 end.

    22 s are within 3 x 20, and 18 s are not within 3 x 5: 37 s. Had the first beat been taken when it was sent first, with a promise of
    5 s as far as anybody knows, only 15 of the 22 s would count: 30 s are sure.
    """
    beats = [heard(HEARTBEAT, 10)._replace(promised_s=20, resent=True), heard(HEARTBEAT, 32)._replace(promised_s=5)]
    told = [heard(START, 0), *beats, heard(END, 50)]
    assert grown(told)["playing_seconds_total"].total == 22 + 15
    assert grown(told, surely=True)["playing_seconds_total"].total == 15 + 15
