"""Shards are spread evenly over the nodes that take them, and what cannot be drained is refused in one line."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.directory.placement import Node, emptiest, find, homes, misplaced, require_another_home
from actors.directory.plan import PlanRefusedError

HEAD = Node("0head", "10.0.0.1", takes_shards=False, is_head=True)
NODES = [HEAD, *(Node(f"{letter}aaaa", f"10.0.0.{number}", takes_shards=True) for number, letter in enumerate("bcd", start=2))]


def test_shards_live_where_they_are_taken_and_on_no_drained_node() -> None:
    assert homes(NODES, drained=["caaaa"]) == ["baaaa", "daaaa"]


def test_a_new_shard_goes_to_the_emptiest_node() -> None:
    assert emptiest(["a", "b"], living={"s0": "a", "s1": "elsewhere"}) == "b"
    assert emptiest([], living={}) is None


def test_a_shard_on_a_node_that_is_no_home_is_misplaced() -> None:
    assert misplaced({"s0": "a", "s1": "drained", "s2": "drained"}, among=["a", "b"]) == ["s1", "s2"]


def test_a_node_that_joins_is_given_a_share_if_others_have_two_more() -> None:
    assert misplaced({"s0": "a", "s1": "a", "s2": "b"}, among=["a", "b", "new"]) == ["s1"]
    assert misplaced({"s0": "a", "s1": "b"}, among=["a", "b", "new"]) == []


def test_where_nothing_is_known_of_nodes_nothing_is_misplaced() -> None:
    assert misplaced({"s0": ""}, among=[]) == []


@given(st.lists(st.sampled_from("abcx"), max_size=12), st.lists(st.sampled_from("abc"), min_size=1, unique=True))
def test_moving_one_after_the_other_ends_evenly_spread(where: list[str], among: list[str]) -> None:
    living = {f"s{number:02}": node for number, node in enumerate(where)}
    for _ in range(2 * len(living) + 1):
        wrong = misplaced(living, among=among)
        if not wrong:
            break
        node = emptiest(among, living={shard: home for shard, home in living.items() if shard != wrong[0]})
        assert node is not None
        living[wrong[0]] = node
    load = Counter(dict.fromkeys(among, 0))
    load.update(living.values())
    assert set(load) == set(among)
    assert max(load.values()) - min(load.values()) <= 1


@pytest.mark.parametrize("named", ["10.0.0.3", "caaa", "caaaa"])
def test_a_node_is_named_by_its_address_or_the_beginning_of_its_id(named: str) -> None:
    assert find(named, NODES).node_id == "caaaa"


@pytest.mark.parametrize(("named", "problem"), [("caa", "no node"), ("nowhere", "no node"), ("127.0.0.1", "2 nodes")])
def test_a_name_that_is_not_one_node_s_is_refused(named: str, problem: str) -> None:
    twins = [Node(f"{letter}twin", "127.0.0.1", takes_shards=True) for letter in "xy"]
    with pytest.raises(PlanRefusedError, match=f"^{problem} called {named}"):
        find(named, [*NODES, *twins])


def test_the_last_node_is_not_drained() -> None:
    require_another_home(NODES, drained=["baaaa", "caaaa"])
    with pytest.raises(PlanRefusedError, match="no other node"):
        require_another_home(NODES, drained=["baaaa", "caaaa", "daaaa"])
