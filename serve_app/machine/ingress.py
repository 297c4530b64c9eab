"""
What HAProxy and Serve are told before they start; knows nothing of our own routes.

Ray reads these variables when it is imported, so they are set before. HAProxy's configuration is Serve's own; what it
cannot be told there a wrapper around the binary edits in the file just before HAProxy reads it: no log of request lines,
as they can hold tokens; statistics on loopback only; a private admin socket; an end to headers that never come; and
answers in our own shape while no replica can be reached.

HAProxy's 400 and 408, to headers that it cannot read, are too long or never come, stay HTML: version 2.8, which Ray brings,
says them before it looks at any `errorfile` (measured; haproxy/haproxy issue 3032, corrected in later versions).
"""

import resource
import shlex
from pathlib import Path
from typing import Final

from serve_app.machine.ports import InternalPorts
from serve_app.players.answers import RETRY_AFTER_S, Code, Refusal
from serve_app.players.routes import ARRIVED_HEADER, PIXEL_PATH, POSTS_PREFIX
from serve_app.settings import Settings
from sessions.limits import FRONT_DOOR_WAITING_S_MAX, REPLICA_REQUESTS_MAX

SHORTCUT: Final = "serve_app.shortcut.middlewares"
"""Of players past what Serve does for each request; by name, as Serve loads it."""
CONNECTIONS_MAX: Final = 20_000
_DESCRIPTORS_PER_CONNECTION: Final = 2.5
"""Two sockets, and a pipe for every fourth: HAProxy refuses to start with fewer (measured: 50,027 for 20,000)."""
_DESCRIPTORS_RESERVED: Final = 200
_DESCRIPTORS_MAX: Final = 65_536

KEEP_ALIVE_S: Final = 5
"""How long an idle connection may stay: far less than a heartbeat interval, or each viewer would hold one."""
_REQUEST_S: Final = 10
"""For the headers and, up to HAProxy's 16 KB, the body: until then a slow client costs HAProxy a connection, and nobody else anything."""
_CLIENT_SILENCE_S: Final = 30
_SERVER_SILENCE_S: Final = 30
"""Our own deadline is 10 s; this one only ends what hangs."""
_RELOAD_DRAIN_S: Final = 10


def raise_descriptor_limit() -> int:
    """Raise this process's, and so all its children's, limit of open files to what the system allows and is of use; return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS_MAX)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def connections_for(descriptors: int) -> int:
    """Return how many connections HAProxy can hold with so many open files."""
    return max(100, min(CONNECTIONS_MAX, int((descriptors - _DESCRIPTORS_RESERVED) / _DESCRIPTORS_PER_CONNECTION)))


def variables(settings: Settings, ports: InternalPorts, *, folder: Path, descriptors: int) -> dict[str, str]:
    """Return the environment for Ray Serve's ingress. `folder` must be short: it leads to unix sockets."""
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": SHORTCUT,
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        "RAY_SERVE_HAPROXY_MAXCONN": str(connections_for(descriptors)),
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(folder / "haproxy"),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "h/haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "h/admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder / "h"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "h/server-state"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "h/metrics.sock"),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(ports.haproxy_statistics),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports.haproxy_metrics),
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": str(_CLIENT_SILENCE_S),
        "RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S": str(_SERVER_SILENCE_S),
        # A replica that died, or closed an idle connection just then: ask another. Whatever players send may be sent twice.
        "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": str(_RELOAD_DRAIN_S),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(ports.fallback_http),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(ports.fallback_grpc),
        "RAY_SERVE_DIRECT_INGRESS_MIN_HTTP_PORT": str(ports.replicas.start),
        "RAY_SERVE_DIRECT_INGRESS_MAX_HTTP_PORT": str(ports.replicas.stop),
        "RAY_SERVE_DIRECT_INGRESS_MIN_GRPC_PORT": str(ports.replicas_grpc.start),
        "RAY_SERVE_DIRECT_INGRESS_MAX_GRPC_PORT": str(ports.replicas_grpc.stop),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
        "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "2",
        "RAY_enable_metrics_collection": "1" if settings.ray_metrics else "0",
    }


_UNAVAILABLE: Final = Refusal(Code.UNAVAILABLE, "the tracker is starting, or has too much to do; send it again later")

_WRAPPER: Final = r"""#!/bin/sh
# Made by Headcount: corrects the configuration that Ray Serve generated, then becomes HAProxy.
previous=
for argument; do
    [ "$previous" = -f ] && file=$argument
    previous=$argument
done
sed -i \
    -e '/^ *log /d' \
    -e '/^ *option httplog/d' \
    -e '/^ *option log-health-checks/d' \
    -e 's/^\( *bind \)\*\{{0,1\}}:\({statistics}\|{metrics}\)$/\1127.0.0.1:\2/' \
    -e 's/ mode 666 level admin/ mode 600 level admin/' \
    -e 's#^\( *errorfile 50[234]\) .*$#\1 {folder}/unavailable.http#' \
    -e 's#^\( *http-request return\) status 404 .*not found.*$#\1 status 503 content-type application/json file {folder}/unavailable.json hdr Retry-After {retry_s}#' \
    -e 's/^\( *timeout http-keep-alive .*\)$/\1\n    timeout http-request {request_s}s\n    timeout queue {queue_s}s\n    option http-buffer-request/' \
    -e '/^frontend http_frontend/a\    http-request set-header {arrived} %[date(0,ms)]' \
    -e '/^ *http-reuse always/a\    http-request set-priority-class int(-1) unless {{ path_beg {players} }} or {{ path {pixel} }}' \
    -e '/ backup$/!s/^\( *server .* check.*\)$/\1 maxconn {requests_max}/' \
    "$file"
exec {binary} "$@"
"""


def write_wrapper(folder: Path, *, statistics: int, metrics: int, binary: str) -> None:
    """Write the program that Serve starts as HAProxy, and what HAProxy answers by itself."""
    body = _UNAVAILABLE.body()
    head = (
        f"HTTP/1.1 {_UNAVAILABLE.status} Service Unavailable\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n"
        f"Retry-After: {RETRY_AFTER_S[Code.UNAVAILABLE]}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    (folder / "unavailable.http").write_bytes(head.encode() + body)
    (folder / "unavailable.json").write_bytes(body)
    file = folder / "haproxy"
    file.write_text(
        _WRAPPER.format(
            statistics=statistics,
            metrics=metrics,
            request_s=_REQUEST_S,
            queue_s=FRONT_DOOR_WAITING_S_MAX,
            requests_max=REPLICA_REQUESTS_MAX,
            arrived=ARRIVED_HEADER.decode(),
            players=POSTS_PREFIX,
            pixel=PIXEL_PATH,
            folder=folder,
            retry_s=RETRY_AFTER_S[Code.UNAVAILABLE],
            binary=shlex.quote(binary),
        )
    )
    file.chmod(0o700)
