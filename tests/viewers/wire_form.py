"""What a made-up request is on the wire, and how the front room reads it: through the same parsers as a real one."""

from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

import msgspec

from serve_app.players.decoding import BadBody, read_body
from serve_app.players.pixel import read_pixel
from serve_app.players.records import record_of
from serve_app.players.routes import POSTS
from sessions.events import Beacon, Event
from tests.viewers.lives import Body, Request

_ROUTES: Final = {route.endpoint: route for route in POSTS.values()}


def written(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def bytes_of(body: Body) -> bytes:
    """Return a posted body as a player would send it."""
    timed: dict[str, Any] = dict(body)
    if "timestamp" in timed:
        timed["timestamp"] = written(timed["timestamp"])
    else:
        timed["timestamp"] = written(max(entry["timestamp"] for entry in body["events"]))
        timed["events"] = [{**entry, "timestamp": written(entry["timestamp"])} for entry in body["events"]]
    return msgspec.json.encode(timed)


def event_of(request: Request) -> Event:
    """Return what the tracker is told of a request; a body that is refused is a mistake of whoever made it up."""
    if request.path == "pixel":
        pixel = read_pixel(urlencode(request.body).encode())
        assert isinstance(pixel, Beacon), request
        return pixel
    route, raw = _ROUTES[request.path], bytes_of(request.body)
    if route.quick is not None and (usual := route.quick(raw)) is not None:
        return record_of(usual)
    read = read_body(route.model, raw)
    assert not isinstance(read, BadBody), (request, read)
    return record_of(read.body, read.dropped)
