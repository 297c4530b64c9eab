"""The hot path: every input has its documented answer, and bad input disturbs nothing."""

import asyncio
import gzip
import json
import tracemalloc
import zlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from actors.messages import NotTaken, decode_batch, encode_batch
from serve_app.access.tokens import Tokens
from serve_app.delivery.mailbox import Undelivered
from serve_app.players import examples
from serve_app.players.answers import Refusal
from serve_app.players.arrival import ARRIVAL_HEADER
from serve_app.players.body import inflate
from serve_app.players.ingest import Rules
from serve_app.players.pixel import GIF, read_pixel
from serve_app.players.routes import POSTS
from sessions.changes import Reason, Receipt
from sessions.events import Beacon
from storage.codec import unpack_profile
from tests.front_door import INGEST, NOW, OPS, SECRET, SLOTS, Answer, FrontDoor, ask

START = "/analytics/live/session/start"
HEARTBEAT = "/analytics/live/session/heartbeat"
END = "/analytics/live/session/end"
EVENTS = "/analytics/live/events"
BODIES = {START: examples.START, HEARTBEAT: examples.HEARTBEAT, END: examples.END, EVENTS: examples.EVENTS}
SESSION = "sess_live_xyz001"


def run(scenario: Callable[[FrontDoor], Awaitable[Any]], **parts: Any) -> Any:
    """Run a scenario before a fresh replica, and see that its trackers are sound afterwards."""

    async def all_of_it() -> Any:
        door = FrontDoor(**parts)
        await door.slot_map.refresh()
        result = await scenario(door)
        for tracker in door.shard.trackers:
            tracker.validate()
        return result

    return asyncio.run(all_of_it())


def one(method: str, path: str, body: bytes | Sequence[bytes] = b"", *, parts: dict[str, Any] | None = None, **request: Any) -> Answer:
    """Ask a fresh replica one thing."""
    answer = run(lambda door: ask(door.app, method, path, body, **request), **(parts or {}))
    assert isinstance(answer, Answer)
    return answer


def post(path: str, body: Any = None, **request: Any) -> Answer:
    body = BODIES[path] if body is None else body
    return one("POST", path, body if isinstance(body, bytes | list) else json.dumps(body).encode(), **request)


def arrival(said: str, *, secret: str = SECRET) -> dict[str, str]:
    """Return the header with which HAProxy says when, and from where, a request came."""
    return {ARRIVAL_HEADER.decode(): f"{secret} {said}"}


@pytest.mark.parametrize("route", POSTS.values(), ids=lambda route: route.endpoint)
def test_the_seeds_request_gets_the_seeds_answer(route: Any) -> None:
    async def after_its_start(door: FrontDoor) -> Answer:
        await ask(door.app, "POST", START, json.dumps(BODIES[START]).encode())
        return await ask(door.app, "POST", route.path, json.dumps(BODIES[route.path]).encode())

    answer = run(after_its_start)
    assert answer.status == 200
    expected = {**route.example, "data": {**route.example["data"], "server_timestamp": "2024-11-01T18:15:00Z"}}
    assert answer.json == expected
    assert list(answer.json["data"]) == list(expected["data"])
    assert answer.headers["content-type"] == "application/json"
    assert int(answer.headers["content-length"]) == len(answer.body)


def test_a_session_that_ended_is_told_so_by_every_endpoint() -> None:
    async def scenario(door: FrontDoor) -> list[Any]:
        answers = [await ask(door.app, "POST", path, json.dumps(BODIES[path]).encode()) for path in (START, END, HEARTBEAT, START, END)]
        return [(answer.status, answer.json["data"]["accepted"], answer.json["data"].get("reason")) for answer in answers if answer]

    told = run(scenario)
    assert told[:3] == [(200, True, None), (200, True, None), (200, False, "session_ended")]
    assert told[3] == (200, False, "session_ended")
    assert told[4][0] == 200


def test_the_first_end_stands() -> None:
    async def scenario(door: FrontDoor) -> Any:
        await ask(door.app, "POST", END, json.dumps(examples.END).encode())
        other = {**examples.END, "watch_summary": {"total_watch_seconds": 9, "end_reason": "timeout", "programs_watched": []}}
        return await ask(door.app, "POST", END, json.dumps(other).encode())

    assert run(scenario).json["data"]["watch_summary"] == {
        "total_watch_seconds": 2_340,
        "total_watch_formatted": "39:00",
        "end_reason": "user_exit",
    }


def test_events_after_the_end_are_rejected_beside_the_bad_ones() -> None:
    async def scenario(door: FrontDoor) -> Any:
        await ask(door.app, "POST", END, json.dumps(examples.END).encode())
        late = {"event_id": "late", "event_type": "tip", "timestamp": "2024-11-01T18:54:01Z"}
        events = [examples.EVENTS["events"][0], late, {"event_id": "odd", "event_type": "dance"}, 5]
        answer = await ask(door.app, "POST", EVENTS, json.dumps({"session_id": SESSION, "events": events}).encode())
        return answer, door.tallies.report()

    answer, report = run(scenario)
    data = answer.json["data"]
    assert (answer.status, data["accepted_count"], data["rejected_count"]) == (200, 1, 3)
    assert data["rejected_events"] == [
        {"event_id": "odd", "reason": "invalid_event_type"},
        {"event_id": None, "reason": "invalid_event"},
        {"event_id": "late", "reason": "session_ended"},
    ]
    assert report.increments["rejected", "events", "invalid_event_type"] == 1
    assert report.increments["rejected", "events", "invalid_event"] == 1
    assert report.increments["rejected", "events", "session_ended"] == 1


PADDED = json.dumps({**examples.HEARTBEAT, "padding": "x" * 300_000}).encode()
BAD_BODIES = {
    "not JSON": (HEARTBEAT, b"hello", 400, "bad_json"),
    "empty": (HEARTBEAT, b"", 400, "bad_json"),
    "lone surrogate": (HEARTBEAT, b'{"session_id":"\\ud800","timestamp":"2024-11-01T18:15:00Z"}', 422, "invalid_field"),
    "deep": (HEARTBEAT, b"[" * 100_000, 400, "bad_json"),
    "NaN": (HEARTBEAT, b'{"session_id":"a","timestamp":"2024-11-01T18:15:00Z","x":NaN}', 400, "bad_json"),
    "wrong type": (START, json.dumps({**examples.START, "device_id": 5}).encode(), 422, "invalid_field"),
    "string for false": (
        START,
        json.dumps({**examples.START, "playback": {**examples.START["playback"], "dvr_enabled": "false"}}).encode(),
        422,
        "invalid_field",
    ),
    "missing": (HEARTBEAT, b'{"session_id":"a"}', 422, "invalid_field"),
    "NUL": (HEARTBEAT, b'{"session_id":"a\\u0000","timestamp":"2024-11-01T18:15:00Z"}', 422, "invalid_field"),
    "10,000 characters": (HEARTBEAT, json.dumps({**examples.HEARTBEAT, "session_id": "x" * 10_000}).encode(), 422, "invalid_field"),
    "no time": (HEARTBEAT, b'{"session_id":"a","timestamp":"2024-11-01"}', 422, "invalid_field"),
    "no object": (HEARTBEAT, b"[]", 422, "invalid_field"),
    "300 KiB": (HEARTBEAT, PADDED, 413, "body_too_large"),
    "501 events": (EVENTS, json.dumps({"session_id": "a", "events": [{}] * 501}).encode(), 413, "too_many_events"),
}


@pytest.mark.parametrize(("path", "body", "status", "code"), BAD_BODIES.values(), ids=BAD_BODIES.keys())
def test_bad_input_gets_its_documented_error_and_reaches_no_shard(path: str, body: bytes, status: int, code: str) -> None:
    async def scenario(door: FrontDoor) -> Any:
        answer = await ask(door.app, "POST", path, body)
        assert door.shard.batches == []
        report = door.tallies.report()
        assert report is not None
        assert report.increments == {("rejected", POSTS[path].endpoint, code): 1}
        good = await ask(door.app, "POST", HEARTBEAT, json.dumps(examples.HEARTBEAT).encode())
        assert good is not None
        assert good.status == 200
        return answer

    answer = run(scenario)
    assert (answer.status, answer.code) == (status, code)
    assert "access-control-allow-origin" not in answer.headers, "nobody asked from a page"


def test_the_wrong_fields_are_named() -> None:
    answer = post(HEARTBEAT, {"session_id": "", "timestamp": "2024-11-01", "playback": {"is_playing": 1}})
    assert answer.fields == ["session_id", "timestamp"]


def test_a_field_that_costs_only_itself_is_named_and_counted() -> None:
    async def scenario(door: FrontDoor) -> Any:
        body = {**examples.HEARTBEAT, "user_id": "", "performance": {"latency_ms": -120, "bitrate_kbps": 4_500}}
        beaten = await ask(door.app, "POST", HEARTBEAT, json.dumps(body).encode())
        started = await ask(door.app, "POST", START, json.dumps({**examples.START, "platform": "tizen"}).encode())
        return beaten, started, door.tallies.report(), door.shard.get(SESSION)

    beaten, started, report, session = run(scenario)
    assert (beaten.status, beaten.json["data"]["dropped_fields"]) == (200, ["user_id", "performance.latency_ms"])
    assert (started.status, started.json["data"]["dropped_fields"]) == (200, ["platform"])
    assert session.platform == "other"
    counted = {key[1:]: amount for key, amount in report.increments.items() if key[0] == "dropped_fields"}
    assert counted == {("heartbeat", "user_id"): 1, ("heartbeat", "performance.latency_ms"): 1, ("start", "platform"): 1}


def test_what_is_dropped_of_a_batch_is_counted_whole_and_named_up_to_a_bound() -> None:
    async def scenario(door: FrontDoor) -> Any:
        error = {"event_type": "stream_error", "timestamp": "2024-11-01T18:15:00Z", "metadata": {"fatal": "yes"}}
        body = {"session_id": SESSION, "events": [{**error, "event_id": str(number)} for number in range(30)]}
        return await ask(door.app, "POST", EVENTS, json.dumps(body).encode()), door.tallies.report()

    answer, report = run(scenario)
    assert answer.json["data"]["dropped_fields"] == [f"events.{number}.metadata.fatal" for number in range(20)]
    assert report.increments["dropped_fields", "events", "events.metadata.fatal"] == 30


def test_an_id_that_nobody_filled_in_is_counted_by_its_own_name() -> None:
    async def scenario(door: FrontDoor) -> Any:
        answer = await ask(door.app, "POST", HEARTBEAT, json.dumps({**examples.HEARTBEAT, "session_id": "undefined"}).encode())
        return answer, door.tallies.report()

    answer, report = run(scenario)
    assert (answer.status, answer.code, answer.fields) == (422, "invalid_field", ["session_id"])
    assert report.increments == {("rejected", "heartbeat", "placeholder_id"): 1}


@pytest.mark.parametrize("endpoint", ["heartbeat", "events"])
def test_a_session_without_its_start_is_asked_for_it(endpoint: str) -> None:
    class Wanting(Receipt):
        start_wanted = True

    (route,) = [route for route in POSTS.values() if route.endpoint == endpoint]
    more = ((),) if route.is_events else ()
    assert json.loads(route.answer("s", Wanting(accepted=True, interval_s=30), *more, at=NOW))["data"]["start_wanted"] is True
    assert "start_wanted" not in json.loads(route.answer("s", Receipt(accepted=True, interval_s=30), *more, at=NOW))["data"]


def test_events_of_a_session_that_is_over_are_told_so() -> None:
    async def scenario(door: FrontDoor) -> Any:
        await ask(door.app, "POST", END, json.dumps(examples.END).encode())
        late = {"event_id": "late", "event_type": "tip", "timestamp": "2024-11-01T18:54:01Z"}
        early = {**late, "event_id": "early", "timestamp": "2024-11-01T18:53:59Z"}
        batches = ([late], [], [early, late])
        return [await ask(door.app, "POST", EVENTS, json.dumps({"session_id": SESSION, "events": events}).encode()) for events in batches]

    refused, empty, mixed = [answer.json["data"] for answer in run(scenario)]
    assert (refused["accepted"], refused["reason"], refused["accepted_count"]) == (False, "session_ended", 0)
    assert (empty["accepted"], empty["reason"]) == (False, "session_ended")
    assert "accepted" not in mixed
    assert (mixed["accepted_count"], mixed["rejected_events"]) == (1, [{"event_id": "late", "reason": "session_ended"}])


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("token", [None, "", "wrong", OPS, INGEST + "x", INGEST[:-1]])
def test_no_or_a_wrong_token_gets_401(path: str, token: str | None) -> None:
    answer = post(path, token=token)
    assert (answer.status, answer.code) == (401, "unauthorized")
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_strangers_body_is_not_read() -> None:
    async def scenario(door: FrontDoor) -> Any:
        return await ask(door.app, "POST", START, [], token=None)

    assert run(scenario).status == 401


def test_the_token_may_be_a_query_parameter() -> None:
    assert post(START, token=None, query=b"access_token=ingest-token").status == 200
    assert post(START, token=None, query=b"a=b&access_token=ingest%2Dtoken").status == 200
    assert post(START, token=None, query=b"access_token=wrong").status == 401
    assert post(START, token="wrong", query=b"access_token=ingest-token").status == 401


@pytest.mark.parametrize("query", [b"access_token=%C3%A9", b"access_token=%FF", b"access_token=\xff", b"access_token=x&x=%FF"])
def test_a_token_in_odd_bytes_gets_401(query: bytes) -> None:
    assert post(HEARTBEAT, token=None, query=query).status == 401


def test_what_nobody_foresaw_passes_through_and_leaves_no_request_open() -> None:
    class UnforeseenError(Exception):
        pass

    async def broken(slot: int, item: bytes, **_times: float) -> Any:
        raise UnforeseenError

    async def scenario(door: FrontDoor) -> Any:
        door.ingest._submit = broken
        for path, body in BODIES.items():
            with pytest.raises(UnforeseenError):
                await ask(door.app, "POST", path, json.dumps(body).encode())
        return door.ingest._open_requests

    assert run(scenario) == 0


def test_without_authentication_anybody_is_let_in() -> None:
    assert post(START, token=None, parts={"tokens": Tokens(ingest="a", ops="b", auth=False)}).status == 200


@pytest.mark.parametrize("content_type", ["text/plain", "text/plain;charset=UTF-8", "application/json", "application/octet-stream", ""])
def test_the_body_is_json_whatever_its_type_says(content_type: str) -> None:
    assert post(START, headers={"content-type": content_type}).status == 200


def test_a_body_in_parts_is_one_body() -> None:
    body = json.dumps(examples.START).encode()
    assert post(START, [body[:10], b"", body[10:100], body[100:]]).status == 200


@pytest.mark.reaches("BODY_BYTES_MAX")
def test_a_body_of_exactly_the_limit_is_read() -> None:
    body = json.dumps(examples.HEARTBEAT).encode()
    assert post(HEARTBEAT, body + b" " * (256 * 1024 - len(body))).status == 200
    answer = post(HEARTBEAT, body + b" " * (256 * 1024 - len(body) + 1))
    assert (answer.status, answer.code) == (413, "body_too_large")


def test_reading_stops_at_the_limit() -> None:
    parts = [b" " * 100_000] * 50
    left: list[int] = []

    async def scenario(door: FrontDoor) -> Any:
        async def receive() -> Any:
            left.append(1)
            assert len(left) < 10, "the application goes on reading"
            return {"type": "http.request", "body": parts[0], "more_body": True}

        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"authorization", b"Bearer ingest-token")]
        await door.app({"type": "http", "method": "POST", "path": START, "query_string": b"", "headers": headers}, receive, send)
        return sent[0]["status"]

    assert run(scenario) == 413
    assert len(left) == 3


def test_a_declared_length_over_the_limit_is_refused_unread() -> None:
    answer = post(START, [], headers={"content-length": str(256 * 1024 + 1)})
    assert (answer.status, answer.code) == (413, "body_too_large")
    assert post(START, [], headers={"content-length": "9" * 40}).status == 413


def test_gzip_is_read() -> None:
    body = gzip.compress(json.dumps(examples.START).encode())
    assert post(START, body, headers={"content-encoding": "gzip"}).status == 200
    assert post(START, headers={"content-encoding": "identity"}).status == 200


BAD_GZIP = {
    "no gzip": (b"hello", 400, "bad_encoding"),
    "cut": (gzip.compress(b"x" * 1_000)[:-4], 400, "bad_encoding"),
    "damaged": (gzip.compress(b"x" * 1_000)[:-8] + b"\0" * 8, 400, "bad_encoding"),
    "trailing": (gzip.compress(b"{}") + b"more", 400, "bad_encoding"),
    "zlib": (zlib.compress(b"{}"), 400, "bad_encoding"),
    "bomb": (gzip.compress(b" " * 100_000_000), 413, "body_too_large"),
}


@pytest.mark.parametrize(("body", "status", "code"), BAD_GZIP.values(), ids=BAD_GZIP.keys())
def test_bad_gzip_gets_its_documented_error(body: bytes, status: int, code: str) -> None:
    answer = post(START, body, headers={"content-encoding": "gzip"})
    assert (answer.status, answer.code) == (status, code)


def test_a_bomb_is_not_inflated_past_the_limit() -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    tracemalloc.start()
    try:
        assert isinstance(inflate(bomb, b"gzip"), Refusal)
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "zstd"])
def test_other_encodings_are_refused(encoding: str) -> None:
    answer = post(START, headers={"content-encoding": encoding})
    assert (answer.status, answer.code) == (415, "unsupported_encoding")
    assert answer.headers["accept-encoding"] == "gzip"


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "TRACE"])
def test_other_methods_get_405_and_are_told_which_are_allowed(path: str, method: str) -> None:
    answer = one(method, path)
    assert (answer.status, answer.code, answer.headers["allow"]) == (405, "method_not_allowed", "POST, OPTIONS")


def test_other_methods_on_the_pixel_get_405() -> None:
    answer = one("PUT", "/icon.gif", query=b"type=play&v=a&p=b&u=c")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, POST, OPTIONS")


def test_a_pixel_that_a_beacon_makes_a_post_of_is_taken_as_the_get() -> None:
    async def scenario(door: FrontDoor) -> Any:
        answer = await ask(door.app, "POST", "/icon.gif", b'{"not":"read"}', query=b"type=play&v=a&p=b&u=c", token=None)
        return answer, sum(tracker.ledger.started for tracker in door.shard.trackers)

    answer, started = run(scenario)
    assert (answer.status, answer.body, started) == (200, GIF, 1)


@pytest.mark.parametrize("path", ["/nowhere", "/icon.gif/", "/icon.GIF", START + "/", "/analytics/live/session/", "/analytics"])
def test_other_paths_get_404(path: str) -> None:
    answer = one("POST", path)
    assert (answer.status, answer.code) == (404, "not_found")


@pytest.mark.parametrize("path", ["/icon.gif/", START + "/", "/analytics/live/nowhere", "/analytics"])
def test_a_page_can_read_that_there_is_nothing_where_players_may_have_meant_something(path: str) -> None:
    async def scenario(door: FrontDoor) -> Any:
        asked = {"origin": "https://tv.example", "access-control-request-method": "POST"}
        preflight = await ask(door.app, "OPTIONS", path, headers=asked, token=None)
        answer = await ask(door.app, "POST", path, b"{}", headers={"origin": "https://tv.example"})
        return preflight, answer, door.tallies.report()

    preflight, answer, report = run(scenario)
    assert (preflight.status, answer.status, answer.code) == (204, 404, "not_found")
    assert preflight.headers["access-control-allow-origin"] == answer.headers["access-control-allow-origin"] == "https://tv.example"
    assert report.increments == {("rejected", "elsewhere", "not_found"): 1}


@pytest.mark.parametrize("path", ["/metrics", "/v1/status", "/", "/healthz"])
def test_no_page_may_read_what_is_for_operators(path: str) -> None:
    answer = one("GET", path, token=OPS, headers={"origin": "https://tv.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(("path", "methods"), [(START, "POST, OPTIONS"), ("/icon.gif", "GET, HEAD, POST, OPTIONS")])
def test_a_preflight_is_answered_for_a_day_without_a_token(path: str, methods: str) -> None:
    asked = {
        "origin": "https://tv.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,x-trace",
    }
    answer = one("OPTIONS", path, token=None, headers=asked)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "https://tv.example"
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-allow-methods"] == methods
    assert answer.headers["access-control-allow-headers"] == "authorization,x-trace"
    assert answer.headers["access-control-max-age"] == "86400"


def test_every_answer_to_a_page_names_its_origin_and_lets_it_read_when_to_try_again() -> None:
    friend = {"origin": "https://tv.example"}
    for answer in (
        post(START, headers=friend),
        post(START, b"", headers=friend),
        post(START, token=None, headers=friend),
        one("GET", "/icon.gif", query=b"type=play&v=a&p=b&u=c", headers=friend),
        one("GET", "/icon.gif", headers=friend),
        one("PUT", START, headers=friend),
    ):
        assert answer.headers["access-control-allow-origin"] == "https://tv.example"
        assert answer.headers["access-control-allow-credentials"] == "true"
        assert answer.headers["access-control-expose-headers"] == "retry-after"
        assert answer.headers["vary"] == "origin"
    native = post(START)
    assert native.headers["vary"] == "origin"
    assert "access-control-allow-origin" not in native.headers


def test_an_empty_list_lets_no_page_in() -> None:
    answer = post(START, headers={"origin": "https://tv.example"}, parts={"rules": Rules(slots=SLOTS, cors_origins=())})
    assert (answer.status, answer.headers["vary"]) == (200, "origin")
    assert "access-control-allow-origin" not in answer.headers


def test_only_listed_origins_are_let_in() -> None:
    parts = {"rules": Rules(slots=SLOTS, cors_origins=("https://tv.example",))}
    friend = post(START, headers={"origin": "https://tv.example"}, parts=parts)
    assert friend.headers["access-control-allow-origin"] == "https://tv.example"
    assert friend.headers["vary"] == "origin"
    stranger = post(START, headers={"origin": "https://evil.example"}, parts=parts)
    assert "access-control-allow-origin" not in stranger.headers
    assert stranger.headers["vary"] == "origin"


def test_a_client_that_leaves_in_the_middle_gets_nothing_and_starts_nothing() -> None:
    async def scenario(door: FrontDoor) -> Any:
        assert await ask(door.app, "POST", START, [b'{"session'], leaves=True) is None
        return door.shard.batches

    assert run(scenario) == []


def test_a_body_that_never_comes_gets_408() -> None:
    answer = post(START, [], parts={"rules": Rules(slots=SLOTS, deadline_s=0.01)})
    assert (answer.status, answer.code) == (408, "request_timeout")


@pytest.mark.parametrize("outcome", Undelivered)
def test_what_cannot_be_delivered_gets_503_and_when_to_try_again(outcome: Undelivered) -> None:
    async def submit(_slot: int, _item: bytes, **_times: float) -> Any:
        return outcome

    for answer in (
        post(START, parts={"submit": submit}),
        one("GET", "/icon.gif", query=b"type=play&v=a&p=b&u=c", parts={"submit": submit}),
    ):
        assert (answer.status, answer.code) == (503, outcome.value)
        assert int(answer.headers["retry-after"]) >= 1


def test_a_full_shard_gets_429_and_when_to_try_again() -> None:
    async def submit(_slot: int, _item: bytes, **_times: float) -> Any:
        return Receipt(accepted=False, reason=Reason.TOO_MANY_SESSIONS, interval_s=30)

    answer = post(HEARTBEAT, parts={"submit": submit})
    assert (answer.status, answer.code) == (429, "too_many_sessions")
    assert int(answer.headers["retry-after"]) >= 1


def test_a_shard_without_a_journal_is_503_at_once() -> None:
    async def scenario(door: FrontDoor) -> Any:
        door.shard.refusing = NotTaken.NO_JOURNAL
        return await ask(door.app, "POST", START, json.dumps(examples.START).encode())

    assert run(scenario).code == "no_journal"


@pytest.mark.reaches("OPEN_REQUESTS_MAX")
def test_4_096_requests_are_held_and_one_more_is_shed() -> None:
    async def scenario(door: FrontDoor) -> Any:
        held = [asyncio.create_task(ask(door.app, "POST", START, [])) for _ in range(4_096)]
        await asyncio.sleep(0)
        shed = await ask(door.app, "POST", START, json.dumps(examples.START).encode())
        held.pop().cancel()
        await asyncio.sleep(0)
        taken = await ask(door.app, "POST", START, json.dumps(examples.START).encode())
        for each in held:
            each.cancel()
        await asyncio.wait(held)
        return shed, taken

    shed, taken = run(scenario)
    assert (shed.status, shed.code, taken.status) == (503, "overloaded", 200)
    assert shed.headers["retry-after"] == "2"


@pytest.mark.parametrize(
    ("ago_ms", "waited_s"),
    [(700, 0.7), (0, 0.0), (-300, 0.0), (6_000, 0.0), (None, 0.0)],
    ids=["700", "0", "ahead", "another clock", "none"],
)
def test_the_wait_at_the_front_door_counts_if_it_can_be(ago_ms: int | None, waited_s: float) -> None:
    told: list[float] = []

    async def submit(_slot: int, _item: bytes, *, within_s: float, waited_s: float) -> Any:
        told.extend((within_s, waited_s))
        return Undelivered.OVERLOADED

    async def scenario(door: FrontDoor) -> Any:
        headers = {} if ago_ms is None else arrival(f"{round(door.shard.now() * 1_000) - ago_ms}")
        return await ask(door.app, "POST", START, json.dumps(examples.START).encode(), headers=headers)

    run(scenario, submit=submit)
    assert told == pytest.approx([10.0 - waited_s, waited_s], abs=0.25)


@pytest.mark.parametrize("said", ["", "soon", "-5", "1e3", "9" * 400])
def test_a_front_door_that_says_nonsense_is_not_believed(said: str) -> None:
    answer = post(START, headers=arrival(said))
    assert answer.status == 200


@pytest.mark.parametrize("secret", ["", "6" * 32, "5" * 31, f"{SECRET[:-1]}6"], ids=["none", "another", "too short", "nearly"])
def test_who_reaches_a_replica_past_haproxy_is_not_believed(secret: str) -> None:
    told: list[Any] = []

    async def submit(_slot: int, item: bytes, *, within_s: float, waited_s: float) -> Any:
        told.append((item, waited_s))
        return Receipt(accepted=True, interval_s=30)

    headers = arrival(f"{round(NOW * 1_000) - 700} 203.0.113.0", secret=secret)
    assert one("GET", "/icon.gif", query=b"type=play&v=a&p=b&u=c", headers=headers, parts={"submit": submit}).status == 200
    ((item, waited_s),) = told
    ((_, beacon),) = decode_batch(encode_batch([item]))
    assert beacon.network == ""
    assert waited_s < 0.5


def test_what_is_taken_is_timed_and_what_is_not_is_counted() -> None:
    async def scenario(door: FrontDoor) -> Any:
        await ask(door.app, "POST", START, json.dumps(examples.START).encode())
        await ask(door.app, "POST", START, b"")
        await ask(door.app, "GET", "/icon.gif", query=b"type=play&v=a&p=b&u=c")
        return door.tallies.report()

    increments = run(scenario).increments
    assert sum(amount for key, amount in increments.items() if key[:2] == ("ingest_seconds", "le") and key[3] == "start") == 1
    assert sum(amount for key, amount in increments.items() if key[:2] == ("ingest_seconds", "le") and key[3] == "icon") == 1
    assert increments["rejected", "start", "bad_json"] == 1


def pixel(query: bytes, **request: Any) -> Answer:
    return one("GET", "/icon.gif", token=None, query=query, **request)


def test_a_pixel_is_a_gif_that_nobody_stores() -> None:
    answer = pixel(b"type=play&v=a&p=b&u=c")
    assert (answer.status, answer.body) == (200, GIF)
    assert answer.headers["content-type"] == "image/gif"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["content-length"] == str(len(GIF))
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert GIF[:6] == b"GIF89a"
    assert GIF[6:10] == b"\1\0\1\0"


def test_a_beacon_is_a_session_that_no_post_can_reach() -> None:
    async def scenario(door: FrontDoor) -> Any:
        await ask(
            door.app, "GET", "/icon.gif", query=b"type=view&v=video%20one&p=zone&u=%C3%A9&visibility=0&referrer=https://x", token=None
        )
        return json.loads(await door.backstage.describe("\0zone\0video one\0é") or b"null")

    session = run(scenario)
    assert (session["stream_id"], session["pullzone"], session["liveness"], session["visible"]) == ("video one", "zone", "active", False)
    assert session["profile"] == {"user_id": "é", "referrer": {"page": "https://x"}}


BAD_PIXELS = {
    b"": ["type", "v", "p", "u"],
    b"type=play&v=a&p=b": ["u"],
    b"type=play&v=a&p=b&u=": ["u"],
    b"type=stop&v=a&p=b&u=c": ["type"],
    b"type=PLAY&v=a&p=b&u=c": ["type"],
    b"type=play&v=" + b"a" * 257 + b"&p=b&u=c": ["v"],
    b"type=play&v=a&v=b&p=b&u=c": ["v"],
    b"type=play&v=a%00&p=b&u=c": ["v"],
    b"type=play&v=%FF&p=b&u=c": ["v"],
    b"type=play&v=%ED%A0%80&p=b&u=c": ["v"],
    b"type=play&v=%&p=b&u=c": ["v"],
    b"type=play&v=%zz&p=b&u=c": ["v"],
    b"type=play&v=\xff&p=b&u=c": ["v"],
    b"type=play&v=a&p=b&u=undefined": ["u"],
    b"type=play&v={VIDEO_ID}&p=b&u=%5Bobject%20Object%5D": ["v", "u"],
}


@pytest.mark.parametrize(("query", "named"), BAD_PIXELS.items())
def test_a_bad_pixel_names_its_parameters(query: bytes, named: list[str]) -> None:
    answer = pixel(query)
    assert (answer.status, answer.code, answer.fields) == (400, "bad_parameter", named)
    assert named[0] in answer.json["error"]["message"]


@pytest.mark.parametrize(
    "query",
    [
        b"type=check&v=" + b"a" * 256 + b"&p=b&u=c",
        b"type=view&v=a&p=b&u=c&visibility=true&referrer=",
        b"type=view&v=a&p=b&u=c&cachebuster=1&cachebuster=2&%ff=1&&x",
        b"type=view&v=a+b%2Fc&p=b&u=c&referrer=" + b"r" * 5_000,
    ],
)
def test_a_good_pixel_is_taken(query: bytes) -> None:
    assert pixel(query).status == 200


@pytest.mark.parametrize(
    ("more", "visible", "dropped"),
    [
        (b"", True, []),
        (b"&visibility=TRUE", True, []),
        (b"&visibility=True", True, []),
        (b"&visibility=1", True, []),
        (b"&visibility=False", False, []),
        (b"&visibility=0", False, []),
        (b"&visibility=hidden", True, ["visibility"]),
        (b"&visibility=", True, ["visibility"]),
        (b"&visibility=true&visibility=false", True, ["visibility"]),
        (b"&visibility=%FF", True, ["visibility"]),
        (b"&referrer=%00", True, ["referrer"]),
        (b"&referrer=%zz&visibility=0", False, ["referrer"]),
    ],
)
def test_an_optional_parameter_that_cannot_be_read_costs_only_itself(more: bytes, visible: bool, dropped: list[str]) -> None:
    async def scenario(door: FrontDoor) -> Any:
        answer = await ask(door.app, "GET", "/icon.gif", query=b"type=play&v=a&p=b&u=c" + more, token=None)
        session = json.loads(await door.backstage.describe("\0b\0a\0c") or b"null")
        return answer, session, door.tallies.report()

    answer, session, report = run(scenario)
    assert (answer.status, session["visible"]) == (200, visible)
    assert [key[2] for key in report.increments if key[0] == "dropped_fields"] == dropped
    assert "referrer" not in session["profile"]


@pytest.mark.parametrize(("said", "believed"), [("203.0.113.0", "203.0.113.0"), ("2001:db8::", "2001:db8::"), (None, "")])
def test_the_range_that_haproxy_saw_goes_along_with_a_pixel(said: str | None, believed: str) -> None:
    items: list[bytes] = []

    async def submit(_slot: int, item: bytes, **_times: float) -> Any:
        items.append(item)
        return Receipt(accepted=True, interval_s=30)

    headers = {} if said is None else arrival(f"{round(NOW * 1_000)} {said}")
    assert one("GET", "/icon.gif", query=b"type=play&v=a&p=b&u=c", headers=headers, parts={"submit": submit}).status == 200
    ((_, beacon),) = decode_batch(encode_batch(items))
    assert isinstance(beacon, Beacon)
    assert beacon.network == believed


@pytest.mark.reaches("BEACON_REFERRER_CHARS_MAX")
def test_of_a_strangers_referrer_so_much_is_kept() -> None:
    beacon = read_pixel(b"type=play&v=a&p=b&u=c&referrer=" + b"r" * 12_000)
    assert isinstance(beacon, Beacon)
    assert unpack_profile(beacon.profile)["referrer"]["page"] == "r" * 512


def test_a_pixel_whose_viewer_nobody_filled_in_is_counted_by_its_own_name() -> None:
    async def scenario(door: FrontDoor) -> Any:
        await ask(door.app, "GET", "/icon.gif", query=b"type=play&v=a&p=b&u=undefined", token=None)
        return door.tallies.report()

    assert run(scenario).increments == {("rejected", "icon", "placeholder_id"): 1}


def test_only_listed_pullzones_are_taken() -> None:
    parts = {"rules": Rules(slots=SLOTS, pullzones=frozenset({"zone"}))}
    assert pixel(b"type=play&v=a&p=zone&u=c", parts=parts).status == 200
    answer = pixel(b"type=play&v=a&p=other&u=c", parts=parts)
    assert (answer.status, answer.fields) == (400, ["p"])


def test_a_head_asks_and_counts_nobody() -> None:
    async def scenario(door: FrontDoor) -> Any:
        good = await ask(door.app, "HEAD", "/icon.gif", query=b"type=play&v=a&p=b&u=c", token=None)
        bad = await ask(door.app, "HEAD", "/icon.gif", query=b"", token=None)
        return good, bad, door.shard.batches

    good, bad, batches = run(scenario)
    assert (good.status, bad.status, batches) == (200, 400, [])


def test_answers_carry_the_servers_time_not_the_players() -> None:
    assert NOW == 1_730_484_900.0
    answer = post(HEARTBEAT, {"session_id": "a", "timestamp": "9999-12-31T23:59:59Z"})
    assert answer.json["data"]["server_timestamp"] == "2024-11-01T18:15:00Z"
