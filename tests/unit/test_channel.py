"""
A replica's batches reach a shard over a channel: one question, one answer, between two sides that have proven who they are.

No sockets: the two ends are wired to each other through transports of the test's own.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
from structlog.testing import capture_logs

from actors import channel as module
from actors.channel import Channel, ChannelLostError, Listener
from sessions.limits import CHANNEL_FRAME_BYTES_MAX
from tests.simulation import virtual_time

T = TypeVar("T")


class Wire(asyncio.Transport):
    """Hands what is written to the protocol at the other end, `piece` bytes at a time."""

    def __init__(self, piece: int = 1 << 20) -> None:
        super().__init__()
        self.other: asyncio.Protocol
        self.own: asyncio.Protocol
        self.back: Wire
        self.piece = piece
        self.cut = False

    def write(self, data: Any) -> None:
        for first in range(0, len(data), self.piece):
            asyncio.get_running_loop().call_soon(self._arrive, bytes(data[first : first + self.piece]))

    def _arrive(self, data: bytes) -> None:
        if not self.cut:
            self.other.data_received(data)

    def abort(self) -> None:
        if not self.cut:
            self.cut = self.back.cut = True
            for end in (self.own, self.other):
                asyncio.get_running_loop().call_soon(end.connection_lost, None)


async def wired(listener: Listener, *, key: bytes | None = None, piece: int = 1 << 20) -> tuple[Channel, Wire]:
    """Return a replica's end, not yet proven, and its transport."""
    replica, shard = Channel(listener.key if key is None else key), module._ToReplica(listener)
    there, back = Wire(piece), Wire(piece)
    there.other, there.own, there.back = shard, replica, back
    back.other, back.own, back.back = replica, shard, there
    replica.connection_made(there)
    shard.connection_made(back)
    return replica, there


async def proven(listener: Listener, *, piece: int = 1 << 20) -> Channel:
    channel, _ = await wired(listener, piece=piece)
    await channel.prove()
    return channel


def run(scenario: Callable[[], Coroutine[Any, Any, T]]) -> T:
    return asyncio.run(asyncio.wait_for(scenario(), 5))


async def reverse(frame: bytes) -> bytes:
    return frame[::-1]


@pytest.mark.parametrize("piece", [1, 3, 1 << 20])
def test_every_question_gets_its_own_answer_however_the_bytes_are_cut(piece: int) -> None:
    async def scenario() -> list[bytes]:
        channel = await proven(Listener(reverse), piece=piece)
        return [await channel.ask(frame) for frame in (b"abc", b"", b"x" * 700)]

    assert run(scenario) == [b"cba", b"", b"x" * 700]


def test_whoever_does_not_know_the_key_is_hung_up_on_unheard() -> None:
    heard: list[bytes] = []

    async def hear(frame: bytes) -> bytes:
        heard.append(frame)
        return frame

    async def scenario() -> None:
        listener = Listener(hear)
        stranger, _ = await wired(listener, key=b"guessed")
        with pytest.raises(ChannelLostError):
            await stranger.prove()
        assert not stranger.is_open
        assert not listener.connections

    run(scenario)
    assert heard == []


def test_a_batch_instead_of_a_proof_is_not_heard() -> None:
    async def scenario() -> None:
        channel, _ = await wired(Listener(reverse))
        await channel._frame
        with pytest.raises(ChannelLostError):
            await channel.ask(b"x" * 33)

    run(scenario)


def test_a_replica_does_not_believe_a_port_that_cannot_prove_itself() -> None:
    async def scenario() -> None:
        listener = Listener(reverse)
        replica, wire = await wired(listener)
        shard = wire.other
        assert isinstance(shard, module._ToReplica)
        shard._check = shard.write  # type: ignore[method-assign] # an impostor can only echo
        with pytest.raises(ChannelLostError, match="somebody else"):
            await replica.prove()

    run(scenario)


def test_no_proof_in_time_ends_the_connection() -> None:
    async def scenario() -> float:
        listener = Listener(reverse)
        channel, _ = await wired(listener)
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        await channel._frame
        channel._frame = loop.create_future()
        with pytest.raises(ChannelLostError):
            await channel._frame  # and says nothing meanwhile
        assert not listener.connections
        return loop.time() - began_at

    assert virtual_time.run(asyncio.wait_for(scenario(), 60.0)) == pytest.approx(module.PROOF_S)


def test_whoever_has_proven_itself_may_be_silent_for_as_long_as_it_likes() -> None:
    async def scenario() -> bytes:
        channel = await proven(Listener(reverse))
        await asyncio.sleep(100 * module.PROOF_S)
        return await channel.ask(b"ab")

    assert virtual_time.run(scenario()) == b"ba"


def test_a_connection_that_ends_tells_whoever_waits_at_once() -> None:
    async def scenario() -> None:
        listener = Listener(silence)
        channel = await proven(listener)
        question = asyncio.create_task(channel.ask(b"?"))
        await asyncio.sleep(0)
        listener.close()
        with pytest.raises(ChannelLostError):
            await question
        assert not channel.is_open
        with pytest.raises(ChannelLostError):
            await channel.ask(b"again")

    run(scenario)


def test_whoever_stops_waiting_never_gets_the_next_ones_answer() -> None:
    async def scenario() -> None:
        channel = await proven(Listener(silence))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(channel.ask(b"?"), 0.01)
        assert not channel.is_open

    run(scenario)


def test_a_batch_that_was_begun_is_finished_when_its_replica_leaves() -> None:
    finished: list[bytes] = []

    async def scenario() -> None:
        begun, go, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def slow(frame: bytes) -> bytes:
            begun.set()
            await go.wait()
            finished.append(frame)
            done.set()
            return frame

        channel = await proven(Listener(slow))
        question = asyncio.create_task(channel.ask(b"half"))
        await begun.wait()
        question.cancel()
        await asyncio.wait([question])
        go.set()
        await done.wait()

    run(scenario)
    assert finished == [b"half"]


def test_a_question_that_breaks_the_shards_answer_ends_the_connection_and_is_told() -> None:
    async def broken(_frame: bytes) -> bytes:
        raise LookupError("no such kind")

    async def scenario() -> None:
        channel = await proven(Listener(broken))
        with pytest.raises(ChannelLostError):
            await channel.ask(b"?")

    with capture_logs() as logs:
        run(scenario)
    assert [log["why"] for log in logs] == ["its batch cannot be answered: LookupError('no such kind')"]


def test_a_second_question_before_the_first_answer_ends_the_connection() -> None:
    async def scenario() -> None:
        channel = await proven(Listener(silence))
        first = asyncio.create_task(channel.ask(b"1"))
        await asyncio.sleep(0)
        channel.write(b"2")
        with pytest.raises(ChannelLostError):
            await first

    run(scenario)


@pytest.mark.reaches("CHANNEL_FRAME_BYTES_MAX")
def test_frames_have_an_end() -> None:
    async def scenario() -> None:
        channel = await proven(Listener(reverse))
        assert await channel.ask(b"x" * CHANNEL_FRAME_BYTES_MAX) == b"x" * CHANNEL_FRAME_BYTES_MAX
        with pytest.raises(ChannelLostError):
            await channel.ask(b"x" * (CHANNEL_FRAME_BYTES_MAX + 1))

    run(scenario)


@pytest.mark.reaches("CHANNELS_PER_SHARD_MAX")
def test_a_replica_that_hangs_up_itself_tells_whoever_waits_why() -> None:
    async def scenario() -> None:
        channel = await proven(Listener(silence))
        asked = asyncio.create_task(channel.ask(b"x"))
        await asyncio.sleep(0)
        channel.data_received((CHANNEL_FRAME_BYTES_MAX + 1).to_bytes(4, "big"))
        with pytest.raises(ChannelLostError, match="a frame is too long"):
            await asked

    run(scenario)


def test_past_the_bound_a_replica_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHANNELS_PER_SHARD_MAX", 1)

    async def scenario() -> None:
        listener = Listener(reverse)
        first = await proven(listener)
        second, _ = await wired(listener)
        with pytest.raises(ChannelLostError):
            await second.prove()
        assert await first.ask(b"ab") == b"ba"

    run(scenario)


def test_an_address_does_not_show_its_key() -> None:
    assert repr(module.Address("10.0.0.1", 5, b"secret")) == "Address(10.0.0.1:5)"


async def silence(_frame: bytes) -> bytes:
    await asyncio.Event().wait()
    return b""
