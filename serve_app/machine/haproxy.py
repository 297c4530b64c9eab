"""
What HAProxy and Serve are told before they start; knows nothing of our own routes.

Ray reads these variables when it is imported, so they are set before. HAProxy's configuration is Serve's own; what it
cannot be told there a wrapper around the binary edits in the file just before HAProxy reads it: no log of request lines,
as they can hold tokens; statistics on loopback only; a private admin socket; an end to headers that never come;
answers in our own shape while no replica can be reached, to a body that never comes and to half a request, with what a browser needs to read
them; and no `abortonclose`: a client that closes its side after its request still waits for the answer.

HAProxy's 400 and 408, to headers that it cannot read, are too long or never come, stay HTML: version 2.8, which Ray brings,
says them before it looks at any `errorfile` (measured; haproxy/haproxy#3032, corrected in later versions).
"""

import resource
import secrets
import shlex
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Final

from serve_app.machine.ports import InternalPorts
from serve_app.operators.paths import LIVE_PATH
from serve_app.players.answers import RETRY_AFTER_S, Code, Refusal
from serve_app.players.arrival import ARRIVAL_HEADER, JOURNAL_VARIABLE, SALT, SECRET_CHARS, SECRET_VARIABLE
from serve_app.players.cors import PREFLIGHT_MAX_AGE_S, TO_FRIENDS, USUAL_HEADERS
from serve_app.players.routes import PIXEL_PATH, PLAYERS_METHODS, PLAYERS_PREFIXES
from serve_app.settings import Settings
from sessions.limits import FRONT_DOOR_WAITING_S_MAX, REPLICA_REQUESTS_MAX

SHORTCUT: Final = "serve_app.shortcut.middlewares"
"""Of players past what Serve does for each request; by name, as Serve loads it."""
CONNECTIONS_MAX: Final = 20_000
_DESCRIPTORS_PER_CONNECTION: Final = 2.5
"""Two sockets, and a pipe for every fourth: HAProxy refuses to start with fewer (measured: 50,027 for 20,000)."""
_DESCRIPTORS_RESERVED: Final = 200
_DESCRIPTORS_MAX: Final = 65_536

_HOPS_MAX: Final = 3
"""Trusted proxies behind each other."""
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
        SECRET_VARIABLE: secrets.token_hex(SECRET_CHARS // 2),
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
_BAD_REQUEST: Final = Refusal(Code.BAD_REQUEST)
_TOO_SLOW: Final = Refusal(Code.REQUEST_TIMEOUT)

_NO_SUCH_METHOD: Final = Refusal(Code.METHOD_NOT_ALLOWED)
_KNOWN_METHODS: Final = "GET HEAD POST OPTIONS PUT PATCH DELETE"
"""The others go no further than HAProxy."""

_PLAYERS: Final = " ".join(PLAYERS_PREFIXES)

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
    -e '/^ *option abortonclose/d' \
    -e 's/^\( *bind \)\*\{{0,1\}}:\({statistics}\|{metrics}\)$/\1127.0.0.1:\2/' \
    -e 's/ mode 666 level admin/ mode 600 level admin/' \
    -e 's#^\( *errorfile 50[234]\) .*$#\1 {folder}/unavailable.http#' \
    -e 's#^ *errorfile 504 .*$#&\n    errorfile 400 {folder}/bad.http\n    errorfile 408 {folder}/slow.http#' \
    -e 's#^\( *http-request return\) status 404 .*not found.*$#\1 status 503 content-type application/json file {folder}/unavailable.json hdr Retry-After {retry_s}#' \
    -e 's/^\( *timeout http-keep-alive .*\)$/\1\n    timeout http-request {request_s}s\n    timeout queue {queue_s}s/' \
    -e '/^frontend http_frontend/r {folder}/front.cfg' \
    -e '/^ *http-reuse always/a\    http-request set-priority-class int(-1) unless {{ path_beg {players} }}' \
    -e '/ backup$/!s/^\( *server .* check.*\)$/\1 maxconn {requests_max}/' \
    -e 's#^ *use_backend \([^ ]*\) if is_.*$#    use_backend \1-live if is_\1 {{ path {live} }}\n&#' \
    "$file"
sed -n \
    -e '/^backend default_backend/d' \
    -e '/^backend /{{h;s/$/-live\n    http-reuse always\n    balance leastconn/p}}' \
    -e '/ backup$/!{{/^ *server .* check/{{G;s#^\( *server \([^ ]*\) [^ ]*\) check.*\nbackend \(.*\)$#\1 track \3/\2#p}}}}' \
    "$file" > "$file.live"
cat "$file.live" >> "$file"
if [ -z "${secret}" ]; then
    {secret}=$(printf '%s%s' '{salt}' "${journal}" | sha256sum | cut -c 1-{secret_chars})
    export {secret}
fi
exec {binary} "$@"
"""

_FRONT: Final = """\
    acl for_players path_beg {players}
    acl for_pixels path_beg {pixel}
    acl allowed_origin {allowed}
    # The same headers as our own answers, on those that HAProxy gives itself: without them a page cannot read a 503, or its Retry-After.
    http-request set-var(txn.client) src if for_pixels
{forwarded}
    http-request set-var(txn.players) bool(true) if for_players
    http-request set-var(txn.origin) req.fhdr(origin) if for_players {{ req.hdr(origin) -m found }} allowed_origin
    http-request set-var(txn.stays) bool(true) if {{ req.ver 1.1 }}
    acl asks_for_headers req.fhdr(access-control-request-headers) -m len gt 0
    # A preflight needs nobody: it is answered here, also while there is no replica or all have too much to do.
    http-request return status 204 hdr access-control-allow-methods "{methods}" hdr access-control-allow-headers %[req.fhdr(access-control-request-headers)] hdr access-control-max-age {max_age} if METH_OPTIONS for_players asks_for_headers
    http-request return status 204 hdr access-control-allow-methods "{methods}" hdr access-control-allow-headers "{usual}" hdr access-control-max-age {max_age} if METH_OPTIONS for_players
    http-request return status 204 hdr allow "GET, HEAD, POST, OPTIONS" if METH_OPTIONS !{{ path -m beg / }}
    # A method that no server knows would be answered by the replica's HTTP library, in words of its own.
    http-request return status 405 content-type application/json file {folder}/method.json hdr allow "{methods}" unless {{ method {known} }}
    # The whole body, up to HAProxy's buffer, before a replica hears of the request. Here and not by an option, which waits before any rule: a
    # page could not read the 408.
    http-request wait-for-body time {request_s}s
    # What a client says under this name is replaced. Only the range of addresses that a pixel comes from is told, to bound what one may open.
    http-request set-header {arrival} "%[env({secret})] %[date(0,ms)]" unless for_pixels
    http-request set-header {arrival} "%[env({secret})] %[date(0,ms)] %[var(txn.client),ipmask(24,56)]" if for_pixels
    http-after-response set-header vary origin if {{ var(txn.players) -m bool }} !{{ res.hdr(vary) -m found }}
{after}
    http-after-response set-header keep-alive timeout={keep_alive_s} if {{ var(txn.stays) -m bool }} !{{ res.hdr(connection) -i close }}
"""


def write_wrapper(folder: Path, settings: Settings, *, statistics: int, metrics: int, binary: str) -> None:
    """Write the program that Serve starts as HAProxy, and what HAProxy answers by itself."""
    (folder / "unavailable.json").write_bytes(_UNAVAILABLE.body())
    (folder / "method.json").write_bytes(_NO_SUCH_METHOD.body())
    for name, refusal in (("unavailable", _UNAVAILABLE), ("bad", _BAD_REQUEST), ("slow", _TOO_SLOW)):
        (folder / f"{name}.http").write_bytes(_whole_answer(refusal))
    unless_there = "{ var(txn.origin) -m found } !{ res.hdr(access-control-allow-origin) -m found }"
    # The origin comes last: that it is there is what the others ask.
    headers = [*((name.decode(), value.decode()) for name, value in TO_FRIENDS), ("access-control-allow-origin", "%[var(txn.origin)]")]
    origins = settings.cors_origins
    (folder / "front.cfg").write_text(
        _FRONT.format(
            players=_PLAYERS,
            allowed="always_true" if "*" in origins else f"req.fhdr(origin) -m str {' '.join(origins)}" if origins else "always_false",
            folder=folder,
            known=_KNOWN_METHODS,
            arrival=ARRIVAL_HEADER.decode(),
            secret=SECRET_VARIABLE,
            request_s=_REQUEST_S,
            pixel=PIXEL_PATH,
            forwarded=_believed(settings.trusted_proxies),
            usual=USUAL_HEADERS.decode(),
            methods=PLAYERS_METHODS.decode(),
            max_age=PREFLIGHT_MAX_AGE_S,
            after="\n".join(f"    http-after-response set-header {name} {value} if {unless_there}" for name, value in headers),
            keep_alive_s=settings.keep_alive_s,
        )
    )
    file = folder / "haproxy"
    file.write_text(
        _WRAPPER.format(
            statistics=statistics,
            metrics=metrics,
            request_s=_REQUEST_S,
            queue_s=FRONT_DOOR_WAITING_S_MAX,
            requests_max=REPLICA_REQUESTS_MAX,
            players=_PLAYERS,
            live=LIVE_PATH,
            folder=folder,
            retry_s=RETRY_AFTER_S[Code.UNAVAILABLE],
            binary=shlex.quote(binary),
            secret=SECRET_VARIABLE,
            salt=SALT,
            journal=JOURNAL_VARIABLE,
            secret_chars=SECRET_CHARS,
        )
    )
    file.chmod(0o700)


def _believed(proxies: Sequence[str]) -> str:
    """Return the rules that walk `X-Forwarded-For` from its end, as long as what they have come to is a proxy that is trusted."""
    trusted = f"{{ var(txn.client) -m ip {' '.join(proxies)} }}"
    rules = [
        f"    http-request set-var(txn.client) req.hdr_ip(x-forwarded-for,-{hop}) if for_pixels {trusted}"
        f" {{ req.hdr_cnt(x-forwarded-for) ge {hop} }}"
        for hop in range(1, _HOPS_MAX + 1)
    ]
    return "\n".join(rules) if proxies else "    # No proxy is trusted: X-Forwarded-For is not believed."


def _whole_answer(refusal: Refusal) -> bytes:
    """Return an answer as HAProxy keeps it: head and body."""
    body = refusal.body()
    more = "".join(f"{name.decode().title()}: {value.decode()}\r\n" for name, value in refusal.all_headers)
    head = (
        f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}\r\nContent-Type: application/json\r\nCache-Control: no-store\r\n"
        f"{more}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
