"""
Which shards there are to be, which there are, and who is on its way out.

Theory of operation. A shard that the plan has no place for (there are to be fewer) *leaves*: its slots go to others, then it is
ended. One that is to be renewed (a rollout, a node that is drained, a node that joined) leaves the same way, and is created again
under its name, on the node where it belongs. One at a time, and only while all else is as it should be: what goes wrong comes first. A
shard that is alone is renewed behind a *stand-in*, one shard more for as long as it takes. So no slot is without an owner for longer
than its move takes.

It knows what the directory saw, and gives no orders: `orders.py` moves slots, `steward.py` has the hands. Times are in
seconds since the epoch.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

import structlog

from actors.directory import placement
from actors.directory.placement import Node
from actors.directory.plan import Plan
from actors.health import Health
from storage.journal import Fence

log = structlog.get_logger(__name__)


class Patience(NamedTuple):
    """How long the directory waits; in seconds. Simulations stretch it."""

    lost_after_s: float = 5.0
    """A shard that has left questions unanswered for so long loses its slots."""
    starting_s: float = 20.0
    """A shard that has not said anything since the directory began is waited for that long."""
    create_again_s: float = 5.0
    """Between two attempts to create a shard that is gone."""


class Fleet:
    """The shards: wanted, known, leaving, and on which node each lives."""

    def __init__(self, plan: Plan, *, name: Callable[[int], str], patience: Patience, now: float) -> None:
        self.plan = plan
        self.healths: Mapping[str, Health] = {}
        """What those said that answered in the last round."""
        self.nodes: Sequence[Node] = ()
        self.renewing: str | None = None
        self._name = name
        self._patience = patience
        self._began_at = now
        self._stand_in = False
        self._first = set(self.wanted)
        """Slots wait for these, as long as they have not said anything."""
        self._met: set[str] = set()
        self._heard_at: dict[str, float] = {}
        self._asked_at = now
        self._missed_since: dict[str, float] = {}
        """When those were asked first that have not answered since. While nobody asks, silence says nothing."""
        self._created_at: dict[str, float] = {}
        self._placed: dict[str, str] = {}
        """Node by shard, as it was created or last heard."""
        self._restarts: dict[str, int] = {}
        self._incarnations: dict[str, str] = {}

    @property
    def wanted(self) -> list[str]:
        """Return the shards that there are to be."""
        return [self._name(index) for index in range(self.plan.shards + self._stand_in)]

    @property
    def strays(self) -> list[str]:
        """Return the shards that there are, or may be, and that there are not to be."""
        return sorted(self._met - set(self.wanted))

    @property
    def known(self) -> list[str]:
        """Return all of them."""
        return [*self.wanted, *self.strays]

    @property
    def leaving(self) -> frozenset[str]:
        """Return those that are to give up what they have."""
        return frozenset(self.strays) | ({self.renewing} if self.renewing else frozenset())

    def meet(self, shards: Collection[str]) -> None:
        """Hear which shards lived before this directory."""
        self._met |= set(shards)
        self._first |= set(shards)

    def restarts(self, shard: str) -> int:
        """Return how often a shard was restarted without being asked to."""
        return self._restarts.get(shard, 0)

    def hear(self, healths: Mapping[str, Health], *, asked: Collection[str], asked_at: float, now: float) -> None:
        """Hear how those shards are that answered, of those that were asked."""
        self.healths = healths
        self._met |= healths.keys()
        self._asked_at = asked_at
        self._missed_since = {name: self._missed_since.get(name, asked_at) for name in asked if name not in healths}
        for name, health in healths.items():
            self._heard_at[name] = now
            self._placed[name] = health.node
            if self._incarnations.setdefault(name, health.incarnation) != health.incarnation:
                self._incarnations[name] = health.incarnation
                self._restarts[name] = self.restarts(name) + 1
                log.warning("a shard started again", shard=name, restarts=self._restarts[name])

    def is_awaited(self, shard: str, *, now: float) -> bool:
        """Tell whether a shard that does not answer may in a moment; it keeps what it has."""
        if shard in self._heard_at:
            return self._asked_at - self._missed_since.get(shard, self._asked_at) < self._patience.lost_after_s
        return shard in self._first and now - self._began_at < self._patience.starting_s

    def silent_s(self, shard: str, *, now: float) -> float | None:
        """Return how long a shard has not been heard; None: it never was."""
        heard_at = self._heard_at.get(shard)
        return None if heard_at is None else now - heard_at

    def due(self, *, now: float) -> dict[str, str | None]:
        """Return the shards that have to be created now, each with its node; None: wherever there is room."""
        among = placement.homes(self.nodes, drained=self.plan.drained)
        living = {shard: self._placed.get(shard, "") for shard in self.healths}
        due: dict[str, str | None] = {}
        for shard in self.wanted:
            if shard in self.healths or now - self._created_at.get(shard, float("-inf")) < self._patience.create_again_s:
                continue
            self._created_at[shard] = now
            due[shard] = node = placement.emptiest(among, living=living)
            living[shard] = self._placed[shard] = node or ""
        return due

    def outdated(self) -> list[str]:
        """Return the shards that are to be renewed, in the order in which they are: by the plan, or to live elsewhere."""
        planned = {self._name(index): self.healths.get(self._name(index)) for index in range(self.plan.shards)}
        living = {shard: health for shard, health in planned.items() if health is not None}
        by_plan = [shard for shard, health in living.items() if health.incarnation in self.plan.outdated]
        among = placement.homes(self.nodes, drained=self.plan.drained)
        elsewhere = placement.misplaced({shard: health.node for shard, health in living.items()}, among=among)
        return [*by_plan, *(shard for shard in elsewhere if shard not in by_plan)]

    def choose(self, *, even: bool) -> None:
        """Decide who is renewed next; `even`: every slot is where it belongs."""
        outdated = self.outdated()
        self._stand_in = self.plan.shards == 1 and bool(outdated)
        if self.renewing in self.healths and self.renewing not in outdated:
            self.renewing = None
        if self.renewing is None and outdated and even and self.is_whole():
            self.renewing = outdated[0]
            log.info("a shard is to be replaced: its slots go to others first", shard=self.renewing, node=self.healths[self.renewing].node)

    def is_whole(self) -> bool:
        """Tell whether there is every shard that there is to be, well, and no other."""
        return not self.strays and all(
            shard in self.healths and self.healths[shard].recovered and self.healths[shard].journal_up for shard in self.wanted
        )

    def emptied(self, fences: Mapping[int, Fence], *, now: float) -> list[str]:
        """Return those of the leaving that hold nothing any more, and can be ended."""
        owners = {fence.owner for fence in fences.values()}
        return [shard for shard in sorted(self.leaving - owners) if self._is_idle(shard, now=now)]

    def _is_idle(self, shard: str, *, now: float) -> bool:
        health = self.healths.get(shard)
        if health is None:
            return not self.is_awaited(shard, now=now)
        return health.recovered and not health.serving and not health.coming

    def forget(self, shard: str) -> None:
        """Hear that a shard was ended; if there is to be one of this name, it is a new one."""
        self.healths = {name: health for name, health in self.healths.items() if name != shard}
        self._met.discard(shard)
        self._first.discard(shard)
        for kept in (self._heard_at, self._missed_since, self._created_at, self._placed, self._incarnations):
            kept.pop(shard, None)
        if shard == self.renewing:
            self.renewing = None
