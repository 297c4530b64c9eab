"""The journal's ailments, under players who beat: they get 503 and send again, the number stands, nobody expires, and it heals by itself."""

from collections.abc import Callable

import pytest

from tests.chaos.faults import Fault, cases
from tests.chaos.ordeal import agree, suffer
from tests.chaos.scene import Scene
from tests.chaos.table import Row

VALVED = True


@pytest.mark.parametrize(("fault", "times", "keep"), cases(valved=True))
def test_nothing_acknowledged_is_lost_and_nobody_is_expired(
    scene: Scene, fault: Fault, times: int, keep: bool, row: Callable[[str], Row]
) -> None:
    suffer(scene, fault, row(fault.name), times=times, keep=keep)


@pytest.mark.long
def test_in_the_end_crowd_and_tracker_agree_on_every_session(scene: Scene) -> None:
    agree(scene)
