"""
What the cluster is to look like: how many shards, on which nodes none, and which of them are to be renewed.

People change it (`headcount scale`, `drain`, `rollout`); the directory keeps it with the data set, so that a directory that begins
anew, and the next start, go on with it; by name, so that it grows by fields with a default: a build ignores what it does not know. Pure: how the cluster gets there is the business of `fleet.py` and `orders.py`.
"""

import json
from dataclasses import asdict, dataclass, replace


class PlanRefusedError(Exception):
    """This cannot be wanted; the message is one line that says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The cluster as people want it. A plan never changes: `scaled`, `without_node` and the others return a new one."""

    shards: int
    run: str = ""
    """Whose setting it has heard last: one that is set explicitly counts once, at the start of its run."""
    drained: tuple[str, ...] = ()
    """Nodes that are to have no shard, by Ray's id."""
    outdated: tuple[str, ...] = ()
    """Incarnations of shards that are to be replaced by new ones."""

    @classmethod
    def begin(cls, stored: bytes | None, *, run: str, shards: int, shards_are_set: bool) -> "Plan":
        """
        Return what a directory begins with.

        `shards`: the setting. It is what a new data set begins with; where one is there, what was planned last stands, unless
        the setting is an explicit one of a run that has not been heard yet.
        """
        if stored is None:
            return cls(shards, run)
        values = json.loads(stored)
        plan = cls(int(values["shards"]), str(values.get("run", "")), tuple(values.get("drained", ())), tuple(values.get("outdated", ())))
        if shards_are_set and plan.run != run:
            plan = replace(plan, shards=shards)
        return replace(plan, run=run)

    def encode(self) -> bytes:
        """Return the bytes that `begin` takes."""
        return json.dumps(asdict(self), sort_keys=True).encode()

    def scaled(self, shards: int, *, slots: int) -> "Plan":
        """Return it with another number of shards. Raises `PlanRefusedError`."""
        if not 1 <= shards <= slots:
            raise PlanRefusedError(
                f"the number of shards must be from 1 to {slots}, not {shards}: each shard owns at least one of the {slots} slots"
            )
        return replace(self, shards=shards)

    def without_node(self, node: str) -> "Plan":
        """Return it with a node drained."""
        return replace(self, drained=(*(each for each in self.drained if each != node), node))

    def with_node(self, node: str) -> "Plan":
        """Return it with a node no longer drained."""
        return replace(self, drained=tuple(each for each in self.drained if each != node))

    def renewing(self, incarnations: tuple[str, ...]) -> "Plan":
        """Return it with these incarnations to be replaced."""
        return replace(self, outdated=incarnations)
