"""
Whether we were there: how much of the time that went by was an outage of ours, and must cost nobody.

Theory of operation: a shard accounts for time. Up to `accounted_at` every second was either lived (the journal took a sign of
life and the front door was open) or added to the pauses of all its slots. Each entry into the shard asks `arrive` first. Two things are
outages, and the whole of each is to be paused: time in which players were turned away because the journal did not answer, however short; and
more than `gap_s` of which nothing is known, since nobody could have reached us (SIGSTOP, a sleeping laptop, the front door away). A journal that
is merely slow, while players are answered, is neither. Whether the front door is open, the directory says every second, and every player's
request proves; with neither for `door_word_s` it is not known, and that is taken for a door that is shut: nobody is expired on a guess. What is written as `alive_at` is never later than what is accounted for, so a
successor computes the same outage from the journal.

It knows no clock and no journal.
"""

from typing import Final, NamedTuple

from storage.backoff import Backoff


class Rhythm(NamedTuple):
    """How often a shard looks around; in seconds. Simulations stretch it."""

    tick_s: float = 0.25
    """Between two looks for deadlines that passed."""
    touch_s: float = 1.0
    """Between two signs of life in the journal."""
    gap_s: float = 5.0
    """A silence longer than this is an outage of ours."""
    door_word_s: float = 10.0
    """How long "the front door is up" is believed without being said again, or proven by a player: its teller may have died, and the door be shut."""
    retry_first_s: float = 0.1
    """Before the first repetition of what the journal did not answer; doubles up to `retry_most_s` (`storage/backoff.py`)."""
    retry_most_s: float = 1.0

    def backoff(self, shard: str) -> Backoff:
        """Return the pauses of something that a shard tries until it is done; each shard has its own."""
        return Backoff(first_s=self.retry_first_s, most_s=self.retry_most_s, seed=shard)


RHYTHM: Final = Rhythm()


class Outages:
    """Tells the time that one shard lived from its outages. Times are the server's, in seconds since the epoch."""

    def __init__(self, *, gap_s: float, door_word_s: float) -> None:
        self._gap_s = gap_s
        self._refused = False
        """Players were turned away since the last sign of life."""
        self._door_word_s = door_word_s
        self._accounted_at: float | None = None
        self._door_open_until = float("inf")
        """Until somebody has said how the front door is, it is taken for open."""

    def arrive(self, now: float) -> float:
        """Return the seconds of outage that have just ended (0.0: there was none), and account for them."""
        if self._accounted_at is None:
            self._accounted_at = now
            return 0.0
        gap = now - self._accounted_at
        if gap <= 0.0 or (gap <= self._gap_s and not self._refused):
            return 0.0
        self._accounted_at = now
        self._refused = False
        return gap

    def refuse(self) -> None:
        """Hear that players are turned away: until the journal takes something again, no time counts as lived."""
        self._refused = True

    def tell_door(self, *, up: bool, now: float) -> None:
        """Hear whether the front door answers."""
        self._door_open_until = now + self._door_word_s if up else float("-inf")

    def hear_player(self, now: float) -> None:
        """Hear that a player has reached us: the front door is open, whatever was said of it."""
        self._door_open_until = max(self._door_open_until, now + self._door_word_s)

    def door_is_down(self, now: float) -> bool:
        """Tell whether players cannot reach us, or nobody can say that they can."""
        return now >= self._door_open_until

    def alive_at(self, now: float) -> float:
        """Return what to write as the last sign of life: while the front door is down, time does not count as lived."""
        if self.door_is_down(now) and self._accounted_at is not None:
            return self._accounted_at
        return now

    def lived(self, alive_at: float) -> None:
        """Account for the time up to a sign of life that the journal took."""
        if not self._refused and (self._accounted_at is None or alive_at > self._accounted_at):
            self._accounted_at = alive_at

    def behind_s(self, now: float) -> float:
        """Return the seconds that are not accounted for yet."""
        return 0.0 if self._accounted_at is None else max(0.0, now - self._accounted_at)
