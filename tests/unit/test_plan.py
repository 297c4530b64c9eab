"""What is planned is kept, outlasts directories and starts, and what cannot be is refused in one line."""

import pytest

from actors.directory.plan import Plan, PlanRefusedError


def test_a_new_data_set_begins_with_the_setting() -> None:
    for shards_are_set in (True, False):
        assert Plan.begin(None, run="run-1", shards=3, shards_are_set=shards_are_set) == Plan(3, "run-1")


def test_everything_planned_outlasts_a_directory() -> None:
    plan = Plan(4, "run-1", drained=("node-b",), outdated=("life-1", "life-2"))
    assert Plan.begin(plan.encode(), run="run-1", shards=2, shards_are_set=True) == plan


def test_a_start_without_the_setting_goes_on_with_the_number_of_the_data_set() -> None:
    stored = Plan(4, "run-1").encode()
    assert Plan.begin(stored, run="run-2", shards=2, shards_are_set=False) == Plan(4, "run-2")


def test_an_explicit_setting_wins_at_a_start_and_not_when_the_directory_begins_anew() -> None:
    stored = Plan(4, "run-1").encode()
    started = Plan.begin(stored, run="run-2", shards=2, shards_are_set=True)
    assert started == Plan(2, "run-2")
    scaled = started.scaled(3, slots=8)
    assert Plan.begin(scaled.encode(), run="run-2", shards=2, shards_are_set=True).shards == 3


@pytest.mark.parametrize("shards", [0, -1, 9])
def test_a_number_that_cannot_be_is_refused_in_one_line(shards: int) -> None:
    with pytest.raises(PlanRefusedError, match=f"^the number of shards must be from 1 to 8, not {shards}: ") as refused:
        Plan(2).scaled(shards, slots=8)
    assert "\n" not in str(refused.value)


def test_a_node_is_drained_once_and_taken_back() -> None:
    plan = Plan(2).without_node("a").without_node("b").without_node("a")
    assert sorted(plan.drained) == ["a", "b"]
    assert plan.with_node("a").drained == ("b",)
