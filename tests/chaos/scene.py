"""
One tracker under one crowd: who is who among its processes, and what the journal holds of what the crowd was told.

The journal's server is this process's own (`EmbeddedValkey`, as `headcount up` runs it), behind a valve that can hold up, swallow or
cut what passes. Nothing here decides what is broken: `faults.py` does.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import redis

from metrics import scrape
from serve_app.commands.audit import LOADS_AT_ONCE, audit_slot
from serve_app.machine.runs import kill
from sessions.changes import Key
from sessions.session import EVENT_ID_BYTES, Session
from sessions.states import Liveness
from storage.codec import decode_record, decode_session
from storage.embedded import EmbeddedValkey
from storage.journal import StoredSlot
from storage.processes import ProcessName
from storage.redis_journal import RedisJournal
from tests.chaos.crowd import Crowd, Memory
from tests.chaos.numbers import FRESH_S, bounds, lives
from tests.chaos.strangers import Strangers
from tests.chaos.valve import Valve
from tests.integration.installation import Installation, wait_until

SHARD, DIRECTORY, EXPORTER = "ray::SessionShard", "ray::Directory", "ray::Exporter"
REPLICA, HAPROXY = "ray::ServeReplica:headcount:ingest", "haproxy"
GCS, RAYLET, CONTROLLER = "gcs_server", "raylet", "ray::ServeController"
SETTINGS = {"SHARDS": "2", "REPLICAS": "2", "HEARTBEAT_INTERVAL_S": "5"}
"""
A session expires after 15 s: less than many a fault lasts, so that an outage which is not added to its deadline shows. Not shorter: an
outage of less than 5 s is not added, and a player that beat 5 s before it may have to wait 5 s more.
"""
SETTLED_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Stored:
    """What the journal holds at one look."""

    sessions: Mapping[str, Session]
    problems: tuple[str, ...]
    """Of the audit of each slot."""
    expired: int
    """Those that came back included. Nobody of the crowd falls silent without having left, so that each of theirs is wrong."""
    ledger: Mapping[str, int]


class Look(NamedTuple):
    """The number as operators saw it, between two moments; wall clock."""

    asked_at: float
    told_at: float
    counted: int


@dataclass
class Scene:
    """A tracker, its crowd and its journal, and the questions that a test asks of them."""

    tracker: Installation
    crowd: Crowd
    random: Random
    valkey: EmbeddedValkey | None = None
    """None: the tracker runs its own."""
    valve: Valve | None = None
    clock: Path | None = None
    """What this holds, in seconds, its processes' clock is ahead of ours."""
    looks: list[Look] = field(default_factory=list)
    strangers: Strangers = field(init=False)
    _expired_before: int = field(default=0)

    def __post_init__(self) -> None:
        self.strangers = Strangers(self.tracker)

    # Who is who.

    def processes(self, title: str) -> set[ProcessName]:
        """Return the living processes whose title, or program, is this."""
        return {process for process in self.tracker.processes() if _title(process).startswith(title)}

    def kill(self, *titles: str, everyone: bool = False) -> set[ProcessName]:
        """Kill one process of each title (or `everyone` of it) at once, and return when they are dead."""
        victims: set[ProcessName] = set()
        for title in titles:
            found = self.processes(title)
            assert found, f"no {title} lives"
            victims |= found if everyone else {self.random.choice(sorted(found))}
        assert not kill(victims, timeout_s=10)
        return victims

    # Its journal.

    @property
    def journal_url(self) -> str:
        """Return where the journal's server itself is: past the valve."""
        url = (self.valkey or EmbeddedValkey(self.tracker.data / "valkey")).running_url()
        assert url is not None
        return url

    @contextmanager
    def admin(self) -> Iterator["redis.Redis"]:
        """Speak to the journal's server past the valve."""
        with redis.Redis.from_url(self.journal_url) as client:
            yield client

    def stored(self) -> Stored:
        """Read the whole journal, each slot at one instant."""
        return _judge(asyncio.run(_read(self.journal_url)))

    def lost(self, acknowledged: list[Memory], stored: Stored) -> list[str]:
        """Return what was acknowledged and is not in the journal: one entry for each start, beat, event or end."""
        return [loss for memory in acknowledged for loss in _lost_of(memory, stored.sessions.get(memory.session_id))]

    def newly_expired(self, stored: Stored) -> int:
        """Return how many of the crowd have been expired since the last call."""
        wrongly = stored.expired - self.strangers.ledger["expired"]
        before, self._expired_before = self._expired_before, wrongly
        return wrongly - before

    # What it says of itself.

    def status(self) -> dict[str, Any]:
        answer = self.tracker.get("/v1/status")
        assert answer.status == 200, answer.body
        told: dict[str, Any] = answer.json()
        return told

    def counted(self) -> int:
        """Return how many are watching, as `/v1/concurrency` says."""
        answer = self.tracker.get("/v1/concurrency")
        assert answer.status == 200, answer.body
        return int(answer.json()["sessions"])

    def look(self) -> None:
        """Remember the number as it is now, for `wrong_looks`."""
        asked_at = time.time()
        counted = self.counted()
        self.looks.append(Look(asked_at, time.time(), counted))

    def wrong_looks(self) -> list[object]:
        """Return each look since the last call at which another number was seen than those who were there, two seconds before or since."""
        looks, self.looks = self.looks, []
        there = lives([*self.crowd.heard]) + [each.life for each in self.strangers.gone]
        seen = [(look, bounds(there, look.asked_at - FRESH_S, look.told_at)) for look in looks]
        return [(look, least, most) for look, (least, most) in seen if not least <= look.counted <= most]

    def samples(self) -> scrape.Samples:
        answer = self.tracker.get("/metrics")
        assert answer.status == 200, answer.body
        return scrape.read(answer.body.decode())

    def gauge(self, name: str) -> float:
        """Return a gauge, over all its labels."""
        return sum(value for (sample, _), value in self.samples().items() if sample == f"headcount_{name}")

    def counters(self) -> Mapping[Key, float]:
        return scrape.counters(self.samples())

    def is_ready(self) -> bool:
        """Tell whether the front door says that all slots are served; it may be away."""
        return _asks(lambda: self.tracker.request("GET", "/readyz").status == 200)

    def has_status(self) -> bool:
        """Tell whether the directory answers."""
        return _asks(lambda: bool(self.status()))

    def has_controller(self) -> bool:
        """Tell whether Serve's controller lives."""
        return bool(self.processes(CONTROLLER))

    def has_numbers(self) -> bool:
        """Tell whether the exporter answers, and has heard of more than half of who is there."""
        return _asks(lambda: self.counted() > sum(not memory.ended for memory in self.crowd.memories()) / 2)

    def is_settled(self) -> bool:
        """Tell whether nothing is left to do: everybody heard, all there, all owned, and as many slots with one shard as with the other."""
        if self.crowd.retrying or not self.is_ready() or not _asks(lambda: self.tracker.get("/v1/concurrency").status == 200):
            return False
        return _asks(lambda: _is_even(self.status()))

    def await_count(self, sessions: int) -> None:
        """Wait until the number that operators see is the crowd's."""
        wait_until(lambda: self.counted() == self.gauge("sessions") == sessions, within_s=10, what=f"{sessions} are watching")

    def settle(self) -> None:
        wait_until(self.is_settled, within_s=SETTLED_WITHIN_S, what="the tracker is itself again")
        self.crowd.check()

    def log_lines(self, process: ProcessName | None = None) -> list[str]:
        """Return what a Ray process has logged, or all of them."""
        whose = "*" if process is None else f"*-{process.pid}"
        logs = Path(self.tracker.record.folder).glob(f"ray/session_2*/logs/worker-{whose}.*")
        return [line for file in logs for line in file.read_text(errors="replace").splitlines()]


def _title(process: ProcessName) -> str:
    try:
        title = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
    except OSError:
        return ""
    return title if title.startswith("ray::") else os.path.basename(title)  # noqa: PTH119 - a program's path, of whatever form


def _asks(question: Callable[[], bool]) -> bool:
    """Ask what may find nobody there."""
    try:
        return question()
    except (OSError, AssertionError, ValueError):
        return False


def _is_even(status: Mapping[str, Any]) -> bool:
    shards = status["shards"].values()
    slots = [shard.get("slots", 0) for shard in shards]
    return all(shard["alive"] for shard in shards) and sum(slots) == status["slots"] and max(slots) - min(slots) <= 1


async def _read(url: str) -> dict[int, StoredSlot]:
    journal = RedisJournal(url)
    try:
        turns = asyncio.Semaphore(LOADS_AT_ONCE)

        async def load(slot: int) -> StoredSlot:
            async with turns:
                return await journal.load(slot)

        slots = sorted(await journal.fences())
        return dict(zip(slots, await asyncio.gather(*map(load, slots)), strict=True))
    finally:
        await journal.close()


def _judge(slots: Mapping[int, StoredSlot]) -> Stored:
    sessions: dict[str, Session] = {}
    problems: list[str] = []
    ledger = {"active": 0, "started": 0, "provisional": 0, "revived": 0, "expired": 0, "ended": 0}
    for slot, stored in slots.items():
        sessions |= {session_id: decode_session(content) for session_id, content in stored.sessions.items()}
        problems += [f"slot {slot}: {problem}" for problem in audit_slot(slot, stored, slots=len(slots)).problems]
        if stored.record is not None:
            counts = decode_record(stored.record).ledger
            for name in ledger:
                ledger[name] += sum(counts.ended.values()) if name == "ended" else getattr(counts, name)
    return Stored(sessions, tuple(problems), ledger["expired"] + ledger["revived"], ledger)


def _lost_of(memory: Memory, session: Session | None) -> Iterator[str]:
    said = memory.started + memory.beats + len(memory.events) + memory.ended
    if session is None:
        if said:
            yield from [f"{memory.session_id}: all of it"] * said
        return
    if memory.started and session.provisional:
        yield f"{memory.session_id}: its start"
    for number in range(session.settled().switches, memory.beats):
        yield f"{memory.session_id}: a beat, of {memory.beats} the number {number}"
    for event_id in memory.events:
        if not session.knows_event(blake2b(event_id.encode(), digest_size=EVENT_ID_BYTES).digest()):
            yield f"{memory.session_id}: {event_id}"
    if memory.ended and session.liveness is not Liveness.ENDED:
        yield f"{memory.session_id}: its end; it is {session.liveness}"
