"""
Shards that die, move, double and fall silent, beside a naive model of what must be shown.

The shards here keep the promise of `docs/architecture.md` (increments, handed and open) and of `metrics/reports.py`; the
network loses, repeats and delays what they say. When everyone was heard again, the totals are exactly the truth.
"""

from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from metrics.catalog import INCREMENTS
from metrics.labels import OTHER
from metrics.reports import Known, ShardReport, SlotReport
from metrics.totals import LOST_S, Totals
from sessions.changes import Audience, Increments, Key, Ledger

SLOTS = 4
STREAMS = ("a", "b", OTHER, "", "z" * 200, "z" * 150)


@dataclass
class Slot:
    """A slot as its owner holds it, committed."""

    epoch: int = 0
    audience: Audience = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    batch: int = 0
    handed: Increments = field(default_factory=dict)
    open: Increments = field(default_factory=dict)
    changed: set[Key] = field(default_factory=set)
    told: set[Key] | None = None
    """Keys in reports that are not acknowledged; None: all of it must be told."""
    number_told: int = 0

    def copy(self, *, epoch: int) -> "Slot":
        return Slot(
            epoch, dict(self.audience), Ledger(self.ledger.active, self.ledger.started), self.batch, dict(self.handed), dict(self.open)
        )

    def commit(self) -> None:
        if self.open and not self.handed:
            self.batch, self.handed, self.open = self.batch + 1, self.open, {}


@dataclass
class Shard:
    name: str
    incarnation: str
    number: int = 0
    slots: dict[int, Slot] = field(default_factory=dict)
    told: Increments = field(default_factory=dict)
    fresh: Increments = field(default_factory=dict)

    def collect(self, known: Known) -> ShardReport:
        if known.incarnation == self.incarnation and known.number == self.number:
            self.told = {}
            for slot in self.slots.values():
                slot.told = set() if slot.number_told == self.number else None
        elif known.incarnation != self.incarnation:
            for slot in self.slots.values():
                slot.told = None
        self.number += 1
        for key, amount in self.fresh.items():
            self.told[key] = self.told.get(key, 0) + amount
        self.fresh = {}
        reports = []
        for number, slot in self.slots.items():
            if slot.handed and known.batches.get(number, 0) >= slot.batch:
                slot.handed = {}
            slot.commit()
            full = slot.told is None
            slot.told = None if slot.told is None else slot.told | slot.changed
            slot.changed = set()
            slot.number_told = self.number
            audience = dict(slot.audience) if slot.told is None else {key: slot.audience.get(key, 0) for key in slot.told}
            handed = slot.batch if slot.handed else 0
            reports.append(SlotReport(number, slot.epoch, full, audience, slot.ledger, handed, dict(slot.handed)))
        epochs = {number: slot.epoch for number, slot in self.slots.items()}
        return ShardReport(self.name, self.incarnation, self.number, epochs, reports, 0, 0, 0, True, 0, 0, dict(self.told))


class Cluster(RuleBasedStateMachine):
    """Random lives of three shards, and one exporter."""

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.random = Random(seed)
        self.now = 1_000.0
        self.totals = Totals(now=self.now)
        self.lives = count(1)
        self.shards = {f"shard-{number}": Shard(f"shard-{number}", f"life-{next(self.lives)}") for number in range(3)}
        self.owner = {slot: f"shard-{slot % 3}" for slot in range(SLOTS)}
        for slot, owner in self.owner.items():
            self.shards[owner].slots[slot] = Slot(epoch=1)
        self.epochs = dict.fromkeys(range(SLOTS), 1)
        self.beats = 0
        self.calls = 0
        self.calls_lost_at_most = 0
        self.delivered: list[ShardReport] = []
        self.shown_started = 0

    def truth(self, slot: int) -> Slot:
        return self.shards[self.owner[slot]].slots[slot]

    @rule(
        slot=st.integers(0, SLOTS - 1),
        stream=st.sampled_from(STREAMS),
        state=st.sampled_from(("playing", "paused")),
        size=st.integers(0, 5),
    )
    def players_come_and_go(self, slot: int, stream: str, state: str, size: int) -> None:
        held = self.truth(slot)
        before = held.audience.get(("stream", stream, state), 0)
        for key, change in (
            (("stream", stream, state), size - before),
            (("state", state), size - before),
            (("channel", stream), size - before),
        ):
            held.audience[key] = held.audience.get(key, 0) + change
            held.changed.add(key)
            if not held.audience[key]:
                del held.audience[key]
        held.ledger = Ledger(started=held.ledger.started + max(0, size - before))

    @rule(slot=st.integers(0, SLOTS - 1), beats=st.integers(1, 9))
    def players_beat(self, slot: int, beats: int) -> None:
        held = self.truth(slot)
        held.open[("heartbeats",)] = held.open.get(("heartbeats",), 0) + beats
        self.beats += beats
        held.commit()

    @rule(name=st.integers(0, 2), fate=st.sampled_from(("arrives", "arrives", "lost", "twice", "late copy")))
    def a_shard_is_collected(self, name: int, fate: str) -> None:
        shard = self.shards[f"shard-{name}"]
        self.calls += 1
        shard.fresh[("batch_events", "sum")] = shard.fresh.get(("batch_events", "sum"), 0) + 1
        report = shard.collect(self.totals.known(shard.name))
        if fate == "lost":
            return
        self.deliver(report)
        if fate == "twice":
            self.deliver(report)
        if fate == "late copy" and self.delivered:
            self.deliver(self.random.choice(self.delivered))

    def deliver(self, report: ShardReport) -> None:
        self.totals.add_shard(report, now=self.now)
        self.delivered = [*self.delivered[-9:], report]

    @rule(slot=st.integers(0, SLOTS - 1), to=st.integers(0, 2), cut_off=st.booleans())
    def a_slot_moves(self, slot: int, to: int, cut_off: bool) -> None:
        before, name = self.truth(slot), f"shard-{to}"
        if name == self.owner[slot]:
            return
        self.epochs[slot] += 1
        if not cut_off:
            del self.shards[self.owner[slot]].slots[slot]
        # A shard that was cut off goes on saying what it last knew.
        self.shards[name].slots[slot] = before.copy(epoch=self.epochs[slot])
        self.owner[slot] = name

    @rule(name=st.integers(0, 2))
    def a_shard_restarts(self, name: int) -> None:
        shard = self.shards[f"shard-{name}"]
        self.calls_lost_at_most += int(sum(shard.told.values()) + sum(shard.fresh.values()))
        again = Shard(shard.name, f"life-{next(self.lives)}")
        for slot, owner in self.owner.items():
            if owner == shard.name:
                self.epochs[slot] += 1
                again.slots[slot] = shard.slots[slot].copy(epoch=self.epochs[slot])
        self.shards[shard.name] = again

    @rule(seconds=st.sampled_from((1, 1, 1, 2, 5, 20)))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds
        self.totals.tick(now=self.now)

    @rule()
    def all_are_heard_and_the_totals_are_the_truth(self) -> None:
        self.now += LOST_S + 1  # what was cut off had the time to find out
        for shard in self.shards.values():
            shard.slots = {number: slot for number, slot in shard.slots.items() if self.owner[number] == shard.name}
        for _ in range(4):  # ask for everything, handed, then open, then acknowledged
            for shard in self.shards.values():
                self.totals.add_shard(shard.collect(self.totals.known(shard.name)), now=self.now)
            self.totals.tick(now=self.now)
        expected: Counter[Key] = Counter()
        for slot in range(SLOTS):
            expected.update(self.truth(slot).audience)
        for state in ("playing", "paused"):
            assert self.totals.states()[state] == expected[("state", state)]
            for stream in STREAMS:
                assert self.totals.watched(stream).states[state] == expected[("stream", stream, state)]
        assert sum(size for _, size in self.totals.dimension("channel")) == sum(n for key, n in expected.items() if key[0] == "channel")
        assert dict(self.totals.counted.counters(INCREMENTS["heartbeats"])) == {(): self.beats}
        calls = sum(total for _, _, total in self.totals.counted.histograms(INCREMENTS["batch_events"]))
        assert self.calls - self.calls_lost_at_most <= calls <= self.calls
        assert self.totals.ledgers.sums.get(("started",), 0) == sum(self.truth(slot).ledger.started for slot in range(SLOTS))

    @invariant()
    def streams_and_states_agree_and_no_counter_falls(self) -> None:
        if not hasattr(self, "totals"):
            return
        everyone = self.totals.everyone()
        streams = dict(self.totals.streams())
        assert sum(sum(states.values()) for states in streams.values()) == everyone.sessions
        assert all(count >= 0 for states in streams.values() for count in states.values())
        started = self.totals.ledgers.sums.get(("started",), 0)
        assert started >= self.shown_started
        self.shown_started = started
        assert self.totals.counted.counters(INCREMENTS["heartbeats"])[()] <= self.beats


Cluster.TestCase.settings = settings(max_examples=90, stateful_step_count=40)
TestCluster = Cluster.TestCase
