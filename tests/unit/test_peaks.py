"""The greatest audience: of the last minute, and of all time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics import peaks as module
from metrics.peaks import PEAK_WINDOW_S, Peak, Peaks


def test_a_peak_stands_for_sixty_seconds_after_the_total_fell() -> None:
    """1 s: 5 watch · 2 s: 2 watch · 60 s: the 5 stood until 1, and 60 - 1 < 60: still 5 · 61 s: gone, the greatest since is 2."""
    peaks = Peaks()
    peaks.sample([("s", 5)], now=1.0)
    peaks.sample([("s", 2)], now=2.0)
    peaks.sample([], now=60.0)
    assert peaks.recent("s") == 5
    peaks.sample([], now=61.0)
    assert peaks.recent("s") == 2


def test_the_all_time_peak_keeps_the_time_when_it_was_first_reached() -> None:
    """0 s: 3 · 1 s: 7 · 2 s: 4 · 3 s: 7 again · 4 s: nobody. The greatest is 7, first at 1 s."""
    peaks = Peaks()
    for now, total in enumerate((3, 7, 4, 7, 0)):
        peaks.sample([("s", total)], now=float(now))
    assert peaks.all_time("s") == Peak(7, 1.0)
    assert peaks.all_time("never") is None


@given(st.lists(st.tuples(st.integers(1, 40), st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 9)))), max_size=60))
def test_recent_peak_is_the_greatest_sample_of_the_window(seconds: list[tuple[int, list[tuple[str, int]]]]) -> None:
    peaks = Peaks()
    naive: list[tuple[float, dict[str, int]]] = []
    standing = {"a": 0, "b": 0}
    now = 0.0
    for pause, changes in seconds:
        # Totals that stood over the pause were sampled each second of it.
        for _ in range(pause - 1):
            now += 1.0
            naive.append((now, dict(standing)))
            peaks.sample([], now=now)
        now += 1.0
        standing.update(dict(changes))
        naive.append((now, dict(standing)))
        peaks.sample(list(dict(changes).items()), now=now)
        for name in standing:
            assert peaks.recent(name) == max(totals[name] for at, totals in naive if at > now - PEAK_WINDOW_S)
            peak = peaks.all_time(name)
            assert (peak.sessions if peak else 0) == max(totals[name] for _, totals in naive)


def test_remembered_peaks_are_bounded_and_the_watched_ones_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PEAKS_MAX", 10)
    peaks = Peaks()
    peaks.sample([("watched", 1)], now=0.0)
    for number in range(50):
        peaks.sample([(f"s{number}", number + 1)], now=1.0 + number * 100)
        peaks.sample([(f"s{number}", 0)], now=2.0 + number * 100)
        peaks.sample([], now=90.0 + number * 100)
    assert sum(peaks.all_time(f"s{number}") is not None for number in range(50)) <= 9
    assert peaks.all_time("watched") == Peak(1, 0.0)
    assert peaks.all_time("s49") == Peak(50, 4901.0)
