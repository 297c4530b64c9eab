"""
What every journal promises, as tests: run against each journal by a class that inherits `JournalContract` and has a `bench`.

`bench.journal` and `bench.rival` are two clients of one empty store, `bench.wait` runs a coroutine to its end, `bench.move_clock` sets the
clock of the journal itself ahead by some seconds, or back.
"""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from sessions.errors import InvariantError
from storage.journal import (
    LEASE_S,
    RECORD_ASIDE,
    Claimed,
    DataSetConflictError,
    Fence,
    Journal,
    SlotWrite,
    StaleEpochError,
    StoredSlot,
    WipedError,
)

Value = TypeVar("Value")
ODD_IDS = ("\0pull\0video\0user", "🎬 émission\n", "x" * 256, " ", '"\\', "1")


@dataclass(frozen=True)
class JournalBench:
    """One empty store and two clients of it."""

    journal: Journal
    rival: Journal
    wait: Callable[[Coroutine[Any, Any, Any]], Any]
    finished: Callable[[], list[bytes]]
    wipe: Callable[[], object]
    move_clock: Callable[[float], object]

    def open(self, *, slots: int = 16, instance: str = "laptop", run: str = "run-1") -> None:
        """Create or take the data set."""
        self.wait(self.journal.open_data_set(slots=slots, instance=instance, run=run))

    def own(self, *slots: int) -> None:
        """Make `shard-0` the first owner of slots of a new data set."""
        self.open()
        self.wait(self.journal.claim(dict.fromkeys(slots, 0), owner="shard-0"))

    def commit(self, *writes: SlotWrite, finished: tuple[bytes, ...] = (), alive_at: float = 1_001.0) -> None:
        """Commit as the owner."""
        self.wait(self.journal.commit(writes, finished=finished, alive_at=alive_at))

    def claim(self, expected: Mapping[int, int], *, owner: str, after_wipe: bool = False) -> Mapping[int, Claimed]:
        """Claim as somebody."""
        claimed: Mapping[int, Claimed] = self.wait(self.rival.claim(expected, owner=owner, after_wipe=after_wipe))
        return claimed

    def load(self, slot: int) -> StoredSlot:
        """Read a slot as somebody."""
        stored: StoredSlot = self.wait(self.rival.load(slot))
        return stored

    def everything(self, *slots: int) -> tuple[object, ...]:
        """Return all that is stored of slots, to see that nothing changed."""
        return (*(self.load(slot) for slot in slots), self.finished())


def write(slot: int, number: int, sessions: Mapping[str, bytes] | None = None, **more: Any) -> SlotWrite:
    """Return a slot's part of a batch, in epoch 1 unless told."""
    return SlotWrite(**{"slot": slot, "epoch": 1, "number": number, "record": b"record %d" % number, "sessions": sessions or {}, **more})


class ClaimContract:
    """Who owns what."""

    def test_a_claim_raises_the_epoch_and_names_the_owner(self, bench: JournalBench) -> None:
        bench.open()
        assert bench.claim({3: 0}, owner="shard-0") == {3: Claimed(epoch=1, alive_at=None)}
        assert bench.claim({3: 1}, owner="shard-1") == {3: Claimed(epoch=2, alive_at=None)}
        assert bench.wait(bench.journal.fences()) == {3: Fence(epoch=2, number=0, owner="shard-1")}

    def test_of_two_claims_on_the_same_epoch_exactly_one_wins(self, bench: JournalBench) -> None:
        bench.open()
        first = bench.wait(bench.journal.claim({3: 0, 4: 0}, owner="shard-0"))
        second = bench.wait(bench.rival.claim({3: 0, 4: 0, 5: 0}, owner="shard-1"))
        assert (sorted(first), sorted(second)) == ([3, 4], [5])
        assert bench.load(3).fence.owner == "shard-0"

    def test_a_claim_that_expects_what_is_not_so_takes_nothing(self, bench: JournalBench) -> None:
        bench.own(3)
        assert bench.claim({3: 0, 4: 1}, owner="shard-1") == {}
        assert bench.claim({3: 2}, owner="shard-1") == {}
        assert bench.wait(bench.journal.fences()) == {3: Fence(1, 0, "shard-0")}

    def test_a_claim_tells_when_the_last_owner_was_alive(self, bench: JournalBench) -> None:
        bench.own(3, 4)
        bench.commit(write(3, 1), alive_at=1_234.567891)
        assert bench.claim({3: 1, 4: 1}, owner="shard-1") == {3: Claimed(2, 1_234.567891), 4: Claimed(2, None)}

    def test_a_claim_on_a_missing_data_set_says_so_and_writes_nothing(self, bench: JournalBench) -> None:
        with pytest.raises(WipedError):
            bench.claim({3: 0}, owner="shard-0")
        bench.open()
        assert bench.wait(bench.journal.fences()) == {}

    def test_a_claim_starts_commit_numbers_anew(self, bench: JournalBench) -> None:
        bench.own(3)
        bench.commit(write(3, 1))
        bench.commit(write(3, 2))
        bench.claim({3: 1}, owner="shard-0")
        bench.commit(write(3, 1, {"a": b"new"}, epoch=2))
        assert bench.load(3).sessions == {"a": b"new"}

    def test_a_released_slot_keeps_its_epoch_and_takes_no_commit_until_it_is_claimed(self, bench: JournalBench) -> None:
        bench.own(3)
        bench.commit(write(3, 1))
        bench.wait(bench.journal.release({3: 1}))
        assert bench.load(3).fence == Fence(epoch=1, number=1, owner="")
        with pytest.raises(StaleEpochError) as refused:
            bench.commit(write(3, 2))
        assert refused.value.slots == (3,)
        with pytest.raises(StaleEpochError) as refused:
            bench.wait(bench.journal.touch({3: 1}, alive_at=1_500.0))
        assert refused.value.slots == (3,)
        assert bench.claim({3: 1}, owner="shard-1") == {3: Claimed(2, 1_001.0)}

    def test_a_late_release_leaves_the_successor_alone(self, bench: JournalBench) -> None:
        bench.own(3)
        bench.claim({3: 1}, owner="shard-1")
        bench.wait(bench.journal.release({3: 1, 9: 0}))
        assert bench.wait(bench.journal.fences()) == {3: Fence(2, 0, "shard-1")}

    def test_a_release_tells_that_the_data_set_is_gone_or_behind_and_gives_nothing_up(self, bench: JournalBench) -> None:
        with pytest.raises(WipedError):
            bench.wait(bench.journal.release({3: 1}))
        bench.own(3, 4)
        with pytest.raises(WipedError) as behind:
            bench.wait(bench.journal.release({3: 2, 4: 1, 5: 1}))
        assert behind.value.slots == (3, 5)
        assert {fence.owner for fence in bench.wait(bench.journal.fences()).values()} == {"shard-0"}


class FenceContract:
    """Who may write, and that a batch is all or nothing."""

    def test_a_batch_with_one_stale_slot_writes_nothing_at_all(self, bench: JournalBench) -> None:
        bench.own(1, 2, 3)
        bench.commit(*(write(slot, 1, {"a": b"old"}) for slot in (1, 2, 3)), finished=(b"first",))
        bench.claim({2: 1}, owner="shard-1")
        before = bench.everything(1, 2, 3)
        with pytest.raises(StaleEpochError) as refused:
            bench.commit(
                *(write(slot, 2, {"a": b"new", "b": b"new"}, forgotten=["a"], replace=True) for slot in (1, 2, 3)),
                finished=(b"second",),
                alive_at=2_000.0,
            )
        assert refused.value.slots == (2,)
        assert bench.everything(1, 2, 3) == before
        assert bench.claim({1: 1}, owner="shard-1")[1].alive_at == 1_001.0

    def test_a_repeated_batch_is_ignored_and_its_summaries_are_in_the_stream_once(self, bench: JournalBench) -> None:
        bench.own(1, 2)
        batch = (write(1, 1, {"a": b"a1"}), write(2, 1, {"b": b"b1"}))
        for _ in range(3):
            bench.commit(*batch, finished=(b"one", b"two"))
        assert bench.finished() == [b"one", b"two"]
        assert bench.load(1) == StoredSlot(Fence(1, 1, "shard-0"), b"record 1", {"a": b"a1"})

    def test_an_old_batch_that_arrives_late_undoes_nothing(self, bench: JournalBench) -> None:
        bench.own(1)
        bench.commit(write(1, 1, {"a": b"old"}))
        bench.commit(write(1, 2, {"a": b"new"}))
        bench.commit(write(1, 1, {"a": b"old"}))
        assert bench.load(1) == StoredSlot(Fence(1, 2, "shard-0"), b"record 2", {"a": b"new"})

    def test_a_part_of_a_batch_may_be_repeated(self, bench: JournalBench) -> None:
        bench.own(1, 2)
        bench.commit(write(1, 1), write(2, 1, {"b": b"b1"}))
        bench.claim({1: 1}, owner="shard-1")
        bench.commit(write(2, 1, {"b": b"b1"}))
        assert bench.load(2).fence.number == 1

    def test_a_batch_that_mixes_repeated_with_new_is_refused_loudly(self, bench: JournalBench) -> None:
        bench.own(1, 2)
        bench.commit(write(1, 1))
        before = bench.everything(1, 2)
        with pytest.raises(InvariantError, match=r"mixes.*\[1\]"):
            bench.commit(write(1, 1), write(2, 1))
        assert bench.everything(1, 2) == before

    def test_a_batch_that_could_not_be_told_from_its_repetition_is_refused(self, bench: JournalBench) -> None:
        bench.own(1)
        with pytest.raises(InvariantError, match="twice"):
            bench.commit(write(1, 1), write(1, 2))
        with pytest.raises(InvariantError, match="stream twice"):
            bench.commit(finished=(b"one",))
        assert bench.finished() == []

    def test_a_gap_in_the_numbers_is_a_loss_and_nothing_is_written(self, bench: JournalBench) -> None:
        bench.own(1, 2)
        before = bench.everything(1, 2)
        with pytest.raises(WipedError) as lost:
            bench.commit(write(1, 1), write(2, 2))
        assert lost.value.slots == (2,)
        assert bench.everything(1, 2) == before

    def test_a_slot_never_claimed_takes_no_commit(self, bench: JournalBench) -> None:
        bench.open()
        with pytest.raises(WipedError) as lost:
            bench.commit(write(7, 1))
        assert lost.value.slots == (7,)

    def test_a_touch_marks_alive_what_is_owned_and_names_what_is_not(self, bench: JournalBench) -> None:
        bench.own(1, 2)
        bench.claim({2: 1}, owner="shard-1")
        with pytest.raises(StaleEpochError) as refused:
            bench.wait(bench.journal.touch({1: 1, 2: 1}, alive_at=1_500.5))
        assert refused.value.slots == (2,)
        assert bench.claim({1: 1, 2: 2}, owner="shard-2") == {1: Claimed(2, 1_500.5), 2: Claimed(3, None)}

    def test_a_touch_writes_nothing_but_the_sign_of_life(self, bench: JournalBench) -> None:
        bench.own(1)
        bench.commit(write(1, 1, {"a": b"a1"}))
        before = bench.everything(1)
        bench.wait(bench.journal.touch({1: 1}, alive_at=1_500.5))
        bench.wait(bench.journal.touch({}, alive_at=1_600.5))
        assert bench.everything(1) == before


class WipeContract:
    """A data set that vanished is neither new nor stale."""

    def test_a_wiped_data_set_is_noticed_by_everything_that_needs_one(self, bench: JournalBench) -> None:
        bench.own(1)
        bench.wipe()
        for asked in (
            lambda: bench.wait(bench.journal.fences()),
            lambda: bench.load(1),
            lambda: bench.wait(bench.journal.set_aside(1)),
            lambda: bench.commit(write(1, 1)),
            lambda: bench.wait(bench.journal.touch({1: 1}, alive_at=1_002.0)),
            lambda: bench.wait(bench.journal.renew_lease(run="run-1")),
            lambda: bench.wait(bench.journal.plan()),
            lambda: bench.wait(bench.journal.keep_plan(b"plan", run="run-1")),
            lambda: bench.claim({1: 1}, owner="shard-0"),
        ):
            with pytest.raises(WipedError):
                asked()

    def test_an_owner_notices_that_its_fence_is_gone_though_the_data_set_is_back(self, bench: JournalBench) -> None:
        bench.own(1, 2)
        bench.wipe()
        bench.open()
        with pytest.raises(WipedError) as lost:
            bench.commit(write(1, 1))
        assert lost.value.slots == (1,)
        with pytest.raises(WipedError) as lost:
            bench.wait(bench.journal.touch({1: 1, 2: 1}, alive_at=1_002.0))
        assert lost.value.slots == (1, 2)

    def test_an_owner_claims_again_after_a_wipe_one_epoch_higher_and_writes_back(self, bench: JournalBench) -> None:
        bench.own(1)
        bench.commit(write(1, 1, {"a": b"a1"}))
        bench.wipe()
        assert bench.wait(bench.journal.claim({1: 1}, owner="shard-0", after_wipe=True)) == {1: Claimed(2, None)}
        for asked in (
            lambda: bench.wait(bench.journal.fences()),
            lambda: bench.commit(write(1, 1, epoch=2)),
            lambda: bench.wait(bench.journal.touch({1: 2}, alive_at=1_002.0)),
        ):
            with pytest.raises(WipedError):
                asked()
        bench.open()
        bench.commit(write(1, 1, {"a": b"a1"}, epoch=2, replace=True))
        assert bench.load(1) == StoredSlot(Fence(2, 1, "shard-0"), b"record 1", {"a": b"a1"})

    def test_after_a_wipe_the_last_owner_beats_the_one_before_and_nobody_beats_a_successor(self, bench: JournalBench) -> None:
        bench.open()
        assert bench.claim({1: 1}, owner="long-gone", after_wipe=True) == {1: Claimed(2, None)}
        assert bench.claim({1: 5}, owner="last", after_wipe=True) == {1: Claimed(6, None)}
        assert bench.claim({1: 5}, owner="late", after_wipe=True) == {}
        assert bench.claim({1: 1}, owner="long-gone", after_wipe=True) == {}
        assert bench.wait(bench.journal.fences()) == {1: Fence(6, 0, "last")}


class LeaseContract:
    """One cluster for one data set."""

    def test_another_instance_is_refused_until_the_lease_has_run_out(self, bench: JournalBench) -> None:
        bench.open(instance="laptop", run="run-1")
        bench.move_clock(10.0)
        assert bench.wait(bench.journal.renew_lease(run="run-1")) is True
        bench.move_clock(5.0)
        with pytest.raises(DataSetConflictError, match=r"laptop.*5\.\d s ago"):
            bench.open(instance="other", run="run-2")
        bench.move_clock(LEASE_S - 5.0)
        bench.open(instance="other", run="run-2")
        assert bench.wait(bench.journal.renew_lease(run="run-1")) is False

    def test_a_lease_stamped_an_hour_in_the_future_runs_out_like_any_other(self, bench: JournalBench) -> None:
        bench.open(instance="laptop", run="run-1")
        bench.move_clock(-3_600.0)
        with pytest.raises(DataSetConflictError, match=r"laptop.*0\.0 s ago"):
            bench.open(instance="other", run="run-2")
        bench.move_clock(LEASE_S)
        bench.open(instance="other", run="run-2")

    def test_whoever_is_alive_keeps_its_lease_though_the_clock_was_set_back_or_ahead(self, bench: JournalBench) -> None:
        bench.open(instance="laptop", run="run-1")
        for step_s in (-3_600.0, 3_600.0):
            bench.move_clock(step_s)
            assert bench.wait(bench.journal.renew_lease(run="run-1")) is True
            bench.move_clock(LEASE_S - 1.0)
            with pytest.raises(DataSetConflictError, match=r"laptop.*14\.\d s ago"):
                bench.open(instance="other", run="run-2")

    def test_the_same_instance_takes_over_at_once_and_the_old_run_loses_the_lease(self, bench: JournalBench) -> None:
        bench.own(3)
        bench.open(run="run-2")
        assert bench.wait(bench.journal.renew_lease(run="run-1")) is False
        assert bench.wait(bench.journal.renew_lease(run="run-2")) is True
        assert bench.load(3).fence == Fence(1, 0, "shard-0")

    def test_a_lost_lease_is_not_renewed_by_asking(self, bench: JournalBench) -> None:
        bench.open(instance="laptop", run="run-1")
        bench.open(instance="laptop", run="run-2")
        bench.move_clock(LEASE_S)
        assert bench.wait(bench.journal.renew_lease(run="run-1")) is False
        bench.open(instance="other", run="run-3")

    def test_a_plan_outlasts_runs_and_only_the_holder_of_the_lease_changes_it(self, bench: JournalBench) -> None:
        bench.open(run="run-1")
        assert bench.wait(bench.rival.plan()) is None
        assert bench.wait(bench.journal.keep_plan(b"\0plan 1", run="run-1")) is True
        bench.open(run="run-2")
        assert bench.wait(bench.journal.keep_plan(b"too late", run="run-1")) is False
        assert bench.wait(bench.rival.plan()) == b"\0plan 1"
        assert bench.wait(bench.journal.keep_plan(b"plan 2", run="run-2")) is True
        assert bench.wait(bench.rival.plan()) == b"plan 2"

    def test_another_number_of_slots_is_refused_and_both_are_named(self, bench: JournalBench) -> None:
        bench.open(slots=16)
        with pytest.raises(DataSetConflictError, match=r"16.*32"):
            bench.open(slots=32)
        bench.open(slots=16)


class SlotContract:
    """What is written is what is read."""

    def test_an_untouched_slot_is_empty(self, bench: JournalBench) -> None:
        bench.open()
        assert bench.load(3) == StoredSlot(Fence(0, 0, ""), None, {})

    def test_sessions_are_written_in_full_and_forgotten_by_id(self, bench: JournalBench) -> None:
        bench.own(3)
        bench.commit(write(3, 1, {"a": b"a1", "b": b"b1", "c": b"c1"}))
        bench.commit(write(3, 2, {"a": b"a2"}, forgotten=["b", "never there"]))
        assert bench.load(3) == StoredSlot(Fence(1, 2, "shard-0"), b"record 2", {"a": b"a2", "c": b"c1"})

    def test_replace_drops_what_was_there(self, bench: JournalBench) -> None:
        bench.own(3, 4)
        bench.commit(write(3, 1, {"a": b"a1", "b": b"b1"}), write(4, 1, {"d": b"d1"}))
        bench.commit(write(3, 2, {"a": b"a2"}, replace=True))
        assert (bench.load(3).sessions, bench.load(4).sessions) == ({"a": b"a2"}, {"d": b"d1"})
        bench.commit(write(3, 3, replace=True))
        assert bench.load(3).sessions == {}

    def test_odd_ids_and_any_bytes_come_back_as_they_were(self, bench: JournalBench) -> None:
        bench.own(3)
        values = {name: bytes(range(256)) + name.encode() for name in ODD_IDS} | {"empty": b""}
        bench.commit(write(3, 1, values, record=b"\r\n\0\xff"), finished=(b'{"\xc3\xa9":0}\r\n\0',))
        assert bench.load(3).sessions == values
        assert bench.load(3).record == b"\r\n\0\xff"
        assert bench.finished() == [b'{"\xc3\xa9":0}\r\n\0']
        bench.commit(write(3, 2, forgotten=ODD_IDS))
        assert bench.load(3).sessions == {"empty": b""}

    def test_what_is_set_aside_leaves_the_slot_and_is_kept_until_it_is_taken_back(self, bench: JournalBench) -> None:
        bench.own(3, 4, 5)
        bench.commit(*(write(slot, 1, {"a": b"a", "b": b"b", **dict.fromkeys(ODD_IDS, b"o")}) for slot in (3, 4, 5)))
        aside = {"a": b"\0odd\xff", RECORD_ASIDE: b"record", **dict.fromkeys(ODD_IDS, b"o")}
        bench.commit(write(3, 2), write(4, 2, {"c": b"c"}, forgotten=["b"], set_aside=aside), write(5, 2, set_aside={"b": b"b"}))
        assert bench.load(4) == StoredSlot(Fence(1, 2, "shard-0"), b"record 2", {"c": b"c"}, frozenset(aside))
        assert [bench.wait(bench.rival.set_aside(slot)) for slot in (3, 4, 5)] == [{}, aside, {"b": b"b"}]
        bench.commit(write(4, 3, {"a": b"again"}, taken_back=["a", RECORD_ASIDE, *ODD_IDS, "never there"]), write(5, 3, replace=True))
        assert bench.load(4) == StoredSlot(Fence(1, 3, "shard-0"), b"record 3", {"c": b"c", "a": b"again"})
        assert bench.load(5).set_aside == {"b"}

    def test_what_is_set_aside_is_fenced_like_all_else(self, bench: JournalBench) -> None:
        bench.own(3, 4)
        bench.commit(write(3, 1, {"a": b"a"}), write(4, 1))
        bench.claim({4: 1}, owner="shard-1")
        with pytest.raises(StaleEpochError):
            bench.commit(write(3, 2, set_aside={"a": b"a"}), write(4, 2))
        assert bench.load(3) == StoredSlot(Fence(1, 1, "shard-0"), b"record 1", {"a": b"a"})

    def test_ten_thousand_sessions_are_set_aside_and_taken_back_at_once(self, bench: JournalBench) -> None:
        bench.own(3)
        values = {f"session-{number}": b"%d" % number for number in range(10_000)}
        bench.commit(write(3, 1, values))
        bench.commit(write(3, 2, set_aside=values))
        assert (bench.load(3).sessions, bench.load(3).set_aside) == ({}, values.keys())
        bench.commit(write(3, 3, values, taken_back=list(values)))
        assert (bench.load(3).sessions, bench.load(3).set_aside) == (values, frozenset())

    def test_a_batch_of_ten_thousand_sessions_is_written_whole(self, bench: JournalBench) -> None:
        bench.own(*range(16))
        values = {f"session-{number}": b"%d" % number * 50 for number in range(10_000)}
        summaries = tuple(b"%d" % number for number in range(200))
        bench.commit(write(0, 1, values), *(write(slot, 1, {"a": b"a"}) for slot in range(1, 16)), finished=summaries)
        assert bench.load(0).sessions == values
        assert bench.load(15).sessions == {"a": b"a"}
        assert bench.finished() == list(summaries)
        bench.commit(write(0, 2, {"last": b"one"}, forgotten=list(values)))
        assert bench.load(0).sessions == {"last": b"one"}

    def test_a_batch_over_five_thousand_slots_is_written_whole(self, bench: JournalBench) -> None:
        bench.open(slots=5_000)
        assert len(bench.wait(bench.journal.claim(dict.fromkeys(range(5_000), 0), owner="shard-0"))) == 5_000
        bench.commit(*(write(slot, 1, {str(slot): b"x"}) for slot in range(5_000)))
        bench.wait(bench.journal.touch(dict.fromkeys(range(5_000), 1), alive_at=1_500.0))
        fences = bench.wait(bench.journal.fences())
        assert len(fences) == 5_000
        assert set(fences.values()) == {Fence(1, 1, "shard-0")}
        assert bench.load(4_999).sessions == {"4999": b"x"}

    def test_a_ping_changes_nothing(self, bench: JournalBench) -> None:
        bench.own(3)
        before = bench.everything(3)
        bench.wait(bench.journal.ping())
        assert bench.everything(3) == before


class JournalContract(ClaimContract, FenceContract, WipeContract, LeaseContract, SlotContract):
    """All of it."""
