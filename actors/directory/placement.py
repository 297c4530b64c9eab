"""
On which node a shard belongs: evenly, and on none that is to be stopped.

Pure arithmetic over names. It does not know how a shard gets to a node (`fleet.py` has it ended and created anew).
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

from actors.directory.plan import PlanRefusedError

PREFIX_CHARS_MIN: Final = 4
"""So much of a node's id must be named at least."""


class Node(NamedTuple):
    """A machine of the cluster, as Ray has it."""

    node_id: str
    address: str
    takes_shards: bool
    """It has processors to give, or is one of those that are marked for shards."""
    is_head: bool = False
    """Ray's head, and with it directory and exporter, are there."""


def homes(nodes: Sequence[Node], *, drained: Collection[str]) -> list[str]:
    """Return the nodes that shards may live on; none: nothing is known of nodes, or no choice is left, and Ray may choose."""
    return [node.node_id for node in nodes if node.takes_shards and node.node_id not in drained]


def emptiest(among: Sequence[str], *, living: Mapping[str, str]) -> str | None:
    """Return the node for one more shard. `living`: node by shard."""
    load = Counter(living.values())
    return min(among, key=lambda node: (load[node], node), default=None)


def misplaced(living: Mapping[str, str], *, among: Sequence[str]) -> list[str]:
    """
    Return the shards that should live elsewhere, the most urgent first.

    Those on nodes that are not `among` the homes; then, if one home has two shards more than another, one of that home's.
    """
    if not among:
        return []
    homeless = [shard for shard, node in sorted(living.items()) if node not in among]
    if homeless:
        return homeless
    load = Counter(living.values())
    fullest = max(among, key=lambda node: (load[node], node))
    if load[fullest] - min(load[node] for node in among) < 2:  # noqa: PLR2004 - a difference of one is even
        return []
    return [max(shard for shard, node in living.items() if node == fullest)]


def find(named: str, nodes: Sequence[Node]) -> Node:
    """Return the node that an operator names, by its address or by the beginning of its id. Raises `PlanRefusedError`."""
    found = [node for node in nodes if node.address == named or (len(named) >= PREFIX_CHARS_MIN and node.node_id.startswith(named))]
    if len(found) != 1:
        what = "no node" if not found else f"{len(found)} nodes"
        raise PlanRefusedError(
            f"{what} called {named}: name one by its address, or by the beginning of its id, as `headcount status` shows it"
        )
    return found[0]


def require_another_home(nodes: Sequence[Node], *, drained: Collection[str]) -> None:
    """Raise `PlanRefusedError` if shards would have no node left."""
    if not homes(nodes, drained=drained):
        raise PlanRefusedError("no other node takes shards: start one first")
