"""
The slots that a shard holds: the one place that takes them in and lets go of them. Everybody else reads.

It does not know why: a slot is taken once it was claimed and loaded (`shard.py`), and let go of when it was given up or
turned out to be somebody else's (both `writing.py`).
"""

from collections.abc import Iterable, Mapping

from actors.shard.held_slot import HeldSlot


class Holdings:
    """The slots that one shard serves."""

    def __init__(self) -> None:
        self._by_slot: dict[int, HeldSlot] = {}
        self.by_slot: Mapping[int, HeldSlot] = self._by_slot
        """What is held now, by number: always the same mapping, which changes with `take` and `let_go` alone."""

    def take(self, held: HeldSlot) -> None:
        """Serve a slot from now on."""
        self._by_slot[held.slot] = held

    def let_go(self, slots: Iterable[int]) -> dict[int, int]:
        """Serve these slots no longer; return the epochs of those that were held."""
        return {slot: self._by_slot.pop(slot).epoch for slot in slots if slot in self._by_slot}
