"""
`headcount records --set-aside`: stored sessions and records that could not be read: list them, show one, take them back, forget them.

Taking back writes, so it claims the slot as a shard does: whoever serves it loses it for a moment, is refused its next commit, and
the directory has it loaded again, with what came back in it. So it works whether the tracker runs or not. A session that was being
watched counts as revived; one whose player has come back meanwhile stays aside, since the living one stands.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import msgspec
from rich.console import Console
from rich.markup import escape

from actors import clock
from serve_app.commands.journal_at import NoJournalError, journal_url
from serve_app.settings import Settings
from sessions.changes import Ledger
from sessions.states import Liveness
from sessions.story import describe
from storage.codec import SlotRecord, UnreadableError, decode_record, decode_session, encode_record, unpack_opaque
from storage.journal import RECORD_ASIDE, Journal, JournalError, SlotWrite, StaleEpochError
from storage.redis_journal import RedisJournal

OWNER: Final = "headcount-records"
"""Owner of a slot while something of it is taken back or forgotten; there is no such shard, so that the directory gives the slot to one."""
LISTED_MAX: Final = 50
ATTEMPTS: Final = 5
"""Of claiming a slot that somebody else claims at the same time."""
_HEX_PER_LINE: Final = 32


class Aside(NamedTuple):
    """One record that was set aside."""

    slot: int
    session_id: str
    """`RECORD_ASIDE` for the slot's own."""
    stored: bytes

    @property
    def problem(self) -> str | None:
        """Say why this build cannot read it; None: it can."""
        try:
            if self.session_id == RECORD_ASIDE:
                decode_record(self.stored)
            else:
                decode_session(self.stored, self.session_id)
        except UnreadableError as error:
            return str(error)
        return None


@dataclass(slots=True)
class Outcome:
    """What became of what was to be taken back."""

    restored: list[Aside] = field(default_factory=list)
    left: list[tuple[Aside, str]] = field(default_factory=list)
    """And why."""


class SlotTakenError(JournalError):
    """Somebody else claimed the slot every time that we did."""


def run(settings: Settings, *, restore: bool, forget: bool, session_id: str | None) -> int:
    """List what was set aside, or do as told with it (all of it, unless a session is named); return the exit code."""
    console, errors = Console(), Console(stderr=True)
    try:
        return asyncio.run(_run_at(journal_url(settings), console, restore=restore, forget=forget, session_id=session_id))
    except (JournalError, NoJournalError) as error:
        errors.print(f"[red]{escape(str(error))}[/red]", soft_wrap=True)
        return 1


async def _run_at(url: str, console: Console, *, restore: bool, forget: bool, session_id: str | None) -> int:
    journal = RedisJournal(url)
    try:
        found = [each for each in await find(journal) if session_id in {None, each.session_id}]
        if restore:
            return _report(await take_back(journal, found, now=clock.now()), console)
        if forget:
            await forget_all(journal, found, now=clock.now())
            console.print(f"{_counted(len(found))} forgotten.")
            return 0
    finally:
        await journal.close()
    _list(found, console, in_full=session_id is not None)
    return 0


async def find(journal: Journal) -> list[Aside]:
    """Return all that was set aside, by slot and id. Raises `JournalError`."""
    found: list[Aside] = []
    for slot in sorted(await journal.fences()):
        found += [Aside(slot, session_id, stored) for session_id, stored in sorted((await journal.set_aside(slot)).items())]
    return found


async def take_back(journal: Journal, found: Collection[Aside], *, now: float) -> Outcome:
    """Put sessions that this build can read back into their slots. Raises `JournalError`."""
    outcome = Outcome()
    readable: list[Aside] = []
    for each in found:
        if each.session_id == RECORD_ASIDE:
            outcome.left.append((each, "a record is not taken back: its slot has a newer one, rebuilt from its sessions"))
        elif (problem := each.problem) is not None:
            outcome.left.append((each, problem))
        else:
            readable.append(each)
    for slot in sorted({each.slot for each in readable}):
        await _take_back(journal, slot, [each for each in readable if each.slot == slot], outcome, now=now)
    return outcome


async def forget_all(journal: Journal, found: Collection[Aside], *, now: float) -> None:
    """Drop what was set aside for good. Raises `JournalError`."""
    for slot in sorted({each.slot for each in found}):
        await _write(journal, slot, {}, [each.session_id for each in found if each.slot == slot], now=now)


async def _take_back(journal: Journal, slot: int, readable: Sequence[Aside], outcome: Outcome, *, now: float) -> None:
    came_back = await _write(journal, slot, {each.session_id: each.stored for each in readable}, (), now=now)
    for each in readable:
        if each.session_id in came_back:
            outcome.restored.append(each)
        else:
            outcome.left.append((each, "its player has come back since: the present session is kept"))


async def _write(journal: Journal, slot: int, sessions: Mapping[str, bytes], forgotten: Collection[str], *, now: float) -> Collection[str]:
    """Claim the slot, write, and give it up; return the ids of the sessions that came back."""
    for _ in range(ATTEMPTS):
        fence = (await journal.load(slot)).fence
        claimed = (await journal.claim({slot: fence.epoch}, owner=OWNER)).get(slot)
        if claimed is None:
            continue
        try:
            stored = await journal.load(slot)
            wanted = {session_id: content for session_id, content in sessions.items() if session_id not in stored.sessions}
            record = SlotRecord(ledger=Ledger()) if stored.record is None else decode_record(stored.record)
            revived = sum(decode_session(content).liveness is Liveness.ACTIVE for content in wanted.values())
            ledger = replace(record.ledger, active=record.ledger.active + revived, revived=record.ledger.revived + revived)
            packed = encode_record(msgspec.structs.replace(record, ledger=ledger))
            write = SlotWrite(slot, claimed.epoch, 1, packed, sessions=wanted, taken_back=(*wanted, *forgotten))
            # The last owner's sign of life stands: the time since is still an outage.
            await journal.commit([write], alive_at=now if claimed.alive_at is None else claimed.alive_at)
        except StaleEpochError:
            continue
        finally:
            await journal.release({slot: claimed.epoch})
        return wanted.keys()
    message = f"slot {slot} was claimed by somebody else {ATTEMPTS} times: is it being moved? Try again"
    raise SlotTakenError(message)


def _report(outcome: Outcome, console: Console) -> int:
    console.print(f"{_counted(len(outcome.restored))} taken back.")
    for each, why in outcome.left[:LISTED_MAX]:
        console.print(f"[yellow]{_name(each)} stays set aside:[/yellow] {escape(why)}", soft_wrap=True)
    if len(outcome.left) > LISTED_MAX:
        console.print(f"… and {len(outcome.left) - LISTED_MAX} more stay set aside.")
    return 1 if outcome.left else 0


def _list(found: Sequence[Aside], console: Console, *, in_full: bool) -> None:
    if not found:
        console.print("[green]Nothing is set aside.[/green]")
        return
    for each in found[:LISTED_MAX]:
        problem = each.problem
        how = "[green]this build can read it[/green]" if problem is None else escape(problem)
        console.print(f"{_name(each)}, {len(each.stored)} bytes: {how}", soft_wrap=True, highlight=False)
        if in_full:
            _show(each, console)
    if len(found) > LISTED_MAX:
        console.print(f"… and {len(found) - LISTED_MAX} more.")
    console.print(f"{_counted(len(found))} set aside. `--restore` takes back what this build can read; `--session ID` shows one in full.")


def _show(each: Aside, console: Console) -> None:
    """Print a record's bytes, and what can be read of them."""
    for first in range(0, len(each.stored), _HEX_PER_LINE):
        console.print(f"  {first:6d}  {each.stored[first : first + _HEX_PER_LINE].hex(' ')}", highlight=False, soft_wrap=True)
    console.print(f"  {escape(as_json(each))}", highlight=False, soft_wrap=True)


def as_json(each: Aside) -> str:
    """Return what can be read of a record: the session as `GET /v1/sessions` shows it, or else its bare values."""
    if each.session_id != RECORD_ASIDE and each.problem is None:
        session = decode_session(each.stored)
        return msgspec.json.encode(unpack_opaque(describe(session, now=session.seen_at))).decode()
    try:
        return msgspec.json.encode(msgspec.msgpack.decode(each.stored[1:], strict=False), enc_hook=repr).decode()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError) as error:
        return f"no values can be read: {error}"


def _name(each: Aside) -> str:
    what = "its record" if each.session_id == RECORD_ASIDE else f"session {each.session_id!r}"
    return escape(f"slot {each.slot}, {what}")


def _counted(count: int) -> str:
    return "1 record is" if count == 1 else f"{count} records are"
