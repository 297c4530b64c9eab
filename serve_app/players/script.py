"""
The client library for web pages, served: under a name that stays, and under one that says which version it is.

Decides how long each may be kept, and that any page may load it: a module from another origin is refused without the headers for it.
It does not know what is in it: see `player/`.
"""

import gzip
import re
from typing import Final

from player import HASH, SCRIPT
from serve_app.players.answers import Code, Header, Refusal
from serve_app.players.cors import VARY

SCRIPT_PREFIX: Final = "/headcount."
SCRIPT_PATH: Final = f"{SCRIPT_PREFIX}js"
HASHED_PATH: Final = f"{SCRIPT_PREFIX}{HASH}.js"
SCRIPT_METHODS: Final = b"GET, HEAD, OPTIONS"
KEPT_S: Final = 300
"""A page has a new version after as long."""
KEPT_FOR_GOOD_S: Final = 31_536_000

_ZIPPED: Final = gzip.compress(SCRIPT, 9, mtime=0)
_ETAG: Final = f'"{HASH}"'.encode()
_GZIP_ACCEPTED: Final = re.compile(rb"(?:^|[,\s])gzip(?!\s*;\s*q=0(?:\.0*)?\s*(?:,|$))")
_METHODS: Final = frozenset({"GET", "HEAD"})


def answer(path: str, method: str, headers: dict[bytes, bytes]) -> tuple[int, tuple[Header, ...], bytes] | Refusal:
    """Return status, headers and body; the headers leave out whose page it is (`cors.py`), but not that it matters."""
    if path not in {SCRIPT_PATH, HASHED_PATH}:
        return Refusal(Code.NOT_FOUND)
    if method not in _METHODS:
        return Refusal(Code.METHOD_NOT_ALLOWED, headers=((b"allow", SCRIPT_METHODS),))
    how_long = f"max-age={KEPT_S}" if path == SCRIPT_PATH else f"max-age={KEPT_FOR_GOOD_S}, immutable"
    said: tuple[Header, ...] = (
        (b"cache-control", f"public, {how_long}".encode()),
        (b"content-location", HASHED_PATH.encode()),
        # A page that isolates itself loads nothing of others that does not say this.
        (b"cross-origin-resource-policy", b"cross-origin"),
        (b"etag", _ETAG),
        (VARY[0], b"accept-encoding, " + VARY[1]),
    )
    if _ETAG in headers.get(b"if-none-match", b""):
        return 304, said, b""
    zipped = _GZIP_ACCEPTED.search(headers.get(b"accept-encoding", b"").lower()) is not None
    body = _ZIPPED if zipped else SCRIPT
    said += (
        (b"content-type", b"text/javascript; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"x-content-type-options", b"nosniff"),
    )
    return 200, (*said, (b"content-encoding", b"gzip")) if zipped else said, b"" if method == "HEAD" else body
