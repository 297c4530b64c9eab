"""
The five endpoints of players: one record each, by path.

Ingest serves them and `openapi.py` describes them from the same table. It decides nothing that either could do alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from serve_app.players import answers, examples, wire
from serve_app.players.quick import QuickHeartbeat, read_heartbeat
from serve_app.players.script import SCRIPT_PREFIX


@dataclass(frozen=True, slots=True)
class PostRoute:
    """A POST endpoint."""

    path: str
    endpoint: str
    """Its name in metrics."""
    title: str
    model: type[wire.Body]
    answer: Callable[..., bytes]
    """Of (session_id, receipt, at=server time, dropped=paths); of events also the bad ones, third."""
    example: Mapping[str, Any]
    """The seed's response."""
    quick: Callable[[bytes], QuickHeartbeat | None] | None = None
    """Reads the usual body sooner than `model`, to the same values; what it returns None for is the model's."""

    @property
    def is_events(self) -> bool:
        """Say whether its body is judged entry by entry."""
        return self.model is wire.EventsBody


PIXEL_PATH: Final = "/icon.gif"
CMCD_PATH: Final = "/cmcd"
EPAS_PATH: Final = "/epas"
PLAYERS_PREFIXES: Final = ("/analytics", PIXEL_PATH, CMCD_PATH, EPAS_PATH, SCRIPT_PREFIX)
"""Of every path that players may have meant, whether there is something or not; operators' begin otherwise."""
ELSEWHERE: Final = "elsewhere"
"""In metrics, the endpoint of players' requests to where there is none."""
PIXEL_ENDPOINT: Final = "icon"
PLAYERS_METHODS: Final = b"GET, HEAD, POST, OPTIONS"
"""Of one or the other of these paths: what the front door allows a page to try, without asking us."""

_POSTS: Final = (
    PostRoute("/analytics/live/session/start", "start", "Start a session", wire.StartBody, answers.started, examples.STARTED),
    PostRoute(
        "/analytics/live/session/heartbeat",
        "heartbeat",
        "Say that the player is alive",
        wire.HeartbeatBody,
        answers.beaten,
        examples.BEATEN,
        read_heartbeat,
    ),
    PostRoute("/analytics/live/session/end", "end", "End a session", wire.EndBody, answers.ended, examples.ENDED),
    PostRoute("/analytics/live/events", "events", "Report events", wire.EventsBody, answers.taken, examples.TAKEN),
)
POSTS: Final[Mapping[str, PostRoute]] = MappingProxyType({route.path: route for route in _POSTS})
