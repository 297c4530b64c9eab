"""
Who should own which slot: evenly, and with as few moves as possible.

Pure arithmetic over names and numbers. It does not know who is alive, nor how a slot moves (`steward.py` does).
"""

from collections.abc import Mapping, Sequence


def assign(owners: Mapping[int, str], *, shards: Sequence[str], slots: int) -> dict[int, str]:
    """
    Return the slots that must change hands, with their new owners.

    `owners` names who holds a slot now; one that it leaves out, or that is held by nobody in `shards`, is an orphan. Afterwards no
    shard holds more than one slot more than another. Without shards nothing can be done, and nothing is returned.
    """
    if not shards:
        return {}
    held: dict[str, list[int]] = {shard: [] for shard in sorted(shards)}
    homeless: list[int] = []
    for slot in range(slots):
        held.get(owners.get(slot, ""), homeless).append(slot)
    share, extra = divmod(slots, len(held))
    # Those that hold most keep the odd slots: moving them would buy nothing.
    fullest_first = sorted(held, key=lambda shard: (-len(held[shard]), shard))
    room = {shard: share + (rank < extra) for rank, shard in enumerate(fullest_first)}
    for shard, mine in held.items():
        homeless += mine[room[shard] :]
        room[shard] -= min(len(mine), room[shard])
    moves: dict[int, str] = {}
    for slot in homeless:
        emptiest = max(room, key=lambda shard: room[shard])
        room[emptiest] -= 1
        moves[slot] = emptiest
    return moves
