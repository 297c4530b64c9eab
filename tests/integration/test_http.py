"""
The contract through the real front door: HAProxy, ingest replicas, shards and journal of a running instance.

Every answer here is one that a player or an operator gets; `tracker` is the session's one `headcount up`.
"""

import asyncio
import gzip
import json
import socket
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlsplit
from uuid import uuid4

import httpx
import pytest

from serve_app.players import examples
from serve_app.players.pixel import GIF
from serve_app.players.routes import POSTS
from tests.integration.installation import Installation

START = "/analytics/live/session/start"
HEARTBEAT = "/analytics/live/session/heartbeat"
END = "/analytics/live/session/end"
EVENTS = "/analytics/live/events"
BODIES = {START: examples.START, HEARTBEAT: examples.HEARTBEAT, END: examples.END, EVENTS: examples.EVENTS}


@pytest.fixture
def player(tracker: Installation) -> Iterator[httpx.Client]:
    """A client with the players' token."""
    with httpx.Client(base_url=tracker.url, headers={"authorization": f"Bearer {tracker.ingest_token}"}, timeout=15) as client:
        yield client


@pytest.fixture
def operator(tracker: Installation) -> Iterator[httpx.Client]:
    """A client with the operators' token."""
    with httpx.Client(base_url=tracker.url, headers={"authorization": f"Bearer {tracker.ops_token}"}, timeout=15) as client:
        yield client


@pytest.fixture
def stranger(tracker: Installation) -> Iterator[httpx.Client]:
    """A client without a token."""
    with httpx.Client(base_url=tracker.url, timeout=15) as client:
        yield client


@pytest.fixture
def session_id() -> str:
    """A session of this test's own."""
    return f"http/{uuid4().hex}"


def body_of(path: str, session_id: str, **changed: Any) -> dict[str, Any]:
    return {**deepcopy(BODIES[path]), "session_id": session_id, **changed}


def eventually(look: Callable[[], Any], *, within_s: float) -> float:
    """Look until it is so; return the seconds that took. Fails after `within_s`."""
    began_at = time.monotonic()
    while not look():
        assert time.monotonic() - began_at < within_s, "it did not come about in time"
        time.sleep(0.05)
    return time.monotonic() - began_at


def error_of(answer: httpx.Response) -> tuple[int, str]:
    """Return status and code of an error, having seen that it has the one shape."""
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"status", "error"}
    assert body["status"] == "error"
    assert set(body["error"]) == {"code", "message", "fields"}
    assert all(set(entry) == {"field", "problem"} for entry in body["error"]["fields"])
    assert "Traceback" not in answer.text
    return answer.status_code, body["error"]["code"]


@pytest.mark.parametrize("route", POSTS.values(), ids=lambda route: route.endpoint)
def test_the_seeds_body_gets_the_seeds_answer(player: httpx.Client, session_id: str, route: Any) -> None:
    if route.path != START:
        # Else the answer would say that the start is missing.
        assert player.post(START, json=body_of(START, session_id)).status_code == 200
    answer = player.post(route.path, json=body_of(route.path, session_id))
    assert answer.status_code == 200
    data = answer.json()["data"]
    stamp = data["server_timestamp"]
    assert abs(datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp() - time.time()) < 5
    interval = {"heartbeat_interval_seconds", "next_heartbeat_seconds"} & set(data)
    expected = {**route.example["data"], "session_id": session_id, "server_timestamp": stamp, **{name: data[name] for name in interval}}
    assert answer.json() == {"status": "success", "data": expected}
    assert all(type(data[name]) is int and data[name] > 0 for name in interval)


def test_a_life_from_start_to_end_is_told_in_its_story(player: httpx.Client, operator: httpx.Client, session_id: str) -> None:
    for path in (START, HEARTBEAT, EVENTS):
        assert player.post(path, json=body_of(path, session_id)).status_code == 200
    alive = operator.get(f"/v1/sessions/{quote(session_id)}")
    assert (alive.status_code, alive.json()["liveness"], alive.json()["counted"]) == (200, "active", True)
    assert alive.json()["profile"]["user_id"] == "user_123"
    assert player.post(END, json=body_of(END, session_id)).json()["data"]["accepted"] is True
    ended = operator.get(f"/v1/sessions/{quote(session_id)}").json()
    assert (ended["liveness"], ended["counted"], ended["end_reason"]) == ("ended", False, "user_exit")
    for path in (HEARTBEAT, START):
        data = player.post(path, json=body_of(path, session_id)).json()["data"]
        assert (data["accepted"], data["reason"]) == (False, "session_ended")
    late = {"event_id": "late", "event_type": "tip", "timestamp": "2024-11-01T19:30:00Z"}
    told = operator.get(f"/v1/sessions/{quote(session_id)}").json()
    assert sum(each["counted_s"] for each in told["intervals"]) == pytest.approx(told["account"]["session_time_s"])
    assert [(each["input"], each["reason"]) for each in told["ignored"]["last"]][-2:] == [
        ("heartbeat", "after_end"),
        ("start", "after_end"),
    ]
    data = player.post(EVENTS, json={"session_id": session_id, "events": [late]}).json()["data"]
    assert data["rejected_events"] == [{"event_id": "late", "reason": "session_ended"}]


def test_a_heartbeat_is_in_metrics_and_concurrency_within_2_s(player: httpx.Client, operator: httpx.Client, session_id: str) -> None:
    stream = uuid4().hex
    assert player.post(HEARTBEAT, json=body_of(HEARTBEAT, session_id, stream_id=stream)).status_code == 200
    began_at = time.monotonic()

    def scraped() -> bool:
        lines = operator.get("/metrics").text.splitlines()
        return any(
            line.startswith("headcount_stream_sessions{") and f'"{stream}"' in line and '"playing"' in line and line.endswith(" 1.0")
            for line in lines
        )

    def told() -> bool:
        sessions: int = operator.get("/v1/concurrency", params={"stream_id": stream}).json()["sessions"]
        return sessions == 1

    eventually(scraped, within_s=2)
    eventually(told, within_s=2 - (time.monotonic() - began_at))
    player.post(END, json=body_of(END, session_id))


def test_what_is_refused_is_counted_by_endpoint_and_reason(player: httpx.Client, operator: httpx.Client) -> None:
    def counted() -> float:
        line = 'headcount_rejected_total{endpoint="end",reason="bad_json"} '
        return next((float(each.removeprefix(line)) for each in operator.get("/metrics").text.splitlines() if each.startswith(line)), 0.0)

    before = counted()
    assert error_of(player.post(END, content=b"hello")) == (400, "bad_json")
    eventually(lambda: counted() >= before + 1, within_s=5)


def test_a_pixel_counts_one_viewer_of_one_video_once(stranger: httpx.Client, operator: httpx.Client) -> None:
    video = uuid4().hex
    for kind in ("view", "play", "check", "play"):
        answer = stranger.get("/icon.gif", params={"type": kind, "v": video, "p": "zone", "u": "é/ü"})
        assert (answer.status_code, answer.content, answer.headers["cache-control"]) == (200, GIF, "no-store")
    eventually(lambda: operator.get("/v1/concurrency", params={"stream_id": video}).json()["sessions"] == 1, within_s=2)
    told = operator.get("/v1/beacon-session", params={"v": video, "p": "zone", "u": "é/ü"}).json()
    assert (told["stream_id"], told["pullzone"], told["playback"], told["beacon"]) == (video, "zone", "playing", True)


NESTED = b'{"session_id":"a","timestamp":"2024-11-01T18:15:00Z","x":' + b"[" * 5_000 + b"]" * 5_000 + b"}"
BAD = {
    "not JSON": (HEARTBEAT, b"session_id=a", 400, "bad_json"),
    "empty": (HEARTBEAT, b"", 400, "bad_json"),
    "not UTF-8": (HEARTBEAT, b'{"session_id":"\xff"}', 400, "bad_json"),
    "lone surrogate": (HEARTBEAT, b'{"session_id":"\\ud83d","timestamp":"2024-11-01T18:15:00Z"}', 422, "invalid_field"),
    "deep nesting": (HEARTBEAT, NESTED, 400, "bad_json"),
    "NaN": (HEARTBEAT, b'{"session_id":"a","timestamp":"2024-11-01T18:15:00Z","performance":{"latency_ms":NaN}}', 400, "bad_json"),
    "raw NUL": (HEARTBEAT, b'{"session_id":"a\0","timestamp":"2024-11-01T18:15:00Z"}', 400, "bad_json"),
    "escaped NUL": (HEARTBEAT, b'{"session_id":"a\\u0000","timestamp":"2024-11-01T18:15:00Z"}', 422, "invalid_field"),
    "wrong type": (HEARTBEAT, b'{"session_id":5,"timestamp":"2024-11-01T18:15:00Z"}', 422, "invalid_field"),
    "missing field": (HEARTBEAT, b'{"session_id":"a"}', 422, "invalid_field"),
    "string for false": (
        EVENTS,
        b'{"session_id":"a","events":"false"}',
        422,
        "invalid_field",
    ),
    "10,000-character id": (HEARTBEAT, json.dumps(body_of(HEARTBEAT, "x" * 10_000)).encode(), 422, "invalid_field"),
    "date without a time": (HEARTBEAT, b'{"session_id":"a","timestamp":"2024-11-01"}', 422, "invalid_field"),
    "300 KiB": (HEARTBEAT, json.dumps(body_of(HEARTBEAT, "a", padding="x" * 300 * 1024)).encode(), 413, "body_too_large"),
    "501 events": (EVENTS, json.dumps({"session_id": "a", "events": examples.EVENTS["events"][:1] * 501}).encode(), 413, "too_many_events"),
}


@pytest.mark.parametrize(("path", "body", "status", "code"), BAD.values(), ids=BAD.keys())
def test_bad_input_gets_its_documented_error_and_disturbs_nothing(
    player: httpx.Client, session_id: str, path: str, body: bytes, status: int, code: str
) -> None:
    assert error_of(player.post(path, content=body)) == (status, code)
    assert player.post(HEARTBEAT, json=body_of(HEARTBEAT, session_id)).status_code == 200


def test_a_gzip_bomb_is_refused(player: httpx.Client) -> None:
    bomb = gzip.compress(b" " * 200_000_000)
    assert len(bomb) < 256 * 1024
    assert error_of(player.post(START, content=bomb, headers={"content-encoding": "gzip"})) == (413, "body_too_large")


def test_gzip_text_plain_and_a_token_in_the_query_are_read(
    player: httpx.Client, stranger: httpx.Client, tracker: Installation, session_id: str
) -> None:
    body = json.dumps(body_of(START, session_id)).encode()
    assert player.post(START, content=gzip.compress(body), headers={"content-encoding": "gzip"}).status_code == 200
    beacon = {"content-type": "text/plain;charset=UTF-8"}
    assert stranger.post(START, params={"access_token": tracker.ingest_token}, content=body, headers=beacon).status_code == 200


def test_a_body_in_chunks_is_read_and_an_endless_one_is_not(player: httpx.Client, session_id: str) -> None:
    body = json.dumps(body_of(START, session_id)).encode()
    assert player.post(START, content=iter([body[:50], body[50:]])).status_code == 200
    assert error_of(player.post(START, content=iter([b" " * 65_536] * 8))) == (413, "body_too_large")


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("token", [None, "wrong", "ops"])
def test_no_or_a_wrong_token_gets_401(stranger: httpx.Client, tracker: Installation, path: str, token: str | None) -> None:
    shown = tracker.ops_token if token == "ops" else token
    headers = {} if shown is None else {"authorization": f"Bearer {shown}"}
    answer = stranger.post(path, json=BODIES[path], headers=headers)
    assert error_of(answer) == (401, "unauthorized")
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", ["/metrics", "/v1/concurrency", "/v1/sessions/x", "/v1/status"])
def test_operators_routes_are_closed_to_players(player: httpx.Client, stranger: httpx.Client, path: str) -> None:
    assert error_of(player.get(path)) == (401, "unauthorized")
    assert error_of(stranger.get(path)) == (401, "unauthorized")


def test_health_is_open(stranger: httpx.Client) -> None:
    assert stranger.get("/healthz").json() == {"status": "ok"}
    ready = stranger.get("/readyz").json()
    assert ready["status"] == "ready"
    assert ready["served"] == ready["slots"]


def test_the_documentation_is_served_from_here(stranger: httpx.Client) -> None:
    assert "/docs/assets/swagger-ui-bundle.js" in stranger.get("/docs").text
    assert len(stranger.get("/docs/assets/swagger-ui-bundle.js").content) > 100_000
    assert stranger.get("/openapi.json").json()["openapi"].startswith("3.1")


def test_a_scrape_comes_as_text_or_openmetrics(operator: httpx.Client) -> None:
    text = operator.get("/metrics")
    assert text.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'headcount_sessions{state="playing"}' in text.text
    openmetrics = operator.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert openmetrics.text.endswith("# EOF\n")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", START, 405, "method_not_allowed"),
        ("PUT", "/icon.gif", 405, "method_not_allowed"),
        ("POST", "/metrics", 405, "method_not_allowed"),
        ("GET", "/nowhere", 404, "not_found"),
        ("POST", "/analytics/live/session/pause", 404, "not_found"),
        ("GET", "/icon.gif", 400, "bad_parameter"),
        ("GET", "/icon.gif?type=play&v=%FF&p=b&u=c", 400, "bad_parameter"),
        ("GET", "/icon.gif?type=play&v=a%00&p=b&u=c", 400, "bad_parameter"),
    ],
)
def test_wrong_methods_paths_and_parameters(player: httpx.Client, method: str, path: str, status: int, code: str) -> None:
    answer = player.request(method, path)
    assert error_of(answer) == (status, code)
    assert ("allow" in answer.headers) == (status == 405)


def test_a_browser_may_ask_and_is_told_for_a_day(stranger: httpx.Client) -> None:
    asked = {"origin": "https://tv.example", "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    answer = stranger.options(START, headers=asked)
    assert (answer.status_code, answer.headers["access-control-max-age"]) == (204, "86400")
    assert answer.headers["access-control-allow-origin"] == "https://tv.example"
    refused = stranger.post(START, json={}, headers={"origin": "https://tv.example"})
    assert refused.headers["access-control-allow-origin"] == "https://tv.example"


def test_a_client_that_leaves_in_the_middle_disturbs_nobody(player: httpx.Client, tracker: Installation, session_id: str) -> None:
    address = urlsplit(tracker.url)
    assert address.hostname is not None
    for _ in range(20):
        with socket.create_connection((address.hostname, address.port or 80), timeout=5) as connection:
            connection.sendall(b"POST /analytics/live/session/start HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
    assert player.post(HEARTBEAT, json=body_of(HEARTBEAT, session_id)).status_code == 200


def test_many_at_once_are_all_answered(tracker: Installation) -> None:
    prefix = uuid4().hex

    async def all_of_them() -> list[int]:
        headers = {"authorization": f"Bearer {tracker.ingest_token}"}
        limits = httpx.Limits(max_connections=50)
        async with httpx.AsyncClient(base_url=tracker.url, headers=headers, timeout=30, limits=limits) as client:

            async def one_after_another(connection: int) -> list[int]:
                ids = [f"{prefix}-{connection}-{n}" for n in range(20)]
                answers = [await client.post(HEARTBEAT, json=body_of(HEARTBEAT, each, stream_id=prefix)) for each in ids]
                return [answer.status_code for answer in answers]

            return [status for statuses in await asyncio.gather(*map(one_after_another, range(50))) for status in statuses]

    assert asyncio.run(all_of_them()) == [200] * 1_000
    headers = {"authorization": f"Bearer {tracker.ops_token}"}
    with httpx.Client(base_url=tracker.url, headers=headers, timeout=15) as client:
        eventually(lambda: client.get("/v1/concurrency", params={"stream_id": prefix}).json()["sessions"] == 1_000, within_s=3)


def test_a_player_takes_the_shortcut_past_serve_and_an_operator_does_not(
    player: httpx.Client, operator: httpx.Client, session_id: str
) -> None:
    """Serve gives every answer an id of its own; players' answers carry one only if they sent it."""
    body = examples.HEARTBEAT | {"session_id": session_id}
    assert "x-request-id" not in player.post(HEARTBEAT, json=body).headers
    assert player.post(HEARTBEAT, json=body, headers={"x-request-id": "mine"}).headers["x-request-id"] == "mine"
    assert operator.get("/v1/status").headers["x-request-id"]
