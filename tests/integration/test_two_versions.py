"""
A rollout of the next version, and the way back, under players who beat all the time: nobody is answered anything but 200.

In the next version every message and every stored record has a field more (`tests/next_version.py`). First its shards run below replicas, an
exporter and a directory of this version; then, on the way back, shards of this version run below its directory, and read what its shards wrote.
"""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from random import Random

import msgspec
import pytest

from storage.codec import _StoredLedger, _StoredRecord
from storage.redis_journal import RedisJournal
from tests.chaos.crowd import Crowd
from tests.chaos.ordeal import agree, order
from tests.chaos.scene import DIRECTORY, EXPORTER, REPLICA, SETTINGS, SHARD, Scene
from tests.integration.installation import Installation, wait_until
from tests.next_version import Version

PLAYERS = 100
ENTRIES_OF_A_RECORD, ENTRIES_OF_A_LEDGER = len(_StoredRecord.__struct_fields__) + 1, len(_StoredLedger.__struct_fields__)
"""The last of a record's is its checksum."""


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Version:
    return Version(tmp_path_factory.mktemp("version"))


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, version: Version) -> Iterator[Scene]:
    """A tracker of two shards that runs the copy, and a crowd."""
    with ExitStack() as ends:
        tracker = Installation(tmp_path_factory.mktemp("two-versions"), settings=SETTINGS, packages=version.folder)
        ends.callback(tracker.clean_up)
        tracker.start()
        crowd = ends.enter_context(Crowd(port=tracker.port, token=tracker.ingest_token, players=PLAYERS, seed=5))
        scene = Scene(tracker, crowd, Random(5))
        scene.settle()
        yield scene


def sizes_of_records(scene: Scene) -> set[tuple[int, int]]:
    """Return how many entries the slots' records, and the ledgers in them, were stored with."""

    async def read() -> list[bytes | None]:
        journal = RedisJournal(scene.journal_url)
        try:
            return [(await journal.load(slot)).record for slot in await journal.fences()]
        finally:
            await journal.close()

    records = [msgspec.msgpack.decode(stored[1:]) for stored in asyncio.run(read()) if stored is not None]
    return {(len(record), len(record[0])) for record in records}


def lived_as_before(scene: Scene) -> None:
    """Claim that what operators see is fresh, whole and quiet."""
    scene.settle()
    watching = sum(not memory.ended for memory in scene.crowd.memories())
    wait_until(lambda: scene.counted() > watching / 2, within_s=10, what="the exporter counts the audience")
    assert scene.gauge("snapshot_age_seconds") < 5
    assert not [line for line in scene.log_lines() if any(word in line for word in ("report refused", "cannot be read", "no batch of"))]


def test_shards_of_the_next_version_serve_below_what_is_older_and_no_player_notices(scene: Scene, version: Version) -> None:
    assert sizes_of_records(scene) == {(ENTRIES_OF_A_RECORD, ENTRIES_OF_A_LEDGER)}
    older = [scene.processes(title) for title in (REPLICA, EXPORTER)]
    was = scene.processes(SHARD) | scene.processes(DIRECTORY)
    version.grow()
    order(scene, "rollout")
    assert not was & (scene.processes(SHARD) | scene.processes(DIRECTORY))
    assert [scene.processes(title) for title in (REPLICA, EXPORTER)] == older
    # All slots have had a new owner, whose first write is a record.
    assert sizes_of_records(scene) == {(ENTRIES_OF_A_RECORD + 1, ENTRIES_OF_A_LEDGER + 1)}
    lived_as_before(scene)
    assert any("of_tomorrow" in line for line in scene.log_lines()), "the exporter names what it does not know"


def test_shards_of_this_version_read_what_the_next_one_wrote_and_no_player_notices(scene: Scene, version: Version) -> None:
    version.shrink()
    order(scene, "rollout")
    assert sizes_of_records(scene) == {(ENTRIES_OF_A_RECORD, ENTRIES_OF_A_LEDGER)}
    lived_as_before(scene)


def test_in_the_end_crowd_and_tracker_agree_on_every_session(scene: Scene) -> None:
    agree(scene)
