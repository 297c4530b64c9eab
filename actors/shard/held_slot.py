"""
One slot as its owner holds it: the tracker, the term of ownership, and what is on its way to the journal and the exporter.

Decides how a slot's changes become one numbered write, and when its increments are frozen, offered and let go of
(`docs/architecture.md`, "Increments"); and that an exporter which is away costs no memory without end. Pure: it knows no journal, no clock and no asyncio.
"""

from collections.abc import Mapping
from typing import NamedTuple

from metrics.catalog import STREAM_PLACES
from metrics.labels import OTHER
from sessions.changes import Changes, Increments, Key, Ledger
from sessions.limits import OPEN_STREAMS_MAX
from sessions.tracker import Tracker
from storage.codec import SlotRecord, encode_record, encode_session, summary_json
from storage.journal import SlotWrite


class HeldSlot:
    """One owned slot: its tracker, its epoch, and its writes and increments until journal and exporter have them."""

    def __init__(
        self,
        tracker: Tracker,
        *,
        epoch: int,
        record: SlotRecord,
        unreadable: Mapping[str, bytes] | None = None,
        set_aside: frozenset[str] = frozenset(),
        mismatched: bool = False,
    ) -> None:
        """`unreadable`: to be set aside with the first write, by session id."""
        self.tracker = tracker
        self.set_aside = set_aside
        """Ids of what the journal holds apart from the slot, because it could not be read."""
        self.mismatched = mismatched
        """When it was loaded its record told of other sessions than were there: the journal has lost some without a trace."""
        self._unreadable = dict(unreadable or {})
        self.epoch = epoch
        self.number = 0
        """Of the last write encoded in this epoch."""
        self.ledger: Ledger = record.ledger
        """As of the last write that the journal took: what a scrape may show."""
        self.must_write = bool(unreadable)
        """The record changed beside the tracker's changes."""
        self._paused_s = record.paused_s
        """As the journal has it."""
        self._batch = record.batch
        self._handed: Increments = dict(record.handed)
        self._open: Increments = dict(record.open)
        self._open_streams = {key[place] for key in record.open if (place := STREAM_PLACES.get(key[0]))}
        self._durable_batch = record.batch
        """The last batch number that the journal holds: none above it may be offered."""

    @property
    def slot(self) -> int:
        """Return its number."""
        return self.tracker.slot

    def pause(self, seconds: float) -> None:
        """
        Add an outage of ours. It is written with the slot's next write, and calls for none.

        Until then `unwritten_pause_s` is taken off the slot's sign of life, from which a successor works out the same.
        """
        self.tracker.pause(seconds)

    def carry_on(self, seconds: float) -> None:
        """Add the time for which nobody held the slot; a negative number, if our clock is behind that of its last owner."""
        self.tracker.carry_on(seconds)
        self.must_write = True

    @property
    def unwritten_pause_s(self) -> float:
        """Return what was paused since the last write that the journal took."""
        return self.tracker.paused_s - self._paused_s

    def has_changes(self) -> bool:
        """Tell whether a write is called for."""
        return self.must_write or self.tracker.has_changes()

    def waits_to_hand(self) -> bool:
        """Tell whether open increments could be handed, had they only been frozen by a write."""
        return bool(self._open) and not self._handed

    def encode(self) -> "Pending":
        """Turn all that changed since the last write into the next one."""
        return self._encode(self.tracker.take_changes(), replace=False)

    def encode_all(self) -> "Pending":
        """Turn all that is held into a write that replaces whatever the journal has."""
        return self._encode(self.tracker.all_changes(), replace=True)

    def begin_epoch(self, epoch: int) -> None:
        """Start a new term of ownership; its writes are numbered from 1."""
        self.epoch = epoch
        self.number = 0

    def settle(self, pending: "Pending") -> None:
        """Hear that the journal took a write."""
        self.ledger = pending.ledger
        self._paused_s = pending.paused_s
        self._durable_batch = pending.batch
        if pending.write.set_aside:
            self.set_aside |= pending.write.set_aside.keys()
            self._unreadable = {}

    def offer(self) -> tuple[int, Mapping[tuple[str, ...], float]]:
        """Return the handed increments and their number; 0 and nothing if none are handed durably."""
        if self._handed and self._batch == self._durable_batch:
            return self._batch, self._handed
        return 0, {}

    def acknowledge(self, batch: int) -> None:
        """
        Hear that the exporter added this batch, and all before it.

        It never adds what is not durable. So if it knows a higher number than ours, the journal lost its data while our clock, from which
        numbers begin anew, was behind: ours go on behind its number, or it would take all that is handed for long since added.
        """
        if batch > self._batch:
            self._batch = batch + 1
            self.must_write = True
        elif batch == self._batch == self._durable_batch:
            self._handed = {}

    def _encode(self, changes: Changes, *, replace: bool) -> "Pending":
        opened = self._open
        for key, amount in changes.increments.items():
            kept = self._bounded(key)
            opened[kept] = opened.get(kept, 0) + amount
        if opened and not self._handed:
            self._batch += 1
            self._handed, self._open = opened, {}
            self._open_streams.clear()
        self.number += 1
        self.must_write = False
        record = SlotRecord(ledger=changes.ledger, paused_s=changes.paused_s, batch=self._batch, handed=self._handed, open=self._open)
        write = SlotWrite(
            slot=self.slot,
            epoch=self.epoch,
            number=self.number,
            record=encode_record(record),
            sessions={session.session_id: encode_session(session) for session in changes.sessions},
            forgotten=tuple(changes.forgotten),
            set_aside=self._unreadable,
            replace=replace,
        )
        finished = tuple(summary_json(each) for each in changes.finished)
        return Pending(self, write, finished, changes.ledger, self._batch, changes.paused_s)

    def _bounded(self, key: Key) -> Key:
        """
        Return the key that an increment is kept by: its own, or that of `other` if its stream is one too many.

        Players choose what streams there are. Whole streams are folded, so that what is left of one is of one piece.
        """
        place = STREAM_PLACES.get(key[0])
        if place is None or key[place] in self._open_streams:
            return key
        if len(self._open_streams) < OPEN_STREAMS_MAX:
            self._open_streams.add(key[place])
            return key
        place += len(key)
        return (*key[:place], OTHER, *key[place + 1 :])


class Pending(NamedTuple):
    """One slot's write on its way: kept, and repeated byte for byte, until its outcome is known."""

    held: HeldSlot
    write: SlotWrite
    finished: tuple[bytes, ...]
    """JSON summaries for the stream."""
    ledger: Ledger
    batch: int
    """The increments' number that becomes durable with it."""
    paused_s: float
