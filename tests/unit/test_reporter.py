"""What a session keeps of a player's reports: which are the same, which are lost, and how often it speaks."""

import pytest

from sessions import limits
from sessions.reporter import (
    NO_NUMBER,
    RECORD,
    Kept,
    Reporter,
    beaten,
    close_runs,
    closed,
    expiry_s,
    filled,
    place_of,
    rhythm_s,
    settle,
    was_settled,
    with_said,
)


def kept(at: float, number: int = NO_NUMBER, target: int = 1, kind: int = 2) -> Kept:
    return at, number, target, kind, 0, 0, 0, 0, 0, 0


def lost(*numbers: int, target: int = 1) -> int:
    runs, gone = settle(b"", [kept(float(place), number, target) for place, number in enumerate(numbers)])
    return gone + close_runs(runs)[1]


def test_a_report_has_its_place_by_time_then_number_and_is_there_once() -> None:
    records = b"".join(RECORD.pack(*each) for each in (kept(1.0, 0), kept(2.0, 1), kept(2.0, 3)))
    assert place_of(records, kept(2.0, 2)[:4]) == 2 * RECORD.size
    assert place_of(records, kept(0.5, 9)[:4]) == 0
    assert place_of(records, kept(3.0, 0)[:4]) == 3 * RECORD.size
    assert place_of(records, kept(2.0, 1)[:4]) is None
    # Another target counts for itself; another kind is another report.
    assert place_of(records, kept(2.0, 1, target=2)[:4]) is not None
    assert place_of(records, kept(2.0, 1, kind=3)[:4]) is not None


def test_gaps_in_the_numbers_of_a_run_are_lost() -> None:
    assert lost(0, 1, 2, 5, 6) == 2
    assert lost(3, 4) == 0
    assert lost(0, 100) == 99
    assert lost(0, *range(2, 40)) == 1


def test_a_number_that_comes_too_late_for_a_place_is_not_lost_either() -> None:
    runs, gone = settle(b"", [kept(0.0, 0), kept(1.0, 2)])
    assert (gone, close_runs(runs)[1], close_runs(filled(runs, kept(0.5, 1)[:4]))[1]) == (0, 1, 0)


def test_a_number_that_comes_late_is_not_lost() -> None:
    # As dash.js sends: sorted by time, 5 stands before 4.
    assert lost(0, 1, 2, 3, 5, 4, 7, 8, 6, 9) == 0


def test_a_smaller_number_with_a_newer_time_begins_another_run() -> None:
    assert lost(0, 1, 2, 0, 1, 2) == 0
    assert lost(0, 1, 3, 0, 1) == 1
    assert lost(0, 0, 0) == 0


def test_each_target_counts_for_itself() -> None:
    runs, gone = settle(b"", [kept(1.0, 7, 1), kept(1.0, 0, 2), kept(2.0, 8, 1), kept(2.0, 1, 2)])
    assert gone + close_runs(runs)[1] == 0


@pytest.mark.reaches("REPORT_TARGETS_MAX")
def test_of_too_many_targets_the_longest_silent_one_is_forgotten() -> None:
    most = limits.REPORT_TARGETS_MAX
    runs, _ = settle(b"", [kept(float(target), 5, target) for target in range(most + 1)])
    assert not was_settled(runs, kept(9.0, 5, 0)[:4])
    assert all(was_settled(runs, kept(9.0, 5, target)[:4]) for target in range(1, most + 1))


def test_what_was_settled_is_told_by_its_number() -> None:
    runs, _ = settle(b"", [kept(0.0, 0), kept(1.0, 2)])
    assert [was_settled(runs, kept(0.0, number)[:4]) for number in (0, 1, 2, 3)] == [True, False, True, False]
    assert not was_settled(runs, kept(0.0)[:4])


def test_what_is_missing_when_a_session_is_over_is_lost() -> None:
    reporter, gone = closed(Reporter(records=b"".join(RECORD.pack(*kept(float(at), at)) for at in (0, 1, 4))))
    assert (gone, reporter.lost, reporter.records) == (2, 2, b"")


def beats(*ats: float) -> Reporter:
    reporter = Reporter()
    for at in ats:
        reporter = beaten(reporter, at)
    return reporter


@pytest.mark.reaches("REPORT_RHYTHM_S")
def test_until_two_distances_are_known_a_player_speaks_as_often_as_nobody_told_it_to() -> None:
    assert limits.REPORT_RHYTHM_S == 30
    assert [rhythm_s(beats(*ats)) for ats in ((), (1.0,), (1.0, 11.0), (1.0, 11.0, 21.0))] == [30, 30, 30, 10]
    assert rhythm_s(beats(1.0, 301.0)) == 300


@pytest.mark.reaches("REPORT_DISTANCES_MAX")
def test_the_rhythm_is_the_longest_of_the_last_distances() -> None:
    most = limits.REPORT_DISTANCES_MAX
    at, ats = 400.0, [100.0, 400.0]
    for _ in range(most - 1):
        at += 60.0
        ats.append(at)
    assert rhythm_s(beats(*ats)) == 300
    assert rhythm_s(beats(*ats, at + 60)) == 60


@pytest.mark.reaches("REPORT_EXPIRY_S_MIN", "REPORT_EXPIRY_S_MAX")
def test_it_may_be_silent_for_three_times_its_rhythm_within_bounds() -> None:
    assert (limits.REPORT_EXPIRY_S_MIN, limits.REPORT_EXPIRY_S_MAX) == (90, 900)
    assert [expiry_s(beats(1.0, 1.0 + distance, 1.0 + 2 * distance)) for distance in (10, 30, 31, 300, 301)] == [90, 90, 93, 900, 900]
    assert expiry_s(Reporter(distance_s=200)) == 600


def test_the_last_known_value_is_that_of_the_newest_report_that_says_it() -> None:
    said = with_said((), 2.0, [(1, 5.0)])
    said = with_said(said, 9.0, [(0, 1.0)])
    said = with_said(said, 3.0, [(1, 6.0)])
    assert said[:2] == ((9.0, 1.0), (3.0, 6.0))
    assert with_said(said, 1.0, [(1, 7.0)]) == said
