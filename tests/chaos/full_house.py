"""A journal that holds as many sessions as are asked for, each as it is after the start, the events and the beat of the seed's player."""

import asyncio
from collections import defaultdict

from actors import names
from serve_app.players import examples
from serve_app.players.records import record_of
from serve_app.players.routes import POSTS
from sessions.changes import Ledger, Policy
from sessions.routing import slot_of
from sessions.session import Session
from sessions.tracker import Tracker
from storage.codec import SlotRecord, encode_record, encode_session
from storage.journal import SlotWrite
from storage.redis_journal import RedisJournal
from tests.chaos.crowd import EVENTS, HEARTBEAT, START

SLOTS = 256
SLOTS_PER_COMMIT = 8
BODIES = ((START, examples.START), (EVENTS, examples.EVENTS), (HEARTBEAT, examples.HEARTBEAT))


def fill(url: str, *, sessions: int, policy: Policy, instance: str, now: float) -> None:
    """Write them into an empty journal, as the first shard would have."""
    asyncio.run(_fill(url, sessions=sessions, policy=policy, instance=instance, now=now))


async def _fill(url: str, *, sessions: int, policy: Policy, instance: str, now: float) -> None:
    journal = RedisJournal(url)
    template = _template(policy, now=now)
    members: dict[int, dict[str, bytes]] = defaultdict(dict)
    for number in range(sessions):
        template.session_id = session_id = f"full-house-{number}"
        members[slot_of(session_id, slots=SLOTS)][session_id] = encode_session(template)
    await journal.open_data_set(slots=SLOTS, instance=instance, run="filled")
    claimed = await journal.claim(dict.fromkeys(range(SLOTS), 0), owner=names.shard_name(0))
    for first in range(0, SLOTS, SLOTS_PER_COMMIT):
        writes = [_write(slot, members[slot], epoch=claimed[slot].epoch) for slot in range(first, first + SLOTS_PER_COMMIT)]
        await journal.commit(writes, alive_at=now)
    await journal.close()


def _template(policy: Policy, *, now: float) -> Session:
    tracker = Tracker(0, policy=policy)
    for path, body in BODIES:
        tracker.receive(record_of(POSTS[path].model.model_validate(body)), now=now)
    (session,) = tracker.take_changes().sessions
    return session


def _write(slot: int, sessions: dict[str, bytes], *, epoch: int) -> SlotWrite:
    ledger = Ledger(active=len(sessions), started=len(sessions))
    return SlotWrite(slot, epoch, 1, encode_record(SlotRecord(ledger=ledger)), sessions)
