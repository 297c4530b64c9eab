"""
What "ready" means: whether players would be served now, judged from looks at the cluster.

A slot that its owner gave up by plan (`headcount scale`, `rollout`, `drain`) has no owner for some tenths of a second, and players who
send meanwhile are answered a moment later: that is no fault, and load balancers must not hear of it. So a slot that was served, and that is
now *handed over* (the journal says that its owner gave it up, or a shard says that it is taking it), counts as served for `HAND_OVER_S`. A slot
that was lost in any other way is missing until somebody serves it.

The journal and the shards are asked one after the other, while slots move: what a look finds wrong counts only if a second look finds it, too.
Pure: it does not know how anybody is asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from sessions.words import counted

HAND_OVER_S: Final = 5.0
"""A slot that is handed over takes some tenths of a second. One that takes longer is missing: players will be refused after 10 s."""
SLOW_COMMIT_S: Final = 0.5
"""A journal whose last write took longer is called slow."""
JOURNAL_AWAY: Final = "the journal does not answer"


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether players would be served now, and if not, why."""

    slots: int
    served: int
    """Slots whose owner answers and holds them, and those that are being handed over."""
    problems: tuple[str, ...] = ()
    journal_is_slow: bool = False
    """A write takes longer than `SLOW_COMMIT_S`: players are served, late."""

    @property
    def ready(self) -> bool:
        """Say whether nothing is missing."""
        return not self.problems


class Look(NamedTuple):
    """What the journal and the shards said when they were asked once."""

    journal_answers: bool
    given_up: frozenset[int]
    """Slots that their owner gave up, and that nobody has claimed since, as the journal says."""
    statuses: Mapping[str, Mapping[str, Any] | None]
    """What each owner of a slot said of itself; None: it did not answer."""

    @property
    def served(self) -> frozenset[int]:
        """Return the slots that a shard holds."""
        return frozenset(slot for status in self.statuses.values() if status for slot in status["epochs"])

    @property
    def handed_over(self) -> frozenset[int]:
        """Return the slots that are on their way from one owner to another."""
        coming = {slot for status in self.statuses.values() if status for slot in status.get("coming", ())}
        return (self.given_up | coming) - self.served

    @property
    def silent(self) -> frozenset[str]:
        """Return the owners that do not answer."""
        return frozenset(shard for shard, status in self.statuses.items() if status is None)

    @property
    def unheard(self) -> list[str]:
        """Return the shards that get no answer from the journal."""
        return [shard for shard, status in self.statuses.items() if status and not status["journal_up"]]

    @property
    def journal_is_slow(self) -> bool:
        """Tell whether a shard's last write took long."""
        return any(status["last_commit_s"] > SLOW_COMMIT_S for status in self.statuses.values() if status)


@dataclass(frozen=True, slots=True)
class Seen:
    """What earlier looks showed: when each slot that has been well since was last served, in monotonic seconds."""

    served_at: Mapping[int, float] = field(default_factory=dict)


def judge(seen: Seen, looks: Sequence[Look], *, slots: int, now: float) -> tuple[Readiness, Seen]:
    """Return whether players would be served, from one look or from two soon after each other, and what to remember."""
    last = looks[-1]
    served = frozenset[int]().union(*(look.served for look in looks))
    moving = {
        slot: served_at
        for slot, served_at in seen.served_at.items()
        if slot not in served and slot in last.handed_over and now - served_at <= HAND_OVER_S
    }
    well = {**dict.fromkeys(served, now), **moving}
    silent = sorted(frozenset.intersection(*(look.silent for look in looks)))
    problems = [JOURNAL_AWAY] * (not last.journal_answers)
    for shard in sorted(last.statuses):
        if shard in silent:
            problems.append(f"{shard} does not answer")
        elif shard in last.unheard and JOURNAL_AWAY not in problems:
            # The journal answers us, and still nobody can be acknowledged: what is written does not get through.
            problems.append(f"{shard} gets no answer from the journal")
    if len(well) < slots:
        problems.append(f"{slots - len(well)} of {counted(slots, 'slot is', 'slots are')} not served")
    return Readiness(slots, len(well), tuple(problems), journal_is_slow=last.journal_is_slow), Seen(well)
