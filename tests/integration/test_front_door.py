"""What HAProxy answers by itself: with the headers that a page needs to read it, in our shape, and to a client that closed its side."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from serve_app.players.routes import PLAYERS_METHODS
from tests.haproxy import Answer, Door, door_before

PAGE = "Origin: https://tv.example\r\n"


class Replica(BaseHTTPRequestHandler):
    """Answers everything with the range of addresses that it is told, and says nothing of pages."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length") or 0))
        seen = (self.headers.get("x-headcount-network") or "nothing").encode()
        self.send_response(200)
        self.send_header("content-length", str(len(seen)))
        self.end_headers()
        self.wfile.write(seen)

    do_GET = do_POST  # noqa: N815 - as the library calls it

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def door_of(folder: Path, origins: tuple[str, ...] = ("*",), proxies: tuple[str, ...] = ()) -> Iterator[Door]:
    replica = ThreadingHTTPServer(("127.0.0.1", 0), Replica)
    threading.Thread(target=replica.serve_forever, daemon=True).start()

    def lose() -> None:
        replica.shutdown()
        replica.server_close()

    with door_before(replica.server_port, folder, lose=lose, origins=origins, proxies=proxies) as door:
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


def test_only_listed_origins_may_read(tmp_path: Path) -> None:
    with door_of(tmp_path, ("https://tv.example", "https://b.example")) as door:
        assert is_readable(door.ask("OPTIONS", "/icon.gif", PAGE))
        stranger = door.ask("OPTIONS", "/icon.gif", "Origin: https://evil.example\r\n")
        assert (stranger.status, stranger.headers["vary"]) == (204, "origin")
        assert "access-control-allow-origin" not in stranger.headers


def test_nobody_may_read_if_no_origin_is_listed(tmp_path: Path) -> None:
    with door_of(tmp_path, ()) as door:
        assert "access-control-allow-origin" not in door.ask("OPTIONS", "/icon.gif", PAGE).headers


FORGED = "X-Headcount-Network: 192.0.2.0\r\nX-Forwarded-For: 198.51.100.9, 203.0.113.77\r\n"


def test_only_haproxy_says_where_a_pixel_comes_from(door: Door) -> None:
    assert door.ask("GET", "/icon.gif", FORGED).body == "127.0.0.0"
    assert door.ask("POST", "/analytics/live/events", FORGED, "{}").body == "nothing"


def test_a_trusted_proxy_is_believed_and_what_stands_before_it_is_not(tmp_path: Path) -> None:
    with door_of(tmp_path, proxies=("127.0.0.1", "10.0.0.0/8", "2001:db8:1::/48")) as door:
        assert door.ask("GET", "/icon.gif", FORGED).body == "203.0.113.0"
        assert door.ask("GET", "/icon.gif", "X-Forwarded-For: 198.51.100.9, 203.0.113.77, 10.1.2.3\r\n").body == "203.0.113.0"
        assert door.ask("GET", "/icon.gif", "X-Forwarded-For: 2001:db8:7:1234:5678::1\r\n").body == "2001:db8:7:1200::"
        assert door.ask("GET", "/icon.gif").body == "127.0.0.0"


def test_a_kept_connection_is_told_for_how_long(door: Door) -> None:
    with socket.create_connection(("127.0.0.1", door.port), timeout=10) as connection:
        connection.sendall(b"GET /icon.gif HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"\r\nkeep-alive: timeout=7\r\n" in connection.recv(65_536)
    with socket.create_connection(("127.0.0.1", door.port), timeout=10) as connection:
        connection.sendall(b"GET /icon.gif HTTP/1.0\r\n\r\n")
        assert b"keep-alive: timeout" not in connection.recv(65_536)
