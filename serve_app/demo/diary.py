"""
What one viewer lived through: the inputs as they were sent, by sitting.

A diary is a list of stamped inputs, and one such list for each sitting: who fell silent for too long and came back sits down anew.
Nothing is added up before somebody asks; then each list is gone through once (`reckoning.py`). It is not always known whether a session
expired before it went on; then both ways are gone, and what differs is a span. This is a second computation: it shares nothing with `sessions/`.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from math import inf
from typing import Final

from serve_app.demo.reckoning import Account, Entry, Key, Sitting

WINDOW_S: Final = 60.0
"""Inputs this much older than the newest move nothing."""
OUTCOME_S: Final = 600.0
"""Who has been silent for so long since it was noticed does not come back: how it went is counted."""
FAILURE_S: Final = 30.0
"""Who has not got over a fatal error within this time has failed."""
TICK_S: Final = 1.0
"""How late the tracker may notice either."""


class Diary:
    """All sittings of one session."""

    def __init__(self, *, beacon: bool) -> None:
        self._beacon = beacon
        self._sittings = [Sitting()]
        self._closed_at = -inf
        self.newest = -inf
        """The newest stamp."""
        self.only_ended = False
        """Nothing was heard of it but its end: nobody knows how it went."""
        self.failed = (-inf, -inf)
        """When its last fatal error was told, at the earliest and at the latest (server's time)."""

    def begin(self, stamp: float) -> None:
        """Begin after an end: what is older belongs to the viewing before."""
        self._closed_at = stamp

    def is_late(self, stamp: float) -> bool:
        """Tell whether an input would move nothing."""
        return stamp < self.newest - WINDOW_S or stamp < self._closed_at

    def note(self, entry: Entry) -> bool:
        """Take down an input; False: it comes too late."""
        if self.is_late(entry.stamp):
            return False
        self._sittings[-1].entries.append(entry)
        self.newest = max(self.newest, entry.stamp)
        return True

    def finish(
        self, *, certain: bool, provisional: bool, watched_told_s: float | None = None, gone: tuple[float, float] | None = None
    ) -> None:
        """Close a sitting: it ended, or fell silent."""
        sitting = self._sittings[-1]
        sitting.gone = gone
        sitting.over, sitting.provisional, sitting.watched_told_s = "certain" if certain else "possible", provisional, watched_told_s
        if certain:
            self._closed_at = self.newest
        self._sittings.append(Sitting())

    def playback(self) -> str:
        """Return what the player does, by all that it said so far."""
        account = Account(self._beacon)
        for sitting in self._sittings:
            account.sit(sitting.entries)
        return account.state

    def outcomes(self, *, now: float = inf) -> Iterator["Account"]:
        """Yield what must be counted of it by `now`, once for each way that it may have gone."""
        doubts = [number for number, sitting in enumerate(self._sittings) if sitting.over == "possible"]
        last = max((number for number, sitting in enumerate(self._sittings) if sitting.over), default=-1)
        is_last = not (self._sittings and any(sitting.entries for sitting in self._sittings[last + 1 :]))
        gone = self._sittings[last].gone if last >= 0 and is_last else None
        ended = last >= 0 and is_last and gone is None
        told = (False,) if self.only_ended or not is_last or last < 0 else (True,) if ended else _since(gone, OUTCOME_S, now)
        failed = (False,) if self.only_ended else _since(self.failed, FAILURE_S, now)
        for outcome, failure, *answers in product(told, failed, *((False, True),) * min(len(doubts), 4)):
            happened = dict(zip(doubts, answers, strict=False))
            account = Account(self._beacon)
            entries: list[Entry] = []
            for number, sitting in enumerate(self._sittings):
                entries += sitting.entries
                if sitting.over == "certain" or happened.get(number):
                    account.sit(entries)
                    account.finish(sitting, only_ended=self.only_ended)
                    entries = []
            account.sit(entries)
            if outcome:
                account.tell(self._sittings[last])
            elif failure:
                account.fail()
            yield account


def _since(when: tuple[float, float] | None, after_s: float, now: float) -> tuple[bool, ...]:
    """Tell whether it is `after_s` later already; both, if nobody outside can know."""
    earliest, latest = when or (inf, inf)
    return (False,) if now < earliest + after_s else (True,) if now > latest + after_s + TICK_S else (False, True)


def spans(outcomes: Iterable[Account]) -> Mapping[Key, tuple[float, float]]:
    """Return the least and the most of each count, over all ways that a session may have gone."""
    ways = list(outcomes)
    return {
        key: (
            min(way.counted.get(key, 0.0) - way.slack.get(key, 0.0) for way in ways),
            max(way.counted.get(key, 0.0) + way.slack.get(key, 0.0) for way in ways),
        )
        for key in {key for way in ways for key in way.counted}
    }
