"""What HAProxy is told, and what the wrapper makes of Serve's configuration."""

import subprocess
import sys
from pathlib import Path

import pytest

from serve_app.machine import haproxy
from serve_app.machine.ports import InternalPorts
from serve_app.players.routes import PLAYERS_PREFIXES, POSTS
from serve_app.settings import Settings
from sessions import limits

PORTS = InternalPorts(20_000)
GENERATED = """global
    log 127.0.0.1:514 local0 info
    stats socket /run/admin.sock mode 666 level admin expose-fd listeners
defaults
    mode http
    option log-health-checks
    timeout http-keep-alive 5s
    log global
    option httplog
    option abortonclose
    errorfile 502 /run/500.http
    errorfile 503 /run/500.http
    errorfile 504 /run/500.http
frontend prometheus
    bind :20001
    no log
frontend http_frontend
    bind 0.0.0.0:8000
    use_backend http-headcount if is_http-headcount
    default_backend default_backend
backend http-headcount
    http-reuse always
    server SERVE_REPLICA_1 127.0.0.1:20010 check observe layer4 error-limit 3 on-error mark-down
    server SERVE_PROXY_ACTOR 127.0.0.1:20002 check backup
backend default_backend
    http-request return status 404 content-type text/plain lf-string "Path '%[path]' not found. Ping http://.../-/routes."
listen stats
  bind *:20000
"""


@pytest.fixture
def corrected(tmp_path: Path) -> list[str]:
    """Return the lines that HAProxy would read."""
    haproxy.write_wrapper(
        tmp_path,
        Settings(cors_origins=("https://tv.example", "https://b.example:8443")),
        statistics=PORTS.haproxy_statistics,
        metrics=PORTS.haproxy_metrics,
        binary="/bin/true",
    )
    file = tmp_path / "haproxy.cfg"
    file.write_text(GENERATED)
    subprocess.run([tmp_path / "haproxy", "-db", "-f", file, "-dR"], check=True)
    return [line.strip() for line in file.read_text().splitlines()]


def test_ray_is_not_imported_before_it_is_told_how_to_be() -> None:
    look = "import sys; import serve_app.machine.up, serve_app.cli; print('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout == "False\n"


def test_request_lines_are_not_logged(corrected: list[str]) -> None:
    assert not [line for line in corrected if line.startswith(("log ", "option httplog", "option log-health-checks"))]


def test_inner_pages_are_bound_to_loopback_and_the_front_door_is_left_as_it_is(corrected: list[str]) -> None:
    assert [line for line in corrected if line.startswith("bind")] == ["bind 127.0.0.1:20001", "bind 0.0.0.0:8000", "bind 127.0.0.1:20000"]


def test_the_admin_socket_is_private(corrected: list[str]) -> None:
    assert [line.split(" mode ")[1] for line in corrected if line.startswith("stats socket")] == ["600 level admin expose-fd listeners"]


def test_headers_that_never_come_end(corrected: list[str]) -> None:
    assert "timeout http-request 10s" in corrected


def test_listeners_go_to_the_same_replicas_by_a_way_of_their_own_without_a_bound(corrected: list[str]) -> None:
    rules = [line for line in corrected if line.startswith("use_backend")]
    assert rules == [
        "use_backend http-headcount-live if is_http-headcount { path /live }",
        "use_backend http-headcount if is_http-headcount",
    ]
    at = corrected.index("backend http-headcount-live")
    assert corrected[at + 1 :] == [
        "http-reuse always",
        "balance leastconn",
        "server SERVE_REPLICA_1 127.0.0.1:20010 track http-headcount/SERVE_REPLICA_1",
    ]


def test_a_replica_is_given_so_many_requests_and_the_others_wait_a_second_for_their_turn(corrected: list[str]) -> None:
    servers = [line for line in corrected if line.startswith("server ")]
    assert servers[0].endswith(f" maxconn {limits.REPLICA_REQUESTS_MAX}")
    assert servers[1].endswith(" check backup")
    assert f"timeout queue {limits.FRONT_DOOR_WAITING_S_MAX}s" in corrected


def test_who_is_no_player_is_served_before_the_players_who_wait(corrected: list[str]) -> None:
    rule = "http-request set-priority-class int(-1) unless { path_beg /analytics /icon.gif /cmcd /epas /headcount. }"
    assert corrected.count(rule) == 1
    assert corrected.index(rule) > corrected.index("backend http-headcount")
    assert {path for path in POSTS if path.startswith(PLAYERS_PREFIXES)} == set(POSTS)


def test_a_body_is_read_before_a_replica_hears_of_the_request_and_after_it_is_known_who_may_read_the_answer(corrected: list[str]) -> None:
    origin, waits, arrived = (
        next(index for index, line in enumerate(corrected) if line.startswith(f"http-request {rule}"))
        for rule in ("set-var(txn.origin)", "wait-for-body time 10s", "set-header x-headcount-arrival ")
    )
    assert corrected.index("frontend http_frontend") < origin < waits < arrived < corrected.index("backend http-headcount")
    assert "option http-buffer-request" not in corrected


def test_each_start_has_a_secret_of_its_own_that_no_file_holds(corrected: list[str], tmp_path: Path) -> None:
    first, second = (
        haproxy.variables(Settings(), PORTS, folder=tmp_path, descriptors=1_000)["HEADCOUNT_FRONT_DOOR_SECRET"] for _ in range(2)
    )
    assert len(first) == len(second) == 32
    assert first != second
    assert len([line for line in corrected if '"%[env(HEADCOUNT_FRONT_DOOR_SECRET)] %[date(0,ms)]' in line]) == 2


def test_what_haproxy_says_by_itself_has_our_shape(corrected: list[str], tmp_path: Path) -> None:
    answer = tmp_path / "unavailable.http"
    told = [tuple(line.split()[1:]) for line in corrected if line.startswith("errorfile")]
    assert told[:3] == [(code, str(answer)) for code in ("502", "503", "504")]
    assert told[3:] == [("400", f"{tmp_path}/bad.http"), ("408", f"{tmp_path}/slow.http")]
    assert b'"code":"request_timeout"' in (tmp_path / "slow.http").read_bytes()
    assert (tmp_path / "bad.http").read_bytes().startswith(b"HTTP/1.1 400 Bad Request\r\n")
    head, body = answer.read_bytes().split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert b"Retry-After: 2" in head
    assert body.startswith(b'{"status":"error","error":{"code":"unavailable"')
    (fallback,) = [line for line in corrected if line.startswith("http-request return status 503")]
    assert fallback == f"http-request return status 503 content-type application/json file {tmp_path}/unavailable.json hdr Retry-After 2"
    assert (tmp_path / "unavailable.json").read_bytes() == body


def test_a_client_that_closes_its_side_after_its_request_is_still_answered(corrected: list[str]) -> None:
    assert "option abortonclose" not in corrected


def test_only_listed_origins_are_named_by_haproxy(corrected: list[str]) -> None:
    assert "acl allowed_origin req.fhdr(origin) -m str https://tv.example https://b.example:8443" in corrected


@pytest.mark.parametrize(("descriptors", "connections"), [(256, 100), (20_000, 7_920), (65_536, 20_000)])
def test_haproxy_is_promised_no_more_connections_than_it_can_open(descriptors: int, connections: int) -> None:
    assert haproxy.connections_for(descriptors) == connections
