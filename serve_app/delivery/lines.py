"""
How a batch gets to its shard: over a channel of our own, or else by a call of Ray's.

Decides when a channel is opened, and which way is taken if there is none. Ray is asked where a living shard listens; a connection
that ends says at once that its shard is away. A shard that lives, but cannot be reached (a firewall between nodes), gets its
batches through Ray, and is tried again after a while. It knows nothing of what it carries.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from actors.channel import Address, Channel, ChannelLostError
from serve_app.delivery.actor_calls import CALL_S, ActorAwayError, Call
from serve_app.delivery.mailbox import ShardAwayError

CONNECT_S: Final = 1.0
TRY_AGAIN_S: Final = 30.0
"""How long batches go through Ray after a living shard could not be reached."""

log = structlog.get_logger(__name__)

Connect = Callable[[Address], Awaitable[Channel]]


class Lines:
    """One channel per shard. Belongs to one event loop; each shard has one caller at a time (`mailbox.Mailbox`)."""

    def __init__(self, call: Call, *, connect: Connect = Channel.connect) -> None:
        """`call` is `shards.Actors.call`."""
        self._call = call
        self._connect = connect
        self._channels: dict[str, Channel] = {}
        self._by_ray_until: dict[str, float] = {}

    async def deliver(self, shard: str, batch: bytes) -> bytes:
        """Carry a batch to a shard and its reply back: the `send` of `mailbox.PostRoom`."""
        channel = self._channels.get(shard)
        try:
            if channel is None or not channel.is_open:
                channel = await self._open(shard)
            if channel is None:
                return await self._call_shard(shard, batch)
            async with asyncio.timeout(CALL_S):
                return await channel.ask(batch)
        except TimeoutError:
            msg = f"{shard} did not answer within {CALL_S} s"
            raise ShardAwayError(msg) from None
        except ChannelLostError as error:
            msg = f"{shard} hung up: {error}"
            raise ShardAwayError(msg) from error
        except ActorAwayError as error:
            raise ShardAwayError(str(error)) from error

    def close(self) -> None:
        """Hang up everywhere."""
        for channel in self._channels.values():
            channel.close()

    async def _call_shard(self, shard: str, batch: bytes) -> bytes:
        reply = await self._call(shard, "receive", batch, within_s=CALL_S)
        if not isinstance(reply, bytes):
            msg = f"a reply of type {type(reply).__name__}"
            raise ShardAwayError(msg)
        return reply

    async def _open(self, shard: str) -> Channel | None:
        """Return a new channel to a shard; None: batches go through Ray for now."""
        now = asyncio.get_running_loop().time()
        if self._by_ray_until.get(shard, now) > now:
            return None
        address: Address | None = await self._call(shard, "channel", within_s=CALL_S)
        self._by_ray_until[shard] = now + TRY_AGAIN_S
        if address is None:
            return None
        try:
            async with asyncio.timeout(CONNECT_S):
                channel = await self._connect(address)
        except (OSError, ChannelLostError) as error:
            log.warning(
                "a shard cannot be reached directly: its batches go through Ray", shard=shard, address=str(address), error=repr(error)
            )
            return None
        del self._by_ray_until[shard]
        self._channels[shard] = channel
        return channel
