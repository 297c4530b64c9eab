"""
What reaches the exporter of a slot's quality is what its players lived: each increment once, through any crash.

The tracker of `test_tracker_model.py`, held as a shard holds it (`actors/shard/held_slot.py`), beside `naive_quality.py`. A write is
taken, taken without the shard's hearing of it, or lost with the shard; an offer is lost, doubled or acknowledged. When everyone
has gone, the exporter's sums are the truth.
"""

from collections import Counter
from copy import deepcopy

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import rule

from actors.shard.held_slot import HeldSlot
from metrics.catalog import takes
from sessions.changes import Key
from sessions.events import Event, Happenings, Heartbeat
from sessions.tracker import Tracker
from storage.codec import SlotRecord, decode_record, decode_session, encode_record
from tests.unit.naive_quality import NaiveQuality
from tests.unit.naive_slot import POLICY
from tests.unit.test_tracker_model import STREAMS, Beside, ages, names, promises

BY_STREAM = (
    "playing", "rebuffering", "paused", "bitrate", "played_bytes", "quality_switches", "rebuffers", "plays", "start_failures",
    "playback_failures", "exits_before_start",
)  # fmt: skip
OBSERVED = ("startup", "session", "player_watch_difference")


class Delivered(Beside):
    """Both at once, through crashes of a shard that delivers what it counts."""

    def __init__(self) -> None:
        super().__init__()
        self.slot: NaiveQuality = NaiveQuality()
        self.committed = deepcopy(self.slot)
        self.record = encode_record(SlotRecord(ledger=self.tracker.ledger))
        self.held = HeldSlot(self.tracker, epoch=1, record=decode_record(self.record))
        self.added_batch = 0
        self.sums: Counter[Key] = Counter()

    @rule(
        name=names,
        age=ages,
        playback=st.sampled_from((None, "playing", "playing", "rebuffering", "paused")),
        stream=st.sampled_from(STREAMS),
        stalls=st.sampled_from((None, 2, 5)),
        quality=st.sampled_from((None, "720p", "1080p")),
        bitrate=st.sampled_from((None, 800, 8_000_000)),
        interval_s=promises,
    )
    def beat(
        self,
        name: str,
        age: float,
        playback: str | None,
        stream: str | None,
        stalls: int | None,
        quality: str | None,
        bitrate: int | None,
        interval_s: int,
    ) -> None:
        said = Heartbeat(name, self.at(name, age), playback, stream, quality=quality, bitrate_bps=bitrate, rebuffer_count=stalls)
        self.both(said, interval_s)

    @rule(fate=st.sampled_from(("taken", "taken", "taken", "taken, unheard", "lost")))
    def commit(self, fate: str = "taken") -> None:
        pending = self.held.encode()
        if fate != "lost":
            write = pending.write
            self.stored.sessions.update(write.sessions)
            for name in write.forgotten:
                self.stored.sessions.pop(name, None)
            self.record, self.committed = write.record, deepcopy(self.slot)
        if fate == "taken":
            self.held.settle(pending)
        else:
            self.crash()

    @rule()
    def crash(self) -> None:
        record = decode_record(self.record)
        self.slot = deepcopy(self.committed)
        sessions = [decode_session(stored) for stored in self.stored.sessions.values()]
        self.tracker = Tracker.restore(3, policy=POLICY, sessions=sessions, ledger=record.ledger, paused_s=record.paused_s)
        self.held = HeldSlot(self.tracker, epoch=self.held.epoch + 1, record=record)

    @rule()
    def journal_is_wiped(self) -> None:
        pending = self.held.encode_all()
        self.stored.sessions = dict(pending.write.sessions)
        self.record, self.committed = pending.write.record, deepcopy(self.slot)
        self.held.settle(pending)

    @rule(fate=st.sampled_from(("acknowledged", "acknowledged", "unheard", "lost")))
    def is_collected(self, fate: str = "acknowledged") -> None:
        batch, increments = self.held.offer()
        if fate != "lost" and batch > self.added_batch:
            self.added_batch = batch
            for key, amount in increments.items():
                assert takes(key)
                self.sums[key] += amount  # type: ignore[assignment]
        if fate == "acknowledged":
            self.held.acknowledge(self.added_batch)

    def both(self, event: Event, interval_s: int) -> None:
        """As before, but who opens a session names its stream: what is final before that would stay with `unknown`."""
        if isinstance(event, Heartbeat | Happenings) and event.session_id not in self.slot.viewings:
            event = event._replace(stream_id=event.stream_id or "x")
        super().both(event, interval_s)

    def they_agree(self) -> None:
        """No invariant here: `test_tracker_model.py` sees to it."""

    def teardown(self) -> None:
        self.now += 100_000
        while self.tracker.advance(now=self.now, limit=100):
            pass
        self.slot.advance(now=self.now)
        self.slot.advance(now=self.now)
        for _ in range(3):  # handed, then open, then nothing
            self.commit()
            self.is_collected()
        self.compare(self.slot.truth())

    def compare(self, truth: Counter[Key]) -> None:
        for name in BY_STREAM:
            ours = Counter({key[1:]: amount for key, amount in self.sums.items() if key[0] == name})
            theirs = Counter({key[1:]: amount for key, amount in truth.items() if key[0] == name})
            assert +ours == pytest.approx(+theirs), name
        for name in OBSERVED:
            assert self.sums[name, "sum"] == pytest.approx(truth[name, "sum"]), name
            assert sum(amount for key, amount in self.sums.items() if key[:2] == (name, "le")) == truth[name, "count"], name
        for fatal in ("true", "false"):
            ours_all = sum(amount for key, amount in self.sums.items() if key[0] == "stream_errors" and key[2] == fatal)
            assert ours_all == truth["stream_errors", fatal]


Delivered.TestCase.settings = settings(max_examples=60, stateful_step_count=50, report_multiple_bugs=False)
TestDelivered = Delivered.TestCase
