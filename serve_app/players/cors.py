"""
Which web pages may call the player endpoints from a browser, and the headers that tell the browser so.

Decides by the `Origin` alone. It stops nobody: a browser does, on its user's behalf.
"""

from collections.abc import Collection
from typing import Final

from serve_app.players.answers import Header

PREFLIGHT_MAX_AGE_S: Final = 86_400
_ASKED_HEADERS_MAX: Final = 1_024
_USUAL_HEADERS: Final = b"authorization, content-type, content-encoding, x-request-disconnect-disabled"
_EXPOSED: Final[Header] = (b"access-control-expose-headers", b"retry-after")
_VARY: Final[Header] = (b"vary", b"origin")


class Cors:
    """The headers for one list of origins; `*` in it stands for any."""

    def __init__(self, origins: Collection[str]) -> None:
        self._any = "*" in origins
        self._origins = frozenset(origin.rstrip("/").encode() for origin in origins)
        self._for_any: tuple[Header, ...] = ((b"access-control-allow-origin", b"*"), _EXPOSED)

    def headers(self, origin: bytes | None) -> tuple[Header, ...]:
        """Return what every answer of a player endpoint carries, errors included."""
        if self._any:
            return self._for_any
        if origin is not None and origin in self._origins:
            return ((b"access-control-allow-origin", origin), _EXPOSED, _VARY)
        return (_VARY,)

    def preflight(self, origin: bytes | None, *, asked_headers: bytes | None, methods: bytes) -> tuple[Header, ...]:
        """Return what the answer to OPTIONS carries: valid for a day, with whatever headers the page asked for."""
        allowed = asked_headers if asked_headers and len(asked_headers) <= _ASKED_HEADERS_MAX else _USUAL_HEADERS
        return (
            *self.headers(origin),
            (b"access-control-allow-methods", methods),
            (b"access-control-allow-headers", allowed),
            (b"access-control-max-age", str(PREFLIGHT_MAX_AGE_S).encode()),
            (b"allow", methods),
        )
