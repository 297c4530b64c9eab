"""Players' requests reach the ingest past Serve's own application; everything else does not."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from serve_app.machine import haproxy
from serve_app.shortcut import Message, Receive, Send, Shortcut, middlewares

HEARTBEAT = "/analytics/live/session/heartbeat"


async def ingest(_scope: Any, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": ((b"content-length", b"6"),)})
    await send({"type": "http.response.body", "body": b"ingest"})


async def serve(_scope: Any, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.body", "body": b"serve"})


@pytest.fixture(autouse=True)
def _open() -> Iterator[None]:
    Shortcut.open(ingest, paths=[HEARTBEAT])
    yield
    Shortcut.close()


def answers(**scope: Any) -> list[Message]:
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {}

    (middleware,) = middlewares()
    application = middleware.cls(serve, *middleware.args, **middleware.kwargs)
    asyncio.run(application({"type": "http", "path": HEARTBEAT, "headers": [], **scope}, receive, send))
    return sent


def test_a_players_request_is_answered_by_ingest_alone() -> None:
    assert [message.get("body") for message in answers()] == [None, b"ingest"]


@pytest.mark.parametrize(
    "scope", [{"path": "/metrics"}, {"path": f"{HEARTBEAT}/"}, {"type": "websocket"}, {"type": "lifespan", "path": None}]
)
def test_everything_else_goes_to_serve(scope: dict[str, Any]) -> None:
    assert answers(**scope) == [{"type": "http.response.body", "body": b"serve"}]


def test_before_ingest_is_there_and_after_it_stopped_everything_goes_to_serve() -> None:
    Shortcut.close()
    assert answers() == [{"type": "http.response.body", "body": b"serve"}]


def test_a_request_gets_its_own_id_back() -> None:
    start, body = answers(headers=[(b"host", b"x"), (b"x-request-id", b"mine")])
    assert start["headers"] == ((b"content-length", b"6"), (b"x-request-id", b"mine"))
    assert body["body"] == b"ingest"


def test_serve_is_told_where_it_is() -> None:
    module, _, name = haproxy.SHORTCUT.rpartition(".")
    assert (module, name) == (middlewares.__module__, middlewares.__name__)
