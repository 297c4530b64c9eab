"""
More shards, fewer, and new ones, through the command line of a running tracker, under players who beat all the time: nobody is answered
anything but 200, no more slots move than have to, and load balancers that ask `/readyz` hear nothing of it.
"""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from random import Random

import pytest

from storage.redis_journal import RedisJournal
from tests.chaos.crowd import Crowd
from tests.chaos.ordeal import agree, order
from tests.chaos.scene import SETTINGS, Scene
from tests.integration.installation import Installation, wait_until

PLAYERS = 100
SLOTS = 256


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A tracker of two shards, and a crowd."""
    with ExitStack() as ends:
        tracker = Installation(tmp_path_factory.mktemp("scaling"), settings=SETTINGS)
        ends.callback(tracker.clean_up)
        tracker.start()
        crowd = ends.enter_context(Crowd(port=tracker.port, token=tracker.ingest_token, players=PLAYERS, seed=4))
        scene = Scene(tracker, crowd, Random(4))
        scene.settle()
        yield scene


def epochs(scene: Scene) -> dict[int, int]:
    async def read() -> dict[int, int]:
        journal = RedisJournal(scene.journal_url)
        try:
            return {slot: fence.epoch for slot, fence in (await journal.fences()).items()}
        finally:
            await journal.close()

    return asyncio.run(read())


def moves(before: Mapping[int, int], after: Mapping[int, int]) -> list[int]:
    """Return how often each slot that moved did."""
    return [after[slot] - epoch for slot, epoch in before.items() if after[slot] != epoch]


def shards_shown(scene: Scene) -> set[str]:
    """Return the shards that have a gauge of their sessions."""
    return {dict(labels)["shard"] for (name, labels) in scene.samples() if name == "headcount_shard_sessions"}


def named(count: int) -> set[str]:
    return {f"headcount-shard-{number}" for number in range(count)}


@contextmanager
def always_ready(scene: Scene) -> Iterator[None]:
    """Ask `/readyz` ten times a second, of whichever replica answers, and claim that every answer was 200."""
    over, answers = threading.Event(), list[tuple[int, bytes]]()

    def ask() -> None:
        while not over.wait(0.1):
            answer = scene.tracker.request("GET", "/readyz")
            answers.append((answer.status, answer.body))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        over.set()
        asking.join(30)
    assert len(answers) >= 10
    assert [body for status, body in answers if status != 200] == []


def all_unknown(scene: Scene) -> None:
    """Claim that ids which nobody ever had are unknown at once, whichever slots they are of, and not "ask again"."""
    assert {scene.tracker.get(f"/v1/sessions/nobody-{number}").status for number in range(64)} == {404}


def test_more_shards_take_over_as_few_slots_as_possible_and_no_player_notices(scene: Scene) -> None:
    before = epochs(scene)
    with always_ready(scene):
        said = order(scene, "scale", "--shards", "3")
        all_unknown(scene)
    assert "Now 3 shards instead of 2: 85 slots moved in" in said
    assert moves(before, epochs(scene)) == [1] * 85
    status = scene.status()
    assert sorted(shard["slots"] for shard in status["shards"].values()) == [85, 85, 86]
    assert status["as_planned"]
    wait_until(lambda: shards_shown(scene) == named(3), within_s=10, what="the new shard has gauges")


def test_a_rollout_replaces_every_shard_and_no_player_notices(scene: Scene) -> None:
    before, status = epochs(scene), scene.status()
    was, directory = status["shards"], status["pid"]
    with always_ready(scene):
        said = order(scene, "rollout")
        at_once = scene.tracker.run("status")
        all_unknown(scene)
    assert at_once.returncode == 0, at_once.stdout + at_once.stderr
    now = scene.status()["shards"]
    assert now.keys() == was.keys()
    assert not {shard["incarnation"] for shard in was.values()} & {shard["incarnation"] for shard in now.values()}
    assert {shard["restarts"] for shard in now.values()} == {0}, "a renewal is no restart"
    moved = moves(before, epochs(scene))
    # Each shard's slots went to the others, and as many came back when the new one was there.
    assert len(moved) >= SLOTS - SLOTS // 3
    assert f"Replaced 3 shards, then the directory: {sum(moved)} slots moved in" in said
    assert scene.status()["pid"] != directory, "the directory is not new"
    assert sum(moved) <= 2 * SLOTS


def test_fewer_shards_give_up_only_their_own_slots_and_leave_no_trace(scene: Scene) -> None:
    before = epochs(scene)
    with always_ready(scene):
        said = order(scene, "scale", "--shards", "2")
        all_unknown(scene)
    assert "Now 2 shards instead of 3:" in said
    moved = moves(before, epochs(scene))
    assert set(moved) == {1}
    assert len(moved) in {85, 86}
    assert scene.status()["shards"].keys() == named(2)
    wait_until(lambda: shards_shown(scene) == named(2), within_s=10, what="the shard that left has no gauges")
    assert "shard-2" not in scene.tracker.run("status").stdout


@pytest.mark.parametrize("shards", [0, 257])
def test_a_number_that_cannot_be_is_refused_in_one_line(scene: Scene, shards: int) -> None:
    refused = scene.tracker.run("scale", "--shards", str(shards))
    assert refused.returncode == 1
    assert refused.stderr == f"the number of shards must be from 1 to 256, not {shards}: each shard owns at least one of the 256 slots\n"
    assert scene.status()["planned_shards"] == 2


def test_in_the_end_crowd_and_tracker_agree_on_every_session(scene: Scene) -> None:
    agree(scene)
