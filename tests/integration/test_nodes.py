"""
Nodes lost, joined, drained and without their head, under players (`nodes.py` plays it, once): every slot has an owner within 15 s,
nobody is lost or wrongly expired, and a planned change is noticed by no player.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from storage.embedded import EmbeddedValkey

PROGRAM = Path(__file__).with_name("nodes.py")
OWNED_WITHIN_S = 15.0
PLAYED_WITHIN_S = 240.0

Scenes = Mapping[str, Mapping[str, Any]]


@pytest.fixture(
    scope="module",
    params=[pytest.param(8.0, id="head-away-8s"), pytest.param(30.0, id="head-away-30s", marks=pytest.mark.long)],
)
def scenes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Scenes:
    """What was seen in each scene."""
    folder = tmp_path_factory.mktemp("nodes")
    journal = EmbeddedValkey(folder / "valkey")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_") and name != "PYTHONPATH"}
    try:
        # -P: what is tested is the installed package.
        played = subprocess.run(
            [sys.executable, "-P", PROGRAM, journal.start(), str(request.param)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PLAYED_WITHIN_S,
            check=False,
        )
    finally:
        journal.stop()
    assert played.returncode == 0, played.stdout + played.stderr[-5_000:]
    told = [json.loads(line) for line in played.stdout.splitlines() if line.startswith('{"scene"')]
    return {scene["scene"]: scene for scene in told}


def test_shards_are_spread_over_the_nodes_and_none_is_on_the_head_where_the_directory_is(scenes: Scenes) -> None:
    scene = scenes["spread at first"]
    assert (scene["shards"], scene["on_head"]) == ([1, 1, 2], 0)
    assert scene["lead_on_head"] == {"headcount-directory": True, "headcount-exporter": True}


def test_a_lost_node_s_slots_are_owned_elsewhere_and_its_players_heard_within_15_s(scenes: Scenes) -> None:
    scene = scenes["a node lost"]
    assert scene["lost_shards"] == 2
    assert scene["owned_s"] <= OWNED_WITHIN_S
    assert scene["heard_s"] <= OWNED_WITHIN_S
    assert (scene["shards"], scene["on_head"]) == ([2, 2], 0)


def test_a_node_that_joins_takes_its_share_and_no_player_notices(scenes: Scenes) -> None:
    scene = scenes["a node joined"]
    assert (scene["its_shards"], scene["its_slots"]) == (1, 8)
    assert scene["troubles"] == {}


def test_a_drained_node_has_no_shard_and_gets_none_and_can_be_stopped_unnoticed(scenes: Scenes) -> None:
    scene = scenes["a node drained"]
    assert (scene["had_shards"], scene["has_shards"], scene["after_scale"]) == (2, 0, 0)
    assert re.search(
        r"^Node \w+ has no shards now and gets none: \d+ slots moved in .+ s\. You can stop it\.$", scene["said"], re.MULTILINE
    )
    assert scene["troubles"] == {}


def test_while_the_head_is_away_players_are_acknowledged_as_ever(scenes: Scenes) -> None:
    meanwhile = scenes["head away"]["meanwhile"]
    assert meanwhile["troubles"] == {}
    assert meanwhile["acknowledged"] > 100
    assert meanwhile["longest_wait_s"] < scenes["head away"]["away_s"] / 2, "somebody waited for the head"


def test_after_all_that_nobody_is_lost_or_wrongly_expired_and_every_ledger_holds(scenes: Scenes) -> None:
    scene = scenes["audit"]
    assert (scene["lost"], scene["expired"], scene["problems"]) == (0, 0, [])
