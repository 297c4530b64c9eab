"""What a slot hands to the exporter, and under which number."""

from actors.shard.held_slot import HeldSlot
from sessions.changes import Ledger, Policy
from sessions.tracker import Tracker
from storage.codec import SlotRecord
from tests.unit.inputs import beat


def held(*, batch: int) -> HeldSlot:
    """A slot that has something to hand, its numbers beginning behind `batch`."""
    slot = HeldSlot(Tracker(0, policy=Policy()), epoch=1, record=SlotRecord(ledger=Ledger(), batch=batch))
    slot.tracker.receive(beat(0), now=0)
    slot.settle(slot.encode())
    return slot


def test_what_is_acknowledged_by_its_own_number_is_let_go_of() -> None:
    slot = held(batch=4)
    batch, increments = slot.offer()
    assert (batch, increments["heartbeats",]) == (5, 1)
    slot.acknowledge(5)
    assert slot.offer() == (0, {})


def test_an_older_number_acknowledges_nothing() -> None:
    slot = held(batch=4)
    slot.acknowledge(4)
    assert slot.offer()[0] == 5


def test_a_slot_whose_numbers_were_lost_goes_on_behind_those_that_the_exporter_knows() -> None:
    slot = held(batch=4)
    # The exporter has added 1,000 batches of the life before, and takes 5 for one of them.
    slot.acknowledge(1_000)
    assert slot.offer() == (0, {})
    assert slot.has_changes()
    slot.settle(slot.encode())
    batch, increments = slot.offer()
    assert (batch, increments["heartbeats",]) == (1_001, 1)
    slot.acknowledge(1_001)
    assert slot.offer() == (0, {})
