"""
What every shard and replica says, added up once.

Theory of operation: reports come in at any time, some twice, some never; once a second `tick` closes the second.
- *Gauges* come from the slots' audiences. A slot counts by the report of its highest epoch; when its owner falls silent,
  or gives it up, what it said stands until a higher epoch reports, at most `LOST_S`, and is then no longer counted.
  A report of another owner whose epoch is not higher is stale, unless the slot's holder has been silent for as long
  (a journal that came back empty counts its epochs anew).
- *Increments* are numbered: by slot and batch, by replica and report, by shard, incarnation and report. Each number is added once.
- The *ledger* is absolute (`ledgers.py`).

Running sums change with what a report changes, so that a quiet second costs nothing. It knows no clock: `now` is told.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import Final, NamedTuple, TypeVar

from metrics.catalog import DIMENSIONS, STATES, check_amount, shows, takes
from metrics.counted import Counted
from metrics.labels import OTHER, Labels, label_of
from metrics.ledgers import Ledgers
from metrics.peaks import Peak, Peaks
from metrics.reports import Known, ReplicaReport, ShardReport, SlotReport
from sessions.changes import Audience, Key
from sessions.errors import InvariantError
from sessions.limits import REPLICAS_REMEMBERED_MAX

LOST_S: Final = 15.0
"""How long a silent owner's sessions are still counted."""
PAST_INCARNATIONS_MAX: Final = 16

_EVERYONE: Final = "\0everyone"
_OTHERS: Final = "\0others"
_Name = TypeVar("_Name", str, Key)
_Amount = TypeVar("_Amount", int, float)


class Watched(NamedTuple):
    """One stream's audience, for people."""

    sessions: int
    states: Mapping[str, int]
    recent_peak: int
    """Greatest in the last 60 s."""
    peak: Peak | None
    """Greatest since the exporter began."""


@dataclass(slots=True)
class _Slot:
    epoch: int = 0
    shard: str = ""
    said_at: float = float("-inf")
    """When its owner last said that it serves it."""
    counted: bool = False
    audience: Audience = field(default_factory=dict)
    batch: int = 0


@dataclass(slots=True)
class _Shard:
    report: ShardReport
    at: float
    past: tuple[str, ...] = ()
    """Earlier incarnations, whose reports come too late."""
    out_of_step: bool = False
    """It must send all that it holds: a change came for something that is not held here."""


@dataclass(slots=True)
class _Restarts:
    """A shard's restarts: the directory counts them, from zero again when it dies itself, and the shard passes its word on."""

    before: int = 0
    """By earlier directories."""
    last: int = 0
    """The word of the present one."""


class Totals:
    """Everything that a scrape shows, and what has to be remembered to add each report once."""

    def __init__(self, *, now: float, slots: int = 0) -> None:
        """Begin with nothing; `slots`: how many there are, of which each says its ledger."""
        self._began_at = now
        self._slots: dict[int, _Slot] = {}
        self._shards: dict[str, _Shard] = {}
        self._restarts: dict[str, _Restarts] = {}
        self._replicas: dict[str, int] = {}
        """Last report number added, the longest silent first."""
        self._states: dict[str, int] = {}
        self._stream_states: dict[Key, int] = {}
        """Sessions by (stream's label, state)."""
        self._changed: set[str] = set()
        """Streams whose total changed since the last tick, by full id."""
        self._long_ids: dict[str, int] = {}
        """Sessions of streams whose id is not its own label."""
        self.labels: dict[str, Labels] = {name: Labels(most=dimension.most) for name, dimension in DIMENSIONS.items()}
        self.peaks = Peaks()
        self.ledgers = Ledgers(slots=slots)
        self.counted = Counted(self.labels)
        self.left_out: set[str] = set()
        """Names under which something was counted that this build's catalog does not know: a newer build's."""

    def known(self, shard: str) -> Known:
        """Return what to ask this shard with: what is held of it, and which of its increments were added."""
        batches = {number: slot.batch for number, slot in self._slots.items() if slot.batch}
        held = self._shards.get(shard)
        if held is None:
            return Known(batches=batches)
        batches = {number: batches[number] for number in held.report.epochs if number in batches}
        if held.out_of_step:
            return Known(batches=batches)
        return Known(held.report.incarnation, held.report.number, batches)

    def add_shard(self, report: ShardReport, *, now: float) -> bool:
        """
        Add one shard's report; False: it was added before, or comes too late.

        What the catalog does not know is left out. Raises `InvariantError` if it holds an amount that cannot be; then nothing of it was added.
        """
        held = self._shards.get(report.shard)
        past = _earlier(report, held)
        if past is None:
            return False
        report = self._legible(report)
        _check(report)
        self._count_restarts(report, held)
        self._shards[report.shard] = shard = _Shard(report, now, past)
        for slot_report in report.slots:
            self._add_slot(slot_report, shard, now=now)
        for number, epoch in report.epochs.items():
            slot = self._slots.setdefault(number, _Slot())
            if slot.shard == report.shard and slot.epoch == epoch:
                slot.said_at = now
                self._count(slot)
            elif epoch > slot.epoch or now - slot.said_at > LOST_S:
                shard.out_of_step = True
        self._refresh(now=now)
        for key, amount in report.increments.items():
            self.counted.add(key, amount, now=now, shard=report.shard)
        for slot_report in report.slots:
            slot = self._slots.setdefault(slot_report.slot, _Slot())
            if slot_report.batch > slot.batch:
                slot.batch = slot_report.batch
                for key, amount in slot_report.increments.items():
                    self.counted.add(key, amount, now=now)
        self._begin()
        return True

    def forget_shard(self, shard: str) -> None:
        """Hear that a shard has left for good: what it said of itself is no longer shown. What its slots said is shown for up to `LOST_S`."""
        self._shards.pop(shard, None)

    def add_replica(self, report: ReplicaReport, *, now: float) -> int:
        """Add one replica's report unless its number was added before; return the last number added, to acknowledge it."""
        increments = self._only(takes, report.increments)
        for key, amount in increments.items():
            check_amount(key, amount)
        added = self._replicas.pop(report.replica, 0)
        if report.number > added:
            for key, amount in increments.items():
                self.counted.add(key, amount, now=now)
            self._begin()
            added = report.number
        self._replicas[report.replica] = added
        if len(self._replicas) > REPLICAS_REMEMBERED_MAX:
            del self._replicas[next(iter(self._replicas))]
        return added

    def tick(self, *, now: float) -> None:
        """Close a second: stop counting what was lost for too long, and sample the peaks."""
        for slot in self._slots.values():
            if slot.counted and now - slot.said_at > LOST_S:
                slot.counted = False
                self._move(slot.audience, {})
        self._refresh(now=now)
        streams = self.labels["stream"]
        names = self._changed | {label_of(value) for value in self._changed}
        self._changed = set()
        placed = sum(streams.sizes.get(label, 0) for label in streams.placed)
        sampled = [(name, self._long_ids.get(name, 0) if label_of(name) != name else streams.sizes.get(name, 0)) for name in names]
        self.peaks.sample([*sampled, (_EVERYONE, streams.total), (_OTHERS, streams.total - placed)], now=now)

    def states(self) -> Mapping[str, int]:
        """Return active sessions by playback state, those at zero too."""
        return {state: self._states.get(state, 0) for state in STATES}

    def streams(self) -> Iterator[tuple[str, Mapping[str, int]]]:
        """Yield (label, sessions by state) of each stream that has a place, and of `other`: their sum is every session."""
        rest = self._all_stream_states()
        for label in self.labels["stream"].placed:
            states = {state: self._stream_states.get((label, state), 0) for state in STATES}
            for state, count in states.items():
                rest[state] -= count
            yield label, states
        yield OTHER, rest

    def dimension(self, name: str) -> Iterator[tuple[str, int]]:
        """Yield (label, sessions) of one dimension, `other` last: their sum is all that carry it."""
        labels = self.labels[name]
        rest = labels.total
        for label in labels.placed:
            size = labels.sizes.get(label, 0)
            rest -= size
            yield label, size
        yield OTHER, rest

    def recent_peak(self, label: str) -> int:
        """Return the greatest total of a stream's label, or of `other`, in the last 60 s."""
        return self.peaks.recent(_OTHERS if label == OTHER else label)

    def biggest(self, count: int) -> Iterator[tuple[str, Watched]]:
        """Yield (label, audience) of the streams with the most sessions, places or not, the biggest first."""
        sizes = self.labels["stream"].sizes
        for label in nsmallest(count, sizes, key=lambda label: (-sizes[label], label)):
            states = {state: self._stream_states.get((label, state), 0) for state in STATES}
            yield label, Watched(sizes[label], states, self.peaks.recent(label), self.peaks.all_time(label))

    def everyone(self) -> Watched:
        """Return the audience of all streams together."""
        return Watched(sum(self._states.values()), self.states(), self.peaks.recent(_EVERYONE), self.peaks.all_time(_EVERYONE))

    def watched(self, stream_id: str) -> Watched:
        """Return one stream's audience, by its full id, whether it has a label or not."""
        counted = [slot.audience for slot in self._slots.values() if slot.counted]
        states = {state: sum(audience.get(("stream", stream_id, state), 0) for audience in counted) for state in STATES}
        return Watched(sum(states.values()), states, self.peaks.recent(stream_id), self.peaks.all_time(stream_id))

    def shards(self, *, now: float) -> Iterable[ShardReport]:
        """Return the last report of each shard that was heard within `LOST_S`."""
        return [shard.report for shard in self._shards.values() if now - shard.at <= LOST_S]

    def reporting(self) -> frozenset[str]:
        """Return the shards that are held here, heard lately or not."""
        return frozenset(self._shards)

    def restarts(self, shard: str) -> int:
        """Return how often a shard began anew, as far as was heard since the exporter began or the directory did: never falls."""
        restarts = self._restarts.get(shard, _Restarts())
        return restarts.before + restarts.last

    def age_s(self, *, now: float) -> float:
        """Return the age of the oldest report in use; since the beginning, if none is."""
        return now - min((shard.at for shard in self._shards.values() if now - shard.at <= LOST_S), default=self._began_at)

    def _legible(self, report: ShardReport) -> ShardReport:
        """Return a report without what a newer build's shard may count, and this build does not know."""
        return report._replace(
            increments=self._only(takes, report.increments),
            slots=[
                slot._replace(audience=self._only(shows, slot.audience), increments=self._only(takes, slot.increments))
                for slot in report.slots
            ],
        )

    def _only(self, is_known: Callable[[Key], bool], counts: Mapping[Key, _Amount]) -> Mapping[Key, _Amount]:
        unknown = {key for key in counts if not is_known(key)}
        if not unknown:
            return counts
        self.left_out |= {key[0] for key in unknown if key}
        return {key: amount for key, amount in counts.items() if key not in unknown}

    def _count_restarts(self, report: ShardReport, held: _Shard | None) -> None:
        said_before = held.report.restarts if held is not None and held.report.incarnation == report.incarnation else 0
        if report.restarts == 0 and said_before == 0:
            # None yet, or a shard that has just begun: the directory has not told it anything.
            return
        restarts = self._restarts.setdefault(report.shard, _Restarts())
        if report.restarts < restarts.last:
            restarts.before += restarts.last
        restarts.last = report.restarts

    def _add_slot(self, report: SlotReport, shard: _Shard, *, now: float) -> None:
        slot = self._slots.setdefault(report.slot, _Slot())
        name = shard.report.shard
        same = slot.shard == name and slot.epoch == report.epoch
        if not same and report.epoch <= slot.epoch and now - slot.said_at <= LOST_S:
            return
        if not (same or report.full):
            shard.out_of_step = True
            return
        before = slot.audience if slot.counted else {}
        if report.full:
            after = {key: count for key, count in report.audience.items() if count}
            self._move(before, after)
            slot.audience = after
        else:
            self._count(slot)
            self._move({key: slot.audience.get(key, 0) for key in report.audience}, report.audience)
            for key, count in report.audience.items():
                if count:
                    slot.audience[key] = count
                else:
                    slot.audience.pop(key, None)
        slot.epoch, slot.shard, slot.said_at, slot.counted = report.epoch, name, now, True
        self.ledgers.take(report.slot, report.ledger)

    def _count(self, slot: _Slot) -> None:
        if not slot.counted:
            slot.counted = True
            self._move({}, slot.audience)

    def _move(self, before: Mapping[Key, int], after: Mapping[Key, int]) -> None:
        """Bring the running sums from what was counted to what is to be."""
        for key in before.keys() | after.keys():
            amount = after.get(key, 0) - before.get(key, 0)
            if amount:
                self._shift(key, amount)

    def _shift(self, key: Key, amount: int) -> None:
        head, value = key[0], key[1]
        if head == "state":
            _add(self._states, value, amount)
            return
        self.labels[head].add(value, amount)
        if head == "stream":
            label = label_of(value)
            _add(self._stream_states, (label, key[2]), amount)
            if label != value:
                _add(self._long_ids, value, amount)
            self._changed.add(value)

    def _all_stream_states(self) -> dict[str, int]:
        rest = dict.fromkeys(STATES, 0)
        for (_, state), count in self._stream_states.items():
            rest[state] += count
        return rest

    def _refresh(self, *, now: float) -> None:
        for name, labels in self.labels.items():
            lost = labels.refresh(now=now)
            if lost:
                self.counted.forget(name, set(lost))
        self._begin()

    def _begin(self) -> None:
        """Show all counters of the labels that were given a place."""
        for name, labels in self.labels.items():
            self.counted.begin(name, labels.take_granted())


def _earlier(report: ShardReport, held: _Shard | None) -> tuple[str, ...] | None:
    """Return the incarnations before this report's; None if the report was added before, or comes too late."""
    if held is None:
        return ()
    if report.incarnation == held.report.incarnation:
        return held.past if report.number > held.report.number else None
    if report.incarnation in held.past:
        return None
    return (*held.past, held.report.incarnation)[-PAST_INCARNATIONS_MAX:]


def _check(report: ShardReport) -> None:
    for key, amount in report.increments.items():
        check_amount(key, amount)
    for slot in report.slots:
        for key, amount in slot.increments.items():
            check_amount(key, amount)
        for audience_key, count in slot.audience.items():
            if count < 0:
                raise InvariantError("an audience below zero", story=(slot.slot, audience_key, count))


def _add(sums: dict[_Name, int], name: _Name, amount: int) -> None:
    """Add to a running sum that is not there when it is zero."""
    total = sums.get(name, 0) + amount
    if total < 0:
        raise InvariantError("a sum below zero", story=(name, total))
    if total:
        sums[name] = total
    else:
        del sums[name]
