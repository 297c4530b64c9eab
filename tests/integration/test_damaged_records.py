"""One bad record on a real Valkey: damaged bytes are set aside by the shard that loads them, and everybody else is served."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
import redis

from actors import clock
from actors.messages import decode_reply, encode_batch, encode_item
from actors.shard.shard import Shard
from serve_app.commands import audit, records
from serve_app.players import examples
from sessions.changes import Policy, Receipt
from sessions.events import Event, Start
from sessions.routing import slot_of
from storage.embedded import EmbeddedValkey
from storage.journal import RECORD_ASIDE
from storage.redis_journal import RECORDS, RedisJournal, aside_key, slot_key
from tests.integration.installation import Installation, wait_until
from tests.integration.servers import admin, server
from tests.simulation.damage import KINDS, damaged

SLOTS = 8
NAMES = [f"viewer-{number}" for number in range(1_200)]


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    valkey = EmbeddedValkey(tmp_path / "valkey")
    yield valkey.start()
    valkey.stop()


async def owner_of_all(url: str, name: str, broken: list[BaseException]) -> tuple[Shard, RedisJournal]:
    journal = RedisJournal(url)

    async def confirm(shard: str, epochs: object) -> list[int]:
        raise AssertionError((shard, epochs))

    shard = Shard(
        name,
        incarnation=name,
        policy=Policy(),
        journal=journal,
        clock=clock.now,
        monotonic=clock.monotonic,
        confirm=confirm,
        end=broken.append,
    )
    shard.start()
    fences = await journal.fences()
    shard.own({slot: fences[slot].epoch if slot in fences else 0 for slot in range(SLOTS)})
    async with asyncio.timeout(30):
        while len(shard.held) < SLOTS or shard.status()["coming"]:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
    return shard, journal


async def send(shard: Shard, events: list[Event]) -> list[object]:
    return list(decode_reply(await shard.receive(encode_batch([encode_item(slot_of(e.session_id, slots=SLOTS), e) for e in events]))))


def start(name: str) -> Start:
    return Start(name, clock.now(), "live", "ch", "cr", "prog", "web", "DE", "wifi", "auto")


def test_of_twelve_hundred_sessions_a_thousand_are_damaged_and_two_hundred_are_served(url: str) -> None:
    async def scenario() -> None:
        broken: list[BaseException] = []
        first, journal = await owner_of_all(await opened(url), "shard-0", broken)
        for at in range(0, len(NAMES), 300):
            await send(first, [start(name) for name in NAMES[at : at + 300]])
        await first.stop()
        hit = damage(url, Random(1))
        second, _ = await owner_of_all(url, "shard-1", broken)
        served = {session_id for held in second.held.values() for session_id in held.tracker.sessions}
        assert served == set(NAMES) - hit
        assert len(served) == 200
        found = await records.find(journal)
        assert {each.session_id for each in found} == hit | {RECORD_ASIDE}
        assert len(found) == len(hit) + SLOTS
        assert all(each.problem for each in found)
        audits = await audit.inspect(journal, slots=SLOTS)
        assert [each.problems for each in audits] == [()] * SLOTS
        assert sum(each.ledger.active for each in audits) == 200
        answers = await send(second, [start(name) for name in NAMES[:300]])
        assert all(isinstance(answer, Receipt) and answer.accepted for answer in answers)
        await records.forget_all(journal, found, now=clock.now())
        assert await records.find(journal) == []
        assert broken == []
        await second.stop()
        await journal.close()

    asyncio.run(scenario())


async def opened(url: str) -> str:
    journal = RedisJournal(url)
    await journal.open_data_set(slots=SLOTS, instance="laptop", run="run-1")
    await journal.close()
    return url


def damage(url: str, random: Random) -> set[str]:
    """Damage a thousand sessions, and every slot's record; return the ids."""
    hit = set(random.sample(NAMES, 1_000))
    with redis.Redis.from_url(url) as admin:
        for number, name in enumerate(sorted(hit)):
            _harm(admin, slot_key(slot_of(name, slots=SLOTS)), name, kind=KINDS[number % 3], random=random)
        for slot in range(SLOTS):
            _harm(admin, RECORDS, str(slot), kind=KINDS[slot % 3], random=random)
    return hit


def _harm(admin: "redis.Redis", key: str, name: str, *, kind: str, random: Random) -> None:
    stored = admin.hget(key, name)
    assert isinstance(stored, bytes)
    admin.hset(key, name, damaged(stored, kind=kind, random=random))


def test_a_tracker_serves_on_counts_and_lists_what_it_set_aside_and_takes_it_back_while_it_runs(
    install: Callable[..., Installation], tmp_path: Path
) -> None:
    with server(tmp_path / "server") as journal, admin(journal) as inside:
        tracker = install(REDIS_URL=journal.url, SHARDS="1")
        tracker.start()
        for name in ("whole", "hit"):
            answer = tracker.post("/analytics/live/session/start", examples.START | {"session_id": name})
            assert answer.status == 200
        assert tracker.stop() == 0
        slot = slot_of("hit", slots=256)
        stored = inside.hget(slot_key(slot), "hit")
        assert isinstance(stored, bytes)
        inside.hset(slot_key(slot), "hit", stored[:-1])
        tracker.start()
        assert tracker.get("/v1/sessions/whole").status == 200
        assert tracker.get("/v1/sessions/hit").status == 404
        wait_until(lambda: b"headcount_set_aside_records 1" in tracker.get("/metrics").body, within_s=20, what="it is counted")
        tracker.assert_ledgers_hold()
        assert f"slot {slot}: session 'hit' could not be read and is set aside" in tracker.run("audit").stdout
        listed = tracker.run("records", "--set-aside", "--session", "hit").stdout
        assert f"slot {slot}, session 'hit', {len(stored) - 1} bytes: a stored session is damaged" in listed
        assert stored[:32].hex(" ") in listed
        kept = tracker.run("records", "--set-aside", "--restore")
        assert (kept.returncode, "0 records are taken back" in kept.stdout, "stays set aside" in kept.stdout) == (1, True, True)
        # What a newer build could read is here what it was before.
        inside.hset(aside_key(slot), "hit", stored)
        restored = tracker.run("records", "--set-aside", "--restore")
        assert (restored.returncode, "1 record is taken back" in restored.stdout) == (0, True)
        wait_until(lambda: tracker.get("/v1/sessions/hit").status == 200, within_s=30, what="the session is back")
        wait_until(lambda: b"headcount_set_aside_records 0" in tracker.get("/metrics").body, within_s=20, what="it is not set aside")
        assert tracker.post("/analytics/live/session/heartbeat", examples.HEARTBEAT | {"session_id": "hit"}).json()["status"] == "success"
        tracker.assert_ledgers_hold()
        doctor = tracker.run("doctor")
        assert doctor.returncode == 0, doctor.stdout
        assert "a tracker is ready at" in doctor.stdout
        assert "an acknowledged write takes" in doctor.stdout
