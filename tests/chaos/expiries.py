"""
Faults that are about who is gone: a journal that is slow, a clock that is set, a stored session that is damaged.

Each claims of strangers what no crowd can show: that who vanishes expires when it was promised to, and that one bad record costs nobody else.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from random import Random
from typing import Any

from sessions.routing import slot_of
from storage.redis_journal import slot_key
from tests.chaos.scene import SHARD, Scene
from tests.chaos.strangers import Stranger, Strangers, set_clock
from tests.integration.installation import wait_until
from tests.simulation.damage import KINDS, damaged

SLOW_S = 0.55
"""For each answer of the journal; players are answered, if some of them only when they send again."""
LOOK_S = 0.1
WATCHED_MAX = 20
BACK_WITHIN_S = 15.0


def slow_but_there(seconds: float, *, every_s: float) -> Callable[[Scene], None]:
    """Hold up each answer of the journal for half a second; claim that those who go meanwhile expire in time."""

    def strike(scene: Scene) -> None:
        assert scene.valve is not None
        scene.valve.delay_answers(SLOW_S)
        try:
            watch_them_go(scene.strangers, scene.look, for_s=seconds, every_s=every_s)
            assert scene.tracker.request("GET", "/readyz").json().get("journal") == "slow"
        finally:
            scene.valve.delay_answers(0.0)

    return strike


def step_clock(seconds: float) -> Callable[[Scene], None]:
    """
    Step the clock of all our processes; claim that the number stands, and that whoever has gone expires in time: before the shards die of
    something else, and after.
    """

    def strike(scene: Scene) -> None:
        assert scene.clock is not None
        set_clock(scene.clock, 0.0)
        gone = [scene.strangers.vanish("before-the-step")]
        set_clock(scene.clock, seconds)
        try:
            wait_until(lambda: _steps(scene) == {seconds}, within_s=BACK_WITHIN_S, what="every shard says by how much its clock was set")
            gone.append(scene.strangers.vanish("after-the-step"))
            while gone:
                scene.look()
                gone = [each for each in gone if not each.has_gone()]
                time.sleep(LOOK_S)
            left = scene.strangers.vanish("before-the-kill")
            scene.kill(SHARD, everyone=True)
            killed_at = time.monotonic()
            scene.crowd.probe().result(BACK_WITHIN_S)
            left.await_expiry(away_s=time.monotonic() - killed_at)
            scene.strangers.vanish("after-the-kill").await_expiry()
        finally:
            set_clock(scene.clock, 0.0)
        scene.strangers.vanish("set-right").await_expiry()

    return strike


def _steps(scene: Scene) -> set[float]:
    """Return by how much the shards say that the clock was set since they began, to the second."""
    return {round(shard["clock_step_s"]) for shard in scene.status()["shards"].values()}


def poison(scene: Scene) -> None:
    """Damage one stored session under its owner, and have the owner die: all others are served, and the damaged one is shown."""
    victim = scene.strangers.invite("poisoned")
    aside = scene.gauge("set_aside_records")
    with scene.admin() as server:
        harm(scene.strangers, server, victim, scene.random)
    scene.kill(SHARD, everyone=True)
    scene.crowd.probe().result(BACK_WITHIN_S)
    wait_until(lambda: scene.gauge("set_aside_records") == aside + 1, within_s=BACK_WITHIN_S, what="the damaged session is set aside")
    come_back(scene.strangers, victim)
    listed = scene.tracker.run("records", "--set-aside", "--session", victim.session_id)
    assert f"session '{victim.session_id}'" in listed.stdout, listed.stdout + listed.stderr


def watch_them_go(strangers: Strangers, look: Callable[[], None], *, for_s: float, every_s: float) -> None:
    """Have somebody vanish every so often, for so long, and see each of them expire in time; each is watched by a thread of its own."""

    def come_and_go() -> None:
        strangers.vanish("vanished").await_expiry()

    next_at, over_at = time.monotonic(), time.monotonic() + for_s
    with ThreadPoolExecutor(max_workers=WATCHED_MAX) as watchers:
        watched: list[Future[None]] = []
        while time.monotonic() < over_at or not all(each.done() for each in watched):
            if next_at <= time.monotonic() < over_at:
                watched.append(watchers.submit(come_and_go))
                next_at += every_s
            look()
            time.sleep(LOOK_S)
        for each in watched:
            each.result()


def harm(strangers: Strangers, server: Any, victim: Stranger, random: Random) -> None:
    """Damage what is stored of somebody, as a bad disk would, in one of several ways."""
    key = slot_key(slot_of(victim.session_id, slots=256))
    stored = server.hget(key, victim.session_id)
    assert stored is not None
    server.hset(key, victim.session_id, damaged(stored, kind=random.choice(KINDS), random=random))
    strangers.ledger["expired"] += 1  # what cannot be read is heard of no more


def come_back(strangers: Strangers, victim: Stranger) -> None:
    """Have the player of a damaged session go on: it is asked for its start, is counted again, and leaves as anybody does."""
    assert victim.beat()["start_wanted"] is True
    strangers.ledger["provisional"] += 1
    victim.start()
    assert "start_wanted" not in victim.beat()
    victim.end()
    strangers.ledger["ended"] += 1
