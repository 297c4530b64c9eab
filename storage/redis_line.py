"""
One connection to the server, for what is sent most: a command and its reply, one at a time.

redis-py's client takes a connection from its pool, wraps the command in retries, timers and observations, and joins its bytes in Python: a
third of a millisecond each time, and 5 µs for each session in it. Here is what of that a commit needs. An answer that did not come leaves
a connection on which nobody may listen again: it is given up, whether the reply was late, the line broke or the caller stopped waiting.

Nothing is ever sent twice. It knows no command.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from hiredis import pack_command
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError


class RedisLine:
    """One connection to a Redis server. Callers take turns. Belongs to one event loop."""

    def __init__(self, pool: ConnectionPool, *, reply_s: float) -> None:
        """`pool` makes the connection, and shall know no time-out of its own: `reply_s` bounds all of it, connecting included."""
        self._pool = pool
        self._reply_s = reply_s
        self._connection: AbstractConnection | None = None
        self._turns = asyncio.Lock()

    async def ask(self, *command: Any) -> list[bytes]:  # noqa: ANN401 - bytes, text, numbers
        """Send a command and return the reply. Raises what redis-py raises."""
        async with self._turns:
            try:
                async with asyncio.timeout(self._reply_s):
                    return await self._ask(command)
            except ResponseError:
                # The server has answered: the connection is as good as before.
                raise
            except TimeoutError:
                await self.hang_up()
                msg = f"no reply within {self._reply_s} s"
                raise RedisTimeoutError(msg) from None
            except BaseException:
                await self.hang_up()
                raise

    async def _ask(self, command: Sequence[Any]) -> list[bytes]:
        if self._connection is not None and await self._connection.can_read():
            # Nothing was asked, so this is its end: the server was away since.
            await self.hang_up()
        if self._connection is None:
            self._connection = await self._connect()
        await self._connection.send_packed_command([pack_command(tuple(command))], check_health=False)
        reply: list[bytes] = await self._connection.read_response()
        return reply

    async def _connect(self) -> AbstractConnection:
        """Return a connection that has been greeted; one that was refused is no connection."""
        connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

    async def hang_up(self) -> None:
        """Give the connection up; the next command makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)
