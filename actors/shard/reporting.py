"""
What a shard has told the exporter, and what it still has to.

Decides which part of each slot's audience goes into the next report: all of it until the exporter has confirmed a whole one, then
only the keys that changed since the last report that it confirmed (`metrics/reports.py`). A report that got lost is
thereby contained in the next. It knows no Ray and no clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from actors.shard.held_slot import HeldSlot
from metrics.reports import Known, ShardReport, SlotReport
from sessions.changes import Increments, Key, Ledger
from sessions.histograms import observe


@dataclass(slots=True)
class _Told:
    """What the exporter was told of one slot in one epoch."""

    epoch: int
    full: bool = True
    """It has not confirmed a whole report yet."""
    keys: set[Key] = field(default_factory=set)
    """Changed since the last report that it confirmed."""
    sent: Ledger | None = None
    known: Ledger | None = None


class Reports:
    """One shard's reports to the exporter, numbered from 1; each holds all that the exporter has not confirmed."""

    def __init__(self, *, shard: str, incarnation: str) -> None:
        self.shard = shard
        self.incarnation = incarnation
        self._number = 0
        self._confirmed = 0
        self._told: dict[int, _Told] = {}
        self._fresh: Increments = {}
        self._sent: Increments = {}
        """The shard's own increments in reports that are not confirmed."""

    def observe(self, name: str, value: float) -> None:
        """Add one observation to a histogram of the shard's own."""
        observe(self._fresh, name, value)

    def collect(
        self,
        known: Known,
        held: Mapping[int, HeldSlot],
        *,
        pending_calls: int,
        journal_up: bool,
        unwritten_sessions: int,
        restarts: int,
        stretch: float,
    ) -> ShardReport:
        """Return everything that the exporter does not know yet; `known` says what it does."""
        self._hear(known)
        for slot, batch in known.batches.items():
            if slot in held:
                held[slot].acknowledge(batch)
        for slot in self._told.keys() - held.keys():
            del self._told[slot]
        self._number += 1
        for key, amount in self._fresh.items():
            self._sent[key] = self._sent.get(key, 0) + amount
        self._fresh = {}
        return ShardReport(
            shard=self.shard,
            incarnation=self.incarnation,
            number=self._number,
            epochs={slot: each.epoch for slot, each in held.items()},
            slots=[report for each in held.values() if (report := self._report(each)) is not None],
            sessions=sum(len(each.tracker.sessions) for each in held.values()),
            restarts=restarts,
            pending_calls=pending_calls,
            journal_up=journal_up,
            unwritten_sessions=unwritten_sessions,
            map_version=sum(each.epoch for each in held.values()),
            increments=dict(self._sent),
            stretch=stretch,
            set_aside=sum(len(each.set_aside) for each in held.values()),
            mismatched_slots=sum(each.mismatched for each in held.values()),
        )

    def _hear(self, known: Known) -> None:
        ours = known.incarnation == self.incarnation
        if ours and self._number and known.number == self._number:
            self._confirmed = self._number
            self._sent = {}
            for told in self._told.values():
                told.full, told.known = False, told.sent
                told.keys.clear()
        elif not (ours and self._confirmed and known.number == self._confirmed):
            # It knows nothing, or asks for the whole. Our own increments of the last report count as taken: an exporter that
            # asks for the whole has added them, and one that was just started has nothing to add them to.
            self._sent = {}
            self._told = {}

    def _report(self, held: HeldSlot) -> SlotReport | None:
        tracker = held.tracker
        told = self._told.get(held.slot)
        if told is None or told.epoch != held.epoch:
            told = self._told[held.slot] = _Told(held.epoch)
        if tracker.changed_keys:
            told.keys |= tracker.changed_keys
            tracker.changed_keys.clear()
        batch, increments = held.offer()
        if not (told.full or told.keys or batch or told.known is not held.ledger):
            return None
        told.sent = held.ledger
        return SlotReport(
            slot=held.slot,
            epoch=held.epoch,
            full=told.full,
            audience=dict(tracker.audience) if told.full else {key: tracker.audience.get(key, 0) for key in told.keys},
            ledger=held.ledger,
            batch=batch,
            increments=dict(increments),
        )
