"""
Two minutes of `headcount demo` under a real Prometheus that scrapes every second: every number is that of the demo's own books.

The books are a second computation, from what the players sent (`serve_app/demo/books.py`, `reckoning.py`); here they come as the file that
`--books` writes. All of this waits for one play, most of three minutes of it asleep.
"""

import json
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import pytest

from metrics.catalog import INCREMENTS, PREFIX, Kind
from serve_app.demo.said import Span
from serve_app.demo.verdict import QUALITY
from sessions.changes import Key
from sessions.histograms import BOUNDS
from tests import queries
from tests.integration.installation import Installation
from tests.integration.prometheus import Prometheus, Samples, scraping

VIEWERS, SECONDS, SEED = 300, 120, 11
SETTINGS = {"HEARTBEAT_INTERVAL_S": "5", "SHARDS": "2", "REPLICAS": "2"}
"""Everybody has expired 15 s after the last sign of life."""
FRESH_S = 2.0
SAMPLED_S = 3.0
"""Whoever is there for so long is in a sample: they are a second apart, and two seconds old at most."""
WINDOW = "900s"
"""More than all of it took."""
SUMS = ("playing", "rebuffering", "seek_rebuffering", "paused", "ad", "played_bytes", "bitrate")
"""Of seconds; the others are counts."""

Change = tuple[float, int]
"""When, and by how many."""


@dataclass
class Played:
    """What Prometheus has, and what it must have."""

    server: Prometheus
    streams: list[str]
    quality: dict[Key, Span]
    observed: dict[str, dict[str, list[float]]]
    """Every startup and every latency, in order, by stream."""
    peaks: dict[str, int]
    """What `/v1/concurrency` says of each stream, and of all ("")."""
    course: list[tuple[float, str, int, int]]
    ended_at: float
    """When the last of them had expired."""

    def of(self, name: str, stream: str, *labels: str) -> float:
        span = self.quality.get((name, stream, *labels), Span())
        return (span.low + span.high) / 2

    def quotient(self, stream: str, above: dict[str, float], below: tuple[str, ...]) -> float | None:
        """Return weighted sums of the books, divided; None: nothing to divide by."""
        divisor = sum(self.of(name, stream) for name in below)
        return sum(weight * self.of(name, stream) for name, weight in above.items()) / divisor if divisor else None


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Played]:
    folder = tmp_path_factory.mktemp("quality")
    tracker = Installation(folder / "tracker", settings=SETTINGS)
    books = folder / "books.json"
    try:
        tracker.start()
        with scraping(tracker, folder / "prometheus", every_s=1) as server:
            arguments = ("--viewers", str(VIEWERS), "--seconds", str(SECONDS), "--seed", str(SEED), "--books", str(books))
            demo = tracker.run("demo", *arguments, within_s=400)
            assert demo.returncode == 0, demo.stdout + demo.stderr
            server.await_scrape()
            told: dict[str, Any] = json.loads(books.read_text())
            quality = {tuple(key): Span(low, high) for key, low, high in told["quality"]}
            course = [tuple(step) for step in told["course"]]
            observed = {"startup": told["startups_s"], "live_latency": told["latencies_s"]}
            asked = {stream: f"?stream_id={stream}" if stream else "" for stream in ("", *told["streams"])}
            peaks = {stream: tracker.get(f"/v1/concurrency{query}").json()["peak"]["sessions"] for stream, query in asked.items()}
            yield Played(server, told["streams"], quality, observed, peaks, course, time.time())
    finally:
        tracker.clean_up()


def test_every_formula_of_every_stream_is_what_was_played(played: Played) -> None:
    """Counts exactly, seconds and bytes within 1 %."""
    compared = 0
    for name in QUALITY:
        metric = INCREMENTS[name]
        if metric.labels[:1] != ("stream_id",) or metric.kind is not Kind.COUNTER:
            continue
        for stream in (*played.streams, "other"):
            for rest in [(value,) for value in metric.values] or [()]:
                labels = dict(zip(metric.labels, (stream, *rest), strict=True))
                selected = ",".join(f"{label}={json.dumps(value)}" for label, value in labels.items())
                span = played.quality.get((name, "unknown" if stream == "other" else stream, *rest), Span())
                value = played.server.value(f"{PREFIX}{metric.name}_total{{{selected}}}")
                assert agrees(value, span, is_sum=name in SUMS), (name, labels, value, span)
                compared += 1
    assert compared == (len(SUMS) + 7 + 2 * 2) * (len(played.streams) + 1)


def test_every_histogram_saw_what_was_played(played: Played) -> None:
    """Those over all streams, and those of each."""
    for name in ("startup", "live_latency", "session", "experience_score", "player_watch_difference"):
        for ending in ("count", "sum"):
            span = played.quality[name, ending]
            value = played.server.value(f"{PREFIX}{INCREMENTS[name].name}_{ending}")
            assert agrees(value, span, is_sum=ending == "sum"), (name, ending, value, span)
    for name in ("stream_startup", "stream_live_latency", "stream_experience_score"):
        for ending in ("count", "sum"):
            found = played.server.query(f"{PREFIX}{INCREMENTS[name].name}_{ending}")
            values = {labels["stream_id"]: value for labels, value in found}
            for stream in (*played.streams, "other"):
                span = played.quality.get((name, "unknown" if stream == "other" else stream, ending), Span())
                assert agrees(values[stream], span, is_sum=ending == "sum"), (name, stream, ending, values[stream], span)


def agrees(value: float, span: Span, *, is_sum: bool) -> bool:
    return value == pytest.approx((span.low + span.high) / 2, rel=0.01, abs=1e-6) if is_sum else span.low == value == span.high


def test_nothing_of_it_was_zero(played: Played) -> None:
    """Somebody suffered each of the things that are counted, on two streams at least."""
    lived = [key for key, span in played.quality.items() if span.low > 0]
    for name in QUALITY:
        assert len({key[1] for key in lived if key[0] == name}) >= 2, name
    for name, values in (("rebuffers", {"connection", "seek"}), ("stream_errors", {"true", "false"})):
        assert {key[2] for key in lived if key[0] == name} == values


RULES: dict[str, tuple[dict[str, float], tuple[str, ...]]] = {
    "rebuffering_ratio:rate1m": ({"rebuffering": 1}, ("playing", "rebuffering")),
    "connection_induced_rebuffering_ratio:rate1m": ({"rebuffering": 1, "seek_rebuffering": -1}, ("playing", "rebuffering")),
    "average_bitrate_bits_per_second:rate1m": ({"played_bytes": 8}, ("bitrate",)),
    "start_failure_ratio:increase5m": ({"start_failures": 1}, ("plays", "start_failures", "exits_before_start")),
    "exit_before_start_ratio:increase5m": ({"exits_before_start": 1}, ("plays", "start_failures", "exits_before_start")),
    "playback_failures_per_watch_hour:rate5m": ({"playback_failures": 3_600}, ("playing", "rebuffering")),
}
"""What the recorded series of a stream is in the books: weighted sums, divided by a sum."""


@pytest.mark.parametrize("rule", RULES)
def test_the_recorded_formula_over_the_whole_play_is_that_of_the_books(played: Played, rule: str) -> None:
    """Over its own window it is the same expression; the books know no windows."""
    found = played.server.query(queries.inlined(f"job_stream_id:headcount_{rule}", window=WINDOW))
    values = {labels["stream_id"]: value for labels, value in found}
    expected = {stream: played.quotient(stream, *RULES[rule]) for stream in played.streams}
    assert any(expected.values())
    for stream in played.streams:
        assert values.get(stream) == pytest.approx(expected[stream], rel=0.01, abs=1e-9), stream


def test_the_recorded_score_of_each_stream_is_the_average_of_the_books(played: Played) -> None:
    found = played.server.query(queries.inlined("job_stream_id:headcount_experience_score:avg5m", window=WINDOW))
    scores = {labels["stream_id"]: value for labels, value in found}
    for stream in played.streams:
        total, count = played.of("stream_experience_score", stream, "sum"), played.of("stream_experience_score", stream, "count")
        assert scores[stream] == pytest.approx(total / count, rel=0.01)


def test_the_recorded_score_is_the_average_of_the_books(played: Played) -> None:
    score = played.server.value(queries.inlined("job:headcount_experience_score:avg5m", window=WINDOW))
    total, count = played.quality["experience_score", "sum"], played.quality["experience_score", "count"]
    assert score == pytest.approx((total.low + total.high) / 2 / count.low, rel=0.01)


PERCENTILES = pytest.mark.parametrize(
    ("name", "share"), [("startup", 0.5), ("startup", 0.95), ("live_latency", 0.5), ("live_latency", 0.95)]
)


@PERCENTILES
def test_the_recorded_percentile_lies_in_the_bucket_of_the_true_one(played: Played, name: str, share: float) -> None:
    found = played.server.value(queries.inlined(f"job:{PREFIX}{INCREMENTS[name].name}:p{share * 100:.0f}_5m", window=WINDOW))
    values = sorted(value for those in played.observed[name].values() for value in those)
    assert is_near(found, values, share, (0.0, *BOUNDS[name]))


@PERCENTILES
def test_the_recorded_percentile_of_each_stream_lies_in_the_bucket_of_its_true_one(played: Played, name: str, share: float) -> None:
    rule = f"job_stream_id:{PREFIX}{INCREMENTS[name].name}:p{share * 100:.0f}_5m"
    found = {labels["stream_id"]: value for labels, value in played.server.query(queries.inlined(rule, window=WINDOW))}
    for stream in played.streams:
        values = played.observed[name][stream]
        assert len(values) == played.of(f"stream_{name}", stream, "count") > 0
        assert is_near(found[stream], values, share, (0.0, *BOUNDS[f"stream_{name}"])), stream


def is_near(found: float, values: list[float], share: float, bounds: tuple[float, ...]) -> bool:
    """Tell whether a percentile is in the bucket of the true one. A pixel's startup is known to some milliseconds: one rank to either side."""
    rank = share * len(values)
    low, high = values[max(0, int(rank) - 2)], values[min(len(values) - 1, int(rank) + 1)]
    # What lies in no bucket is answered by the last bound.
    return bounds[bisect_left(bounds, low) - 1] <= found <= bounds[min(bisect_left(bounds, high), len(bounds) - 1)]


def test_the_peak_of_each_stream_is_that_of_the_books(played: Played) -> None:
    """The greatest number that stood for long enough to be sampled was; and no greater one was seen than there can have been."""
    found = played.server.query(f"max_over_time(headcount_stream_sessions_peak[{WINDOW}])")
    peaks = {labels["stream_id"]: value for labels, value in found}
    for stream in ("", *played.streams):
        steps = sorted(step for step in played.course if stream in {"", step[1]})
        times = [step[0] for step in steps]
        lows, highs = ([*accumulate(step[place] for step in steps)] for place in (2, 3))
        stood = max(min(lows[first : bisect_right(times, at + SAMPLED_S)]) for first, at in enumerate(times))
        came = [0, *accumulate(max(0, step[3]) for step in steps)]
        seen = max(high + came[number] - came[bisect_left(times, times[number] - FRESH_S)] for number, high in enumerate(highs))
        assert 0 < stood <= played.peaks[stream] <= seen, stream
        assert not stream or peaks[stream] == played.peaks[stream]


@pytest.mark.parametrize("name", ["audience", "quality", "tracker"])
def test_every_panel_and_variable_of_a_dashboard_had_data_while_it_played(played: Played, name: str) -> None:
    board = queries.boards()[name]
    now = played.ended_at
    window = {"start": str(now - SECONDS), "end": str(now), "step": "5"}
    for title, query in queries.expressions(board).items():
        told = played.server.ask("query_range", query=query, **window)["result"]
        # What shows only that something is wrong is empty while nothing is.
        assert told or query.endswith("> 0"), title
    for metric, label in queries.variables(board).values():
        assert played.server.ask(f"label/{label}/values", **{"match[]": metric})


def test_at_every_scrape_the_number_of_sessions_was_that_of_the_books(played: Played) -> None:
    """In all, and on each stream: every session as it was at an instant of the two seconds before the scrape, or while it was answered."""
    took = {at: value for _, samples in played.server.scraped("scrape_duration_seconds", over_s=900) for at, value in samples.items()}
    shown: dict[str, dict[float, float]] = {stream: {} for stream in ("", *played.streams)}
    for selector in ("headcount_sessions", "headcount_stream_sessions"):
        for labels, samples in played.server.scraped(selector, over_s=900):
            seen = shown.get(labels.get("stream_id", ""), {})
            for at, value in samples.items():
                seen[at] = seen.get(at, 0) + value
    assert len(shown[""]) >= SECONDS
    assert max(shown[""].values()) > VIEWERS / 4
    for stream, seen in shown.items():
        assert seen
        steps = [step for step in played.course if stream in {"", step[1]}]
        assert wrong_scrapes(steps, seen, took) == [], stream


def wrong_scrapes(steps: list[tuple[float, str, int, int]], seen: Samples, took: Samples) -> list[tuple[float, float]]:
    """
    Return the scrapes whose number cannot be true.

    Two shards report each for itself, so that a sum is not of one instant: one who came a second ago may not be shown yet, and one
    who left half a second ago be gone already. At least those are shown who were there all the time that a scrape may
    speak of, at most those who were there at some instant of it.
    """
    steps = sorted(steps)
    times = [step[0] for step in steps]
    lows, highs = ([0, *accumulate(step[place] for step in steps)] for place in (2, 3))
    left = [0, *accumulate(min(0, step[2]) for step in steps)]
    came = [0, *accumulate(max(0, step[3]) for step in steps)]
    wrong = []
    for at, value in seen.items():
        first, end = bisect_left(times, at - FRESH_S), bisect_right(times, at + took[at])
        if not lows[first] + left[end] - left[first] <= value <= highs[first] + came[end] - came[first]:
            wrong.append((at, value))
    return wrong
