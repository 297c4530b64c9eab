"""Buckets and observations."""

import pytest

from sessions.changes import Increments
from sessions.histograms import BOUNDS, bucket, observe


@pytest.mark.parametrize("name", BOUNDS)
def test_bounds_ascend_without_repeats(name: str) -> None:
    assert list(BOUNDS[name]) == sorted(set(BOUNDS[name]))


def test_a_bound_belongs_to_its_own_bucket_and_what_is_above_all_to_the_last() -> None:
    assert bucket("clock_skew", 0.0) == "0"
    assert bucket("clock_skew", 0.1) == "0"
    assert bucket("clock_skew", 0.1001) == "1"
    assert bucket("clock_skew", 1e12) == str(len(BOUNDS["clock_skew"]))


def test_an_observation_adds_one_to_one_bucket_and_its_value_to_the_sum() -> None:
    increments: Increments = {}
    observe(increments, "ingest_seconds", 0.25, "start")
    observe(increments, "ingest_seconds", 0.75, "start")
    assert increments == {
        ("ingest_seconds", "le", "7", "start"): 1,
        ("ingest_seconds", "le", "9", "start"): 1,
        ("ingest_seconds", "sum", "start"): 1.0,
    }


def test_a_batch_of_a_thousand_has_a_bucket_below_infinity() -> None:
    assert BOUNDS["batch_events"] == (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)
