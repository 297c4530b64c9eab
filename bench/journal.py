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
from typing import Any, NamedTuple

import redis

from bench.results import machine, write_result
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


async def _measure_load(commits: _Commits, *, sessions: int) -> float:
    each = sessions // LOADED_SLOTS
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


async def _run(url: str, *, batches: list[int], seconds: float, loaded: int) -> dict[str, Any]:
    journal = RedisJournal(url)
    server = redis.Redis.from_url(url)
    await journal.open_data_set(slots=SLOTS, instance="bench", run="bench")
    await journal.claim(dict.fromkeys(range(SLOTS), 0), owner="bench")
    commits = _Commits(journal, seed=1)
    await _measure(commits, server, batch=100, seconds=seconds / 10)
    rows = [(await _measure(commits, server, batch=batch, seconds=seconds))._asdict() for batch in batches]
    load_s = await _measure_load(commits, sessions=loaded)
    used_mb = server.info("memory")["used_memory"] / 1e6
    server.close()
    await journal.close()
    return {"machine": machine(), "rows": rows, "loaded": loaded, "load_s": round(load_s, 3), "server_mb": round(used_mb)}


def table(result: dict[str, Any]) -> str:
    """Return what a commit costs, as markdown."""
    lines = ["| sessions in a commit | µs per session: wall | client | server | ms per commit |", "|---:|---:|---:|---:|---:|"]
    lines += [
        f"| {row['batch']} | {row['wall_us']:.1f} | {row['client_us']:.1f} | {row['server_us']:.1f} | {row['ms_per_commit']:.2f} |"
        for row in result["rows"]
    ]
    lines += [
        "",
        f"{result['loaded']:,} sessions load from {LOADED_SLOTS} slots in {result['load_s']:.2f} s; the server uses {result['server_mb']} MB.",
    ]
    return "\n".join(lines)


def headlines(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return the row that the README shows."""
    batches = " / ".join(str(row["batch"]) for row in result["rows"])
    costs = " / ".join(f"{row['client_us']:.0f} + {row['server_us']:.0f}" for row in result["rows"])
    return [(f"journal, client + server per session, batches of {batches}", f"{costs} µs", "python -m bench.journal")]


def main() -> None:
    """Measure, print a table, write the result."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--batches", type=int, nargs="+", default=[16, 100, 500])
    arguments.add_argument("--seconds", type=float, default=2.0, help="about how long each row is measured")
    arguments.add_argument("--smoke", action="store_true", help="as short as can be, to see that it works; writes nothing")
    chosen = arguments.parse_args()
    if chosen.smoke:
        chosen.seconds = 0.01
    with tempfile.TemporaryDirectory() as folder:
        valkey = EmbeddedValkey(Path(folder) / "valkey")
        url = valkey.start()
        try:
            loaded = LOADED_SLOTS if chosen.smoke else LOADED_SESSIONS
            result = asyncio.run(_run(url, batches=chosen.batches, seconds=chosen.seconds, loaded=loaded))
        finally:
            valkey.stop()
    print(table(result))
    if not chosen.smoke:
        print("written:", write_result("journal", result))


if __name__ == "__main__":
    main()
