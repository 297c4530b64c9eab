"""
A cluster of a head and three nodes on one machine, and what happens to it under players: a program of its own, which says what it saw.

    python -P nodes.py JOURNAL_URL GCS_AWAY_S

Not a fixture: Ray reads how nodes are watched, and who may join, once in a process. Players go the way of a replica (`PostRoom`,
`Lines`, the journal's map) and have each beat acknowledged before the next. Every scene prints one line of JSON: its name, and what it saw.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Fast, so that a dead node is noticed in two seconds; and no strangers are about.
os.environ |= {
    "RAY_AUTH_MODE": "disabled",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_health_check_initial_delay_ms": "500",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
sys.path.append(str(Path(__file__).resolve().parents[2]))

import ray
from ray.cluster_utils import Cluster

from actors import launch, names
from actors.config import TrackerConfig
from actors.messages import encode_item
from serve_app.commands.audit import audit_slot
from serve_app.delivery.actor_calls import Actors
from serve_app.delivery.lines import Lines
from serve_app.delivery.mailbox import PostRoom
from serve_app.delivery.slotmap import SlotMap
from sessions.changes import Receipt
from sessions.events import Happening, Happenings
from sessions.routing import slot_of
from sessions.session import EVENT_ID_BYTES
from sessions.states import Liveness
from storage.codec import decode_session
from storage.redis_journal import RedisJournal

SLOTS = 32
PLAYERS = 64
NAMESPACE = "headcount"
"""That of the command line."""
STORE = 80 * 1024 * 1024
WITHIN_S = 60.0


@dataclass
class Player:
    session_id: str
    pause_s: float
    acknowledged: int = 0
    heard_at: float = 0.0


@dataclass
class Episode:
    """What players lived through."""

    acknowledged: int = 0
    longest_wait_s: float = 0.0
    troubles: Counter[str] = field(default_factory=Counter)


class Players:
    """Everybody, in an event loop and a thread of their own. Half of them beat all the time, half every four seconds."""

    def __init__(self, config: TrackerConfig) -> None:
        self.config = config
        self.everybody = [Player(f"player-{number}", 0.1 if number % 2 else 4.0) for number in range(PLAYERS)]
        self.episode = Episode()
        self.loop = asyncio.new_event_loop()
        self._leaving = asyncio.Event()
        self._play = asyncio.run_coroutine_threadsafe(self._begin(), self.loop)
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    async def _begin(self) -> None:
        journal = RedisJournal(self.config.journal_url)
        room = PostRoom(SlotMap(journal.fences), Lines(Actors(NAMESPACE).call).deliver)
        await asyncio.gather(*(self._watch(player, room) for player in self.everybody))
        await journal.close()

    async def _watch(self, player: Player, room: PostRoom) -> None:
        slot = slot_of(player.session_id, slots=SLOTS)
        while not self._leaving.is_set():
            happening = Happening(f"{player.session_id}/{player.acknowledged}", "reaction", time.time())
            item = encode_item(slot, Happenings(player.session_id, "live-1", None, (happening,)))
            began_at = time.monotonic()
            while not isinstance(outcome := await room.post(slot, item, within_s=10.0), Receipt):
                self.episode.troubles[str(outcome)] += 1
            player.acknowledged += 1
            player.heard_at = time.monotonic()
            self.episode.acknowledged += 1
            self.episode.longest_wait_s = max(self.episode.longest_wait_s, player.heard_at - began_at)
            try:
                await asyncio.wait_for(self._leaving.wait(), player.pause_s)
            except TimeoutError:
                continue

    def next_episode(self) -> dict[str, Any]:
        lived, self.episode = self.episode, Episode()
        return {"acknowledged": lived.acknowledged, "longest_wait_s": round(lived.longest_wait_s, 2), "troubles": dict(lived.troubles)}

    def all_heard_since(self, at: float) -> bool:
        return all(player.heard_at > at for player in self.everybody)

    def rest(self) -> None:
        self.loop.call_soon_threadsafe(self._leaving.set)
        self._play.result(WITHIN_S)


class Stage:
    """The cluster, and what is known of it."""

    def __init__(self, journal_url: str) -> None:
        self.cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE}
        )
        self.machines = [self.cluster.add_node(num_cpus=1, object_store_memory=STORE, wait=False) for _ in range(3)]
        self.cluster.wait_for_nodes()
        ray.init(address=self.cluster.address, namespace=NAMESPACE, log_to_driver=False)
        self.config = TrackerConfig(
            journal_url=journal_url,
            namespace=NAMESPACE,
            instance_id="nodes",
            shards=4,
            slots=SLOTS,
            heartbeat_interval_s=5,
            expiry_intervals=3,
            revive_window_s=1_800.0,
        )
        launch.launch(self.config)
        self.directory: Any = ray.get_actor(names.DIRECTORY)
        self.players = Players(self.config)

    def status(self) -> dict[str, Any]:
        told: dict[str, Any] = ray.get(self.directory.status.remote(), timeout=10)
        return told

    def until(self, holds: Callable[[dict[str, Any]], bool], *, within_s: float = WITHIN_S) -> float:
        """Return the seconds until the directory says so."""
        began_at = time.monotonic()
        while not holds(status := self.status()):
            assert time.monotonic() - began_at < within_s, status
            time.sleep(0.1)
        return time.monotonic() - began_at

    def as_planned(self, status: dict[str, Any]) -> bool:
        return bool(status["as_planned"])

    def spread(self) -> dict[str, int]:
        """Return the shards of each living node."""
        return {node_id: node["shards"] for node_id, node in self.status()["nodes"].items()}

    def head(self) -> str:
        return next(node_id for node_id, node in self.status()["nodes"].items() if node["head"])

    def heard_s(self) -> float:
        """Return the seconds until everybody has been acknowledged something from now on."""
        began_at = time.monotonic()
        while not self.players.all_heard_since(began_at):
            assert time.monotonic() - began_at < WITHIN_S, self.players.episode
            time.sleep(0.05)
        return time.monotonic() - began_at

    def scene(self, name: str, **saw: Any) -> None:
        sys.stdout.write(json.dumps({"scene": name, **saw, **self.players.next_episode()}) + "\n")
        sys.stdout.flush()


def spread_at_first(stage: Stage) -> None:
    stage.until(stage.as_planned)
    stage.heard_s()
    where = {each["Name"]: each["Address"]["NodeID"] for each in ray._private.state.actors().values() if each["State"] == "ALIVE"}
    lead = {name: where[name] == stage.head() for name in (names.DIRECTORY, names.EXPORTER)}
    shards = sorted(count for node_id, count in stage.spread().items() if node_id != stage.head())
    stage.scene("spread at first", shards=shards, on_head=stage.spread()[stage.head()], lead_on_head=lead)


def lose_a_node(stage: Stage) -> None:
    spread = stage.spread()
    machine = max(stage.machines, key=lambda machine: spread[machine.node_id])
    shards = [name for name, shard in stage.status()["shards"].items() if shard["node"] == machine.node_id]
    pids = [ray.get(ray.get_actor(name).status.remote())["pid"] for name in shards]
    began_at = time.monotonic()
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    stage.cluster.remove_node(machine, allow_graceful=False)
    stage.machines.remove(machine)
    stage.heard_s()
    heard_s = time.monotonic() - began_at

    def owned_elsewhere(status: dict[str, Any]) -> bool:
        living = [shard for shard in status["shards"].values() if shard["alive"] and shard["node"] != machine.node_id]
        return sum(shard["slots"] for shard in living) == SLOTS

    stage.until(owned_elsewhere)
    owned_s = time.monotonic() - began_at
    stage.until(lambda status: stage.as_planned(status) and len(status["nodes"]) == 3)
    shards_now = sorted(count for node_id, count in stage.spread().items() if node_id != stage.head())
    stage.scene(
        "a node lost", lost_shards=len(shards), heard_s=heard_s, owned_s=owned_s, shards=shards_now, on_head=stage.spread()[stage.head()]
    )


def join_a_node(stage: Stage) -> None:
    machine = stage.cluster.add_node(num_cpus=1, object_store_memory=STORE)
    stage.machines.append(machine)
    took_s = stage.until(lambda status: stage.as_planned(status) and status["nodes"].get(machine.node_id, {}).get("shards", 0) > 0)
    stage.heard_s()
    slots = sum(shard["slots"] for shard in stage.status()["shards"].values() if shard["node"] == machine.node_id)
    stage.scene("a node joined", took_s=took_s, its_shards=stage.spread()[machine.node_id], its_slots=slots)


def headcount(stage: Stage, *command: str) -> str:
    """Have an operator on a node of the cluster run a command; return what it printed."""
    program = Path(sys.executable).parent / "headcount"
    environment = os.environ | {"RAY_ADDRESS": stage.cluster.address, "HEADCOUNT_DATA_DIR": "nothing-runs-here"}
    done = subprocess.run([program, *command], env=environment, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def drain_a_node(stage: Stage) -> None:
    spread = stage.spread()
    machine = max(stage.machines, key=lambda machine: spread[machine.node_id])
    began_at = time.monotonic()
    said = headcount(stage, "drain", "--node", machine.node_id[:12])
    took_s = time.monotonic() - began_at
    assert stage.as_planned(stage.status())
    left = stage.spread()[machine.node_id]
    assert ray.get(stage.directory.scale.remote(5))[0] is None
    stage.until(stage.as_planned)
    after_scale = stage.spread()[machine.node_id]
    stage.cluster.remove_node(machine, allow_graceful=False)
    stage.machines.remove(machine)
    stage.heard_s()
    stage.scene("a node drained", said=said, took_s=took_s, had_shards=spread[machine.node_id], has_shards=left, after_scale=after_scale)


def lose_the_head(stage: Stage, *, away_s: float) -> None:
    """Stop Ray's head for a while; it comes back as it was."""
    stage.until(stage.as_planned)
    stage.players.next_episode()
    gcs = stage.cluster.head_node.all_processes["gcs_server"][0].process
    os.kill(gcs.pid, signal.SIGSTOP)
    try:
        time.sleep(away_s)
        stage.heard_s()
        meanwhile = stage.players.next_episode()
    finally:
        os.kill(gcs.pid, signal.SIGCONT)
    assert ray.get(stage.directory.scale.remote(3))[0] is None
    stage.until(lambda status: stage.as_planned(status) and len(status["shards"]) == 3)
    stage.heard_s()
    stage.scene("head away", away_s=away_s, meanwhile=meanwhile)


def audit(stage: Stage) -> None:
    stage.players.rest()

    async def recount() -> dict[str, Any]:
        journal = RedisJournal(stage.config.journal_url)
        lost, expired, problems = 0, 0, []
        for slot in range(SLOTS):
            stored = await journal.load(slot)
            problems += audit_slot(slot, stored, slots=SLOTS).problems
            sessions = {name: decode_session(content) for name, content in stored.sessions.items()}
            expired += sum(session.liveness is not Liveness.ACTIVE for session in sessions.values())
            for player in stage.players.everybody:
                if slot_of(player.session_id, slots=SLOTS) == slot:
                    known = len(sessions[player.session_id].event_ids) // EVENT_ID_BYTES if player.session_id in sessions else 0
                    lost += max(0, min(player.acknowledged, 1_024) - known)
        await journal.close()
        return {"lost": lost, "expired": expired, "problems": [str(problem) for problem in problems]}

    stage.scene("audit", **asyncio.run(recount()))


def main(journal_url: str, gcs_away_s: float) -> None:
    stage = Stage(journal_url)
    spread_at_first(stage)
    lose_a_node(stage)
    join_a_node(stage)
    drain_a_node(stage)
    lose_the_head(stage, away_s=gcs_away_s)
    audit(stage)
    launch.shutdown(NAMESPACE)
    ray.shutdown()
    stage.cluster.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
