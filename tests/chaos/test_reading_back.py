"""A killed shard reads its sessions back from the journal, many of them, before players lose their patience."""

import re
from collections.abc import Callable

import pytest

from tests.chaos.faults import Fault, kill, often
from tests.chaos.ordeal import suffer
from tests.chaos.scene import SHARD, Scene
from tests.chaos.table import Row

HOUSED = 100_000
READ_BACK_S = 3.0
SETTINGS = {"SHARDS": "1", "HEARTBEAT_INTERVAL_S": "600"}
"""Those who are in the journal do not beat, and must live for as long as this takes."""
FAULT = Fault(name=f"a shard of {HOUSED:,} sessions killed", strike=kill(SHARD), times=4, recovers_within_s=5.0)


@pytest.mark.long
def test_a_hundred_thousand_sessions_are_read_back_within_three_seconds(scene: Scene, row: Callable[[str], Row]) -> None:
    suffer(scene, FAULT, row(FAULT.name), times=often(FAULT), keep=True)
    (shard,) = scene.status()["shards"].values()
    assert shard["sessions"] >= HOUSED
    # Lines begin with their time; the first is of the start, when everything else starts too.
    recovered = [found for line in sorted(scene.log_lines()) if (found := re.search(r"recovered .*slots=256 took_s=([\d.]+)", line))]
    after_kills_s = [float(found[1]) for found in recovered[1:]]
    print(f"read back in {after_kills_s} s")
    assert len(after_kills_s) == often(FAULT)
    assert max(after_kills_s) <= READ_BACK_S
