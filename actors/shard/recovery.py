"""
A slot from the journal's bytes to what its owner holds, without holding the thread for long.

Decides what a new owner makes of a slot: sessions and record decoded in slices, and the time since the last owner's sign of
life counted as an outage of ours. It knows neither who owns what nor how a slot is claimed.
"""

import asyncio

from actors.shard.held_slot import HeldSlot
from sessions.changes import Ledger, Policy
from sessions.limits import RESTORES_PER_SLICE_MAX
from sessions.session import Session
from sessions.tracker import Tracker
from storage.codec import SlotRecord, decode_record, decode_session
from storage.journal import StoredSlot


async def restore(slot: int, stored: StoredSlot, *, policy: Policy, now: float) -> HeldSlot:
    """Rebuild a slot. Raises `storage.codec.UnreadableError` if a newer build wrote it, or it is damaged."""
    sessions: list[Session] = []
    for index, content in enumerate(stored.sessions.values(), start=1):
        sessions.append(decode_session(content))
        if index % RESTORES_PER_SLICE_MAX == 0:
            await asyncio.sleep(0)
    await asyncio.sleep(0)
    # Increments are numbered from the time, so that a data set made anew does not repeat numbers that the exporter has seen.
    record = decode_record(stored.record) if stored.record is not None else SlotRecord(ledger=Ledger(), batch=int(now))
    tracker = Tracker.restore(slot, policy=policy, sessions=sessions, ledger=record.ledger, paused_s=record.paused_s)
    return HeldSlot(tracker, epoch=stored.fence.epoch, record=record)


def outage_s(alive_at: float | None, *, now: float, gap_s: float) -> float:
    """Return how long nobody was there for the slot, if that was long enough to count; 0.0 otherwise."""
    gap = 0.0 if alive_at is None else now - alive_at
    return gap if gap > gap_s else 0.0
