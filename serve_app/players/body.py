"""
Gets a request's body off the wire, and out of its wrapping, within limits.

Decides how much is read, how long for, and which content encodings there are. It never holds more than
`limits.BODY_BYTES_MAX` of one body in either form, and does not look inside.
"""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from serve_app.players.answers import Code, Refusal
from sessions import limits

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

GONE: Final = None
"""Instead of a body: the client left."""

_TOO_LARGE: Final = Refusal(Code.BODY_TOO_LARGE, f"the body is larger than {limits.BODY_BYTES_MAX} bytes")
_INFLATES_TOO_LARGE: Final = Refusal(Code.BODY_TOO_LARGE, f"the body inflates to more than {limits.BODY_BYTES_MAX} bytes")
_NOT_GZIP: Final = Refusal(Code.BAD_ENCODING, "the body is not one whole gzip stream")
_GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS


async def read(receive: Receive, *, content_length: bytes | None, within_s: float) -> bytes | Refusal | None:
    """Return the body as it was sent, a refusal, or `GONE`."""
    if content_length is not None and (not content_length.isdigit() or int(content_length[-18:]) > limits.BODY_BYTES_MAX):
        return _TOO_LARGE
    try:
        async with asyncio.timeout(within_s):
            return await _collect(receive)
    except TimeoutError:
        return Refusal(Code.REQUEST_TIMEOUT)


async def _collect(receive: Receive) -> bytes | Refusal | None:
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        whole: bytes = message.get("body", b"")
        return _TOO_LARGE if len(whole) > limits.BODY_BYTES_MAX else whole
    parts: list[bytes] = []
    size = 0
    while True:
        if message["type"] != "http.request":
            return GONE
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > limits.BODY_BYTES_MAX:
            return _TOO_LARGE
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)
        message = await receive()


def inflate(body: bytes, encoding: bytes | None) -> bytes | Refusal:
    """
    Return the body without its content encoding: none, `identity` or `gzip`.

    A gzip bomb is inflated up to the limit and no further. One gzip member makes a body; what follows it is refused.
    """
    if encoding is None:
        return body
    named = encoding.strip().lower()
    if named in {b"", b"identity"}:
        return body
    if named not in {b"gzip", b"x-gzip"}:
        return Refusal(Code.UNSUPPORTED_ENCODING, "the only content encoding read here is gzip")
    stream = zlib.decompressobj(wbits=_GZIP_WINDOW)
    try:
        inflated = stream.decompress(body, limits.BODY_BYTES_MAX + 1)
    except zlib.error:
        return _NOT_GZIP
    if len(inflated) > limits.BODY_BYTES_MAX:
        return _INFLATES_TOO_LARGE
    return inflated if stream.eof and not stream.unused_data else _NOT_GZIP
