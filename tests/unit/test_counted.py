"""Increments become series; labels that players choose stay bounded."""

import pytest

from metrics import catalog, counted
from metrics.catalog import Kind, Metric
from metrics.counted import Counted
from metrics.labels import HOLD_S, OTHER, Labels
from sessions.errors import InvariantError

PLAYED = Metric(
    name="playing_seconds", kind=Kind.COUNTER, help="A row of the next issue.", labels=("stream_id",), unit="seconds", increments="playing"
)
STALLS = Metric(name="rebuffers", kind=Kind.COUNTER, help="Another.", labels=("stream_id", "cause"), increments="rebuffers")


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> Labels:
    for table in (catalog.INCREMENTS, counted.INCREMENTS):
        monkeypatch.setitem(table, "playing", PLAYED)
        monkeypatch.setitem(table, "rebuffers", STALLS)
    streams = Labels(most=1)
    streams.add("big", 5)
    streams.add("small", 1)
    streams.refresh(now=0.0)
    return streams


def test_a_row_by_stream_needs_nothing_but_its_row(streams: Labels) -> None:
    sums = Counted({"stream": streams})
    for stream, seconds in (("big", 1.5), ("small", 2.0), ("unheard of", 3.0), ("big", 1.0)):
        sums.add(("playing", stream), seconds, now=1.0)
    sums.add(("rebuffers", "small", "seek"), 1, now=1.0)
    assert sums.counters(PLAYED) == {("big",): 2.5, (OTHER,): 5.0}
    assert sums.counters(STALLS) == {(OTHER, "seek"): 1, (OTHER, "connection"): 0}


def test_other_does_not_jump_when_a_label_loses_its_place_and_the_label_begins_anew(streams: Labels) -> None:
    sums = Counted({"stream": streams})
    sums.add(("playing", "big"), 100.0, now=1.0)
    sums.add(("playing", "small"), 1.0, now=1.0)
    streams.add("big", -5)
    streams.refresh(now=1.0)
    lost = streams.refresh(now=2.0 + HOLD_S)
    assert lost == ["big"]
    sums.forget("stream", set(lost))
    sums.add(("playing", "big"), 1.0, now=1.0)
    sums.add(("playing", "small"), 1.0, now=1.0)
    assert sums.counters(PLAYED) == {(OTHER,): 2.0, ("small",): 1.0}


def test_a_shards_own_increments_carry_its_name() -> None:
    sums = Counted({})
    sums.add(("batch_events", "le", "1"), 1, shard="shard-3", now=1.0)
    ((labels, buckets, total),) = sums.histograms(catalog.INCREMENTS["batch_events"])
    assert labels == ("shard-3",)
    assert (buckets[:3], sum(buckets), total) == ([0, 1, 0], 1, 0)


def test_an_increment_without_a_metric_is_a_broken_invariant() -> None:
    with pytest.raises(InvariantError):
        Counted({}).add(("nonsense",), 1, now=1.0)
