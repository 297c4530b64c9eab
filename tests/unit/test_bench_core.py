"""The core's benchmark measures what it says, on a handful of sessions (bench/core.py)."""

from pathlib import Path

import pytest

from bench import core


@pytest.fixture(scope="module")
def measured() -> core.Result:
    return core.measure(200, beats_min=400)


def test_it_measures_every_figure_that_has_a_target(measured: core.Result) -> None:
    assert all(measured[name] > 0 for name in core.TARGETS if name != "bytes_per_session")
    assert measured["bytes_per_session"] >= 0  # a handful may fit into what the process had already
    assert set(measured["ns"]) == {"receive", "take changes", "encode"}
    assert measured["expiry_sessions"] == 200


def test_the_beats_it_applies_are_new_ones_in_the_order_of_time() -> None:
    tracker = core.Tracker(0, policy=core.Policy())
    core.fill(tracker, 50)
    core.beat_all(tracker, 50, beats=100, first=2)
    increments = {key[0] for key in tracker.take_changes().increments}
    assert not increments & {"duplicates", "late_events", "wild_timestamps"}
    session = tracker.sessions["sess_live_000000007"]
    # From its first frame to its stall, and from its end to the last beat: 1.5-17.5 and 25.5-120.
    assert session.settled().playing_s == pytest.approx(16 + 94.5)
    tracker.validate()


def test_its_result_becomes_a_table_plots_and_headlines(measured: core.Result, tmp_path: Path) -> None:
    result = {"sizes": [measured, {**measured, "sessions": 2_000}]}
    assert core.table(result).count("\n| 2") == 2
    assert all(file.read_text().startswith("<?xml") for file in core.draw(result, tmp_path))
    assert len(core.headlines(result)) == 3
