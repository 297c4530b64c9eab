"""Shards and directory on a real Ray and a real Valkey: killed, stopped, started again, cut off, and nothing acknowledged is lost."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import ray
import redis
from ray.exceptions import RayError

from actors import launch, names
from actors.config import TrackerConfig
from actors.directory.front_door import probe_of
from actors.messages import decode_reply, encode_batch, encode_item
from serve_app.delivery.actor_calls import Actors
from serve_app.delivery.lines import Lines
from serve_app.delivery.mailbox import PostRoom, ShardAwayError
from serve_app.delivery.slotmap import SlotMap
from sessions.changes import Receipt
from sessions.events import Event, Heartbeat, Start
from sessions.routing import slot_of
from sessions.states import Liveness
from storage.codec import decode_record, decode_session
from storage.embedded import EmbeddedValkey
from storage.redis_journal import RedisJournal

SLOTS = 32


@pytest.fixture(scope="module")
def _ray() -> Iterator[None]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=100 * 1024 * 1024, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(tmp_path_factory.mktemp("actors"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def config(_ray: None, valkey: EmbeddedValkey, request: pytest.FixtureRequest) -> Iterator[TrackerConfig]:
    url = valkey.start()
    with redis.Redis.from_url(url) as client:
        client.flushall()
    namespace = request.node.name
    yield TrackerConfig(
        journal_url=url,
        namespace=namespace,
        instance_id="laptop",
        shards=2,
        slots=SLOTS,
        heartbeat_interval_s=30,
        expiry_intervals=3,
        revive_window_s=1_800.0,
    )
    launch.shutdown(namespace)


class Players:
    """What replicas do, in the test's own process: mailboxes, and channels to the shards that the journal names; sent again until acknowledged."""

    def __init__(self, config: TrackerConfig) -> None:
        self.turn_to(config)
        self.journal = RedisJournal(config.journal_url)
        self.acknowledged: dict[str, float] = {}
        """Session id → when it was last acknowledged."""
        self.repeated = 0
        """How often something had to be sent again."""
        self.room = PostRoom(SlotMap(self.journal.fences), self._deliver)

    def turn_to(self, config: TrackerConfig) -> None:
        """Do as the replicas of another run."""
        self.config = config
        self.lines = Lines(Actors(config.namespace).call)

    async def send(self, event: Event, *, within_s: float = 20.0) -> Receipt:
        slot = slot_of(event.session_id, slots=self.config.slots)
        item = encode_item(slot, event)
        async with asyncio.timeout(within_s):
            while True:
                receipt = await self.room.post(slot, item, within_s=within_s)
                if isinstance(receipt, Receipt):
                    self.acknowledged[event.session_id] = time.monotonic()
                    return receipt
                await asyncio.sleep(0.05)

    async def _deliver(self, shard: str, batch: bytes) -> bytes:
        try:
            reply = await self.lines.deliver(shard, batch)
        except ShardAwayError:
            self.repeated += 1
            raise
        self.repeated += sum(not isinstance(outcome, Receipt) for outcome in decode_reply(reply))
        return reply

    async def close(self) -> None:
        self.room.close()
        self.lines.close()
        await self.journal.close()

    async def audit(self) -> dict[str, Liveness]:
        """Recount every slot as the journal has it; return every session's liveness."""
        found: dict[str, Liveness] = {}
        for slot in range(self.config.slots):
            stored = await self.journal.load(slot)
            sessions = {name: decode_session(content) for name, content in stored.sessions.items()}
            if stored.record is not None:
                ledger = decode_record(stored.record).ledger
                active = sum(session.liveness is Liveness.ACTIVE for session in sessions.values())
                assert ledger.active == ledger.balance == active
            found |= {name: session.liveness for name, session in sessions.items()}
        return found


def actor(name: str, config: TrackerConfig) -> Any:
    return ray.get_actor(name, namespace=config.namespace)


def status(name: str, config: TrackerConfig) -> dict[str, Any]:
    answer: dict[str, Any] = ray.get(actor(name, config).status.remote(), timeout=5.0)
    return answer


def held(name: str, config: TrackerConfig) -> list[int]:
    try:
        return list(status(name, config)["epochs"])
    except (RayError, ValueError):
        return []


async def until(holds: Callable[[], bool], *, within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while not await asyncio.to_thread(holds):  # noqa: ASYNC110 - another process, which tells nobody
            await asyncio.sleep(0.1)


def play(config: TrackerConfig, scenario: Callable[[Players], Coroutine[Any, Any, None]]) -> None:
    async def scene() -> None:
        players = Players(config)
        try:
            await scenario(players)
        finally:
            await players.close()

    asyncio.run(scene())


def start(session_id: str) -> Start:
    return Start(session_id, time.time(), "live-1", "ch-1", "cr-1", "prog-1", "web", "DE", "wifi", "auto")


def beat(session_id: str) -> Heartbeat:
    return Heartbeat(session_id, time.time(), "playing", "live-1")


def test_a_shard_killed_under_load_is_back_within_5_s_and_lost_nothing(config: TrackerConfig) -> None:
    launch.launch(config)
    victim = status(names.shard_name(0), config)

    async def scenario(players: Players) -> None:
        over = asyncio.Event()

        async def viewer(number: int) -> None:
            for beats in range(1_000_000):
                await players.send(beat(f"viewer-{number}-{beats % 20}"))
                if over.is_set():
                    return

        viewers = [asyncio.create_task(viewer(number)) for number in range(16)]
        await until(lambda: len(players.acknowledged) == 320, within_s=30.0)
        killed_at = time.monotonic()
        os.kill(victim["pid"], signal.SIGKILL)
        hit = [name for name in players.acknowledged if slot_of(name, slots=SLOTS) in victim["epochs"]]
        async with asyncio.timeout(15.0):
            while not any(players.acknowledged[name] > killed_at + 0.5 for name in hit):  # noqa: ASYNC110 - players tell nobody
                await asyncio.sleep(0.05)
        back_after_s = min(players.acknowledged[name] for name in hit if players.acknowledged[name] > killed_at + 0.5) - killed_at
        over.set()
        await asyncio.gather(*viewers)
        assert back_after_s < 5.0
        assert await players.audit() == dict.fromkeys(players.acknowledged, Liveness.ACTIVE)
        assert sorted(held(names.shard_name(0), config)) == sorted(victim["epochs"])

    play(config, scenario)


def test_whoever_waits_for_a_shard_that_is_killed_hears_of_it_at_once_and_ray_carries_batches_too(config: TrackerConfig) -> None:
    launch.launch(config)
    shard = names.shard_name(0)
    victim = status(shard, config)
    slot = victim["epochs"].popitem()[0]
    batch = encode_batch([encode_item(int(slot), beat("viewer"))])

    async def scenario(players: Players) -> None:
        handle = await asyncio.to_thread(actor, shard, config)
        over_ray, over_the_channel = [
            decode_reply(reply) for reply in (await handle.receive.remote(batch), await players.lines.deliver(shard, batch))
        ]
        assert over_ray == over_the_channel == [Receipt(accepted=True, interval_s=30, start_wanted=True)]
        os.kill(victim["pid"], signal.SIGSTOP)
        waiting = asyncio.create_task(players.lines.deliver(shard, batch))
        done, _ = await asyncio.wait([waiting], timeout=0.5)
        assert not done
        os.kill(victim["pid"], signal.SIGKILL)
        with pytest.raises(ShardAwayError, match="hung up"):
            await waiting

    play(config, scenario)


def test_a_shard_that_hangs_loses_its_slots_and_cannot_write_when_it_wakes(config: TrackerConfig) -> None:
    launch.launch(config)
    hung, other = names.shard_name(0), names.shard_name(1)
    pid = status(hung, config)["pid"]

    async def scenario(players: Players) -> None:
        for number in range(50):
            await players.send(start(f"s{number}"))
        os.kill(pid, signal.SIGSTOP)
        try:
            await until(lambda: len(held(other, config)) == SLOTS, within_s=15.0)
            for number in range(50):
                await players.send(beat(f"s{number}"))
        finally:
            os.kill(pid, signal.SIGCONT)
        await until(lambda: sorted(held(hung, config) + held(other, config)) == list(range(SLOTS)), within_s=20.0)
        for number in range(50):
            assert (await players.send(beat(f"s{number}"))).accepted
        assert await players.audit() == {f"s{number}": Liveness.ACTIVE for number in range(50)}

    play(config, scenario)


def test_a_stop_and_a_start_with_more_shards_keep_every_session_and_expire_nobody(config: TrackerConfig) -> None:
    config = replace(config, heartbeat_interval_s=2)
    launch.launch(config)

    async def scenario(players: Players) -> None:
        for number in range(50):
            await players.send(start(f"s{number}"))
        acknowledged_at = time.monotonic()
        began_at = time.monotonic()
        await asyncio.to_thread(launch.shutdown, config.namespace)
        assert time.monotonic() - began_at < 4.0
        # Longer than the sessions' deadline of 6 s: had the stop counted, all would be gone.
        await asyncio.sleep(acknowledged_at + 8.0 - time.monotonic())
        await asyncio.to_thread(launch.launch, replace(config, shards=3))
        assert set((await players.audit()).values()) == {Liveness.ACTIVE}
        # Every slot is served from the launch on; the third shard gets its share of them a moment later.
        await until(lambda: sorted(len(held(names.shard_name(number), config)) for number in range(3)) == [10, 11, 11], within_s=15)
        for number in range(50):
            assert (await players.send(beat(f"s{number}"))).accepted
        assert all(decode_record(record).ledger.revived == 0 for record in await records(players))

    play(config, scenario)


async def records(players: Players) -> list[bytes]:
    stored = [await players.journal.load(slot) for slot in range(SLOTS)]
    return [each.record for each in stored if each.record is not None]


def test_a_new_run_takes_over_from_one_whose_actors_still_live(config: TrackerConfig) -> None:
    launch.launch(config)
    successor = replace(config, namespace=f"{config.namespace}-again")
    old = {name: actor(name, config) for name in (names.shard_name(0), names.shard_name(1))}

    async def scenario(players: Players) -> None:
        for number in range(50):
            await players.send(start(f"s{number}"))
        await asyncio.to_thread(launch.launch, successor)
        players.turn_to(successor)
        for number in range(50):
            assert (await players.send(beat(f"s{number}"))).accepted
        assert await players.audit() == {f"s{number}": Liveness.ACTIVE for number in range(50)}
        await until(lambda: all(map(is_dead, old.values())), within_s=10.0)

    try:
        play(config, scenario)
    finally:
        launch.shutdown(successor.namespace)


def is_dead(handle: Any) -> bool:
    try:
        ray.get(handle.status.remote(), timeout=1.0)
    except RayError:
        return True
    return False


@pytest.mark.parametrize(
    ("change", "problem"),
    [({"instance_id": "another"}, "another cluster"), ({"slots": 64}, "HEADCOUNT_SLOTS is 64")],
    ids=["instance", "slots"],
)
def test_a_data_set_that_cannot_be_used_is_one_clear_line(config: TrackerConfig, change: dict[str, Any], problem: str) -> None:
    launch.launch(config)
    rival = replace(config, namespace=f"{config.namespace}-rival", **change)
    try:
        with pytest.raises(launch.LaunchError, match=problem) as refused:
            launch.launch(rival)
        assert "\n" not in str(refused.value)
    finally:
        launch.shutdown(rival.namespace)


def test_the_directory_s_death_disturbs_nobody(config: TrackerConfig) -> None:
    launch.launch(config)

    async def scenario(players: Players) -> None:
        epochs = await players.journal.fences()
        ray.kill(actor(names.DIRECTORY, config), no_restart=False)
        for number in range(50):
            await players.send(start(f"s{number}"))
        assert players.repeated == 0

        def is_back() -> bool:
            with suppress(RayError, ValueError):
                return bool(status(names.DIRECTORY, config)["owned"] == SLOTS)
            return False

        await until(is_back, within_s=15.0)
        assert {slot: fence.epoch for slot, fence in (await players.journal.fences()).items()} == {
            slot: fence.epoch for slot, fence in epochs.items()
        }

    play(config, scenario)


@pytest.mark.parametrize(
    ("answer", "is_open"),
    [(b"HTTP/1.1 200 OK\r\n\r\n", True), (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", False), (b"", False)],
    ids=["200", "503", "nothing"],
)
def test_the_front_door_is_open_if_it_answers_200_in_time(answer: bytes, is_open: bool) -> None:
    async def scene() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            assert (await reader.readline()).startswith(b"GET /healthz ")
            writer.write(answer)
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        probe = probe_of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        assert await probe() is is_open
        server.close()
        await server.wait_closed()
        assert await probe() is False

    asyncio.run(scene())


def test_a_journal_that_comes_back_empty_gets_everything_back(config: TrackerConfig) -> None:
    launch.launch(config)

    async def scenario(players: Players) -> None:
        for number in range(50):
            await players.send(start(f"s{number}"))
        with redis.Redis.from_url(config.journal_url) as client:
            client.flushall()
        assert (await players.send(start("late"))).accepted
        async with asyncio.timeout(10.0):
            while len(found := await players.audit()) < 51:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.1)
        assert found == dict.fromkeys((*(f"s{number}" for number in range(50)), "late"), Liveness.ACTIVE)

    play(config, scenario)
