"""
Measure the journal: cost of a commit per session, client and server, and the load of a full data set.

    python -m bench.journal [--batches 16 100 500] [--seconds 2]

An embedded Valkey in a temporary folder (append-only file, `appendfsync always`), 256 slots, sessions of 400 bytes spread
over them at random (seeded), every batch through `RedisJournal.commit`. Client cost is this process's CPU time, server cost the
server's own (`INFO cpu`); both include everything, the network stack too. Then 100,000 sessions are loaded from 128 slots.
"""

import argparse
import asyncio
import random
import resource
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import redis

from storage.embedded import EmbeddedValkey
from storage.journal import SlotWrite
from storage.redis_journal import RedisJournal

SLOTS = 256
SESSION_BYTES = 400
RECORD_BYTES = 100
LOADED_SESSIONS = 100_000
LOADED_SLOTS = 128


class Measured(NamedTuple):
    """One row: µs per session."""

    batch: int
    wall_us: float
    client_us: float
    server_us: float
    ms_per_commit: float


def _own_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


class _Commits:
    """Batches that follow on one another, as a shard sends them."""

    def __init__(self, journal: RedisJournal, seed: int) -> None:
        self.journal = journal
        self.random = random.Random(seed)
        self.numbers: dict[int, int] = defaultdict(int)

    def batch(self, sessions: int, *, ids: int = 20_000) -> list[SlotWrite]:
        by_slot: dict[int, dict[str, bytes]] = defaultdict(dict)
        for _ in range(sessions):
            number = self.random.randrange(ids)
            by_slot[number % SLOTS][f"sess_live_{number:012}"] = self.random.randbytes(SESSION_BYTES)
        writes = []
        for slot, values in by_slot.items():
            self.numbers[slot] += 1
            writes.append(SlotWrite(slot, 1, self.numbers[slot], bytes(RECORD_BYTES), values))
        return writes


async def _measure(commits: _Commits, server: "redis.Redis", *, batch: int, seconds: float) -> Measured:
    batches = [commits.batch(batch) for _ in range(max(10, int(seconds * 40_000 / batch)))]
    sessions = sum(len(write.sessions) for writes in batches for write in writes)

    def server_cpu_s() -> float:
        used = server.info("cpu")
        return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])

    server_s, client_s, started = server_cpu_s(), _own_cpu_s(), time.perf_counter()
    for writes in batches:
        await commits.journal.commit(writes, alive_at=1_000.0)
    wall_s, client_s, server_s = time.perf_counter() - started, _own_cpu_s() - client_s, server_cpu_s() - server_s
    return Measured(
        batch, 1e6 * wall_s / sessions, 1e6 * client_s / sessions, 1e6 * server_s / sessions, ms_per_commit=1e3 * wall_s / len(batches)
    )


async def _measure_load(commits: _Commits) -> float:
    each = LOADED_SESSIONS // LOADED_SLOTS
    for slot in range(LOADED_SLOTS):
        values = {f"loaded_{slot}_{number}": commits.random.randbytes(SESSION_BYTES) for number in range(each)}
        commits.numbers[slot] += 1
        await commits.journal.commit([SlotWrite(slot, 1, commits.numbers[slot], b"", values, replace=True)], alive_at=1_000.0)
    started = time.perf_counter()
    loaded = await asyncio.gather(*(commits.journal.load(slot) for slot in range(LOADED_SLOTS)))
    seconds = time.perf_counter() - started
    if sum(len(slot.sessions) for slot in loaded) != each * LOADED_SLOTS:
        message = "not all sessions came back"
        raise RuntimeError(message)
    return seconds


async def _run(url: str, *, batches: list[int], seconds: float) -> None:
    journal = RedisJournal(url)
    server = redis.Redis.from_url(url)
    await journal.open_data_set(slots=SLOTS, instance="bench", run="bench", now=1_000.0)
    await journal.claim(dict.fromkeys(range(SLOTS), 0), owner="bench")
    commits = _Commits(journal, seed=1)
    await _measure(commits, server, batch=100, seconds=0.2)
    print(f"{'batch':>6} {'wall':>8} {'client':>8} {'server':>8}   µs per session   {'ms per commit':>14}")
    for batch in batches:
        row = await _measure(commits, server, batch=batch, seconds=seconds)
        print(f"{row.batch:>6} {row.wall_us:>8.1f} {row.client_us:>8.1f} {row.server_us:>8.1f} {'':>18} {row.ms_per_commit:>14.2f}")
    load_s = await _measure_load(commits)
    keys = server.info("memory")["used_memory"] / 1e6
    print(f"load of {LOADED_SESSIONS:,} sessions from {LOADED_SLOTS} slots: {load_s:.2f} s; the server uses {keys:.0f} MB")
    server.close()
    await journal.close()


def main() -> None:
    """Measure, and print a table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--batches", type=int, nargs="+", default=[16, 100, 500])
    arguments.add_argument("--seconds", type=float, default=2.0, help="about how long each row is measured")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        valkey = EmbeddedValkey(Path(folder) / "valkey")
        url = valkey.start()
        try:
            asyncio.run(_run(url, batches=chosen.batches, seconds=chosen.seconds))
        finally:
            valkey.stop()


if __name__ == "__main__":
    main()
