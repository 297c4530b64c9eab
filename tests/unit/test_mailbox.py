"""Batches: one call in flight per shard, nothing lost, nobody waits for longer than told."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from actors.messages import NotTaken, decode_batch, encode_item, encode_reply, waited_before_s
from serve_app.delivery import mailbox
from serve_app.delivery.mailbox import Outcome, PostRoom, ShardAwayError, Undelivered
from serve_app.delivery.slotmap import SlotMap
from sessions import limits
from sessions.changes import Receipt
from sessions.events import Heartbeat
from storage.journal import Fence, JournalUnavailableError
from tests.simulation import virtual_time

OK = Receipt(accepted=True, interval_s=30)


def item(name: str) -> bytes:
    return encode_item(0, Heartbeat(name, 0.0))


@dataclass
class World:
    """A map and shards that answer by a script; what they were sent is noted."""

    owners: dict[int, str] = field(default_factory=lambda: dict.fromkeys(range(8), "a"))
    readings: int = 0
    journal_up: bool = True
    calls: list[tuple[str, list[str]]] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    under_way: dict[str, int] = field(default_factory=dict)
    under_way_max: int = 0
    called: asyncio.Event = field(default_factory=asyncio.Event)
    answer: Callable[[str, list[str]], Awaitable[list[Receipt | NotTaken]]] | None = None
    broken: list[BaseException] = field(default_factory=list)

    async def read_fences(self) -> Mapping[int, Fence]:
        self.readings += 1
        if not self.journal_up:
            raise JournalUnavailableError
        return {slot: Fence(1, 0, owner) for slot, owner in self.owners.items()}

    async def send(self, shard: str, batch: bytes) -> bytes:
        names = [event.session_id for _, event in decode_batch(batch)]
        self.calls.append((shard, names))
        self.waited.append(waited_before_s(batch))
        self.called.set()
        self.under_way[shard] = self.under_way.get(shard, 0) + 1
        self.under_way_max = max(self.under_way_max, self.under_way[shard])
        try:
            if self.answer is None:
                await asyncio.sleep(0)
                return encode_reply([OK] * len(names))
            return encode_reply(await self.answer(shard, names))
        finally:
            self.under_way[shard] -= 1

    async def room(self, **options: Any) -> PostRoom:
        slot_map = SlotMap(self.read_fences)
        await slot_map.refresh()
        return PostRoom(slot_map, self.send, on_broken=self.broken.append, **options)


def run(scenario: Coroutine[Any, Any, Any]) -> Any:
    return virtual_time.run(asyncio.wait_for(scenario, 20))


def test_what_is_ready_together_travels_together() -> None:
    async def scenario() -> World:
        world = World()
        room = await world.room()
        outcomes = await asyncio.gather(*(room.post(0, item(str(n)), within_s=5.0) for n in range(50)))
        assert outcomes == [OK] * 50
        return world

    assert run(scenario()).calls == [("a", [str(n) for n in range(50)])]


def test_one_call_is_under_way_and_the_next_batch_grows_meanwhile() -> None:
    async def scenario() -> World:
        gate = asyncio.Event()

        async def answer(_shard: str, names: list[str]) -> list[Receipt | NotTaken]:
            await gate.wait()
            return [OK] * len(names)

        world = World(answer=answer)
        room = await world.room()
        first = room.post(0, item("first"), within_s=5.0)
        await world.called.wait()
        later = [room.post(0, item(str(n)), within_s=5.0) for n in range(10)]
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(world.calls) == 1
        gate.set()
        await asyncio.gather(first, *later)
        return world

    world = run(scenario())
    assert [len(names) for _, names in world.calls] == [1, 10]
    assert world.under_way_max == 1


def test_who_was_answered_together_leaves_together_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "GATHER_S", 60.0)

    async def scenario() -> World:
        world = World()
        room = await world.room()
        await asyncio.gather(*(room.post(0, item(name), within_s=5.0) for name in "ab"))
        first = room.post(0, item("c"), within_s=5.0)
        for _ in range(10):
            await asyncio.sleep(0)
        assert not first.done()
        await asyncio.gather(first, room.post(0, item("d"), within_s=5.0))
        return world

    assert [names for _, names in run(scenario()).calls] == [["a", "b"], ["c", "d"]]


def test_who_comes_back_waits_only_a_moment_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "GATHER_S", 0.001)

    async def scenario() -> World:
        world = World()
        room = await world.room()
        await asyncio.gather(*(room.post(0, item(name), within_s=5.0) for name in "ab"))
        assert await room.post(0, item("c"), within_s=60.0) == OK
        return world

    assert [names for _, names in run(scenario()).calls] == [["a", "b"], ["c"]]


def test_each_shard_has_a_mailbox_of_its_own() -> None:
    async def scenario() -> World:
        world = World(owners={0: "a", 1: "b"})
        room = await world.room()
        await asyncio.gather(room.post(0, item("x"), within_s=5.0), room.post(1, item("y"), within_s=5.0))
        return world

    assert sorted(run(scenario()).calls) == [("a", ["x"]), ("b", ["y"])]


@pytest.mark.reaches("BATCH_ITEMS_MAX", "BATCH_BYTES_MAX")
def test_a_batch_is_bounded_by_items_and_by_bytes() -> None:
    async def scenario() -> World:
        world = World()
        room = await world.room()
        await asyncio.gather(*(room.post(0, item(str(n)), within_s=5.0) for n in range(limits.BATCH_ITEMS_MAX + 1)))
        await asyncio.gather(*(room.post(0, item("x" * 40_000), within_s=5.0) for _ in range(3)))
        await room.post(0, item("y" * 200_000), within_s=5.0)
        return world

    assert [len(names) for _, names in run(scenario()).calls] == [limits.BATCH_ITEMS_MAX, 1, 2, 1, 1]


def test_each_item_gets_its_own_outcome() -> None:
    async def scenario() -> list[Outcome]:
        async def answer(_shard: str, names: list[str]) -> list[Receipt | NotTaken]:
            table = {"journal": NotTaken.NO_JOURNAL, "full": NotTaken.OVERLOADED}
            return [table.get(name, Receipt(accepted=True, interval_s=len(name))) for name in names]

        room = await World(answer=answer).room()
        return await asyncio.gather(*(room.post(0, item(name), within_s=5.0) for name in ("journal", "three", "full")))

    assert run(scenario()) == [Undelivered.NO_JOURNAL, Receipt(accepted=True, interval_s=5), Undelivered.OVERLOADED]


def test_a_moved_slot_is_looked_up_once_and_sent_to_its_new_owner() -> None:
    async def scenario() -> World:
        async def answer(shard: str, names: list[str]) -> list[Receipt | NotTaken]:
            return [OK if shard == "b" else NotTaken.MOVED for _ in names]

        world = World(answer=answer)
        room = await world.room()
        world.owners[0] = "b"
        assert await asyncio.gather(*(room.post(0, item(str(n)), within_s=5.0) for n in range(20))) == [OK] * 20
        return world

    world = run(scenario())
    assert [(shard, len(names)) for shard, names in world.calls] == [("a", 20), ("b", 20)]
    assert world.readings == 2


def test_a_recovering_slot_is_asked_again_until_it_answers() -> None:
    async def scenario() -> World:
        async def answer(_shard: str, names: list[str]) -> list[Receipt | NotTaken]:
            return [OK if len(world.calls) > 3 else NotTaken.RECOVERING for _ in names]

        world = World(answer=answer)
        room = await world.room()
        assert await room.post(0, item("x"), within_s=5.0) == OK
        return world

    assert len(run(scenario()).calls) == 4


def test_others_are_served_while_one_slot_recovers() -> None:
    async def scenario() -> None:
        async def answer(_shard: str, names: list[str]) -> list[Receipt | NotTaken]:
            return [NotTaken.RECOVERING if name == "ill" else OK for name in names]

        room = await World(answer=answer).room()
        ill = room.post(0, item("ill"), within_s=0.3)
        assert await room.post(1, item("well"), within_s=5.0) == OK
        assert not ill.done()
        assert await ill is Undelivered.RECOVERING

    run(scenario())


def test_a_shard_that_died_is_sent_the_same_again() -> None:
    async def scenario() -> World:
        async def answer(_shard: str, names: list[str]) -> list[Receipt | NotTaken]:
            if len(world.calls) < 4:
                msg = "died"
                raise ShardAwayError(msg)
            return [OK] * len(names)

        world = World(answer=answer)
        room = await world.room()
        outcomes = [room.post(0, item(str(n)), within_s=5.0) for n in range(3)]
        assert await asyncio.gather(*outcomes) == [OK] * 3
        return world

    world = run(scenario())
    assert [names for _, names in world.calls] == [["0", "1", "2"]] * 4
    assert world.readings == 4


def test_a_dead_shards_letters_go_to_whoever_owns_its_slots_now() -> None:
    async def scenario() -> World:
        async def answer(shard: str, names: list[str]) -> list[Receipt | NotTaken]:
            if shard == "a":
                world.owners[0] = "b"
                msg = "died"
                raise ShardAwayError(msg)
            return [OK] * len(names)

        world = World(answer=answer)
        room = await world.room()
        assert await room.post(0, item("x"), within_s=5.0) == OK
        return world

    assert run(scenario()).calls == [("a", ["x"]), ("b", ["x"])]


def test_pauses_grow_so_that_a_dead_shard_is_not_hammered() -> None:
    async def scenario() -> World:
        async def answer(_shard: str, _names: list[str]) -> list[Receipt | NotTaken]:
            msg = "dead"
            raise ShardAwayError(msg)

        world = World(answer=answer)
        room = await world.room()
        assert await room.post(0, item("x"), within_s=1.0) is Undelivered.UNAVAILABLE
        return world

    assert 3 <= len(run(scenario()).calls) <= 9


@pytest.mark.reaches("REQUEST_DEADLINE_S")
def test_the_deadline_holds_while_a_call_is_stuck() -> None:
    async def scenario() -> None:
        stuck = asyncio.Event()

        async def answer(_shard: str, _names: list[str]) -> list[Receipt | NotTaken]:
            await stuck.wait()
            return [OK]

        world = World(answer=answer)
        room = await world.room()
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        sent = room.post(0, item("sent"), within_s=0.3)
        await asyncio.sleep(0.01)
        waiting = room.post(0, item("waiting"), within_s=0.3)
        assert await asyncio.gather(sent, waiting) == [Undelivered.UNAVAILABLE] * 2
        assert 0.3 <= loop.time() - began_at < 1.0
        stuck.set()
        assert await room.post(0, item("next"), within_s=5.0) == OK
        assert world.calls[-1][1] == ["next"]

    run(scenario())


def test_a_slot_that_nobody_owns_waits_for_an_owner() -> None:
    async def scenario() -> None:
        world = World(owners={})
        room = await world.room()
        outcome = room.post(0, item("x"), within_s=5.0)
        await asyncio.sleep(0.05)
        world.owners[0] = "a"
        assert await outcome == OK
        assert room.waiting == 0
        assert await room.post(5, item("x"), within_s=0.2) is Undelivered.RECOVERING

    run(scenario())


def test_the_cached_map_stands_while_the_journal_is_away() -> None:
    async def scenario() -> None:
        world = World()
        room = await world.room()
        world.journal_up = False
        await room.refresh_map()
        assert await room.post(0, item("x"), within_s=5.0) == OK

    run(scenario())


def test_a_sender_that_left_disturbs_nobody_and_is_not_sent() -> None:
    async def scenario() -> World:
        gate = asyncio.Event()

        async def answer(_shard: str, names: list[str]) -> list[Receipt | NotTaken]:
            await gate.wait()
            return [OK] * len(names)

        world = World(answer=answer)
        room = await world.room()
        in_flight, stays = (room.post(0, item(name), within_s=5.0) for name in ("in flight", "stays"))
        await world.called.wait()
        waiting, also_stays = (room.post(0, item(name), within_s=5.0) for name in ("waiting", "also stays"))
        in_flight.cancel()
        waiting.cancel()
        gate.set()
        assert await asyncio.gather(stays, also_stays) == [OK, OK]
        return world

    assert run(scenario()).calls == [("a", ["in flight", "stays"]), ("a", ["also stays"])]


def test_past_the_bound_letters_are_shed_at_once() -> None:
    async def scenario() -> None:
        gate = asyncio.Event()

        async def answer(_shard: str, names: list[str]) -> list[Receipt | NotTaken]:
            await gate.wait()
            return [OK] * len(names)

        room = await World(answer=answer).room(waiting_max=5)
        kept = [room.post(0, item(str(n)), within_s=5.0) for n in range(5)]
        shed = room.post(0, item("more"), within_s=5.0)
        assert shed.done()
        assert shed.result() is Undelivered.OVERLOADED
        gate.set()
        assert await asyncio.gather(*kept) == [OK] * 5

    run(scenario())


@pytest.mark.reaches("WAITING_S_MAX")
def test_letters_are_shed_while_the_oldest_waits_too_long_for_a_shard_that_answers() -> None:
    async def scenario() -> None:
        async def answer(_shard: str, names: list[str]) -> list[Receipt | NotTaken]:
            await asyncio.sleep(3.0)
            return [OK] * len(names)

        room = await World(answer=answer).room()
        under_way = room.post(0, item("under way"), within_s=9.0)
        await asyncio.sleep(0.5)
        oldest = room.post(0, item("oldest"), within_s=9.0)
        await asyncio.sleep(limits.WAITING_S_MAX - 0.1)
        in_time = room.post(0, item("in time"), within_s=9.0)
        await asyncio.sleep(0.2)
        assert await room.post(0, item("too late"), within_s=9.0) is Undelivered.OVERLOADED
        assert await asyncio.gather(under_way, oldest, in_time) == [OK] * 3
        assert await room.post(0, item("after"), within_s=9.0) == OK

    virtual_time.run(scenario())


@pytest.mark.parametrize("last_call_fails", [True, False], ids=["given up", "answered at last"])
def test_a_shard_that_is_away_is_waited_for_and_nothing_is_shed_meanwhile_or_when_it_is_back(
    monkeypatch: pytest.MonkeyPatch, *, last_call_fails: bool
) -> None:
    monkeypatch.setattr(limits, "BATCH_ITEMS_MAX", 3)

    async def scenario() -> World:
        async def answer(_shard: str, names: list[str]) -> list[Receipt | NotTaken]:
            asked_while_away = away
            if away:
                # It hangs up at once when it dies; after that, who asks for it waits until it is given up, or there again.
                await asyncio.sleep(2.5 if len(world.calls) > 1 else 0.0)
            if asked_while_away if last_call_fails else away:
                msg = "died"
                raise ShardAwayError(msg)
            await asyncio.sleep(0.01)
            return [OK] * len(names)

        away = True
        world = World(answer=answer)
        room = await world.room()
        letters = []
        for number in range(8):
            letters.append(room.post(0, item(str(number)), within_s=9.0))
            await asyncio.sleep(0.5)
        away = False
        await letters[0]
        assert room.waiting > limits.BATCH_ITEMS_MAX
        newcomers = [room.post(0, item(f"new {number}"), within_s=9.0) for number in range(2)]
        assert await asyncio.gather(*letters, *newcomers) == [OK] * 10
        return world

    world = virtual_time.run(scenario())
    # What was waited for a shard that was away is no sign of load.
    recovered = [waited_s for waited_s, (_, names) in zip(world.waited, world.calls, strict=True) if "0" not in names]
    assert len(recovered) >= 3
    assert max(recovered) < 0.2


def test_what_waited_for_a_shard_that_died_is_no_load_to_whoever_owns_its_slots_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BATCH_ITEMS_MAX", 3)

    async def scenario() -> World:
        async def answer(shard: str, names: list[str]) -> list[Receipt | NotTaken]:
            if shard == "a":
                await asyncio.sleep(2.5)
                world.owners = dict.fromkeys(range(8), "b")
                msg = "died"
                raise ShardAwayError(msg)
            return [OK] * len(names)

        world = World(answer=answer)
        room = await world.room()
        assert await asyncio.gather(*(room.post(0, item(str(number)), within_s=9.0) for number in range(8))) == [OK] * 8
        return world

    world = virtual_time.run(scenario())
    assert max(waited_s for waited_s, (shard, _) in zip(world.waited, world.calls, strict=True) if shard == "b") < 0.2


def test_a_shard_is_told_how_long_the_letters_of_a_batch_have_waited() -> None:
    async def scenario() -> World:
        async def answer(_shard: str, names: list[str]) -> list[Receipt | NotTaken]:
            await asyncio.sleep(1.0)
            return [OK] * len(names)

        world = World(answer=answer)
        room = await world.room()
        first = room.post(0, item("first"), within_s=9.0, waited_s=0.3)
        await asyncio.sleep(0.5)
        second = room.post(0, item("second"), within_s=9.0)
        third = room.post(0, item("third"), within_s=9.0, waited_s=0.2)
        await asyncio.gather(first, second, third)
        return world

    assert virtual_time.run(scenario()).waited == pytest.approx([0.3, (0.5 + 0.7) / 2])


def test_without_an_owner_the_bound_holds_too() -> None:
    async def scenario() -> None:
        room = await World(owners={}).room(waiting_max=5)
        outcomes = await asyncio.gather(*(room.post(0, item(str(n)), within_s=0.1) for n in range(7)))
        assert sorted(outcomes) == [Undelivered.OVERLOADED] * 2 + [Undelivered.RECOVERING] * 5

    run(scenario())


@pytest.mark.parametrize("reply", [b"", b"\xc1", b"\x90", encode_reply([OK, OK]), b"\x91\xc0"])
def test_a_reply_that_cannot_be_one_counts_as_none(reply: bytes) -> None:
    async def scenario() -> int:
        calls = 0

        async def send(_shard: str, _batch: bytes) -> bytes:
            nonlocal calls
            calls += 1
            return reply if calls == 1 else encode_reply([OK])

        world = World()
        slot_map = SlotMap(world.read_fences)
        await slot_map.refresh()
        assert await PostRoom(slot_map, send, on_broken=world.broken.append).post(0, item("x"), within_s=5.0) == OK
        return calls

    assert run(scenario()) == 2


def test_what_nobody_foresaw_is_told_and_leaves_nobody_waiting() -> None:
    async def scenario() -> World:
        gate = asyncio.Event()

        async def answer(_shard: str, names: list[str]) -> list[Receipt | NotTaken]:
            if "after" in names:
                return [OK] * len(names)
            await gate.wait()
            msg = "a mistake of ours"
            raise RuntimeError(msg)

        world = World(answer=answer)
        room = await world.room()
        sent = room.post(0, item("sent"), within_s=5.0)
        await world.called.wait()
        waiting = room.post(0, item("waiting"), within_s=5.0)
        gate.set()
        async with asyncio.timeout(5.0):
            assert await asyncio.gather(sent, waiting) == [Undelivered.UNAVAILABLE] * 2
        assert room.waiting == 0
        assert await room.post(0, item("after"), within_s=5.0) == OK
        return world

    assert [repr(error) for error in run(scenario()).broken] == ["RuntimeError('a mistake of ours')"]


def test_a_map_that_breaks_is_told_and_leaves_nobody_waiting() -> None:
    async def scenario() -> World:
        world = World(owners={})
        room = await world.room()
        world.owners = None  # type: ignore[assignment]  # the mistake
        async with asyncio.timeout(5.0):
            assert await room.post(0, item("x"), within_s=0.3) is Undelivered.RECOVERING
        return world

    assert [type(error) for error in run(scenario()).broken] == [AttributeError]


def test_closing_answers_everybody() -> None:
    async def scenario() -> None:
        async def answer(_shard: str, _names: list[str]) -> list[Receipt | NotTaken]:
            await asyncio.Event().wait()
            return []

        room = await World(owners={0: "a"}, answer=answer).room()
        outcomes = [room.post(0, item("x"), within_s=5.0), room.post(7, item("homeless"), within_s=5.0)]
        await asyncio.sleep(0.01)
        room.close()
        assert await asyncio.gather(*outcomes) == [Undelivered.UNAVAILABLE] * 2

    run(scenario())


def test_many_who_ask_for_the_map_share_one_reading() -> None:
    async def scenario() -> int:
        world = World()
        slot_map = SlotMap(world.read_fences)
        leaves = asyncio.create_task(slot_map.refresh())
        stay = [asyncio.create_task(slot_map.refresh()) for _ in range(50)]
        await asyncio.sleep(0)
        leaves.cancel()
        await asyncio.gather(*stay)
        assert slot_map.owner(0) == "a"
        return world.readings

    assert run(scenario()) == 1
