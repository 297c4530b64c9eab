"""
Which web pages may call the player endpoints from a browser, and the headers that tell the browser so.

Decides by the `Origin` alone. It stops nobody: a browser does, on its user's behalf. The answer names the asking origin, never `*`: a browser
that sends its user's cookies along, as `navigator.sendBeacon` always does, takes nothing else. No cookie is ever read.
"""

from collections.abc import Collection
from typing import Final

from serve_app.players.answers import Header

PREFLIGHT_MAX_AGE_S: Final = 86_400
_ASKED_HEADERS_MAX: Final = 1_024
USUAL_HEADERS: Final = b"authorization, content-type, content-encoding, x-request-disconnect-disabled"
VARY: Final[Header] = (b"vary", b"origin")
_EXPOSED: Final = b"access-control-expose-headers"
TO_FRIENDS: Final[tuple[Header, ...]] = (
    (b"access-control-allow-credentials", b"true"),
    (_EXPOSED, b"retry-after"),
)
"""What an answer says beside the name of an origin that is let in."""
_TO_STRANGERS: Final[tuple[Header, ...]] = (VARY,)


class Cors:
    """The headers for one list of origins; `*` in it stands for any."""

    def __init__(self, origins: Collection[str], *, shows: bytes = b"") -> None:
        """Take the origins; `shows`: a header of the answers that pages may read beside the usual ones."""
        self._any = "*" in origins
        self._to_friends = tuple((name, b"%s, %s" % (value, shows) if shows and name == _EXPOSED else value) for name, value in TO_FRIENDS)
        self._origins = frozenset(origin.encode() for origin in origins)

    def headers(self, origin: bytes | None) -> tuple[Header, ...]:
        """Return what every answer of a player endpoint carries, errors included."""
        if origin is not None and (self._any or origin in self._origins):
            return ((b"access-control-allow-origin", origin), *self._to_friends, VARY)
        return _TO_STRANGERS

    def preflight(self, origin: bytes | None, *, asked_headers: bytes | None, methods: bytes) -> tuple[Header, ...]:
        """Return what the answer to OPTIONS carries: valid for a day, with whatever headers the page asked for."""
        allowed = asked_headers if asked_headers and len(asked_headers) <= _ASKED_HEADERS_MAX else USUAL_HEADERS
        return (
            *self.headers(origin),
            (b"access-control-allow-methods", methods),
            (b"access-control-allow-headers", allowed),
            (b"access-control-max-age", str(PREFLIGHT_MAX_AGE_S).encode()),
            (b"allow", methods),
        )
