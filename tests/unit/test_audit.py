"""The audit finds what is wrong with a slot, and nothing in one that is right."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from serve_app.commands.audit import SlotAudit, audit_slot, inspect, report
from sessions.changes import Ledger, Policy
from sessions.events import Beacon, End, Start, beacon_id
from sessions.routing import slot_of
from sessions.session import Session
from sessions.states import Liveness
from sessions.tracker import Tracker
from storage.codec import SlotRecord, encode_record, encode_session
from storage.journal import Fence, SlotWrite, StoredSlot
from storage.memory_journal import MemoryJournal, MemoryStore

SLOTS = 4
MINE = [name for number in range(200) if slot_of(name := f"session-{number}", slots=SLOTS) == 1][:12]


def start(session_id: str, at: float = 0.0) -> Start:
    return Start(session_id, at, "live", "c", "k", "p", "web", "US", "wifi", "auto")


def tracked() -> Tracker:
    """A slot with sessions in every liveness: 4 active (one of them a beacon's), 5 ended, 4 expired."""
    tracker = Tracker(1, policy=Policy())
    for session_id in MINE:
        tracker.receive(start(session_id), now=0.0)
    for session_id in MINE[:5]:
        tracker.receive(End(session_id, 1.0, "user_exit", 1, 0, 0), now=1.0)
    for session_id in MINE[5:8]:
        tracker.receive(start(session_id, 60.0), now=60.0)
    user = next(
        user for number in range(100) if slot_of(beacon_id(pullzone="z", video_id="v", user_id=(user := f"u{number}")), slots=SLOTS) == 1
    )
    tracker.receive(Beacon(beacon_id(pullzone="z", video_id="v", user_id=user), "play", "v", "z"), now=60.0)
    tracker.advance(now=100.0, limit=100)
    tracker.validate()
    return tracker


def stored(
    tracker: Tracker, *, ledger: Ledger | None = None, change: Callable[[Session], Session | None] = lambda session: session
) -> StoredSlot:
    changed = {session_id: change(session) for session_id, session in tracker.sessions.items()}
    sessions = {session_id: encode_session(session) for session_id, session in changed.items() if session is not None}
    return StoredSlot(Fence(3, 7, "headcount-shard-0"), encode_record(SlotRecord(ledger or tracker.ledger)), sessions)


def test_a_slot_that_is_right_is_recounted_by_liveness() -> None:
    audit = audit_slot(1, stored(tracked()), slots=SLOTS)
    assert audit.problems == ()
    assert audit.sessions == {Liveness.ACTIVE: 4, Liveness.ENDED: 5, Liveness.EXPIRED: 4}
    assert audit.ledger.active == 4


def test_a_slot_that_never_held_anything_is_right() -> None:
    assert audit_slot(1, StoredSlot(Fence(1, 0, "headcount-shard-0"), None, {}), slots=SLOTS).problems == ()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"active": 5}, "says 5 active, but 4 sessions are"),
        ({"started": 14}, "does not add up"),
        ({"expired": 3, "started": 12}, "4 sessions have expired, and 3 are counted"),
        ({"ended": {"user_exit": 4, "error": 1}}, "5 sessions ended by user_exit, and 4 are counted"),
        ({"ended": {"user_exit": 5, "boredom": 0}}, "ends for unknown reasons"),
        ({"promoted": 1}, "1 of 0 provisional sessions"),
        ({"revived": -1, "started": 14}, "below zero"),
    ],
)
def test_a_ledger_that_is_wrong_is_found(changes: dict[str, object], problem: str) -> None:
    tracker = tracked()
    ledger = replace(tracker.ledger, **changes)  # type: ignore[arg-type]
    audit = audit_slot(1, stored(tracker, ledger=ledger), slots=SLOTS)
    assert any(problem in found for found in audit.problems), audit.problems


def test_a_session_that_was_lost_is_found() -> None:
    lost = next(session for session in tracked().sessions.values() if session.liveness is Liveness.ACTIVE)
    audit = audit_slot(1, stored(tracked(), change=lambda session: None if session.session_id == lost.session_id else session), slots=SLOTS)
    assert "its ledger says 4 active, but 3 sessions are" in audit.problems


def test_a_session_of_another_slot_is_found() -> None:
    slot = stored(tracked())
    audit = audit_slot(2, slot, slots=SLOTS)
    assert sum("belongs to slot 1" in problem for problem in audit.problems) == len(slot.sessions)


def test_a_session_under_the_wrong_name_is_found() -> None:
    slot = stored(tracked())
    first, second = MINE[:2]
    swapped = replace(slot, sessions={**slot.sessions, first: slot.sessions[second]})
    assert f"session {first!r} is stored as {second!r}" in audit_slot(1, swapped, slots=SLOTS).problems


def test_bytes_that_cannot_be_read_are_found() -> None:
    slot = stored(tracked())
    broken = replace(slot, sessions={**slot.sessions, MINE[0]: b"\x01nonsense"})
    assert any("session-" in problem for problem in audit_slot(1, broken, slots=SLOTS).problems)
    assert any("its record" in problem for problem in audit_slot(1, replace(slot, record=b"\xff"), slots=SLOTS).problems)
    assert any("no record" in problem for problem in audit_slot(1, replace(slot, record=None), slots=SLOTS).problems)


def test_every_owned_slot_of_the_journal_is_inspected() -> None:
    async def write_and_inspect() -> list[SlotAudit]:
        journal = MemoryJournal(MemoryStore())
        await journal.open_data_set(slots=SLOTS, instance="i", run="r")
        await journal.claim({0: 0, 1: 0, 2: 0}, owner="headcount-shard-0")
        slot = stored(tracked())
        assert slot.record is not None
        await journal.commit([SlotWrite(1, 1, 1, slot.record, dict(slot.sessions))], alive_at=1.0)
        return await inspect(journal, slots=SLOTS)

    audits = asyncio.run(write_and_inspect())
    assert [audit.slot for audit in audits] == [0, 1, 2]
    assert [audit.sessions.total() for audit in audits] == [0, 13, 0]
    assert all(audit.problems == () for audit in audits)
    assert {audit.fence.owner for audit in audits} == {"headcount-shard-0"}


def printed(audits: list[SlotAudit]) -> tuple[int, str]:
    console = Console(width=100, record=True, file=StringIO())
    return report(audits, console, slots=SLOTS), console.export_text()


def test_the_verdict_is_zero_when_every_ledger_holds() -> None:
    code, text = printed([audit_slot(1, stored(tracked()), slots=SLOTS)])
    assert code == 0
    assert "Every ledger holds: 1 slot. 3 were never owned." in text
    assert "active 4 = started 13 + provisional 0 + revived 0 - ended (5 user_exit) - expired 4" in text


def test_the_verdict_is_one_and_names_the_slots_when_a_ledger_does_not_hold() -> None:
    wrong = audit_slot(1, stored(tracked(), ledger=Ledger()), slots=SLOTS)
    code, text = printed([audit_slot(0, StoredSlot(Fence(1, 0, ""), None, {}), slots=SLOTS), wrong])
    assert code == 1
    assert "wrong in 1 of 2 slots: 1" in text
    assert "slot 1:" in text
    assert "nobody" in text
