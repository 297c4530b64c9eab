"""
What is broken, one row each: how it is done, when it is over, and what a player may meet meanwhile.

A fault's `strike` returns once it is over for whoever caused it: a killed process is dead, a journal that was taken away is back. That
everything heals from there is the tracker's own business.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from actors.config import TrackerConfig
from serve_app.machine import runs
from serve_app.players.answers import RETRY_AFTER_S, Code
from storage.processes import send
from storage.redis_journal import DATA_SET
from tests.chaos.expiries import poison, slow_but_there, step_clock
from tests.chaos.scene import CONTROLLER, DIRECTORY, EXPORTER, GCS, HAPROXY, RAYLET, REPLICA, SHARD, Scene
from tests.integration.installation import Installation, wait_until

ROOT = Path(__file__).resolve().parents[2]
NOTICED_WITHIN_S = 15.0
AWAY_S = 20.0
"""Longer than sessions live without a sign of life."""
LOOK_S = 0.2
HELD_UP_S = 0.3
"""For a commit; not so long that the journal would pass for slow."""
RAY_BACK_S = 20.0
"""For everything that `headcount up` starts again when Ray's own processes die."""
HAPROXY_BACK_S = 7.0
"""Whoever knocks all the time is heard again by then; whoever was told `Retry-After` just before it, when that has passed."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One way to break a tracker, and how often."""

    name: str
    strike: Callable[[Scene], None]
    times: int = 3
    """In the long form."""
    briefly: bool = False
    """It is part of the short form too, once."""
    brief: Callable[[Scene], None] | None = None
    """What the short form does instead of `strike`, if that takes long."""
    valved: bool = False
    """It needs a valve in front of the journal."""
    answers: Callable[[Scene], bool] | None = None
    """Whether the part itself is back, if that is more than that players are heard again."""
    breaks_connections: bool = False
    """Players may find nobody at the door, or an answer in the proxy's own words."""
    cured_within_s: float = 15.0
    """The longest that a player has to send again; of an outage, from its end."""
    recovers_within_s: float = 8.0
    """A reply that never comes is waited for for 3 s, and asked for again within one more; of a killed shard 5 s are promised."""
    lasts: bool = False
    """Recovery is counted from its end; else from its beginning."""
    outage: bool = False
    """It lasts, and nobody is acknowledged meanwhile."""
    unnoticed: bool = False
    """No player is answered anything but 200."""
    restarts: bool = False
    """Everything is started again for it, which is done three times in ten minutes: the long form begins with a tracker that has not done so yet."""

    def __str__(self) -> str:
        return re.sub(r"[^a-zA-Z]+", "-", self.name).strip("-").lower()


def kill(*titles: str, everyone: bool = False) -> Callable[[Scene], None]:
    """Kill one process of each title, or everyone of it, at once."""

    def strike(scene: Scene) -> None:
        scene.kill(*titles, everyone=everyone)

    return strike


def _kill_ray(program: str) -> Callable[[Scene], None]:
    """Kill one of Ray's own processes, and see that a new run begins: until then, shards go on answering."""

    def strike(scene: Scene) -> None:
        run = scene.tracker.record.run
        scene.kill(program)
        wait_until(
            lambda: (record := runs.load(scene.tracker.data)) and record.run != run,
            within_s=NOTICED_WITHIN_S,
            what="everything is started again",
        )

    return strike


def _kill_journal(scene: Scene) -> None:
    (victim,) = scene.tracker.journal()
    send(victim, signal.SIGKILL)
    wait_until(lambda: scene.tracker.journal() - {victim}, within_s=NOTICED_WITHIN_S, what="the journal's server is started again")


def _kill_all(scene: Scene) -> None:
    scene.tracker.kill_everything()
    scene.tracker.start()


def _stop_a_shard(seconds: float) -> Callable[[Scene], None]:
    """SIGSTOP one, see its slots move, continue it, and see that the journal refuses what it still wanted to write."""

    def strike(scene: Scene) -> None:
        victim = scene.random.choice(sorted(scene.processes(SHARD)))
        refused_before = _refused(scene)
        began_at = time.monotonic()
        send(victim, signal.SIGSTOP)
        try:
            wait_until(scene.is_ready, within_s=30, what="the slots of the stopped shard are served elsewhere")
            time.sleep(max(0.0, began_at + seconds - time.monotonic()))
        finally:
            send(victim, signal.SIGCONT)
        wait_until(lambda: _refused(scene) > refused_before, within_s=30, what="its late commit is refused")
        assert any("a late commit was refused" in line for line in scene.log_lines(victim))

    return strike


def _stop_the_head(seconds: float) -> Callable[[Scene], None]:
    """SIGSTOP Ray's GCS, and claim that players are heard meanwhile as ever."""

    def strike(scene: Scene) -> None:
        (head,) = scene.processes(GCS)
        send(head, signal.SIGSTOP)
        try:
            time.sleep(seconds)
            scene.crowd.probe().result(NOTICED_WITHIN_S)
        finally:
            send(head, signal.SIGCONT)

    return strike


def _refused(scene: Scene) -> int:
    return sum(shard.get("commits_refused", 0) for shard in scene.status()["shards"].values())


@contextmanager
def _journal_is_away(scene: Scene) -> Iterator[None]:
    """
    Claim that from when the fault is noticed until it ends nobody is acknowledged, that somebody is told so, and that the number stands;
    and that /readyz and a gauge say so.
    """
    wait_until(lambda: not scene.is_ready(), within_s=NOTICED_WITHIN_S, what="/readyz says that the journal is away")
    wait_until(lambda: scene.gauge("journal_up") == 0.0, within_s=NOTICED_WITHIN_S, what="headcount_journal_up is 0")
    counted, gauge = scene.counted(), scene.gauge("sessions")
    assert counted == gauge > 0
    acknowledged, refused = scene.crowd.episode.acknowledged, _refusals(scene)
    yield
    assert scene.crowd.episode.acknowledged == acknowledged, "somebody was acknowledged without a journal"
    assert _refusals(scene) > refused, "nobody was answered 503"
    assert (scene.counted(), scene.gauge("sessions")) == (counted, gauge), "the number does not stand"


def _refusals(scene: Scene) -> int:
    """Return how many were answered 503 in this episode; whether in a documented way is claimed of every answer, at its end."""
    return sum(count for trouble, count in [*scene.crowd.episode.troubles.items()] if trouble.startswith("503 "))


def _away(begin: Callable[[Scene], None], end: Callable[[Scene], None]) -> Callable[[Scene], None]:
    """Take the journal away for longer than a session lives."""

    def strike(scene: Scene) -> None:
        begin(scene)
        try:
            with _journal_is_away(scene):
                time.sleep(AWAY_S)
        finally:
            end(scene)

    return strike


def _configure(**options: int | str) -> Callable[[Scene], None]:
    def configure(scene: Scene) -> None:
        with scene.admin() as server:
            for name, value in options.items():
                server.config_set(name.replace("_", "-"), value)

    return configure


def _follow_nobody(scene: Scene) -> None:
    with scene.admin() as server:
        server.replicaof("127.0.0.1", 1)


def _lead(scene: Scene) -> None:
    with scene.admin() as server:
        server.replicaof("NO", "ONE")


def _wipe(scene: Scene) -> None:
    written_back = _written_back(scene)
    with scene.admin() as server:
        server.flushall()

    def is_written_back() -> bool:
        scene.look()
        return _written_back(scene) > written_back

    wait_until(is_written_back, within_s=30, what="owners write back what they hold")


def _written_back(scene: Scene) -> int:
    return sum(shard.get("write_backs", 0) for shard in scene.status()["shards"].values())


def _slow(scene: Scene) -> None:
    assert scene.valve is not None
    refused, over_at = _refusals(scene), time.monotonic() + AWAY_S
    scene.valve.delay(2.0)
    try:
        while time.monotonic() < over_at:
            scene.look()
            time.sleep(LOOK_S)
    finally:
        scene.valve.delay(0.0)
    assert _refusals(scene) > refused, "nobody was answered 503"


def _kill_in_mid_commit(scene: Scene) -> None:
    """Kill a shard whose commits are held up on their way, and see that none of these arrives."""
    assert scene.valve is not None
    acknowledged = scene.crowd.episode.acknowledged
    scene.valve.delay(HELD_UP_S)
    try:
        wait_until(lambda: scene.crowd.episode.acknowledged > acknowledged + 50, within_s=30, what="players are heard at this pace")
        scene.kill(SHARD)
    finally:
        scene.valve.delay(0.0)
    scene.valve.close()  # with all that is on its way
    scene.valve.open()


def _swallow(scene: Scene) -> None:
    assert scene.valve is not None
    before = scene.valve.swallowed
    scene.valve.swallow(True)
    try:
        wait_until(lambda: scene.valve is not None and scene.valve.swallowed > before, within_s=30, what="a commit is executed, unheard")
        with _journal_is_away(scene):
            time.sleep(AWAY_S)
    finally:
        scene.valve.swallow(False)


def _close_valve(scene: Scene) -> None:
    assert scene.valve is not None
    scene.valve.close()


def _open_valve(scene: Scene) -> None:
    assert scene.valve is not None
    scene.valve.open()


def _second_directory(scene: Scene, *, own_run: bool) -> str | None:
    """Start a second directory for a while; return what the first said when it gave up, if it did."""
    folder = Path(scene.tracker.record.folder)
    with scene.admin() as server:
        stored_run: Any = server.hget(DATA_SET, "run")
    config = TrackerConfig(
        journal_url=scene.journal_url,
        namespace="headcount",
        instance_id=(scene.tracker.data / "instance").read_text().strip(),
        shards=2,
        slots=256,
        heartbeat_interval_s=5,
        expiry_intervals=3,
        revive_window_s=1_800.0,
        front_door_url=scene.tracker.url,
    )
    run, kind = ("a-second-up", "own") if own_run else (stored_run.decode(), "same")
    ended = subprocess.run(
        [sys.executable, "-m", "tests.chaos.second_directory", scene.tracker.record.address, json.dumps(asdict(config)), run, kind],
        cwd=ROOT,
        env=os.environ
        | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(folder / "ray.token"), "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    problem: str | None = json.loads(ended.stdout.splitlines()[-1])
    return problem


def _two_leaders(scene: Scene) -> None:
    """One leads: whoever took the lease; the other says so and stops."""
    assert _second_directory(scene, own_run=True) == "another run of this installation uses the data set now"


def _one_leader_twice(scene: Scene) -> None:
    assert _second_directory(scene, own_run=False) is None


def _second_cluster(scene: Scene) -> None:
    """Another installation on the same data set does not start, and says why."""
    assert scene.valve is not None
    second = Installation(scene.tracker.folder / "second", settings=scene.tracker.settings)
    try:
        refused = second.run("up", within_s=120)
    finally:
        second.clean_up()
    assert refused.returncode == 1
    assert "another cluster (instance " in refused.stderr


def _ordered(*commands: tuple[str, ...]) -> Callable[[Scene], None]:
    """Have the tracker change its shape."""

    def strike(scene: Scene) -> None:
        for command in commands:
            done = scene.tracker.run(*command, within_s=120)
            assert done.returncode == 0, done.stdout + done.stderr

    return strike


FAULTS = (
    Fault(name="a shard killed", strike=kill(SHARD), times=6, briefly=True, recovers_within_s=5.0),
    Fault(name="every shard killed at once", strike=kill(SHARD, everyone=True), times=5, recovers_within_s=5.0),
    Fault(name="an ingest replica killed", strike=kill(REPLICA), times=5, briefly=True, breaks_connections=True),
    Fault(name="the directory killed", strike=kill(DIRECTORY), answers=Scene.has_status, times=5, briefly=True),
    Fault(name="the exporter killed", strike=kill(EXPORTER), answers=Scene.has_numbers, times=5, briefly=True),
    Fault(
        name="HAProxy killed",
        strike=kill(HAPROXY, everyone=True),
        times=4,
        breaks_connections=True,
        cured_within_s=HAPROXY_BACK_S + RETRY_AFTER_S[Code.UNAVAILABLE],
        recovers_within_s=HAPROXY_BACK_S,
    ),
    Fault(name="the journal's server killed", strike=_kill_journal, times=5, briefly=True),
    Fault(
        name="every process of the machine killed at once, and started again",
        strike=_kill_all,
        times=2,
        breaks_connections=True,
        recovers_within_s=15.0,
    ),
    *(
        Fault(
            name=f"Ray's `{program}` killed",
            strike=_kill_ray(program),
            restarts=True,
            briefly=True,
            breaks_connections=True,
            cured_within_s=RAY_BACK_S + RETRY_AFTER_S[Code.UNAVAILABLE],
            recovers_within_s=RAY_BACK_S,
        )
        for program in (RAYLET, GCS)
    ),
    Fault(name="a shard stopped for a minute (SIGSTOP), then continued", strike=_stop_a_shard(60.0), times=1, lasts=True),
    Fault(name="the clock set ahead by ten minutes, and back", strike=step_clock(600.0), times=1, lasts=True, briefly=True),
    Fault(name="the clock set back by ten minutes, and ahead", strike=step_clock(-600.0), times=1, lasts=True, briefly=True),
    Fault(name="a stored session damaged, then its shard killed", strike=poison, times=5, lasts=True, briefly=True),
    Fault(name="two directories, the lease with the second", strike=_two_leaders, times=1, lasts=True),
    Fault(name="two directories that do not know of each other", strike=_one_leader_twice, times=1, lasts=True),
    Fault(
        name="the journal slow for two minutes: 0.55 s for each answer",
        strike=slow_but_there(120.0, every_s=7.0),
        brief=slow_but_there(4.0, every_s=3.0),
        times=1,
        lasts=True,
        briefly=True,
        valved=True,
    ),
    Fault(name="the journal slow: 2 s for whatever is sent", strike=_slow, times=1, outage=True, valved=True),
    Fault(
        name="the journal full (`maxmemory`, `noeviction`)",
        strike=_away(_configure(maxmemory_policy="noeviction", maxmemory=1), _configure(maxmemory=0)),
        times=1,
        outage=True,
        valved=True,
    ),
    Fault(name="the journal read-only (a replica of nobody)", strike=_away(_follow_nobody, _lead), times=1, outage=True, valved=True),
    Fault(
        name="the journal without its replicas (`min-replicas-to-write`)",
        strike=_away(_configure(min_replicas_to_write=1), _configure(min_replicas_to_write=0)),
        times=1,
        outage=True,
        valved=True,
    ),
    Fault(name="the journal refusing connections", strike=_away(_close_valve, _open_valve), times=1, outage=True, valved=True),
    Fault(name="the journal wiped while it runs (`FLUSHALL`)", strike=_wipe, times=5, briefly=True),
    Fault(name="commits executed, and their replies lost", strike=_swallow, times=1, outage=True, valved=True),
    Fault(
        name="a shard killed, and what it sent to the journal never arrived", strike=_kill_in_mid_commit, times=4, valved=True, lasts=True
    ),
    Fault(name="a second cluster on the same data set", strike=_second_cluster, times=1, lasts=True, valved=True),
    Fault(
        name="scaled to 5 shards, to 1 and back", strike=_ordered(*(("scale", "--shards", n) for n in "512")), lasts=True, unnoticed=True
    ),
    Fault(name="rolled out", strike=_ordered(("rollout",)), lasts=True, unnoticed=True),
    Fault(name="Ray's head stopped for 30 s (SIGSTOP of its GCS)", strike=_stop_the_head(30.0), times=1, lasts=True, unnoticed=True),
    Fault(name="Serve's controller killed", strike=kill(CONTROLLER), answers=Scene.has_controller, unnoticed=True),
)


def cases(*, valved: bool) -> list[Any]:
    """Return the parameters (fault, times, whether the row is kept) of those that need a valve, or of those that need none: the short form's, and the long form's."""
    faults = [fault for fault in FAULTS if fault.valved is valved]
    short = [pytest.param(replace(fault, strike=fault.brief or fault.strike), 1, False, id=f"{fault}") for fault in faults if fault.briefly]
    return short + [pytest.param(fault, often(fault), True, id=f"{fault}-often", marks=pytest.mark.long) for fault in faults]


def often(fault: Fault) -> int:
    """Return how often the long form does it: as its row says, or `HEADCOUNT_CHAOS_TIMES`."""
    return int(os.environ.get("HEADCOUNT_CHAOS_TIMES") or fault.times)
