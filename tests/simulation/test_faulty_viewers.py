"""
Ten thousand faulty viewers, each in the tracker and in the independent model (`tests/viewers`), side by side: counts agree exactly, seconds within 1 %.

`make explore` lives a million other ones: HEADCOUNT_FAULTY_SESSIONS says how many, HEADCOUNT_SIMULATION_SEED which. A failure
tells the whole story of the three shortest lives that disagree.
"""

import os
from typing import Final

import pytest

from tests.viewers.beside import Pair, beside, story

SESSIONS: Final = int(os.environ.get("HEADCOUNT_FAULTY_SESSIONS", "10000"))
SEED: Final = os.environ.get("HEADCOUNT_SIMULATION_SEED", "1")
BLOCKS: Final = 20
TOLD_MAX: Final = 50


@pytest.mark.parametrize("block", range(BLOCKS))
def test_faulty_viewers_count_as_the_independent_model_says(block: int) -> None:
    wrong: list[Pair] = []
    for number in range(block, SESSIONS, BLOCKS):
        pair = beside(f"{SEED}/{number}")
        if pair.problems:
            wrong.append(pair)
        if len(wrong) == TOLD_MAX:
            break
    wrong.sort(key=lambda pair: len(pair.life.requests))
    assert not wrong, f"{len(wrong)} disagree\n" + "\n\n".join(story(pair) for pair in wrong[:3])
