"""What operators scrape, against what players sent: on the running tracker, over HTTP."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics

from metrics import scrape
from metrics.catalog import CATALOG, PREFIX
from serve_app.players import examples
from tests.integration.installation import Installation, wait_until

VISIBLE_S = 2.0
OPENMETRICS = (
    "application/openmetrics-text; version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
"""As Prometheus asks."""
AWKWARD = 'a "quoted" \\ back\nnew line 😀 {stream_id="x"} ' + "é" * 200


def now() -> str:
    return datetime.now(UTC).isoformat()


def start(tracker: Installation, session_id: str, stream_id: str) -> None:
    stream = {**examples.START["stream"], "stream_id": stream_id}
    answer = tracker.post(
        "/analytics/live/session/start", {**examples.START, "session_id": session_id, "stream": stream, "timestamp": now()}
    )
    assert answer.status == 200, answer.body


def beat(tracker: Installation, session_id: str, stream_id: str, **playback: bool) -> None:
    flags = {"is_playing": False, "is_paused": False, "is_buffering": False, **playback}
    body = {**examples.HEARTBEAT, "session_id": session_id, "stream_id": stream_id, "timestamp": now(), "playback": flags}
    assert tracker.post("/analytics/live/session/heartbeat", body).status == 200


def samples(tracker: Installation) -> scrape.Samples:
    answer = tracker.get("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return scrape.read(answer.body.decode())


def of_stream(tracker: Installation, stream_id: str) -> Mapping[str, float]:
    shown = {
        dict(labels).get("state", ""): value
        for (name, labels), value in samples(tracker).items()
        if dict(labels).get("stream_id") == stream_id
    }
    return {state: value for state, value in shown.items() if value and state}


def concurrency(tracker: Installation, stream_id: str) -> dict[str, Any]:
    answer = tracker.get(f"/v1/concurrency?stream_id={quote(stream_id, safe='')}")
    assert answer.status == 200, answer.body
    told: dict[str, Any] = answer.json()
    return told


def counted_within(tracker: Installation, stream_id: str, states: Mapping[str, int], *, within_s: float) -> None:
    def is_so() -> bool:
        told = {state: count for state, count in concurrency(tracker, stream_id)["states"].items() if count}
        return told == states and of_stream(tracker, stream_id) == states

    wait_until(is_so, within_s=within_s, what=f"{stream_id} shows {states}")


def test_each_input_is_visible_in_both_places_within_two_seconds(tracker: Installation) -> None:
    start(tracker, "metrics-1", "metrics-live")
    counted_within(tracker, "metrics-live", {"starting": 1}, within_s=VISIBLE_S)
    beat(tracker, "metrics-1", "metrics-live", is_playing=True)
    counted_within(tracker, "metrics-live", {"playing": 1}, within_s=VISIBLE_S)
    beat(tracker, "metrics-2", "metrics-live", is_paused=True)
    counted_within(tracker, "metrics-live", {"playing": 1, "paused": 1}, within_s=VISIBLE_S)


def test_a_peak_is_told_within_two_seconds(tracker: Installation) -> None:
    """Peaks are sampled once a second, so that for that long they may be behind the number of sessions."""
    start(tracker, "metrics-peak-1", "metrics-peak")
    beat(tracker, "metrics-peak-2", "metrics-peak", is_paused=True)

    def is_told() -> bool:
        told = concurrency(tracker, "metrics-peak")
        return (told["sessions"], told["watching"], told["peak_60s"], (told["peak"] or {}).get("sessions")) == (2, 1, 2, 2)

    wait_until(is_told, within_s=VISIBLE_S, what="both sessions are in the peaks")


def test_openmetrics_is_what_prometheus_asks_for_and_holds_every_metric(tracker: Installation) -> None:
    answer = tracker.request("GET", "/metrics", token=tracker.ops_token, headers={"accept": OPENMETRICS})
    assert answer.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    families = {family.name: family for family in read_openmetrics(answer.body.decode())}
    assert set(families) == {PREFIX + metric.name for metric in CATALOG}
    assert families["headcount_journal_up"].samples[0].value == 1
    assert families["headcount_snapshot_age_seconds"].samples[0].value < VISIBLE_S


def test_streams_add_up_to_the_total(tracker: Installation) -> None:
    for number in range(5):
        start(tracker, f"metrics-sum-{number}", f"metrics-sum-{number % 2}")

    def add_up() -> bool:
        found = samples(tracker)
        streams = sum(value for (name, _), value in found.items() if name == "headcount_stream_sessions")
        states = sum(value for (name, _), value in found.items() if name == "headcount_sessions")
        channels = sum(value for (name, _), value in found.items() if name == "headcount_channel_sessions")
        return streams == states == channels and states >= 5

    wait_until(add_up, within_s=5, what="streams, states and channels add up to the same")


def test_an_awkward_stream_is_shown_by_its_first_128_characters_and_found_by_its_whole_id(tracker: Installation) -> None:
    start(tracker, "metrics-awkward", AWKWARD)
    wait_until(lambda: of_stream(tracker, AWKWARD[:128]) == {"starting": 1}, within_s=5, what="its label")
    assert concurrency(tracker, AWKWARD)["sessions"] == 1
    assert concurrency(tracker, AWKWARD[:128])["sessions"] == 0


def test_every_input_is_counted_once(tracker: Installation) -> None:
    events = [{"event_id": f"e{number}", "event_type": "share", "timestamp": now()} for number in range(3)]
    before = scrape.counters(samples(tracker))
    start(tracker, "metrics-once", "metrics-once")
    for _ in range(2):
        body = {"session_id": "metrics-once", "stream_id": "metrics-once", "events": events}
        assert tracker.post("/analytics/live/events", body).json()["data"]["accepted_count"] == 3
    beat(tracker, "metrics-once", "metrics-once", is_playing=True)
    assert tracker.post("/analytics/live/session/heartbeat", {"session_id": "metrics-once"}).status == 422
    expected = {
        ("started",): 1,
        ("heartbeats",): 1,
        ("events", "share"): 3,
        ("duplicates",): 3,
        ("rejected", "heartbeat", "invalid_field"): 1,
    }

    def delta() -> dict[tuple[str, ...], float]:
        after = scrape.counters(samples(tracker))
        return {key: after.get(key, 0) - before.get(key, 0) for key in expected}

    wait_until(lambda: delta() == expected, within_s=10, what="every input shows")
    time.sleep(2.5)  # whatever is handed over again would have come by now
    assert delta() == expected


@pytest.mark.parametrize("token", [None, "wrong", "ingest"])
def test_only_operators_scrape(tracker: Installation, token: str | None) -> None:
    shown = tracker.ingest_token if token == "ingest" else token
    for path in ("/metrics", "/v1/concurrency"):
        assert tracker.request("GET", path, token=shown).status == 401
