"""What HAProxy answers by itself: with the headers that a page needs to read it, in our shape, and to a client that closed its side."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from serve_app.delivery import own_answers
from serve_app.delivery.tallies import Tallies
from serve_app.players.arrival import ARRIVAL_HEADER, SECRET_CHARS, shared_secret, told_by_haproxy
from serve_app.players.routes import PLAYERS_METHODS
from tests.haproxy import JOURNAL, Answer, Door, door_before

SECRET = "5" * SECRET_CHARS
PAGE = "Origin: https://tv.example\r\n"


class Replica(BaseHTTPRequestHandler):
    """Answers everything with what HAProxy told it of the request, and says nothing of pages. To a path with "bad" in it 422."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        seen = ", ".join(self.headers.get_all(ARRIVAL_HEADER.decode(), ["nothing"])).encode()
        self.send_response(422 if "bad" in self.path else 200)
        self.send_header("content-length", str(len(seen)))
        self.end_headers()
        self.wfile.write(seen)

    do_GET = do_POST  # noqa: N815 - as the library calls it

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def door_of(folder: Path, origins: tuple[str, ...] = ("*",), proxies: tuple[str, ...] = (), secret: str | None = SECRET) -> Iterator[Door]:
    replica = ThreadingHTTPServer(("127.0.0.1", 0), Replica)
    threading.Thread(target=replica.serve_forever, daemon=True).start()

    def lose() -> None:
        replica.shutdown()
        replica.server_close()

    with door_before(replica.server_port, folder, lose=lose, origins=origins, proxies=proxies, secret=secret) as door:
        yield door
    lose()


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    with door_of(tmp_path, ("*",)) as door:
        yield door


def is_readable(answer: Answer) -> bool:
    return (
        answer.headers.get("access-control-allow-origin") == "https://tv.example"
        and answer.headers.get("access-control-allow-credentials") == "true"
        and answer.headers.get("vary") == "origin"
    )


def test_a_page_can_read_the_front_doors_own_503_and_when_to_try_again(door: Door) -> None:
    door.lose_the_replica()
    answer = door.ask("POST", "/analytics/live/session/heartbeat", PAGE, "{}")
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")
    assert json.loads(answer.body)["error"]["code"] == "unavailable"
    assert is_readable(answer)
    assert answer.headers["access-control-expose-headers"] == "retry-after"
    for_operators = door.ask("GET", "/metrics", PAGE)
    assert not [name for name in for_operators.headers if name.startswith("access-control")]


def test_a_preflight_is_answered_while_no_replica_is(door: Door) -> None:
    door.lose_the_replica()
    for path in ("/analytics/live/session/start", "/analytics/live/nowhere/", "/icon.gif"):
        answer = door.ask("OPTIONS", path, PAGE + "Access-Control-Request-Headers: authorization,x-trace\r\n")
        assert (answer.status, answer.body) == (204, "")
        assert is_readable(answer)
        assert answer.headers["access-control-allow-headers"] == "authorization,x-trace"
        assert answer.headers["access-control-allow-methods"] == PLAYERS_METHODS.decode()
        assert answer.headers["access-control-max-age"] == "86400"
    assert "authorization" in door.ask("OPTIONS", "/icon.gif", PAGE).headers["access-control-allow-headers"]


def test_who_asks_for_nothing_in_particular_is_told_what_there_is(door: Door) -> None:
    answer = door.ask("OPTIONS", "*")
    assert (answer.status, answer.headers["allow"]) == (204, PLAYERS_METHODS.decode())


def test_a_client_that_closes_its_side_after_its_request_gets_its_answer(door: Door) -> None:
    assert door.ask("POST", "/analytics/live/session/heartbeat", body="{}", closes=True).status == 200


def test_half_a_request_is_answered_in_our_shape_if_at_all(door: Door) -> None:
    answer = door.ask("POST", "/analytics/live/session/heartbeat", PAGE + "Content-Length: 50\r\n", "{}")
    assert answer.status == 408
    assert json.loads(answer.body)["error"]["code"] == "request_timeout"
    assert is_readable(answer)


def test_a_method_that_there_is_none_of_is_refused_in_our_shape_and_a_page_can_read_it(door: Door) -> None:
    for method in ("BREW", "get", "TRACE"):
        answer = door.ask(method, "/icon.gif?type=view", PAGE)
        assert (answer.status, answer.headers["allow"]) == (405, PLAYERS_METHODS.decode())
        assert json.loads(answer.body)["error"]["code"] == "method_not_allowed"
        assert is_readable(answer)
    assert door.ask("GET", "/icon.gif", PAGE).status == 200


def test_only_listed_origins_may_read(tmp_path: Path) -> None:
    with door_of(tmp_path, ("https://tv.example", "https://b.example")) as door:
        assert is_readable(door.ask("OPTIONS", "/icon.gif", PAGE))
        stranger = door.ask("OPTIONS", "/icon.gif", "Origin: https://evil.example\r\n")
        assert (stranger.status, stranger.headers["vary"]) == (204, "origin")
        assert "access-control-allow-origin" not in stranger.headers


def test_nobody_may_read_if_no_origin_is_listed(tmp_path: Path) -> None:
    with door_of(tmp_path, ()) as door:
        assert "access-control-allow-origin" not in door.ask("OPTIONS", "/icon.gif", PAGE).headers


FORGED = f"X-Headcount-Arrival: {SECRET} 1 192.0.2.0\r\nX-Forwarded-For: 198.51.100.9, 203.0.113.77\r\n"


def told(answer: Answer, *, secret: str = SECRET) -> list[str]:
    """Return what HAProxy told the replica beside the secret: when, which must be now, and what else."""
    said = told_by_haproxy(answer.body.encode(), secret.encode()).decode()
    at_ms, *rest = said.split()
    assert abs(int(at_ms) / 1_000 - time.time()) < 5.0
    return rest


def test_only_haproxy_says_when_a_request_came_and_where_a_pixel_comes_from(door: Door) -> None:
    assert told(door.ask("GET", "/icon.gif", FORGED)) == ["127.0.0.0"]
    assert told(door.ask("POST", "/analytics/live/events", FORGED, "{}")) == []
    assert told(door.ask("POST", "/analytics/live/events", FORGED + FORGED.lower(), "{}")) == []


def test_on_a_cluster_the_secret_follows_from_the_journal_and_is_the_replicas_own(tmp_path: Path) -> None:
    with door_of(tmp_path, secret=None) as door:
        secret = shared_secret({}, journal_url=JOURNAL).decode()
        assert told(door.ask("GET", "/icon.gif", FORGED), secret=secret) == ["127.0.0.0"]
        assert len(secret) == SECRET_CHARS
        assert "a-password" not in secret


def test_a_trusted_proxy_is_believed_and_what_stands_before_it_is_not(tmp_path: Path) -> None:
    with door_of(tmp_path, proxies=("127.0.0.1", "10.0.0.0/8", "2001:db8:1::/48")) as door:
        assert told(door.ask("GET", "/icon.gif", FORGED)) == ["203.0.113.0"]
        assert told(door.ask("GET", "/icon.gif", "X-Forwarded-For: 198.51.100.9, 203.0.113.77, 10.1.2.3\r\n")) == ["203.0.113.0"]
        assert told(door.ask("GET", "/icon.gif", "X-Forwarded-For: 2001:db8:7:1234:5678::1\r\n")) == ["2001:db8:7:1200::"]
        assert told(door.ask("GET", "/icon.gif")) == ["127.0.0.0"]


def test_what_haproxy_refuses_by_itself_is_counted_and_what_a_replica_refuses_is_not(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_answers, "LOOK_EVERY_S", 0.02)
    assert [door.ask("GET", path).status for path in ("/icon.gif?u=J\xf6rg", "/icon.gif?u=" + "x" * 17_000)] == [400, 400]
    assert [door.ask("POST", "/analytics/bad", body="{}").status for _ in range(5)] == [422] * 5
    assert [door.ask("OPTIONS", "*").status, door.ask("GET", "/icon.gif").status] == [204, 200]
    assert counted(door, bad_request=2) == {"bad_request": 2}
    door.lose_the_replica()
    assert door.ask("POST", "/analytics/live/events", body="{}").status == 503
    refused = door.statuses[503]
    assert counted(door, unavailable=refused) == {"unavailable": refused}


def counted(door: Door, **until: int) -> dict[str, int]:
    """Return what the two replicas of a node count until they have counted so much, and a little longer."""

    async def scenario() -> dict[str, int]:
        replicas = [Tallies("replica"), Tallies("beside")]
        found: dict[str, int] = {}
        counting = [asyncio.create_task(own_answers.count_own_answers(each, door.socket)) for each in replicas]
        try:
            async with asyncio.timeout(10):
                rounds = 0
                while rounds < 5:
                    await asyncio.sleep(0.05)
                    for each in replicas:
                        if (report := each.report()) is not None:
                            for (_, endpoint, reason), times in report.increments.items():
                                assert endpoint == "front_door"
                                found[reason] = found.get(reason, 0) + int(times)
                            each.taken(report.number)
                    rounds += all(found.get(reason, 0) >= times for reason, times in until.items())
        finally:
            for task in counting:
                task.cancel()
            await asyncio.gather(*counting, return_exceptions=True)
        return found

    return asyncio.run(scenario())


def test_a_kept_connection_is_told_for_how_long(door: Door) -> None:
    with socket.create_connection(("127.0.0.1", door.port), timeout=10) as connection:
        connection.sendall(b"GET /icon.gif HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"\r\nkeep-alive: timeout=7\r\n" in connection.recv(65_536)
    with socket.create_connection(("127.0.0.1", door.port), timeout=10) as connection:
        connection.sendall(b"GET /icon.gif HTTP/1.0\r\n\r\n")
        assert b"keep-alive: timeout" not in connection.recv(65_536)
