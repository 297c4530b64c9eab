"""What a shard holds is taken and let go of in one place."""

from actors.shard.held_slot import HeldSlot
from actors.shard.holdings import Holdings
from sessions.changes import Ledger, Policy
from sessions.tracker import Tracker
from storage.codec import SlotRecord


def held(slot: int, *, epoch: int) -> HeldSlot:
    return HeldSlot(Tracker(slot, policy=Policy()), epoch=epoch, record=SlotRecord(ledger=Ledger()))


def test_what_is_taken_is_seen_by_whoever_reads_until_it_is_let_go_of() -> None:
    holdings = Holdings()
    seen = holdings.by_slot
    first, second = held(3, epoch=5), held(4, epoch=6)
    holdings.take(first)
    holdings.take(second)
    assert seen == {3: first, 4: second}
    assert holdings.let_go([3]) == {3: 5}
    assert seen == {4: second}


def test_a_slot_that_is_not_held_is_let_go_of_in_silence() -> None:
    holdings = Holdings()
    holdings.take(held(3, epoch=5))
    assert holdings.let_go([7, 3, 3]) == {3: 5}
    assert holdings.let_go([3]) == {}
