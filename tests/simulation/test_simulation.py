"""
Whatever goes wrong between players, shards, directory and journal: nothing acknowledged is lost, nobody is counted twice,
and our outages cost nobody.

The worlds are the same at every run, so that a change is judged and not chance; `make explore` lives through new ones.
A world that fails is written into `failed_seeds.txt`, and replayed from then on.
"""

import asyncio
import json
import os
from collections import Counter
from pathlib import Path

import pytest

from metrics.catalog import INCREMENTS
from sessions.changes import Ledger
from sessions.routing import slot_of
from sessions.session import EVENT_ID_BYTES, Session
from sessions.states import Liveness
from storage.codec import decode_record, decode_session
from tests.simulation import virtual_time
from tests.simulation.world import Player, Scale, Truth, World

FAILED_SEEDS = Path(__file__).with_name("failed_seeds.txt")
HOUR_S = 3_600.0
FIRST_SEED = int(os.environ.get("HEADCOUNT_SIMULATION_SEED", "1"))


def kept_worlds() -> list[tuple[int, Scale]]:
    lines = [line.split() for line in FAILED_SEEDS.read_text().splitlines() if line and not line.startswith("#")]
    return [(int(seed), Scale(*(type(usual)(value) for usual, value in zip(Scale(0.0), scale, strict=True)))) for seed, *scale in lines]


def live_through(seed: int, scale: Scale) -> Counter[str]:
    print(f"seed {seed}, {scale}")
    try:
        return virtual_time.run(_live(seed, scale))
    except BaseException:
        entry = " ".join(map(str, (seed, *scale)))
        if entry not in FAILED_SEEDS.read_text().splitlines():
            with FAILED_SEEDS.open("a") as kept:
                kept.write(f"{entry}\n")
        raise


async def _live(seed: int, scale: Scale) -> Counter[str]:
    world = World(seed, scale)
    await world.begin()
    players = [asyncio.create_task(Player(world, number).play()) for number in range(scale.players)]
    for _ in range(int(scale.hours)):
        await asyncio.sleep(HOUR_S)
        look_in(world, players)
    await world.settle()
    look_in(world, players)
    # Long enough for the last of those who vanished to expire, had they been asked to beat four times as seldom.
    await asyncio.sleep(330 * scale.stretch)
    look_in(world, players)
    for player in players:
        player.cancel()
    # Long enough for the last increments to be handed, and for nobody to expire.
    await asyncio.sleep(10 * scale.stretch)
    check_the_end(world)
    return world.happened


def look_in(world: World, players: list["asyncio.Task[None]"]) -> None:
    """Check what must hold at any instant, by the journal alone."""
    world.check_alive()
    for player in players:
        if player.done():
            player.result()
    for shard in world.living():
        for held in shard.held.values():
            held.tracker.validate()
    if world.wiped:
        return
    stored = {slot: {name: decode_session(content) for name, content in kept.items()} for slot, kept in world.store.sessions.items()}
    for slot, sessions in stored.items():
        ledger = decode_record(world.store.records[slot]).ledger
        assert ledger.active == ledger.balance == sum(each.liveness is Liveness.ACTIVE for each in sessions.values())
        assert ledger.revived == 0, "somebody whose player never fell silent had expired"
    for truth in world.truths.values():
        slot = slot_of(truth.session_id, slots=world.scale.slots)
        check_kept(world, truth, stored.get(slot, {}).get(truth.session_id))


def check_kept(world: World, truth: Truth, session: Session | None) -> None:
    """Check that a session holds everything that its player was acknowledged."""
    if session is None:
        over = truth.gone or truth.ended is not None
        assert not truth.at or (over and world.clock() - truth.at > world.policy.revive_window_s), truth
        return
    if truth.is_returning:
        return
    assert not (session.provisional and truth.started), truth
    # A start that is under way may have been applied, and only its answer got lost.
    assert session.provisional or truth.started or truth.is_starting or not truth.at, truth
    if truth.ended is not None:
        assert session.ending is not None
        assert (session.liveness, session.ending.total_watch_s) == (Liveness.ENDED, truth.ended), truth
    else:
        assert session.seen_at >= truth.at, truth
        assert truth.gone or session.liveness is not Liveness.EXPIRED, truth
    assert len(session.event_ids) // EVENT_ID_BYTES >= len(truth.events), truth


def check_the_end(world: World) -> None:
    truths = world.truths.values()
    living = [truth for truth in truths if not truth.gone and truth.ended is None and truth.at]
    ended = [truth for truth in truths if truth.ended is not None]
    gone = [truth for truth in truths if truth.gone]
    ledgers = [held.tracker.ledger for shard in world.living() for held in shard.held.values()]
    total = sum_of(ledgers)
    assert len(ledgers) == world.scale.slots
    assert total.active == len(living) == world.scale.players
    returns = sum(truth.returns for truth in truths)
    assert total.started + total.provisional == len(living) + len(ended) + len(gone) + returns
    promoted = sum(truth.late for truth in truths)
    assert (sum(total.ended.values()), total.expired, total.revived, total.promoted) == (len(ended) + returns, len(gone), 0, promoted)
    check_counters(world)
    check_finished(world, {truth.session_id: truth.returns + 1 for truth in (*ended, *gone)})


def check_counters(world: World) -> None:
    """Check that the exporter added every increment exactly once, and shows who is there."""
    counted = world.totals.counted
    told = counted.counters(INCREMENTS["heartbeats"])[()]
    sure = sum(truth.heartbeats for truth in world.truths.values() if not truth.clock_was_set)
    assert sure <= told <= sum(truth.heartbeats for truth in world.truths.values())
    events = Counter(kind for truth in world.truths.values() for _, kind in truth.events)
    assert {key[0]: amount for key, amount in counted.counters(INCREMENTS["events"]).items() if amount} == events
    assert sum(world.totals.states().values()) == world.scale.players


def check_finished(world: World, over: dict[str, int]) -> None:
    """Check that other systems were told once of each viewing that is over; a wipe takes what they had not read."""
    told = Counter(json.loads(summary)["session_id"] for summary in world.store.finished)
    assert all(count <= over[session_id] for session_id, count in told.items())
    if not world.happened["data set lost"]:
        assert told == over


def sum_of(ledgers: list[Ledger]) -> Ledger:
    total = Ledger()
    for ledger in ledgers:
        for name in ("active", "started", "provisional", "promoted", "revived", "expired"):
            setattr(total, name, getattr(total, name) + getattr(ledger, name))
        for reason, count in ledger.ended.items():
            total.ended[reason] = total.ended.get(reason, 0) + count
    return total


@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + 10))
def test_a_hundred_hours_of_trouble_lose_nothing_and_cost_nobody(seed: int) -> None:
    live_through(seed, Scale(hours=100.0))


@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + 3))
def test_an_hour_with_the_real_periods_loses_nothing_and_costs_nobody(seed: int) -> None:
    live_through(seed, Scale(hours=1.0, stretch=1.0, players=12))


@pytest.mark.parametrize(("seed", "scale"), kept_worlds())
def test_worlds_that_failed_once_do_not_again(seed: int, scale: Scale) -> None:
    live_through(seed, scale)
