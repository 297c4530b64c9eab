"""
Every part of a machine's tracker killed or held, under players who beat: nothing acknowledged is lost and nobody is expired.

The short form, the commonest faults once under one crowd, is part of `make test`; the long form is `make chaos`.
"""

from collections.abc import Callable

import pytest

from tests.chaos.faults import Fault, cases
from tests.chaos.ordeal import agree, suffer
from tests.chaos.scene import Scene
from tests.chaos.table import Row


@pytest.mark.parametrize(("fault", "times", "keep"), cases(valved=False))
def test_nothing_acknowledged_is_lost_and_nobody_is_expired(
    scene: Scene, fault: Fault, times: int, keep: bool, row: Callable[[str], Row]
) -> None:
    suffer(scene, fault, row(fault.name), times=times, keep=keep)


@pytest.mark.parametrize("form", ["short", pytest.param("long", marks=pytest.mark.long)])
def test_in_the_end_crowd_and_tracker_agree_on_every_session(scene: Scene, form: str) -> None:
    agree(scene)
