"""
Every bound of `sessions/limits.py` is reached by a test, which sees what is one past it.

Such a test says so: `@pytest.mark.reaches("NAME")`. Those of what no other file is about are here, at their real size.
"""

import ast
import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actors.messages import NotTaken, decode_reply
from actors.shard.admission import Admission
from actors.shard.held_slot import HeldSlot
from actors.shard.intake import Intake
from actors.shard.recovery import restore
from actors.shard.waiting import Waiting
from metrics import exposition
from metrics.catalog import DIMENSIONS, INCREMENTS, STATES
from metrics.collector import render
from metrics.labels import OTHER, Labels, label_of
from metrics.peaks import Peak, Peaks
from metrics.reports import ReplicaReport, ShardReport, SlotReport
from metrics.totals import Totals
from serve_app.delivery.mailbox import PostRoom, Undelivered
from serve_app.delivery.slotmap import SlotMap
from sessions import limits
from sessions.changes import Audience, Changes, Increments, Ledger, Policy
from sessions.histograms import observe
from sessions.tracker import Tracker
from storage.codec import SlotRecord, decode_record, encode_session
from storage.journal import Fence, StoredSlot
from tests.simulation import virtual_time
from tests.simulation.one_shard import Bench, beat, start, until

TESTS = Path(__file__).resolve().parents[1]


def reached() -> dict[str, list[str]]:
    """Return the tests that say of a bound that they reach it, by the bound's name."""
    found: dict[str, list[str]] = {}
    for file in TESTS.rglob("test_*.py"):
        for test in ast.walk(ast.parse(file.read_text())):
            if isinstance(test, ast.FunctionDef) and test.name.startswith("test_"):
                for mark in test.decorator_list:
                    if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.reaches":
                        for name in mark.args:
                            found.setdefault(ast.literal_eval(name), []).append(test.name)
    return found


def test_every_bound_is_reached_by_a_test_and_no_test_reaches_one_that_is_gone() -> None:
    bounds, marked = {name for name in vars(limits) if name.isupper()}, set(reached())
    assert bounds - marked == set(), 'mark the test that sees what is one past it: @pytest.mark.reaches("NAME")'
    assert marked - bounds == set(), "no such bound"


def run(scenario: Any) -> Any:
    return virtual_time.run(scenario)


# One shard.


def waiting(intake_now: float, items: int, loop: asyncio.AbstractEventLoop) -> Waiting:
    return Waiting([(0, beat("a", at=1.0))] * items, loop.create_future(), since=intake_now)


@pytest.mark.reaches("SHARD_WAITING_ITEMS_MAX")
def test_65_536_items_wait_in_a_shard_and_a_batch_that_is_one_too_many_is_refused() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        intake = Intake(monotonic=loop.time)
        batches = [waiting(loop.time(), 1_024, loop) for _ in range(64)]
        for batch in batches:
            intake.add(batch)
        assert not any(batch.reply.done() for batch in batches)
        more = waiting(loop.time(), 1, loop)
        intake.add(more)
        assert decode_reply(await more.reply) == [NotTaken.OVERLOADED]
        # A group makes room for as much.
        assert sum(len(batch.items) for batch in intake.next_group()) == 1_024
        again = waiting(loop.time(), 1_024, loop)
        intake.add(again)
        assert not again.reply.done()

    run(scenario())


@pytest.mark.reaches("GROUP_ITEMS_MAX")
def test_2_000_items_go_into_one_commit_and_what_is_more_into_the_next() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        intake = Intake(monotonic=loop.time)
        for items in (1_000, 1_000, 1, 2_500, 1):
            intake.add(waiting(loop.time(), items, loop))
        groups = []
        while intake.arrived.is_set():
            groups.append([len(batch.items) for batch in intake.next_group()])
            for batch in intake._group:
                batch.outcomes = [NotTaken.MOVED] * len(batch.items)
            intake.answer(lost=())
        assert groups == [[1_000, 1_000], [1], [2_500], [1]]

    run(scenario())


@pytest.mark.reaches("SESSIONS_PER_SHARD_MAX", "BEACON_SESSIONS_PER_SHARD_MAX")
def test_a_shard_remembers_a_million_sessions_and_a_quarter_million_of_pixels() -> None:
    def holds(sessions: int, beacons: int) -> Any:
        return SimpleNamespace(sessions=range(sessions + beacons), beacons=beacons, beacon_bytes=0)

    admission = Admission()
    admission.count([holds(600_000, 100_000), holds(399_999, 149_999)])
    assert admission.admits("a", now=1.0)
    assert admission.admits("\0a", now=1.0)
    admission.fill("a")
    admission.fill("\0a")
    assert not admission.admits("b", now=1.0)
    assert not admission.admits("\0b", now=1.0)
    admission.count([holds(999_999, 249_999)])
    assert admission.admits("b", now=1.0)
    assert admission.admits("\0b", now=1.0)


@pytest.mark.reaches("RESTORES_PER_SLICE_MAX")
def test_a_slot_is_decoded_500_sessions_at_a_time() -> None:
    async def scenario() -> int:
        bench = Bench()
        shard, _ = await bench.serving()
        await bench.send(shard, start("a"))
        (stored,) = [encode_session(held.tracker.sessions["a"]) for held in shard.held.values() if "a" in held.tracker.sessions]
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        await asyncio.sleep(0)
        turns = 0
        slot = StoredSlot(Fence(1, 0, "shard-0"), None, {f"s{number}": stored for number in range(1_501)})
        await restore(0, slot, policy=Policy(), now=1.0)
        counting.cancel()
        return turns

    # After 500, 1,000 and 1,500 of them, and at the end.
    assert run(scenario()) == 4


@pytest.mark.reaches("OPEN_STREAMS_MAX")
def test_while_the_exporter_is_away_500_streams_wait_by_name_and_what_further_ones_add_is_other() -> None:
    def added(*streams: int) -> Increments:
        """Return what three plays in each of these streams add, in every kind of key that there is."""
        made: Increments = {("heartbeats",): 1, ("events", "share"): 1}
        for stream in streams:
            made |= {("playing", f"s{stream}"): 3.0, ("rebuffers", f"s{stream}", "seek"): 3}
            observe(made, "stream_startup", 1.5, f"s{stream}")
        return made

    def written(held: HeldSlot, increments: Increments) -> SlotRecord:
        changes = Changes((), (), (), Ledger(), 0.0, increments)
        held.tracker = SimpleNamespace(slot=0, take_changes=lambda: changes)  # type: ignore[assignment]
        pending = held.encode()
        held.settle(pending)
        return decode_record(pending.write.record)

    held = HeldSlot(Tracker(0, policy=Policy()), epoch=1, record=SlotRecord(Ledger()))
    assert written(held, added(0)).handed == added(0)
    record = written(held, added(*range(499)))
    assert record.open == added(*range(499))
    # A successor goes on with what it loads.
    held = HeldSlot(Tracker(0, policy=Policy()), epoch=2, record=record)
    record = written(held, added(*range(498, 503)))
    totals = Totals(now=0.0)
    for key, amount in record.open.items():
        totals.counted.add(key, amount, now=1.0)
    assert {key[1] for key in record.open if key[0] == "playing"} == {*(f"s{stream}" for stream in range(500)), "other"}
    assert [record.open["playing", name] for name in ("s497", "s498", "s499", "other")] == [3.0, 6.0, 3.0, 9.0]
    assert record.open["rebuffers", "other", "seek"] == 9
    assert {key: amount for key, amount in record.open.items() if key[0] == "stream_startup" and key[-1] == "other"} == {
        (*key[:-1], "other"): 3 * amount for key, amount in added(0).items() if key[0] == "stream_startup"
    }
    assert sum(totals.counted.counters(INCREMENTS["playing"]).values()) == 3.0 * (499 + 5)
    assert record.open["heartbeats",] == 2
    # Once they are handed there is room again.
    held.acknowledge(1)
    assert written(held, {}).open == {}
    assert written(held, added(777)).open == added(777)


@pytest.mark.reaches("WRITE_BACK_SESSIONS_MAX")
def test_a_wiped_journal_gets_2_000_sessions_in_a_commit_and_a_slot_is_never_split() -> None:
    async def scenario() -> list[int]:
        bench = Bench(slots=8)
        shard, journal = await bench.serving()
        for slot, many in enumerate((900, 900, 900, 2_500, 10, 10, 10, 10)):
            for number in range(many):
                shard.held[slot].tracker.receive(start(f"{slot}/{number}"), now=bench.clock())
        await until(lambda: not any(held.has_changes() for held in shard.held.values()))
        before = len(journal.commits)
        bench.store.wipe()
        await until(lambda: sum(map(len, bench.store.sessions.values())) == 5_240)
        return [sum(len(write.sessions) for write in writes) for writes, _, _ in journal.commits[before:]]

    assert [size for size in run(scenario()) if size] == [1_800, 900, 2_500, 40]


# On the way to a shard.


@pytest.mark.reaches("WAITING_ITEMS_MAX")
def test_8_192_letters_wait_for_one_shard_and_one_more_is_shed() -> None:
    async def scenario() -> list[Any]:
        async def fences() -> dict[int, Fence]:
            return {0: Fence(1, 0, "a")}

        async def send(_shard: str, _batch: bytes) -> bytes:
            await asyncio.sleep(3_600)
            return b""

        slots = SlotMap(fences)
        await slots.refresh()
        room = PostRoom(slots, send)
        letters = [room.post(0, b"\xc0", within_s=10.0) for _ in range(8_192)]
        assert not any(letter.done() for letter in letters)
        shed = room.post(0, b"\xc0", within_s=10.0)
        assert shed.done()
        room.close()
        return [shed.result()]

    assert run(scenario()) == [Undelivered.OVERLOADED]


# The exporter.


@pytest.mark.reaches("LABEL_CHARS_MAX")
def test_a_label_is_cut_to_128_characters() -> None:
    assert label_of("x" * 128) == "x" * 128
    assert label_of("x" * 129) == "x" * 128


@pytest.mark.reaches("STREAM_LABELS_MAX", "OTHER_LABELS_MAX")
@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_1_000_streams_and_100_of_each_other_have_a_label_and_one_more_is_other(dimension: str) -> None:
    totals = Totals(now=0.0)
    most = 1_000 if dimension == "stream" else 100
    labels: Labels = totals.labels[dimension]
    for number in range(most):
        labels.add(f"v{number}", 2)
    labels.refresh(now=0.0)
    labels.add("one more", 1)
    labels.refresh(now=1.0)
    assert len(labels.placed) == most
    assert labels.shown("v0") == "v0"
    assert labels.shown("one more") == OTHER
    assert labels.total == most * 2 + 1


@pytest.mark.reaches("SERIES_MAX")
def test_with_every_label_taken_and_64_shards_a_scrape_spells_no_series_twice() -> None:
    exposition._series.cache_clear()
    totals = Totals(now=0.0)
    audience: Audience = {}
    for number in range(limits.STREAM_LABELS_MAX + 1):
        audience |= {("stream", f"s{number}", state): 1 for state in STATES}
    for name in DIMENSIONS.keys() - {"stream"}:
        audience |= {(name, f"v{number}"): 1 for number in range(limits.OTHER_LABELS_MAX + 1)}
    slot = SlotReport(slot=0, epoch=1, full=True, audience=audience, ledger=Ledger(), batch=0, increments={})
    for shard in range(64):
        own: Increments = {}
        for name in ("batch_events", "commit_seconds"):
            observe(own, name, 1.0)
        totals.add_shard(ShardReport(f"shard-{shard}", "life", 1, {0: 1}, [slot][shard:], 9, 2, 4, True, 3, 1, own, 1.0), now=1.0)
    totals.tick(now=1.0)
    series = sum(not line.startswith("#") for line in render(totals, openmetrics=False, now=1.0).decode().splitlines())
    assert 48 * limits.STREAM_LABELS_MAX < series < limits.SERIES_MAX
    spelled = exposition._series.cache_info().misses
    assert spelled == series
    render(totals, openmetrics=False, now=2.0)
    assert exposition._series.cache_info().misses == spelled
    for number in range(limits.SERIES_MAX + 1):
        exposition._series("a", ("b",), (str(number),))
    assert exposition._series.cache_info().currsize == limits.SERIES_MAX


@pytest.mark.reaches("PEAKS_MAX")
def test_20_000_peaks_are_remembered_and_past_them_the_smallest_go() -> None:
    peaks = Peaks()
    peaks.sample([(f"s{number}", number + 2) for number in range(20_000)], now=0.0)
    peaks.sample([(f"s{number}", 0) for number in range(20_000)], now=1.0)
    peaks.sample([], now=100.0)
    assert peaks.all_time("s0") == Peak(2, 0.0)
    peaks.sample([("one more", 1)], now=101.0)
    assert peaks.all_time("s0") is None
    assert peaks.all_time("s19999") == Peak(20_001, 0.0)
    assert peaks.all_time("one more") == Peak(1, 101.0)


@pytest.mark.reaches("REPLICAS_REMEMBERED_MAX")
def test_4_096_replicas_are_remembered_and_past_them_the_longest_silent_go() -> None:
    totals = Totals(now=0.0)

    def report(replica: int, number: int) -> int:
        return totals.add_replica(ReplicaReport(f"r{replica}", number, {("rejected", "start", "bad_json"): 1}), now=1.0)

    for replica in range(4_096):
        report(replica, 1)
    report(0, 2)
    taken = counted(totals)
    report(0, 2)
    assert counted(totals) == taken
    report(4_096, 1)
    assert len(totals._replicas) == 4_096
    assert "r1" not in totals._replicas
    assert "r0" in totals._replicas


def counted(totals: Totals) -> float:
    return sum(totals.counted.counters(INCREMENTS["rejected"]).values())
