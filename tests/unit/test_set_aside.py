"""One bad record harms itself alone: it is set aside, counted and shown, and can be taken back; all others are served."""

import asyncio
import copy
from collections.abc import Callable, Coroutine
from dataclasses import replace
from io import StringIO
from random import Random
from typing import Any

import pytest
from rich.console import Console

from actors.shard.recovery import balanced, pauses_before, recounted
from actors.shard.shard import Shard
from metrics.reports import Known
from serve_app.commands import records
from serve_app.commands.audit import audit_slot, inspect, report
from sessions.changes import Ledger, Receipt
from sessions.events import Beacon, End, beacon_id
from sessions.session import Session
from sessions.states import Liveness
from storage import codec
from storage.codec import SlotRecord, decode_record, decode_session, encode_record
from storage.journal import RECORD_ASIDE, Fence, StoredSlot
from storage.memory_journal import MemoryJournal, MemoryStore
from tests.simulation import virtual_time
from tests.simulation.damage import FLIPPED, KINDS, damaged
from tests.simulation.one_shard import POLICY, SLOTS, Bench, beat, now, start, until

Scenario = Callable[[Bench], Coroutine[Any, Any, None]]
ENDED, VANISHED, WATCHING = ([f"{kind}-{number}" for number in range(4)] for kind in ("ended", "vanished", "watching"))
PIXEL = beacon_id(pullzone="p", video_id="v", user_id="u")


def play(scenario: Scenario) -> None:
    virtual_time.run(scenario(Bench()))


async def an_audience(bench: Bench) -> None:
    """Leave a data set behind with sessions in every state, a minute after its owner was last alive."""
    shard, _ = await bench.serving()
    await bench.send(shard, *(start(name) for name in (*ENDED, *VANISHED, *WATCHING)), Beacon(PIXEL, "play", "v", "p"))
    await asyncio.sleep(20)
    await bench.send(shard, *(End(name, now(), "user_exit", 20, 0, 0) for name in ENDED))
    for _ in range(5):
        await asyncio.sleep(25)
        await bench.send(shard, *(beat(name) for name in WATCHING), Beacon(PIXEL, "check", "v", "p"))
    await shard.stop()
    assert {shown(each) for each in VANISHED for shown in [lambda name: stored(bench.store, name).liveness]} == {Liveness.EXPIRED}


def stored(store: MemoryStore, session_id: str) -> Session:
    return next(decode_session(sessions[session_id]) for sessions in store.sessions.values() if session_id in sessions)


def all_stored(store: MemoryStore) -> list[tuple[int, str]]:
    """Return (slot, session id) of everything stored; a slot's record is filed under `RECORD_ASIDE`."""
    found = [(slot, RECORD_ASIDE) for slot in store.records]
    return sorted(found + [(slot, session_id) for slot, sessions in store.sessions.items() for session_id in sessions])


def damage(store: MemoryStore, slot: int, session_id: str, change: Callable[[bytes], bytes]) -> None:
    if session_id == RECORD_ASIDE:
        store.records[slot] = change(store.records[slot])
    else:
        store.sessions[slot][session_id] = change(store.sessions[slot][session_id])


async def successor(bench: Bench, number: int = 1) -> Shard:
    """Return another shard that took every slot."""
    shard, _ = bench.shard(f"shard-{number}")
    shard.own({slot: bench.store.fences[slot].epoch for slot in range(SLOTS)})
    await until(lambda: len(shard.held) == SLOTS and not shard.status()["coming"])
    return shard


def held(shard: Shard) -> dict[str, Session]:
    return {session_id: session for each in shard.held.values() for session_id, session in each.tracker.sessions.items()}


def problems(store: MemoryStore) -> list[str]:
    slots = [
        audit_slot(slot, StoredSlot(store.fences[slot], store.records.get(slot), store.sessions.get(slot, {})), slots=SLOTS)
        for slot in store.fences
    ]
    return [problem for audit in slots for problem in audit.problems]


@pytest.mark.parametrize("tenth", range(10))
def test_of_a_thousand_damaged_records_each_is_lost_alone(tenth: int) -> None:
    async def scenario(bench: Bench) -> None:
        await an_audience(bench)
        whole = bench.store
        names = {session_id for _, session_id in all_stored(whole)} - {RECORD_ASIDE}
        random = Random(tenth)
        for number in range(100):
            bench.store = store = copy.deepcopy(whole)
            slot, hit = random.choice(all_stored(store))
            kind = random.choice(KINDS)
            story = f"seed {tenth}, number {number}: {hit!r} {kind}"
            damage(store, slot, hit, lambda content, kind=kind: damaged(content, kind=kind, random=random))
            shard = await successor(bench)
            assert held(shard).keys() == names - {hit}, story
            assert list(store.aside[slot]) == [hit], story
            for each in shard.held.values():
                each.tracker.validate()
            assert problems(store) == [], story
            receipts = await bench.send(shard, *(beat(name) for name in WATCHING))
            assert all(isinstance(receipt, Receipt) and receipt.accepted for receipt in receipts), story
            assert bench.broken == [], story
            await shard.halt()

    play(scenario)


def test_everything_may_be_damaged_at_once_and_the_slots_are_served_all_the_same() -> None:
    async def scenario(bench: Bench) -> None:
        await an_audience(bench)
        everything = all_stored(bench.store)
        for slot, session_id in everything:
            damage(bench.store, slot, session_id, lambda _: b"")
        shard = await successor(bench)
        assert held(shard) == {}
        assert {(slot, name) for slot, names in bench.store.aside.items() for name in names} == set(everything)
        assert await bench.send(shard, start("new")) == [Receipt(accepted=True, interval_s=30)]

    play(scenario)


def test_a_session_that_is_set_aside_leaves_the_count_as_expired() -> None:
    async def scenario(bench: Bench) -> None:
        await an_audience(bench)
        slot = next(slot for slot, sessions in bench.store.sessions.items() if "watching-0" in sessions)
        before = decode_record(bench.store.records[slot]).ledger
        damage(bench.store, slot, "watching-0", lambda content: content[:-1])
        shard = await successor(bench)
        after = shard.held[slot].tracker.ledger
        assert (after.active, after.expired) == (before.active - 1, before.expired + 1)
        assert after.balance == after.active
        # Its next beat is a session's whose start never came: 1 more of these, and he is counted again.
        [receipt] = await bench.send(shard, beat("watching-0"))
        assert isinstance(receipt, Receipt)
        assert receipt.accepted
        assert shard.held[slot].tracker.ledger.active == before.active
        assert shard.held[slot].tracker.ledger.provisional == before.provisional + 1

    play(scenario)


def test_an_expired_session_that_is_set_aside_changes_no_count() -> None:
    async def scenario(bench: Bench) -> None:
        await an_audience(bench)
        slot = next(slot for slot, sessions in bench.store.sessions.items() if "vanished-0" in sessions)
        before = decode_record(bench.store.records[slot]).ledger
        damage(bench.store, slot, "vanished-0", lambda content: content[:-1])
        shard = await successor(bench)
        assert shard.held[slot].tracker.ledger == before

    play(scenario)


def test_what_is_set_aside_is_counted_told_and_stays_so_for_the_next_owner() -> None:
    async def scenario(bench: Bench) -> None:
        await an_audience(bench)
        slot = next(slot for slot, sessions in bench.store.sessions.items() if "watching-0" in sessions)
        damage(bench.store, slot, "watching-0", lambda content: content[:-1])
        damage(bench.store, slot, RECORD_ASIDE, lambda content: content[:-1])
        for number in (1, 2):
            shard = await successor(bench, number)
            assert (shard.collect(Known()).set_aside, shard.status()["set_aside"]) == (2, 2)
            assert bench.store.aside[slot].keys() == {"watching-0", RECORD_ASIDE}
            await shard.stop()

    play(scenario)


def test_a_shard_that_dies_before_it_wrote_leaves_the_damaged_session_where_it_was() -> None:
    async def scenario(bench: Bench) -> None:
        await an_audience(bench)
        slot = next(slot for slot, sessions in bench.store.sessions.items() if "watching-0" in sessions)
        damage(bench.store, slot, "watching-0", lambda content: content[:-1])
        shard, journal = bench.shard("shard-1")
        journal.delay_s = 5.0
        shard.own({slot: bench.store.fences[slot].epoch})
        await asyncio.sleep(1.0)
        await shard.halt()
        assert "watching-0" in bench.store.sessions[slot]
        assert not bench.store.aside.get(slot)
        await successor(bench, 2)
        assert bench.store.aside[slot].keys() == {"watching-0"}

    play(scenario)


# A slot's record.


def test_nobody_expires_too_early_because_a_record_was_lost() -> None:
    async def scenario(bench: Bench) -> None:
        shard, _ = await bench.serving()
        await bench.send(shard, *(start(name) for name in WATCHING))
        # An hour away, by which every deadline lies later; then they beat again.
        bench.clock_ahead_s = 3_600.0
        await asyncio.sleep(1.0)
        await bench.send(shard, *(beat(name, now() + 3_600.0) for name in WATCHING))
        await shard.stop()
        for slot in bench.store.records:
            damage(bench.store, slot, RECORD_ASIDE, lambda _: b"\xff")
        shard = await successor(bench)
        await asyncio.sleep(80.0)
        assert {session.liveness for session in held(shard).values()} == {Liveness.ACTIVE}
        await asyncio.sleep(12.0)
        assert {session.liveness for session in held(shard).values()} == {Liveness.EXPIRED}

    play(scenario)


def test_pauses_are_told_by_deadlines_to_a_quarter_of_a_second_and_never_too_short() -> None:
    session = Session("a", now=5_000.1)
    session.interval_s, session.bucket = 30, codec_bucket(5_000.1 + 90 - 1_234.5)
    assert 1_234.5 <= pauses_before([session], policy=POLICY) <= 1_234.75
    assert pauses_before([], policy=POLICY) == 0.0


def codec_bucket(due_at: float) -> int:
    return int(due_at * 4) + 1


def test_a_ledger_is_rebuilt_with_one_way_in_and_one_way_out_for_each_session() -> None:
    sessions = [Session(str(number), now=0.0) for number in range(6)]
    sessions[0].provisional = True
    sessions[1].liveness = Liveness.EXPIRED
    # 6 came, one of them without its start; one has expired; 5 are here.
    assert recounted(sessions) == Ledger(active=5, started=5, provisional=1, expired=1)
    assert recounted(sessions).balance == 5


def test_whatever_is_missing_or_too_much_the_ledger_adds_up() -> None:
    ledger = Ledger(active=3, started=5, provisional=1, revived=1, expired=2, ended={"user_exit": 2})
    assert balanced(ledger, active=3) == ledger
    assert balanced(ledger, active=1) == replace(ledger, active=1, expired=4)
    assert balanced(ledger, active=5) == replace(ledger, active=5, provisional=3)


def test_sessions_that_vanished_from_the_journal_are_noticed_counted_and_told() -> None:
    async def scenario(bench: Bench) -> None:
        await an_audience(bench)
        slot = next(slot for slot, sessions in bench.store.sessions.items() if "watching-0" in sessions)
        evicted = sum(decode_session(content).liveness is Liveness.ACTIVE for content in bench.store.sessions.pop(slot).values())
        before = decode_record(bench.store.records[slot]).ledger
        shard = await successor(bench)
        assert shard.status()["mismatched_slots"] == [slot]
        assert shard.collect(Known()).mismatched_slots == 1
        assert shard.held[slot].tracker.ledger == replace(before, active=0, expired=before.expired + evicted)
        assert problems(bench.store) == []

    play(scenario)


def test_sessions_whose_records_were_all_evicted_are_noticed() -> None:
    async def scenario(bench: Bench) -> None:
        await an_audience(bench)
        with_sessions = {slot for slot, sessions in bench.store.sessions.items() if sessions}
        bench.store.records.clear()
        shard = await successor(bench)
        assert set(shard.status()["mismatched_slots"]) == with_sessions  # type: ignore[call-overload]
        assert len(held(shard)) == 13
        assert problems(bench.store) == []

    play(scenario)


# A build rolled back, and forward again.


def test_a_build_that_is_rolled_back_sets_the_newer_sessions_aside_and_the_newer_one_takes_them_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario(bench: Bench) -> None:
        with monkeypatch.context() as newer:
            newer.setattr(codec, "SESSION_FORMAT", 2)
            await an_audience(bench)
        older = await successor(bench)
        assert held(older) == {}
        assert sum(map(len, bench.store.aside.values())) == 13
        await bench.send(older, beat("watching-0"), start("young"))
        assert older.status()["active"] == 2
        await older.stop()
        journal = MemoryJournal(bench.store)
        assert (await records.take_back(journal, await records.find(journal), now=now())).restored == []
        with monkeypatch.context() as newer:
            newer.setattr(codec, "SESSION_FORMAT", 2)
            outcome = await records.take_back(journal, await records.find(journal), now=now())
            assert [each.session_id for each, _ in outcome.left] == ["watching-0"]
            assert "come back" in outcome.left[0][1]
            assert len(outcome.restored) == 12
            assert sum(map(len, bench.store.aside.values())) == 1
            assert {stored(bench.store, name).liveness for name in VANISHED} == {Liveness.EXPIRED}
            ledger = [decode_record(record).ledger for record in bench.store.records.values()]
        # 3 who were watching, and the pixel's viewer, came back beside the two whom the older build counts.
        assert sum(each.revived for each in ledger) == 4
        assert sum(each.active for each in ledger) == 6
        assert all(each.balance == each.active for each in ledger)

    play(scenario)


def test_taking_back_takes_a_served_slot_for_a_moment_and_nothing_acknowledged_is_lost() -> None:
    async def scenario(bench: Bench) -> None:
        await an_audience(bench)
        slot = next(slot for slot, sessions in bench.store.sessions.items() if "watching-0" in sessions)
        whole = bench.store.sessions[slot]["watching-0"]
        damage(bench.store, slot, "watching-0", lambda content: content[:-1])
        shard = await successor(bench)
        name = bench.id_in(slot)
        await bench.send(shard, start(name))
        bench.store.aside[slot]["watching-0"] = whole
        journal = MemoryJournal(bench.store)
        outcome = await records.take_back(journal, await records.find(journal), now=now())
        assert [each.session_id for each in outcome.restored] == ["watching-0"]
        assert bench.store.fences[slot] == Fence(shard.held[slot].epoch + 1, 1, "")
        await until(lambda: slot not in shard.held)
        shard.own({slot: bench.store.fences[slot].epoch})
        await until(lambda: slot in shard.held)
        assert {name, "watching-0"} <= held(shard).keys()
        assert shard.status()["set_aside"] == 0
        shard.held[slot].tracker.validate()
        await bench.send(shard, beat("watching-0"))
        assert held(shard)["watching-0"].liveness is Liveness.ACTIVE

    play(scenario)


def test_taking_back_while_the_tracker_is_down_hides_no_outage() -> None:
    async def scenario(bench: Bench) -> None:
        await an_audience(bench)
        slot = next(slot for slot, sessions in bench.store.sessions.items() if "watching-0" in sessions)
        bench.store.aside[slot] = {"watching-0": bench.store.sessions[slot].pop("watching-0")}
        alive_at = bench.store.alive[slot]
        await asyncio.sleep(600.0)
        journal = MemoryJournal(bench.store)
        await records.take_back(journal, await records.find(journal), now=now())
        assert bench.store.alive[slot] == alive_at
        shard = await successor(bench)
        assert held(shard)["watching-0"].liveness is Liveness.ACTIVE

    play(scenario)


def test_what_is_forgotten_is_gone_for_good() -> None:
    async def scenario(bench: Bench) -> None:
        await an_audience(bench)
        for slot in bench.store.records:
            damage(bench.store, slot, RECORD_ASIDE, lambda content: content[:-1])
        await (await successor(bench)).stop()
        journal = MemoryJournal(bench.store)
        found = await records.find(journal)
        assert [each.session_id for each in found] == [RECORD_ASIDE] * SLOTS
        await records.forget_all(journal, found[1:], now=now())
        assert await records.find(journal) == found[:1]

    play(scenario)


def test_the_audit_lists_what_is_set_aside_and_says_that_the_ledger_holds() -> None:
    async def scenario(bench: Bench) -> None:
        await an_audience(bench)
        slot = next(slot for slot, sessions in bench.store.sessions.items() if "watching-0" in sessions)
        damage(bench.store, slot, "watching-0", lambda content: damaged(content, kind=FLIPPED, random=Random(1)))
        await (await successor(bench)).stop()
        console = Console(width=120, record=True, file=StringIO())
        assert report(await inspect(MemoryJournal(bench.store), slots=SLOTS), console, slots=SLOTS) == 0
        text = console.export_text()
        assert f"slot {slot}: session 'watching-0' could not be read and is set aside" in text
        assert "1 record is set aside" in text

    play(scenario)


def test_a_record_is_shown_as_json_as_far_as_it_can_be_read() -> None:
    whole = codec.encode_session(Session("a", now=1_000.0))
    odd = bytes((9,)) + whole[1:]
    assert '"session_id":"a"' in records.as_json(records.Aside(1, "a", codec.encode_session(told("a"))))
    assert records.as_json(records.Aside(1, "a", odd)).startswith('["a","active"')
    assert "no values can be read" in records.as_json(records.Aside(1, "a", b"\x01\xc1"))
    assert "no values can be read" in records.as_json(records.Aside(1, "a", b""))
    assert records.as_json(records.Aside(1, RECORD_ASIDE, encode_record(SlotRecord(Ledger(active=1, started=1))))).startswith("[[1,1,0")


def told(session_id: str) -> Session:
    session = Session(session_id, now=1_000.0)
    session.tell(0, now=1_000.0)
    return session
