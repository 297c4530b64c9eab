"""
What has to be ordered so that every slot has a living owner: the directory's thinking, without its hands.

Decides who holds which slot, by the journal's fences and by what the shards say of themselves, and from that which shard is to take
or to give up which slots. Pure. It does not know how an order reaches a shard, and nothing is lost if it does not: the
next look at the same world gives the same orders.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from actors.directory.assign import assign
from actors.health import Health
from storage.journal import Fence

MOVES_AT_ONCE_MAX: Final = 16
"""Slots that are on their way by plan at any time: the players of the others notice nothing."""


class Term(NamedTuple):
    """The latest ownership of a slot that is known of."""

    epoch: int
    owner: str


@dataclass(slots=True)
class Orders:
    """By shard."""

    own: dict[str, dict[int, int]] = field(default_factory=dict)
    """Slots to take, with the epoch that must still stand."""
    own_after_wipe: dict[str, dict[int, int]] = field(default_factory=dict)
    """The same for slots that the journal lost, and that nobody holds in memory: their epochs go on from the last known."""
    release: dict[str, list[int]] = field(default_factory=dict)
    """Slots to give up, because somebody else is to have them."""
    to_move: int = 0
    """Slots that are not where they belong, those among them that wait for their turn."""


def latest_terms(known: Mapping[int, Term], fences: Mapping[int, Fence], healths: Mapping[str, Health]) -> dict[int, Term]:
    """Return the latest term of every slot; a journal that lost the data set takes nothing back."""
    terms = dict(known)
    claims = [(slot, Term(fence.epoch, fence.owner)) for slot, fence in fences.items()]
    claims += [(slot, Term(epoch, shard)) for shard, health in healths.items() for slot, epoch in health.serving.items()]
    for slot, term in claims:
        # The fence goes first: only it knows that an owner gave up a slot in the same epoch.
        if slot not in terms or term.epoch > terms[slot].epoch or (term.epoch == terms[slot].epoch and not term.owner):
            terms[slot] = term
    return terms


def orders(
    *,
    terms: Mapping[int, Term],
    fences: Mapping[int, Fence],
    healths: Mapping[str, Health],
    awaited: Collection[str],
    slots: int,
    leaving: Collection[str] = frozenset(),
) -> Orders:
    """
    Return what to order now.

    `healths`: what the living shards say. `awaited`: shards that do not answer, but may in a moment (they start, or restart);
    they keep what is theirs and are given a share, for which the slots wait. A shard that is alone in not reaching the
    journal keeps what is its, and is given nothing: it could not claim it, and the slots would wait for it with nobody to serve them.
    `leaving`: shards that are to give up all they have.

    Who has too many gives up a few at a time, and only to somebody who is there to take them; as long as more than those few
    have no owner, something went wrong, and nothing moves by plan.
    """
    holders = _holders(terms, healths, awaited)
    able = [shard for shard, health in healths.items() if health.journal_up] or list(healths)
    takers = [shard for shard in (*able, *awaited) if shard not in leaving]
    room = MOVES_AT_ONCE_MAX - slots + len({slot for health in healths.values() for slot in health.serving})
    result = Orders()
    for slot, target in assign(holders, shards=takers, slots=slots).items():
        holder = holders.get(slot)
        result.to_move += 1
        if holder in healths and holder not in able:
            continue
        if holder is not None:
            if room > 0 and target in healths and holder in healths and slot in healths[holder].serving:
                room -= 1
                result.release.setdefault(holder, []).append(slot)
        elif target in healths:
            stored = fences[slot].epoch if slot in fences else 0
            known = terms[slot].epoch if slot in terms else 0
            by_shard = result.own_after_wipe if known > stored else result.own
            by_shard.setdefault(target, {})[slot] = max(known, stored)
    return result


def _holders(terms: Mapping[int, Term], healths: Mapping[str, Health], awaited: Collection[str]) -> dict[int, str]:
    holders = {slot: shard for shard, health in healths.items() for slot in health.coming}
    for slot, (_, owner) in terms.items():
        health = healths.get(owner)
        # Whichever epoch it serves the slot in: a claim of its own may be stored before it has heard of it.
        if owner in awaited or (health is not None and (not health.recovered or slot in health.serving)):
            holders.setdefault(slot, owner)
    return holders
