"""
Getting writes into the journal: one at a time, each repeated until its outcome is known.

Decides what a failed commit means. No answer: the same bytes go again under the same numbers, for as long as it takes, and
nobody is acknowledged meanwhile. A stale epoch: those slots belong to somebody else now and are dropped; the rest goes again. A
wiped data set: whoever the directory confirms as owner claims again, one epoch higher, and writes back all that it holds.

The caller makes sure that only one write is under way (`Shard`'s lane). It does not know what a player is.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import structlog

from actors.health import Confirm, DirectoryAwayError
from actors.shard.held_slot import HeldSlot, Pending
from actors.shard.holdings import Holdings
from actors.shard.outages import Rhythm
from sessions.errors import InvariantError
from sessions.limits import WRITE_BACK_SESSIONS_MAX
from storage.journal import Journal, JournalUnavailableError, StaleEpochError, WipedError

log = structlog.get_logger(__name__)


class Writer:
    """Writes one shard's changes into the journal, each until its outcome is known. One write at a time: its callers hold the lane."""

    def __init__(
        self,
        name: str,
        *,
        journal: Journal,
        holdings: Holdings,
        confirm: Confirm,
        rhythm: Rhythm,
        monotonic: Callable[[], float],
        on_away: Callable[[], None],
        observe_commit: Callable[[float], None],
    ) -> None:
        self._name = name
        self._journal = journal
        self._holdings = holdings
        """The shard's; slots that turn out to be somebody else's are let go of."""
        self._held = holdings.by_slot
        self._confirm = confirm
        self._rhythm = rhythm
        self._monotonic = monotonic
        self._on_away = on_away
        """Called when what waits cannot be acknowledged for now."""
        self._observe_commit = observe_commit
        self.journal_up = True
        self.unwritten_sessions = 0
        """Applied, but not in the journal: what waits while it is away; all that is held while it has lost the data set."""
        self.lost_slots = 0
        """How often a slot turned out to be somebody else's."""
        self.commits_refused = 0
        """Commits that came too late: a slot of theirs was somebody else's by then."""
        self.write_backs = 0
        self.last_commit_s = 0.0

    async def write(self, pending: Sequence[Pending], *, alive_at: float) -> None:
        """Return when all of it is in the journal, except for slots that turned out to be lost: those are no longer held."""
        try:
            await self._commit(pending, alive_at=alive_at)
        except WipedError:
            await self._write_back(pending, alive_at=alive_at)
        self._note_up()

    async def touch(self, *, alive_at: float) -> bool:
        """Give a sign of life for every slot held, less what it was paused since it was written; False: the journal did not answer."""
        by_pause: dict[float, dict[int, int]] = {}
        for slot, each in self._held.items():
            by_pause.setdefault(each.unwritten_pause_s, {})[slot] = each.epoch
        try:
            for paused_s, epochs in by_pause.items():
                await self._journal.touch(epochs, alive_at=alive_at - paused_s)
        except JournalUnavailableError:
            self._note_away()
            return False
        except StaleEpochError as error:
            self._drop(error.slots, why="claimed elsewhere")
        except WipedError:
            await self._write_back((), alive_at=alive_at)
        self._note_up()
        return True

    async def release(self, slots: Sequence[int], *, alive_at: float) -> bool:
        """
        Give slots up; False: the journal did not answer.

        They are held until the journal has said that it has them: until then ours may be the only copy. If it did give them up and could not
        say so, the next write finds them stale, like any that somebody else has claimed.
        """
        while True:
            epochs = {slot: self._held[slot].epoch for slot in slots if slot in self._held}
            try:
                await self._journal.release(epochs)
            except JournalUnavailableError as error:
                self._note_away(error)
                return False
            except WipedError:
                await self._write_back((), alive_at=alive_at)
                self._note_up()
            else:
                self._holdings.let_go(epochs)
                return True

    async def look(self) -> bool:
        """Tell whether a journal that was away answers again."""
        try:
            await self._journal.ping()
        except JournalUnavailableError:
            self._note_away()
            return False
        self._note_up()
        return True

    async def _commit(self, pending: Sequence[Pending], *, alive_at: float) -> None:
        backoff = self._rhythm.backoff(self._name)
        while pending:
            began = self._monotonic()
            try:
                await self._journal.commit(
                    [each.write for each in pending],
                    finished=[summary for each in pending for summary in each.finished],
                    alive_at=alive_at,
                )
            except JournalUnavailableError as error:
                self._note_away(error)
                self.unwritten_sessions = max(self.unwritten_sessions, sum(len(each.write.sessions) for each in pending))
                await asyncio.sleep(backoff.next_s())
            except StaleEpochError as error:
                pending = self._without(pending, error.slots)
            else:
                self.last_commit_s = self._monotonic() - began
                self._observe_commit(self.last_commit_s)
                for each in pending:
                    each.held.settle(each)
                return

    def _without(self, pending: Sequence[Pending], stale: Sequence[int]) -> list[Pending]:
        kept = [each for each in pending if each.write.slot not in stale]
        if len(kept) == len(pending):
            problem = "the journal calls slots stale that were not in the commit"
            raise InvariantError(problem, story={"stale": list(stale), "committed": [each.write.slot for each in pending]})
        self.commits_refused += 1
        log.warning("a late commit was refused", shard=self._name, slots=len(stale))
        self._drop(stale, why="claimed elsewhere")
        return kept

    async def _write_back(self, pending: Sequence[Pending], *, alive_at: float) -> None:
        """Write everything held into a data set that lost it; nothing else is written before."""
        self.write_backs += 1
        self._note_away()
        self._count_all_unwritten()
        log.warning("the journal lost the data set: writing back all that is held", shard=self._name, slots=len(self._held))
        # Of what could not be committed, the sessions hold all but the summaries.
        summaries = {each.write.slot: each.finished for each in pending}
        while True:
            try:
                await self._claim_again()
                self._count_all_unwritten()
                for group in _in_groups(list(self._held.values())):
                    whole = [_whole(each, summaries) for each in group if each.slot in self._held]
                    await self._commit(whole, alive_at=alive_at)
                    for each in whole:
                        summaries.pop(each.write.slot, None)
                        self.unwritten_sessions -= len(each.write.sessions)
            except WipedError:
                log.warning("the journal lost the data set again while it was written back", shard=self._name)
                await asyncio.sleep(self._rhythm.retry_most_s)
            else:
                log.info("all that is held is written back", shard=self._name, slots=len(self._held))
                return

    async def _claim_again(self) -> None:
        """Take every slot held above its epoch, if the directory agrees that it is ours; drop the others."""
        backoff = self._rhythm.backoff(self._name)
        while True:
            epochs = {slot: each.epoch for slot, each in self._held.items()}
            mine = set(await self._confirmed(epochs))
            self._drop([slot for slot in epochs if slot not in mine], why="not confirmed by the directory")
            try:
                expected = await self._stored_or_held()
                claimed = await self._journal.claim(expected, owner=self._name, after_wipe=True)
            except JournalUnavailableError as error:
                self._note_away(error)
                await asyncio.sleep(backoff.next_s())
            else:
                self._drop([slot for slot in expected if slot not in claimed], why="claimed elsewhere after the wipe")
                for slot, taken in claimed.items():
                    self._held[slot].begin_epoch(taken.epoch)
                return

    async def _stored_or_held(self) -> dict[int, int]:
        """Return the epochs to claim above: ours, or what an earlier claim of ours made of them without being answered."""
        try:
            fences = await self._journal.fences()
        except WipedError:
            fences = {}
        epochs = {slot: each.epoch for slot, each in self._held.items()}
        unheard = {slot: fences[slot].epoch for slot in epochs if slot in fences and fences[slot].owner == self._name}
        return {slot: max(epoch, unheard.get(slot, 0)) for slot, epoch in epochs.items()}

    def _drop(self, slots: Sequence[int], *, why: str) -> None:
        dropped = list(self._holdings.let_go(slots))
        if dropped:
            self.lost_slots += len(dropped)
            log.warning("slots dropped", shard=self._name, slots=dropped, why=why)

    def _count_all_unwritten(self) -> None:
        self.unwritten_sessions = sum(len(each.tracker.sessions) for each in self._held.values())

    def _note_away(self, error: Exception | None = None) -> None:
        if self.journal_up:
            log.warning("the journal does not answer: nobody is acknowledged", shard=self._name, error=str(error or ""))
        self.journal_up = False
        self._on_away()

    def _note_up(self) -> None:
        if not self.journal_up:
            log.info("the journal answers again", shard=self._name)
        self.journal_up = True
        self.unwritten_sessions = 0

    async def _confirmed(self, epochs: Mapping[int, int]) -> Sequence[int]:
        """Ask the directory until it answers."""
        backoff = self._rhythm.backoff(self._name)
        while True:
            try:
                return await self._confirm(self._name, epochs)
            except DirectoryAwayError:
                await asyncio.sleep(backoff.next_s())


def _whole(held: HeldSlot, summaries: dict[int, tuple[bytes, ...]]) -> Pending:
    pending = held.encode_all()
    summaries[held.slot] = summaries.get(held.slot, ()) + pending.finished
    return pending._replace(finished=summaries[held.slot])


def _in_groups(held: Sequence[HeldSlot]) -> list[list[HeldSlot]]:
    """Split slots so that each group's sessions fit one commit; a slot is never split, or a crash would tear it."""
    groups: list[list[HeldSlot]] = []
    room = 0
    for each in held:
        size = len(each.tracker.sessions)
        if not groups or size > room:
            groups.append([])
            room = WRITE_BACK_SESSIONS_MAX
        groups[-1].append(each)
        room -= size
    return groups
