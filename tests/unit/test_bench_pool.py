"""Whoever waits for a connection of the load generator gets one, whatever became of those that there were."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from bench import pool as module
from bench.pool import BROKEN, Pool, ask
from tests.simulation import virtual_time

CLOSING = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"


class Server(asyncio.Transport):
    """The far end of one connection: answers each request with the same bytes; none: it breaks the connection off after half a head."""

    def __init__(self, protocol: asyncio.Protocol, answer: bytes | None) -> None:
        super().__init__()
        self.protocol, self.answer = protocol, answer

    def write(self, _data: Any) -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(self.protocol.data_received, b"HTTP/1.1 2" if self.answer is None else self.answer)
        if self.answer is None:
            loop.call_soon(self.protocol.connection_lost, None)

    def close(self) -> None:
        asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    abort = close


def ask_three(answer: bytes | None, *, refused: bool = False) -> list[tuple[int, bytes]]:
    """Return the answers to three who ask at once over one connection."""

    async def connect(make: Callable[[], asyncio.Protocol], _host: str, _port: int) -> None:
        if refused:
            raise ConnectionRefusedError
        protocol = make()
        protocol.connection_made(Server(protocol, answer))

    async def scenario() -> list[tuple[int, bytes]]:
        asyncio.get_running_loop().create_connection = connect  # type: ignore[assignment,method-assign]
        pool = Pool("nowhere", 1, connections=1)
        return await asyncio.wait_for(asyncio.gather(*(ask(pool, b"?") for _ in range(3))), module.TIMEOUT_S)

    return virtual_time.run(scenario())


def test_a_server_that_closes_after_each_answer_is_asked_over_a_new_connection() -> None:
    assert ask_three(CLOSING) == [(200, b"hi")] * 3


@pytest.mark.parametrize("refused", [True, False], ids=["refused", "broken off"])
def test_whoever_waits_behind_one_who_had_no_answer_is_told_too(*, refused: bool) -> None:
    assert ask_three(None, refused=refused) == [(BROKEN, b"")] * 3


def test_a_word_to_nobody_ends_its_connection_and_answers_nobody() -> None:
    servers: list[Server] = []

    async def connect(make: Callable[[], asyncio.Protocol], _host: str, _port: int) -> None:
        servers.append(Server(make(), CLOSING.replace(b"Connection: close\r\n", b"")))
        servers[-1].protocol.connection_made(servers[-1])

    async def scenario() -> list[tuple[int, bytes]]:
        asyncio.get_running_loop().create_connection = connect  # type: ignore[assignment,method-assign]
        pool = Pool("nowhere", 1, connections=1)
        first = await ask(pool, b"?")
        servers[0].protocol.data_received(b"HTTP/1.1 408 Request Time-out\r\nContent-Length: 0\r\n\r\n")
        return [first, await asyncio.wait_for(ask(pool, b"?"), 1.0)]

    assert virtual_time.run(scenario()) == [(200, b"hi")] * 2
    assert len(servers) == 2
