"""What a scrape says, read back by Prometheus' own parsers."""

import pytest
from prometheus_client import parser as text_parser
from prometheus_client.exposition import generate_latest as text
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.openmetrics.exposition import ALLOWUTF8
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics_text
from prometheus_client.registry import Collector

from metrics.catalog import CATALOG, PREFIX, STATES, Kind
from metrics.collector import render
from metrics.reports import ReplicaReport, ShardReport, SlotReport
from metrics.totals import Totals
from sessions.changes import Audience, Increments, Ledger
from sessions.histograms import observe


class Again(Collector):
    """What was read, to be written once more."""

    def __init__(self, families: list[Family]) -> None:
        self._families = families

    def collect(self) -> list[Family]:
        return self._families


AWKWARD = ('say "hi"', "two\nlines", "back\\slash", "\\n", "tab\t{}=,", "😀" * 10, "x" * 300, "", "naïve ünïcode", '{stream_id="a"}')


def said(audience: Audience, **changes: object) -> Totals:
    totals = Totals(now=0.0)
    totals.add_shard(report(audience)._replace(**changes), now=1.0)
    totals.tick(now=1.0)
    return totals


def report(audience: Audience, *, increments: Increments | None = None) -> ShardReport:
    ledger = Ledger(started=5, expired=1, ended={"error": 2})
    slot = SlotReport(slot=0, epoch=1, full=True, audience=audience, ledger=ledger, batch=1, increments=increments or {})
    return ShardReport("shard-0", "life", 1, {0: 1}, [slot], 9, 2, 4, True, 3, 1, {}, 2.5)


def read(totals: Totals, *, openmetrics: bool, now: float = 1.5) -> dict[str, Family]:
    parse = openmetrics_parser.text_string_to_metric_families if openmetrics else text_parser.text_string_to_metric_families
    return {family.name: family for family in parse(render(totals, openmetrics=openmetrics, now=now).decode())}


def values(family: Family) -> dict[tuple[str, ...], float]:
    return {tuple(sample.labels.values()): sample.value for sample in family.samples}


@pytest.mark.parametrize("openmetrics", [False, True])
def test_every_metric_is_in_the_first_scrape_with_its_type_and_help(openmetrics: bool) -> None:
    families = read(Totals(now=0.0), openmetrics=openmetrics)
    for metric in CATALOG:
        family = families[PREFIX + metric.name]
        assert family.type == metric.kind.value
        assert family.documentation == metric.help
        if openmetrics:
            assert family.unit == metric.unit
    assert len(families) == len(CATALOG)


def test_what_can_be_zero_is_zero_from_the_first_scrape() -> None:
    families = read(Totals(now=0.0), openmetrics=False)
    without = {"shard", "endpoint", "stream_id", "field"}
    for metric in CATALOG:
        if not without & set(metric.labels):
            assert families[PREFIX + metric.name].samples, metric.name
    assert values(families["headcount_sessions"]) == {(state,): 0 for state in STATES}
    assert values(families["headcount_journal_up"]) == {(): 0}
    assert values(families["headcount_snapshot_age_seconds"]) == {(): 1.5}
    assert values(families["headcount_sessions_ended"])[("inactivity",)] == 0


@pytest.mark.parametrize("openmetrics", [False, True])
def test_awkward_label_values_come_back_as_they_went_in(openmetrics: bool) -> None:
    totals = said({("stream", value, "playing"): number for number, value in enumerate(AWKWARD, start=1)})
    family = read(totals, openmetrics=openmetrics)["headcount_stream_sessions"]
    shown = {sample.labels["stream_id"]: sample.value for sample in family.samples if sample.labels["state"] == "playing"}
    assert shown.pop("other") == 0
    assert shown == {value[:128] or "unknown": number for number, value in enumerate(AWKWARD, start=1)}


@pytest.mark.parametrize("openmetrics", [False, True])
def test_each_byte_is_what_prometheus_own_library_would_write(openmetrics: bool) -> None:
    """Whole numbers, fractions, some so great and so small that they have an exponent; every label that can be misspelled."""
    increments: Increments = {("heartbeats",): 12_345_678, ("playing", AWKWARD[2]): 0.1 + 0.2, ("paused", AWKWARD[1]): 1e-7}
    increments |= {("played_bytes", AWKWARD[0]): 1.5e17}
    observe(increments, "clock_skew", 0.3)
    totals = Totals(now=0.0)
    totals.add_shard(report({("stream", value, "paused"): 1 for value in AWKWARD}, increments=increments), now=1.0)
    body = render(totals, openmetrics=openmetrics, now=1.5)
    parse = openmetrics_parser.text_string_to_metric_families if openmetrics else text_parser.text_string_to_metric_families
    again = Again(list(parse(body.decode())))
    theirs = openmetrics_text(again, escaping=ALLOWUTF8) if openmetrics else text(again, escaping=ALLOWUTF8)
    assert body.decode().splitlines() == theirs.decode().splitlines()
    assert body == theirs


@pytest.mark.parametrize("openmetrics", [False, True])
def test_the_numbers_of_a_report_are_those_of_the_scrape(openmetrics: bool) -> None:
    increments: Increments = {("heartbeats",): 7, ("events", "share"): 2}
    observe(increments, "clock_skew", 0.3)
    observe(increments, "clock_skew", 1e6)
    totals = Totals(now=0.0)
    audience: Audience = {("state", "playing"): 3, ("stream", "s", "playing"): 3, ("channel", "c"): 3}
    first = report(audience, increments=increments)
    totals.add_shard(first._replace(increments={("commit_seconds", "le", "2"): 4, ("commit_seconds", "sum"): 0.02}), now=1.0)
    totals.add_replica(ReplicaReport("r", 1, {("rejected", "start", "bad_json"): 1}), now=1.0)
    totals.tick(now=1.0)
    families = read(totals, openmetrics=openmetrics)
    assert values(families["headcount_sessions"])[("playing",)] == 3
    assert values(families["headcount_stream_sessions_peak"]) == {("s",): 3, ("other",): 0}
    assert values(families["headcount_channel_sessions"]) == {("c",): 3, ("other",): 0}
    assert values(families["headcount_sessions_started"]) == {(): 5}
    assert values(families["headcount_sessions_ended"])[("error",)] == 2
    assert values(families["headcount_heartbeats"]) == {(): 7}
    assert values(families["headcount_events"])[("share",)] == 2
    assert values(families["headcount_rejected"]) == {("start", "bad_json"): 1}
    assert values(families["headcount_shard_sessions"]) == {("shard-0",): 9}
    assert values(families["headcount_shard_restarts"]) == {("shard-0",): 2}
    assert values(families["headcount_shard_heartbeat_stretch"]) == {("shard-0",): 2.5}
    assert values(families["headcount_shard_pending_calls"]) == {("shard-0",): 4}
    assert values(families["headcount_journal_up"]) == {(): 1}
    assert values(families["headcount_journal_unwritten_sessions"]) == {(): 3}
    assert values(families["headcount_snapshot_age_seconds"]) == {(): 0.5}
    skew = {
        sample.name.removeprefix("headcount_clock_skew_seconds") + sample.labels.get("le", ""): sample.value
        for sample in families["headcount_clock_skew_seconds"].samples
    }
    assert (skew["_bucket0.1"], skew["_bucket0.5"], skew["_bucket86400.0"], skew["_bucket+Inf"]) == (0, 1, 1, 2)
    assert (skew["_count"], skew["_sum"]) == (2, pytest.approx(1e6 + 0.3))
    commits = [sample for sample in families["headcount_shard_commit_seconds"].samples if sample.name.endswith("_count")]
    assert [(sample.labels, sample.value) for sample in commits] == [({"shard": "shard-0"}, 4)]


def test_the_journal_is_up_only_if_every_shard_says_so() -> None:
    totals = said({})
    totals.add_shard(report({})._replace(shard="shard-1", journal_up=False), now=1.0)
    assert values(read(totals, openmetrics=False)["headcount_journal_up"]) == {(): 0}


def test_counters_end_in_total_and_gauges_do_not() -> None:
    body = render(Totals(now=0.0), openmetrics=False, now=1.0).decode()
    for metric in CATALOG:
        suffix = "_total" if metric.kind is Kind.COUNTER else ""
        assert f"# TYPE {PREFIX}{metric.name}{suffix} {metric.kind}\n" in body


@pytest.mark.parametrize("openmetrics", [False, True])
def test_a_thousand_streams_and_other_are_shown_of_more(openmetrics: bool) -> None:
    totals = said({("stream", f"stream-{number}", state): number + 1 for number in range(1_500) for state in STATES})
    body = render(totals, openmetrics=openmetrics, now=1.0)
    assert body.count(b"headcount_stream_sessions{") == 8 * 1_001
