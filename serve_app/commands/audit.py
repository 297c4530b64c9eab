"""
`headcount audit`: read every slot from the journal, recount its sessions, and say whether its ledger holds.

Each slot is read at one instant, sessions and ledger together, so that it can be audited while it is served. Sessions
are recounted from their stored bytes, without the code that counted them.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from serve_app.commands.journal_at import NoJournalError, journal_url
from serve_app.settings import Settings
from sessions.changes import Ledger
from sessions.events import END_REASONS
from sessions.routing import slot_of
from sessions.session import Session
from sessions.states import PLAYBACKS, Liveness
from sessions.words import counted
from storage.codec import UnreadableError, decode_record, decode_session
from storage.journal import RECORD_ASIDE, Fence, Journal, JournalError, StoredSlot
from storage.redis_journal import RedisJournal

LOADS_AT_ONCE: Final = 4
PROBLEMS_SHOWN_MAX: Final = 20


@dataclass(frozen=True, slots=True)
class SlotAudit:
    """What one slot holds, and what is wrong with it."""

    slot: int
    fence: Fence
    ledger: Ledger
    sessions: Counter[Liveness] = field(default_factory=Counter)
    problems: tuple[str, ...] = ()
    set_aside: tuple[str, ...] = ()
    """What could not be read and is kept apart: it harms nothing here, and does not count."""


def run(settings: Settings) -> int:
    """Audit the data set of these settings; return 0 if it holds, 1 if not or if there is none to be read."""
    errors = Console(stderr=True)
    try:
        audits = asyncio.run(_inspect_at(journal_url(settings), slots=settings.slots))
    except (JournalError, NoJournalError) as error:
        errors.print(f"[red]{escape(str(error))}[/red]", soft_wrap=True)
        return 1
    return report(audits, Console(), slots=settings.slots)


async def inspect(journal: Journal, *, slots: int) -> list[SlotAudit]:
    """Return the audit of every slot that was ever owned. Raises `JournalError`."""
    fences = await journal.fences()
    turns = asyncio.Semaphore(LOADS_AT_ONCE)

    async def look(slot: int) -> SlotAudit:
        async with turns:
            return audit_slot(slot, await journal.load(slot), slots=slots)

    return list(await asyncio.gather(*map(look, sorted(fences))))


def audit_slot(slot: int, stored: StoredSlot, *, slots: int) -> SlotAudit:
    """Recount one slot."""
    problems: list[str] = []
    ledger = Ledger()
    if stored.record is not None:
        try:
            ledger = decode_record(stored.record).ledger
        except UnreadableError as error:
            problems.append(f"its record: {error}")
    elif stored.sessions:
        problems.append(f"{counted(len(stored.sessions), 'session')}, and no record of the slot")
    sessions: list[Session] = []
    for session_id, packed in stored.sessions.items():
        try:
            session = decode_session(packed)
        except UnreadableError as error:
            problems.append(f"session {session_id!r}: {error}")
            continue
        sessions.append(session)
        problems += [f"session {session_id!r} {problem}" for problem in _wrong_with(session, session_id, slot=slot, slots=slots)]
    found = Counter(Liveness(session.liveness) for session in sessions)
    problems += _wrong_with_ledger(ledger, found, sessions)
    if stored.fence.epoch < 1:
        problems.append(f"its epoch is {stored.fence.epoch}")
    aside = tuple("its record" if each == RECORD_ASIDE else f"session {each!r}" for each in sorted(stored.set_aside))
    return SlotAudit(slot, stored.fence, ledger, found, tuple(problems), aside)


def _wrong_with(session: Session, session_id: str, *, slot: int, slots: int) -> Iterable[str]:
    if session.session_id != session_id:
        yield f"is stored as {session.session_id!r}"
    if (right := slot_of(session_id, slots=slots)) != slot:
        yield f"belongs to slot {right}"
    if session.liveness not in {Liveness.ACTIVE, Liveness.EXPIRED, Liveness.ENDED}:
        yield f"is {session.liveness}"
    if session.playback not in PLAYBACKS:
        yield f"is {session.playback!r}, which is not a state"
    if (session.liveness == Liveness.ENDED) != (session.end_reason is not None):
        yield f"is {session.liveness}, with the end reason {session.end_reason}"


def _wrong_with_ledger(ledger: Ledger, found: Counter[Liveness], sessions: Sequence[Session]) -> Iterable[str]:
    if ledger.active != found[Liveness.ACTIVE]:
        yield f"its ledger says {ledger.active} active, but {found[Liveness.ACTIVE]} sessions are"
    if ledger.active != ledger.balance:
        yield f"its ledger does not add up: {ledger.active} active, but the balance is {ledger.balance}"
    counts = (ledger.active, ledger.started, ledger.provisional, ledger.promoted, ledger.revived, ledger.expired, *ledger.ended.values())
    if min(counts) < 0:
        yield f"its ledger has a count below zero: {ledger}"
    if ledger.promoted > ledger.provisional:
        yield f"{ledger.promoted} of {ledger.provisional} provisional sessions were promoted"
    if not ledger.ended.keys() <= set(END_REASONS):
        yield f"it counts ends for unknown reasons: {sorted(ledger.ended.keys() - set(END_REASONS))}"
    # What is remembered cannot be more than what was counted.
    for reason, remembered in Counter(session.end_reason for session in sessions if session.end_reason).items():
        if remembered > ledger.ended.get(reason, 0):
            yield f"{counted(remembered, 'session')} ended by {reason}, and {ledger.ended.get(reason, 0)} are counted"
    if found[Liveness.EXPIRED] > ledger.expired:
        yield f"{found[Liveness.EXPIRED]} sessions have expired, and {ledger.expired} are counted"


async def _inspect_at(url: str, *, slots: int) -> list[SlotAudit]:
    journal = RedisJournal(url)
    try:
        return await inspect(journal, slots=slots)
    finally:
        await journal.close()


def report(audits: Sequence[SlotAudit], console: Console, *, slots: int) -> int:
    """Print the audit by owner, then the verdict with the slots concerned; return the exit code."""
    console.print(_table(audits))
    ledger = _summed(audits)
    ended = " + ".join(f"{count} {reason}" for reason, count in sorted(ledger.ended.items())) or "0"
    entered = f"started {ledger.started} + provisional {ledger.provisional} + revived {ledger.revived}"
    console.print(f"active {ledger.active} = {entered} - ended ({ended}) - expired {ledger.expired}", soft_wrap=True)
    wrong = [audit for audit in audits if audit.problems]
    for audit in wrong[:PROBLEMS_SHOWN_MAX]:
        for problem in audit.problems[:PROBLEMS_SHOWN_MAX]:
            console.print(f"[red]slot {audit.slot}:[/red] {escape(problem)}", soft_wrap=True)
    _list_set_aside(audits, console)
    if wrong:
        concerned = ", ".join(str(audit.slot) for audit in wrong)
        console.print(f"[bold red]The ledger is wrong in {len(wrong)} of {len(audits)} slots: {concerned}[/bold red]", soft_wrap=True)
        return 1
    never = slots - len(audits)
    console.print(
        f"[bold green]Every ledger holds: {counted(len(audits), 'slot')}.[/bold green]{f' {never} were never owned.' if never else ''}",
        highlight=False,
    )
    return 0


def _list_set_aside(audits: Sequence[SlotAudit], console: Console) -> None:
    aside = [(audit.slot, name) for audit in audits for name in audit.set_aside]
    for slot, name in aside[:PROBLEMS_SHOWN_MAX]:
        console.print(f"[yellow]slot {slot}:[/yellow] {escape(name)} could not be read and is set aside", soft_wrap=True)
    if aside:
        count = "1 record is" if len(aside) == 1 else f"{len(aside)} records are"
        console.print(f"[yellow]{count} set aside:[/yellow] `headcount records --set-aside` shows why.", soft_wrap=True)


def _table(audits: Sequence[SlotAudit]) -> Table:
    table = Table("owner", box=None, padding=(0, 2, 0, 0))
    for name in ("slots", "epochs", "sessions", "active", "expired", "ended", "active by ledger"):
        table.add_column(name, justify="right", no_wrap=True)
    for owner in sorted({audit.fence.owner for audit in audits}):
        theirs = [audit for audit in audits if audit.fence.owner == owner]
        epochs = [audit.fence.epoch for audit in theirs]
        found = sum((audit.sessions for audit in theirs), Counter[Liveness]())
        table.add_row(
            owner.removeprefix("headcount-") or "[yellow]nobody[/yellow]",
            str(len(theirs)),
            str(min(epochs)) if min(epochs) == max(epochs) else f"{min(epochs)} to {max(epochs)}",
            str(found.total()),
            *(str(found[liveness]) for liveness in (Liveness.ACTIVE, Liveness.EXPIRED, Liveness.ENDED)),
            str(sum(audit.ledger.active for audit in theirs)),
        )
    return table


def _summed(audits: Iterable[SlotAudit]) -> Ledger:
    total = Ledger()
    for audit in audits:
        for name in ("active", "started", "provisional", "promoted", "revived", "expired"):
            setattr(total, name, getattr(total, name) + getattr(audit.ledger, name))
        for reason, count in audit.ledger.ended.items():
            total.ended[reason] = total.ended.get(reason, 0) + count
    return total
