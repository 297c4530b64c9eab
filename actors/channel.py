"""
The direct way of batches from a replica to a shard: one connection, one question and one answer at a time.

A call of Ray's costs both sides together more than a millisecond of CPU, whatever it carries; a frame on a socket costs a tenth of
that. Ray still places, names, restarts and watches the shard, and tells a replica its `Address`: a port of the shard's node, and a
key that this incarnation of the shard made up. Each side proves that it knows the key, without showing it, before anything else is
said; so nobody else gets in, and a replica finds out that another process has the port by now. What is said is not encrypted, as
Ray's calls are not; where Ray is told to encrypt (`RAY_USE_TLS`), there is no channel.

A frame is its length in four bytes, and that many bytes. Whatever goes wrong ends the connection: `ChannelLostError`, and whether the
batch was applied is not known. It knows neither batches nor Ray.

How it grows: an `Address` as `sessions/growing.py` says, at its end, by fields with a default. What a frame holds grows by its own rule
(`messages.py`). The proofs do not grow: another way of proving would be offered in a further field of the `Address`, beside this one, and whoever
finds nobody that it can prove anything to sends its batches through Ray.
"""

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple, cast

import structlog

from sessions.growing import grows
from sessions.limits import CHANNEL_FRAME_BYTES_MAX, CHANNELS_PER_SHARD_MAX

log = structlog.get_logger(__name__)

PROOF_S: Final = 2.0
"""How long whoever connects may take to prove who it is."""
_LENGTH_BYTES: Final = 4
_PROOF_BYTES: Final = 32
_REPLICA, _SHARD = b"replica", b"shard"

Answer = Callable[[bytes], Coroutine[Any, Any, bytes]]


class ChannelLostError(Exception):
    """The connection ended before the answer came, or nobody trustworthy is at its other end."""


@grows
class Address(NamedTuple):
    """Where one incarnation of a shard listens."""

    host: str
    port: int
    key: bytes = b""

    def __repr__(self) -> str:
        """Leave the key out."""
        return f"Address({self.host}:{self.port})"


class Framed(asyncio.Protocol):
    """Cuts what arrives into frames; the first must be a proof, and may be no longer than one."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._arrived = bytearray()
        self._frame_bytes_max = _PROOF_BYTES
        self._why = ""
        """It hung up, if it did so itself."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hear that there is a connection."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Cut what came; the rest waits for more."""
        arrived = self._arrived
        arrived += data
        while len(arrived) >= _LENGTH_BYTES:
            end = _LENGTH_BYTES + int.from_bytes(arrived[:_LENGTH_BYTES], "big")
            if end - _LENGTH_BYTES > self._frame_bytes_max:
                self.hang_up("a frame is too long")
                return
            if len(arrived) < end:
                return
            frame = bytes(arrived[_LENGTH_BYTES:end])
            del arrived[:end]
            self.frame_received(frame)

    def frame_received(self, frame: bytes) -> None:
        """Take a frame that is complete."""
        raise NotImplementedError

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's
        """Hear that there is none any more."""
        self._transport = None

    def write(self, frame: bytes) -> None:
        """Send a frame, if there is a connection."""
        if self._transport is not None:
            self._transport.write(len(frame).to_bytes(_LENGTH_BYTES, "big") + frame)

    def hang_up(self, why: str) -> None:
        """End the connection; what was not sent yet is lost."""
        if self._transport is not None:
            self._why = why
            self._transport.abort()
            self._transport = None


class Listener:
    """A shard's end: as many connections as there are replicas."""

    def __init__(self, answer: Answer) -> None:
        """`answer` gets each frame, and what it returns goes back."""
        self.answer = answer
        self.key = secrets.token_bytes(_PROOF_BYTES)
        self.connections: set[_ToReplica] = set()
        self._server: asyncio.Server | None = None
        self._opening = asyncio.Lock()

    async def address(self, host: str) -> Address:
        """Return where it listens; the first call opens a port of the host's."""
        async with self._opening:
            if self._server is None:
                loop = asyncio.get_running_loop()
                self._server = await loop.create_server(lambda: _ToReplica(self), host, 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return Address(host, port, self.key)

    def close(self) -> None:
        """Hang up, and listen no more."""
        if self._server is not None:
            self._server.close()
        for connection in [*self.connections]:
            connection.hang_up("the shard stops")


class _ToReplica(Framed):
    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self._listener = listener
        self._challenge = secrets.token_bytes(_PROOF_BYTES)
        self._proven = False
        self._answering: asyncio.Task[bytes] | None = None
        self._proof_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if len(self._listener.connections) >= CHANNELS_PER_SHARD_MAX:
            self.hang_up("too many connections")
            return
        self._listener.connections.add(self)
        self._proof_due = asyncio.get_running_loop().call_later(PROOF_S, self.hang_up, "no proof of the key came in time")
        self.write(self._challenge)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._listener.connections.discard(self)
        if self._proof_due is not None:
            self._proof_due.cancel()

    def frame_received(self, frame: bytes) -> None:
        if not self._proven:
            self._check(frame)
        elif self._answering is not None:
            self.hang_up("it asked again before it was answered")
        else:
            self._answering = asyncio.get_running_loop().create_task(self._listener.answer(frame))
            self._answering.add_done_callback(self._answered)

    def _check(self, proof: bytes) -> None:
        if not hmac.compare_digest(proof, _proof(self._listener.key, _REPLICA, self._challenge)):
            self.hang_up("it does not know the key")
            return
        self._proven = True
        self._frame_bytes_max = CHANNEL_FRAME_BYTES_MAX
        if self._proof_due is not None:
            self._proof_due.cancel()
        self.write(_proof(self._listener.key, _SHARD, self._challenge))

    def _answered(self, answering: "asyncio.Task[bytes]") -> None:
        """Send the answer, if the replica is still there: what was begun is finished without it too."""
        self._answering = None
        if answering.cancelled():
            self.hang_up("the shard stops")
        elif (error := answering.exception()) is not None:
            self.hang_up(f"its batch cannot be answered: {error!r}")
        else:
            self.write(answering.result())

    def hang_up(self, why: str) -> None:
        if self._transport is not None:
            log.warning("a replica's connection is closed", why=why)
        super().hang_up(why)


class Channel(Framed):
    """A replica's end. Belongs to one event loop, and to one caller at a time."""

    def __init__(self, key: bytes) -> None:
        super().__init__()
        self._key = key
        self._frame: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        """The one that is waited for."""

    @classmethod
    async def connect(cls, address: Address) -> "Channel":
        """Return a channel on which both sides have proven who they are. Raises `ChannelLostError`, or `OSError`."""
        loop = asyncio.get_running_loop()
        _, channel = await loop.create_connection(lambda: cls(address.key), address.host, address.port)
        try:
            await channel.prove()
        except BaseException:
            channel.close()
            raise
        return channel

    async def prove(self) -> None:
        """Prove that we know the key, and have the shard prove it. Raises `ChannelLostError`."""
        challenge = await self._frame
        proof = await self.ask(_proof(self._key, _REPLICA, challenge))
        if not hmac.compare_digest(proof, _proof(self._key, _SHARD, challenge)):
            msg = "somebody else has the shard's port"
            raise ChannelLostError(msg)
        self._frame_bytes_max = CHANNEL_FRAME_BYTES_MAX

    @property
    def is_open(self) -> bool:
        """Tell whether something can be asked."""
        return self._transport is not None

    async def ask(self, frame: bytes) -> bytes:
        """Send a frame and return the answer. Raises `ChannelLostError`. Whoever stops waiting loses the connection."""
        if self._transport is None:
            raise ChannelLostError
        self._frame = asyncio.get_running_loop().create_future()
        self.write(frame)
        try:
            return await self._frame
        except asyncio.CancelledError:
            self.close()
            raise

    def close(self) -> None:
        """Hang up."""
        self.hang_up("")

    def frame_received(self, frame: bytes) -> None:
        """Hand the answer to whoever waits for it."""
        if self._frame.done():
            self.hang_up("an answer that nobody asked for")
        else:
            self._frame.set_result(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits for an answer that none comes."""
        super().connection_lost(exc)
        if not self._frame.done():
            self._frame.set_exception(ChannelLostError(str(exc or self._why or "closed")))


def _proof(key: bytes, side: bytes, challenge: bytes) -> bytes:
    return hmac.digest(key, side + challenge, hashlib.sha256)
