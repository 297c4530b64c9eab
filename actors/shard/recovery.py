"""
A slot from the journal's bytes to what its owner holds, without holding the thread for long.

Decides what a new owner makes of a slot: sessions and record decoded in slices, the time since the last owner's sign of
life counted as an outage of ours, and what cannot be read set aside, so that it harms itself alone. Whatever is missing then,
the ledger holds again (`balanced`). It knows neither who owns what nor how a slot is claimed.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import msgspec
import structlog

from actors.shard.held_slot import HeldSlot
from sessions.changes import Ledger, Policy
from sessions.deadlines import due_at_of
from sessions.limits import RESTORES_PER_SLICE_MAX
from sessions.session import Session
from sessions.states import Liveness
from sessions.tracker import Tracker
from storage.codec import SlotRecord, UnreadableError, decode_record, decode_session
from storage.journal import RECORD_ASIDE, StoredSlot

log = structlog.get_logger(__name__)

LOGGED_MAX: Final = 3
"""Sessions of one slot that are named in the log when they are set aside; the journal names them all."""
BATCHES_PER_S: Final = 2
"""Increments are numbered no faster: the exporter asks that often."""


async def restore(slot: int, stored: StoredSlot, *, policy: Policy, now: float) -> HeldSlot:
    """Rebuild a slot. What cannot be read (a newer build wrote it, or it is damaged) is set aside with the slot's first write."""
    sessions, unreadable = await _decoded(slot, stored.sessions)
    await asyncio.sleep(0)
    record = _record(slot, stored, sessions, unreadable, policy=policy, now=now)
    active = sum(session.liveness is Liveness.ACTIVE for session in sessions)
    ledger = balanced(record.ledger, active=active)
    missing = record.ledger.active - active
    lost_unseen = missing < 0 or missing > len(unreadable)
    if lost_unseen:
        log.error("a slot's record does not match its sessions", slot=slot, active=record.ledger.active, found=active)
    tracker = Tracker.restore(slot, policy=policy, sessions=sessions, ledger=ledger, paused_s=record.paused_s)
    return HeldSlot(
        tracker,
        epoch=stored.fence.epoch,
        record=msgspec.structs.replace(record, ledger=ledger),
        unreadable=unreadable,
        set_aside=stored.set_aside,
        mismatched=lost_unseen or (stored.record is None and bool(stored.sessions)),
    )


async def _decoded(slot: int, stored: Mapping[str, bytes]) -> tuple[list[Session], dict[str, bytes]]:
    """Return the sessions that can be read, and the bytes of the others."""
    sessions: list[Session] = []
    unreadable: dict[str, bytes] = {}
    for index, (session_id, content) in enumerate(stored.items(), start=1):
        try:
            sessions.append(decode_session(content, session_id))
        except UnreadableError as error:
            unreadable[session_id] = content
            if len(unreadable) <= LOGGED_MAX:
                log.warning("a stored session cannot be read, and is set aside", slot=slot, session=session_id, problem=str(error))
        if index % RESTORES_PER_SLICE_MAX == 0:
            await asyncio.sleep(0)
    if len(unreadable) > LOGGED_MAX:
        log.warning("more stored sessions cannot be read, and are set aside", slot=slot, sessions=len(unreadable))
    return sessions, unreadable


def _record(
    slot: int, stored: StoredSlot, sessions: Sequence[Session], unreadable: dict[str, bytes], *, policy: Policy, now: float
) -> SlotRecord:
    """Return the slot's record; one that cannot be read joins what is set aside, and is rebuilt."""
    if stored.record is not None:
        try:
            return decode_record(stored.record)
        except UnreadableError as error:
            unreadable[RECORD_ASIDE] = stored.record
            log.warning("a slot's record cannot be read, and is rebuilt from its sessions", slot=slot, problem=str(error))
    elif stored.sessions:
        log.error("a slot has sessions and no record, which is rebuilt from them", slot=slot, sessions=len(stored.sessions))
    # Increments are numbered from the time, so that a data set made anew does not repeat numbers that the exporter has seen.
    return SlotRecord(ledger=recounted(sessions), paused_s=pauses_before(sessions, policy=policy), batch=BATCHES_PER_S * int(now))


def balanced(ledger: Ledger, *, active: int) -> Ledger:
    """
    Return the ledger with as many active sessions as there are.

    Those that are missing count as expired: we do not hear of them any more. Those that are too many, and that no entry
    tells of, count as provisional.
    """
    missing = ledger.balance - active
    return replace(
        ledger,
        active=active,
        expired=ledger.expired + max(0, missing),
        provisional=ledger.provisional + max(0, -missing),
        ended=dict(ledger.ended),
    )


def recounted(sessions: Sequence[Session]) -> Ledger:
    """Return the least ledger that these sessions can have: each of them came once, and left as it says."""
    ledger = Ledger()
    for session in sessions:
        if session.provisional:
            ledger.provisional += 1
        else:
            ledger.started += 1
        if session.liveness is Liveness.ACTIVE:
            ledger.active += 1
        elif session.liveness is Liveness.EXPIRED:
            ledger.expired += 1
        else:
            reason = str(session.end_reason)
            ledger.ended[reason] = ledger.ended.get(reason, 0) + 1
    return ledger


def pauses_before(sessions: Sequence[Session], *, policy: Policy) -> float:
    """
    Return how long our outages had been when these sessions were last heard: what their deadlines tell.

    A deadline lies in the slot's clock, which our outages hold up, and the last sign of life in the server's. A slot whose pauses were
    forgotten would expire everybody by so much too early; here it is at most a bucket of deadlines too late.
    """
    paused_s = 0.0
    for session in sessions:
        if session.liveness is Liveness.ACTIVE:
            promised_s = session.interval_s * policy.expiry_intervals
            paused_s = max(paused_s, session.seen_at + promised_s - due_at_of(session.bucket - 1))
    return paused_s


def outage_s(alive_at: float | None, *, now: float, gap_s: float) -> float:
    """
    Return how long nobody was there for the slot, if that was long enough to count; 0.0 otherwise.

    A negative number: the clock was set back since the last owner's sign of life, or ours is behind the last owner's. The slot's clock
    stands still for that long, or everybody in it would be kept for that much longer.
    """
    gap = 0.0 if alive_at is None else now - alive_at
    return gap if gap > gap_s or gap < 0.0 else 0.0
