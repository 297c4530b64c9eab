"""The operators' routes: who may ask, what is answered, and one shape for whatever goes wrong."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Any

import pytest

from serve_app.access.tokens import Tokens
from serve_app.players import examples
from tests.front_door import INGEST, OPS, Answer, FrontDoor, ask

GUARDED = ["/metrics", "/v1/concurrency", "/v1/sessions", "/v1/sessions/x", "/v1/beacon-session?p=a&v=b&u=c", "/v1/players", "/v1/status"]
OPEN = ["/healthz", "/readyz", "/openapi.json", "/docs", "/", "/page/page.js"]


async def get(door: FrontDoor, target: str, *, method: str = "GET", token: str | None = OPS, **request: Any) -> Answer:
    path, _, query = target.partition("?")
    answer = await ask(door.app, method, path, query=query.encode(), token=token, **request)
    assert answer is not None
    return answer


def run(scenario: Callable[[FrontDoor], Awaitable[Any]], **parts: Any) -> Any:
    async def all_of_it() -> Any:
        door = FrontDoor(**parts)
        await door.slot_map.refresh()
        await ask(door.app, "POST", "/analytics/live/session/start", json.dumps(examples.START).encode())
        await ask(door.app, "GET", "/icon.gif", query=b"type=view&v=video&p=zone&u=me")
        return await scenario(door)

    return asyncio.run(all_of_it())


def one(target: str, **request: Any) -> Answer:
    answer = run(lambda door: get(door, target, **request))
    assert isinstance(answer, Answer)
    return answer


@pytest.mark.parametrize("target", [*GUARDED, "/live"])
@pytest.mark.parametrize("token", [None, "wrong", INGEST, ""])
def test_operators_routes_open_to_the_ops_token_alone(target: str, token: str | None) -> None:
    answer = one(target, token=token)
    assert (answer.status, answer.code) == (401, "unauthorized")
    assert "www-authenticate" in answer.headers


def test_the_ops_token_in_the_query_opens_nothing() -> None:
    assert one("/metrics?access_token=ops-token", token=None).status == 401


@pytest.mark.parametrize("target", OPEN)
def test_health_and_documentation_need_no_token(target: str) -> None:
    assert one(target, token=None).status == 200


@pytest.mark.parametrize("target", GUARDED)
def test_switched_off_no_token_is_needed(target: str) -> None:
    answer = run(lambda door: get(door, target, token=None), tokens=Tokens(ingest="a", ops="b", auth=False))
    assert answer.status != 401


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=0.0.4", "text/plain; version=0.0.4; charset=utf-8"),
        (
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
        ("application/openmetrics-text;q=0, text/plain", "text/plain; version=0.0.4; charset=utf-8"),
    ],
)
def test_the_scrape_comes_in_the_format_that_is_accepted(accept: str, content_type: str) -> None:
    answer = one("/metrics", headers={"accept": accept})
    assert answer.headers["content-type"] == content_type
    assert answer.body.endswith(b"# EOF\n") == ("openmetrics" in content_type)


def test_the_status_names_the_version() -> None:
    assert one("/v1/status").json["version"] == one("/openapi.json").json["info"]["version"] == version("headcount")


def test_a_session_is_described_and_an_unknown_one_is_404() -> None:
    known = one("/v1/sessions/sess_live_xyz001")
    assert (known.status, known.json["session_id"], known.json["counted"]) == (200, "sess_live_xyz001", True)
    assert known.json["profile"]["user_id"] == "user_123"
    assert one("/v1/sessions/nobody").code == "not_found"
    assert one("/v1/sessions/").code == "not_found"


@pytest.mark.parametrize("session_id", ["a/b//c", "a\nb\n", "\r\n", "\"} 1\n{x='"])
def test_an_id_with_slashes_and_line_breaks_is_one_id(session_id: str) -> None:
    async def scenario(door: FrontDoor) -> Any:
        await ask(door.app, "POST", "/analytics/live/session/start", json.dumps({**examples.START, "session_id": session_id}).encode())
        return await get(door, f"/v1/sessions/{session_id}")

    assert run(scenario).json["session_id"] == session_id


def test_a_beacons_session_is_found_by_its_parameters() -> None:
    assert one("/v1/beacon-session?p=zone&v=video&u=me").json["pullzone"] == "zone"
    assert one("/v1/beacon-session?p=zone&v=video&u=you").code == "not_found"


@pytest.mark.parametrize(
    ("target", "fields"),
    [
        ("/v1/beacon-session?p=zone", ["v", "u"]),
        ("/v1/concurrency?stream_id=", ["stream_id"]),
        ("/v1/concurrency?stream_id=" + "x" * 257, ["stream_id"]),
        ("/v1/concurrency?stream_id=%00", ["stream_id"]),
    ],
)
def test_bad_parameters_are_named(target: str, fields: list[str]) -> None:
    answer = one(target)
    assert (answer.status, answer.code, answer.fields) == (422, "invalid_field", fields)


def test_concurrency_may_be_asked_by_stream() -> None:
    assert one("/v1/concurrency").json == {"stream_id": None, "sessions": 2}
    assert one("/v1/concurrency?stream_id=a%20b").json["stream_id"] == "a b"


@pytest.mark.parametrize("target", GUARDED)
def test_whoever_knows_being_away_is_503(target: str) -> None:
    async def scenario(door: FrontDoor) -> Any:
        door.backstage.away = True
        return await get(door, target)

    answer = run(scenario)
    assert (answer.status, answer.code) == (503, "unavailable")
    assert "retry-after" in answer.headers


def test_health_depends_on_nobody() -> None:
    async def scenario(door: FrontDoor) -> Any:
        door.backstage.away = True
        door.backstage.problems = ("all is lost",)
        return await get(door, "/healthz", token=None), await get(door, "/readyz", token=None)

    healthy, ready = run(scenario)
    assert healthy.status == 200
    assert (ready.status, ready.code) == (503, "recovering")
    assert "all is lost" in ready.json["error"]["message"]
    assert "retry-after" in ready.headers


def test_a_slow_journal_is_ready_and_said() -> None:
    async def scenario(door: FrontDoor) -> Any:
        door.backstage.slow = True
        return await get(door, "/readyz", token=None)

    ready = run(scenario)
    assert (ready.status, ready.json["status"], ready.json["journal"]) == (200, "ready", "slow")


@pytest.mark.parametrize("target", GUARDED + OPEN)
def test_other_methods_are_405_and_head_is_a_get(target: str) -> None:
    answer = one(target, method="POST")
    assert (answer.status, answer.code) == (405, "method_not_allowed")
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert one(target, method="HEAD").status == one(target).status


def test_a_fault_of_ours_shows_no_trace() -> None:
    async def scenario(door: FrontDoor) -> Any:
        async def broken() -> Any:
            msg = "secret detail"
            raise ZeroDivisionError(msg)

        door.backstage.status = broken  # type: ignore[method-assign]
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request"}

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"authorization", b"Bearer ops-token")]
        scope = {"type": "http", "method": "GET", "path": "/v1/status", "query_string": b"", "headers": headers}
        with pytest.raises(ZeroDivisionError):
            await door.app(scope, receive, send)
        return Answer(sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}, sent[1]["body"])

    answer = run(scenario)
    assert (answer.status, answer.code) == (500, "internal")
    assert b"secret" not in answer.body


def test_the_documentation_needs_no_other_server() -> None:
    page = one("/docs", token=None).body.decode()
    assert "http://" not in page
    assert "https://" not in page
    for asset in ("swagger-ui-bundle.js", "swagger-ui.css"):
        assert f"/docs/assets/{asset}" in page
        assert len(one(f"/docs/assets/{asset}", token=None).body) > 10_000


@pytest.mark.parametrize("target", ["/docs/assets/none.js", "/docs/assets/../../answers.py", "/v1", "/v2/status", "/metrics/"])
def test_what_is_not_there_is_404(target: str) -> None:
    answer = one(target)
    assert (answer.status, answer.code) == (404, "not_found")
