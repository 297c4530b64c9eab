"""
The ledger's counters over all slots: sums of what each slot last said, which never fall.

A slot that is between two owners keeps what it last said. If a successor's ledger is behind (its predecessor had shown
what it then could not commit), the slot's counters stand until they are reached again: a fall would look like a reset
of the whole sum. They are back in step as soon as the players' repeated requests are counted. A ledger that has fallen to less than half began
anew, its data is lost: what it counts from then on is added, as Prometheus itself does at a reset; else it would stand still for months.
"""

from collections.abc import Mapping
from typing import Final

from sessions.changes import Key, Ledger

_PLAIN: Final = ("started", "provisional", "promoted", "revived", "expired")


class Ledgers:
    """Running sums, kept with a cost proportional to what changed."""

    def __init__(self, *, slots: int = 0) -> None:
        self._expected = slots
        self._slots: dict[int, dict[Key, int]] = {}
        self._sums: dict[Key, int] = {}

    @property
    def complete(self) -> bool:
        """
        Tell whether every slot has said its ledger.

        A sum over some of them is not to be shown: the next scrape would show the rest as if it had happened in between.
        """
        return len(self._slots) >= self._expected

    @property
    def sums(self) -> Mapping[Key, int]:
        """Counts by (field,), or ("ended", reason)."""
        return self._sums

    def take(self, slot: int, ledger: Ledger) -> None:
        """Replace what this slot says."""
        floor = self._slots.setdefault(slot, {})
        opened = ledger.started + ledger.provisional
        if opened < (floor.get(("started",), 0) + floor.get(("provisional",), 0)) / 2:
            floor.clear()
        said: list[tuple[Key, int]] = [((name,), getattr(ledger, name)) for name in _PLAIN]
        said += [(("ended", reason), count) for reason, count in ledger.ended.items()]
        for key, count in said:
            more = count - floor.get(key, 0)
            if more > 0:
                floor[key] = count
                self._sums[key] = self._sums.get(key, 0) + more
