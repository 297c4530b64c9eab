"""Every metric, once; every key, in its place."""

import re

import pytest

from metrics.catalog import AUDIENCE, CATALOG, DIMENSIONS, INCREMENTS, LEDGER, Kind, Metric, check_amount, labels_of, shows, takes
from sessions.changes import Key, Ledger, Policy
from sessions.errors import InvariantError
from sessions.events import BEACON_TYPES, EVENT_TYPES, Beacon, Happening, Happenings, Heartbeat, Report, Reports, Start
from sessions.histograms import BOUNDS
from sessions.tracker import Tracker


def test_every_name_is_declared_once() -> None:
    names = [metric.name for metric in CATALOG]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("metric", CATALOG, ids=lambda metric: metric.name)
def test_every_metric_has_a_plain_name_a_help_and_its_unit_in_the_name(metric: Metric) -> None:
    assert re.fullmatch("[a-z][a-z_]*[a-z]", metric.name)
    assert not metric.name.endswith("_total")
    assert metric.help.endswith(".")
    assert metric.name.endswith(metric.unit)
    assert all(re.fullmatch("[a-z][a-z_]*", label) for label in metric.labels)
    assert not {"session_id", "user_id", "device_id", "le"} & set(metric.labels)


def test_no_two_metrics_feed_on_the_same_key() -> None:
    sources = [
        (kind, getattr(metric, kind)) for metric in CATALOG for kind in ("audience", "increments", "ledger") if getattr(metric, kind)
    ]
    assert len(sources) == len(set(sources))
    assert len(sources) == len(AUDIENCE) + len(INCREMENTS) + len(LEDGER)


def test_every_field_of_the_ledger_but_the_active_count_has_its_counter() -> None:
    assert set(LEDGER) == set(Ledger.__slots__) - {"active"}


def test_every_histogram_has_bounds() -> None:
    assert {metric.increments for metric in CATALOG if metric.kind is Kind.HISTOGRAM} <= set(BOUNDS)


def test_every_dimension_has_its_gauge() -> None:
    assert set(AUDIENCE) == {"state", *DIMENSIONS}


@pytest.mark.parametrize(
    ("key", "name", "values"),
    [
        (("heartbeats",), "heartbeats", ()),
        (("duplicates",), "duplicates", ()),
        (("late_events",), "late_events", ()),
        *[(("events", each), "events", (each,)) for each in EVENT_TYPES],
        *[(("beacons", each), "beacons", (each,)) for each in BEACON_TYPES],
        (("rejected", "start", "bad_json"), "rejected", ("start", "bad_json")),
        (("clock_skew", "le", "0"), "clock_skew_seconds", ()),
        (("clock_skew", "le", str(len(BOUNDS["clock_skew"]))), "clock_skew_seconds", ()),
        (("clock_skew", "sum"), "clock_skew_seconds", ()),
        (("ingest_seconds", "le", "4", "start"), "ingest_seconds", ("start",)),
        (("ingest_seconds", "sum", "start"), "ingest_seconds", ("start",)),
        (("batch_events", "le", "3"), "shard_batch_events", ()),
        (("commit_seconds", "sum"), "shard_commit_seconds", ()),
    ],
)
def test_a_key_leads_to_its_metric_and_labels(key: Key, name: str, values: Key) -> None:
    metric, found = labels_of(key)
    assert (metric.name, found) == (name, values)


@pytest.mark.parametrize(
    "key",
    [
        (),
        ("nonsense",),
        ("heartbeats", "x"),
        ("events",),
        ("events", "nonsense"),
        ("rejected", "start"),
        ("clock_skew",),
        ("clock_skew", "le"),
        ("clock_skew", "le", "12"),
        ("clock_skew", "le", "-1"),
        ("clock_skew", "le", "0.1"),
        ("clock_skew", "count"),
        ("ingest_seconds", "le", "4"),
        ("ingest_seconds", "sum"),
        ("batch_events", "le", "3", "shard-0"),
    ],
)
def test_a_key_that_no_metric_takes_is_a_broken_invariant(key: Key) -> None:
    assert not takes(key)
    with pytest.raises(InvariantError):
        labels_of(key)


@pytest.mark.parametrize(
    "key",
    [(), ("state",), ("state", "nonsense"), ("stream", "s"), ("stream", "s", "nonsense"), ("nonsense", "x"), ("channel", "x", "playing")],
)
def test_an_audience_key_that_no_gauge_knows_is_not_shown(key: Key) -> None:
    assert not shows(key)


def test_everything_that_a_tracker_counts_has_its_metric() -> None:
    tracker = Tracker(0, policy=Policy())
    tracker.receive(Start("s", 0.0, "live", "c", "k", "p", "web", "US", "wifi", "auto"), now=0.0)
    tracker.receive(Heartbeat("s", 80.0, "playing"), now=80.0)
    tracker.receive(Heartbeat("s", 80.0, "playing"), now=80.0)
    happenings = tuple(Happening(type_, type_, 80.0) for type_ in EVENT_TYPES)
    tracker.receive(Happenings("s", None, None, (Happening("old", "share", 1.0), *happenings)), now=81.0)
    tracker.receive(Heartbeat("s", 500.0, "playing"), now=82.0)
    for type_ in BEACON_TYPES:
        tracker.receive(Beacon("\0z\0v\0u", type_, "v", "z"), now=83.0)
    for number, at in ((0, 84.0), (2, 85.0), (30, 200.0), (31, 300.0)):
        media = Report(at, "t", number=number, has_media=True)
        tracker.receive(Reports("cmcd:\0s", 1, (media,), player="shaka-player"), now=at)
    increments = tracker.take_changes().increments
    assert {key[0] for key in increments} >= {
        "heartbeats",
        "duplicates",
        "wild_timestamps",
        "late_events",
        "events",
        "beacons",
        "clock_skew",
        "cmcd_reports",
        "cmcd_lost_reports",
    }
    for key, amount in increments.items():
        assert takes(key)
        check_amount(key, amount)
    assert {key[0] for key in tracker.audience} == set(AUDIENCE)
    for key in tracker.audience:
        assert shows(key)
