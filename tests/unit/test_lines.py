"""Which way a batch takes to its shard, and what is said when it does not get there."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
from structlog.testing import capture_logs

from actors.channel import Address, Channel, ChannelLostError
from serve_app.delivery import lines as module
from serve_app.delivery.actor_calls import ActorAwayError
from serve_app.delivery.lines import Lines
from serve_app.delivery.mailbox import ShardAwayError
from tests.simulation import virtual_time

T = TypeVar("T")


class Shard:
    """What Ray says of a shard, and the shard itself, reached either way."""

    def __init__(self) -> None:
        self.listens: Address | None = Address("127.0.0.1", 1, b"")
        self.reachable = True
        self.alive = True
        self.heard: list[tuple[str, bytes]] = []
        self.channels: list[FakeChannel] = []

    async def call(self, name: str, method: str, *arguments: object, within_s: float) -> Any:
        assert within_s > 0
        if not self.alive:
            raise ActorAwayError(name)
        if method == "channel":
            return self.listens
        (batch,) = arguments
        assert isinstance(batch, bytes)
        self.heard.append(("ray", batch))
        return batch[::-1]

    async def connect(self, _address: Address) -> Channel:
        if not self.reachable:
            raise ConnectionRefusedError
        self.channels.append(FakeChannel(self))
        return self.channels[-1]


class FakeChannel(Channel):
    def __init__(self, shard: Shard) -> None:
        super().__init__(b"")
        self.shard = shard
        self.open = True
        self.loses = False

    @property
    def is_open(self) -> bool:
        return self.open

    async def ask(self, frame: bytes) -> bytes:
        if self.loses:
            self.open = False
            raise ChannelLostError("reset")
        self.shard.heard.append(("channel", frame))
        return frame[::-1]

    def close(self) -> None:
        self.open = False


def run(scenario: Callable[[Shard, Lines], Coroutine[Any, Any, T]]) -> T:
    async def running() -> T:
        shard = Shard()
        return await scenario(shard, Lines(shard.call, connect=shard.connect))

    return asyncio.run(running())


def test_batches_go_over_one_channel() -> None:
    async def scenario(shard: Shard, lines: Lines) -> None:
        assert [await lines.deliver("shard-0", batch) for batch in (b"ab", b"cd")] == [b"ba", b"dc"]
        assert shard.heard == [("channel", b"ab"), ("channel", b"cd")]
        assert len(shard.channels) == 1
        lines.close()
        assert not shard.channels[0].is_open

    run(scenario)


def test_a_shard_that_hangs_up_is_away_and_its_next_life_is_asked_where_it_listens() -> None:
    async def scenario(shard: Shard, lines: Lines) -> None:
        await lines.deliver("shard-0", b"ab")
        shard.channels[0].loses = True
        with pytest.raises(ShardAwayError, match="shard-0 hung up: reset"):
            await lines.deliver("shard-0", b"cd")
        assert await lines.deliver("shard-0", b"cd") == b"dc"
        assert shard.heard[1:] == [("channel", b"cd")]
        assert len(shard.channels) == 2

    run(scenario)


def test_a_dead_shard_is_away() -> None:
    async def scenario(shard: Shard, lines: Lines) -> None:
        shard.alive = False
        with pytest.raises(ShardAwayError):
            await lines.deliver("shard-0", b"ab")

    run(scenario)


def test_a_living_shard_that_cannot_be_reached_gets_its_batches_through_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(shard: Shard, lines: Lines) -> None:
        shard.reachable = False
        assert [await lines.deliver("shard-0", batch) for batch in (b"ab", b"cd")] == [b"ba", b"dc"]
        shard.reachable = True
        assert await lines.deliver("shard-0", b"ef") == b"fe"
        assert [way for way, _ in shard.heard] == ["ray"] * 3
        loop = asyncio.get_running_loop()
        later = loop.time() + module.TRY_AGAIN_S
        monkeypatch.setattr(loop, "time", lambda: later)
        assert await lines.deliver("shard-0", b"gh") == b"hg"
        assert shard.heard[-1] == ("channel", b"gh")

    with capture_logs() as logs:
        run(scenario)
    assert [log["event"] for log in logs] == ["a shard cannot be reached directly: its batches go through Ray"]


def test_where_there_is_no_channel_batches_go_through_ray() -> None:
    async def scenario(shard: Shard, lines: Lines) -> None:
        shard.listens = None
        assert await lines.deliver("shard-0", b"ab") == b"ba"
        assert shard.heard == [("ray", b"ab")]

    run(scenario)


def test_a_shard_that_does_not_answer_in_time_is_away_and_its_channel_is_given_up() -> None:
    """The channel is a real one: a late answer must not be taken for the next one's."""
    wires: list[Wire] = []

    async def scenario() -> None:
        shard = Shard()

        async def connect(_address: Address) -> Channel:
            channel = Channel(b"")
            wires.append(Wire())
            channel.connection_made(wires[-1])
            return channel

        lines = Lines(shard.call, connect=connect)
        for _ in range(2):
            with pytest.raises(ShardAwayError, match="did not answer"):
                await lines.deliver("shard-0", b"ab")

    virtual_time.run(scenario())
    assert [wire.aborted for wire in wires] == [True, True]


class Wire(asyncio.Transport):
    """Leads to a shard that takes everything and says nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False

    def write(self, data: Any) -> None:
        pass

    def abort(self) -> None:
        self.aborted = True
