"""
Say where the processor time of one durable heartbeat goes.

    python -m bench.breakdown [--connections 256,16] [--seconds 6]

Two runs of the same load against one tracker. The first is undisturbed: the time of each process, and of each thread of
replicas and shards. The second is sampled with `py-spy`, and only for shares: what the event loop's thread of a replica or a
shard did while it held the interpreter. So a part is its share of its thread's undisturbed time. Threads that run no Python are
Ray's own: they carry its calls.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from bench import plots
from bench.contenders import HEADCOUNT, ContenderError, Running, started
from bench.folding import REPLICA, SHARD, Rules, fold
from bench.processes import threads_cpu_s
from bench.results import machine, write_result
from bench.tools import MissingToolError
from bench.wrk import Walk, load

RULES: Final[Mapping[str, Rules]] = {"replicas": REPLICA, "shards": SHARD}
CARRIERS: Final = "threads that carry calls"
SAMPLES_PER_S: Final = 200
LOOP: Final = "AsyncIO Thread: default"
"""What Ray calls the thread that an actor's coroutines run on."""
_SETTLE_S: Final = 2
"""For the samplers to find their processes: the load goes on for as long beside them."""


class SamplerError(Exception):
    """`py-spy` did not sample; the message says why."""


def main() -> None:
    """Measure, print the table, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", default="256,16")
    parser.add_argument("--seconds", type=int, default=6, help="of each of the two runs")
    parser.add_argument("--sessions", type=int, default=20_000)
    parser.add_argument("--raw", type=Path, help="keep py-spy's stacks in this folder")
    parser.add_argument("--smoke", action="store_true", help="as short as can be, to see that it works; writes nothing")
    chosen = parser.parse_args()
    if chosen.smoke:
        chosen.connections, chosen.seconds, chosen.sessions = "8", 1, 100
    try:
        with started(HEADCOUNT, workers=len(os.sched_getaffinity(0))) as running:
            counts = [int(each) for each in chosen.connections.split(",")]
            result = measure(running, connections=counts, seconds=chosen.seconds, sessions=chosen.sessions, keep=chosen.raw)
    except (ContenderError, MissingToolError, SamplerError) as error:
        sys.exit(str(error))
    print(table(result))
    if not chosen.smoke:
        print("written:", write_result("breakdown", result))


def measure(running: Running, *, connections: list[int], seconds: int, sessions: int, keep: Path | None = None) -> dict[str, Any]:
    """Break one heartbeat down at each number of connections."""
    walk = Walk("breakdown", sessions)
    load(running.url, walk, kind="heartbeats", token=running.ingest_token, connections=64, seconds=1)
    points = [_point(running, walk, connections=count, seconds=seconds, keep=keep) for count in connections]
    return {"machine": machine(), "seconds": seconds, "points": points}


def _point(running: Running, walk: Walk, *, connections: int, seconds: int, keep: Path | None) -> dict[str, Any]:
    sampled = {pid: kind for pid, kind in running.family().items() if kind in RULES}
    before, threads_before = running.cpu_s(), {pid: threads_cpu_s(pid) for pid in sampled}
    figures = load(running.url, walk, kind="heartbeats", token=running.ingest_token, connections=connections, seconds=seconds)
    threads_after, spent = {pid: threads_cpu_s(pid) for pid in sampled}, running.cpu_s()
    spent.subtract(before)
    accepted = max(1, figures["requests"] - figures["refused"])
    stacks = _sample(running, walk, list(sampled), connections=connections, seconds=seconds)
    parts: Counter[str] = Counter()
    for pid, kind in sampled.items():
        loop, lines = _of_loop(stacks[pid])
        if keep is not None:
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{kind}-{connections}-{pid}.raw").write_text("\n".join(stacks[pid]))
        used = {thread: after - threads_before[pid].get(thread, ("", 0.0))[1] for thread, (_, after) in threads_after[pid].items()}
        shares = fold(lines, RULES[kind])
        total = max(1, shares.total())
        for part, samples in shares.items():
            parts[f"{kind}: {part}"] += used.get(loop, 0.0) * samples / total
        parts[f"{kind}: {CARRIERS}"] += sum(used.values()) - (used.get(loop, 0.0) if shares else 0.0)
    parts.update({kind: used for kind, used in spent.items() if kind not in RULES})
    return {
        "connections": connections,
        "accepted_per_s": figures["accepted_per_s"],
        "cpu_us_total": round(sum(parts.values()) / accepted * 1e6, 1),
        "parts_us": {part: round(used / accepted * 1e6, 1) for part, used in parts.most_common()},
        "samples": {kind: sum(len(stacks[pid]) for pid in sampled if sampled[pid] == kind) for kind in RULES},
    }


def _sample(running: Running, walk: Walk, pids: list[int], *, connections: int, seconds: int) -> dict[int, list[str]]:
    """Sample processes under load; return their stacks. Only what holds the interpreter: idle threads look busy in a virtual machine."""
    under_load = threading.Thread(
        target=load,
        args=(running.url, walk),
        kwargs={"kind": "heartbeats", "token": running.ingest_token, "connections": connections, "seconds": seconds + _SETTLE_S},
    )
    under_load.start()
    with tempfile.TemporaryDirectory() as name:
        files = {pid: Path(name) / f"{pid}.raw" for pid in pids}
        options = ["--format", "raw", "--gil", "--threads", "--rate", str(SAMPLES_PER_S), "--duration", str(seconds)]
        samplers = [
            subprocess.Popen(  # noqa: S603 - our own arguments
                [str(Path(sys.executable).with_name("py-spy")), "record", "--pid", str(pid), "--output", str(file), *options],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for pid, file in files.items()
        ]
        said = [sampler.communicate()[1] for sampler in samplers]
        under_load.join()
        for sampler, words in zip(samplers, said, strict=True):
            if sampler.returncode:
                raise SamplerError(
                    f"py-spy may not look into processes here; as root, or with kernel.yama.ptrace_scope=0, it may: {words[-300:]}"
                )
        return {pid: file.read_text().splitlines() for pid, file in files.items()}


def _of_loop(stacks: list[str]) -> tuple[int, list[str]]:
    """Return the event loop's thread and its stacks, without the frame that names it."""
    mine = [stack for stack in stacks if LOOP in stack.partition(";")[0]]
    if not mine:
        return 0, []
    return int(mine[0].partition("(")[2].partition(")")[0]), [stack.partition(";")[2] for stack in mine]


def table(result: dict[str, Any]) -> str:
    """Return the parts as markdown, the biggest first."""
    points = result["points"]
    heads = " | ".join(f"µs at {point['connections']} ({point['accepted_per_s']:,.0f}/s)" for point in points)
    lines = [f"| part of one heartbeat | {heads} |", "|---|" + "---:|" * len(points)]
    parts = sorted({part for point in points for part in point["parts_us"]}, key=lambda part: -points[0]["parts_us"].get(part, 0.0))
    lines += [f"| {part} | " + " | ".join(f"{point['parts_us'].get(part, 0.0):.1f}" for point in points) + " |" for part in parts]
    lines.append("| **all processes** | " + " | ".join(f"**{point['cpu_us_total']:.0f}**" for point in points) + " |")
    return "\n".join(lines)


_CARRYING: Final = ("carry batches", "read and answer batches", CARRIERS)
_GROUPS: Final = (
    ("HAProxy", ("haproxy",)),
    ("Serve's path", ("replicas: Serve's path",)),
    ("HTTP in Python", ("replicas: HTTP in Python (uvicorn)",)),
    ("authenticate, parse, validate", ("replicas: authenticate", "replicas: parse, validate")),
    ("event loops and their sockets", ("replicas: event loop", "shards: event loop")),
    ("record and steps between", ("replicas: record", "replicas: steps between")),
    ("mailbox", ("replicas: mailbox",)),
    ("carry batches, both sides", (*(f"{side}: {part}" for side in RULES for part in _CARRYING),)),
    ("apply", ("shards: apply", "shards: steps between")),
    ("commit, and Valkey", ("shards: commit", "valkey")),
    ("answer", ("replicas: answer",)),
)
"""The parts that are told apart; whatever else there is goes on without players too, and is `the rest`."""


def grouped(parts: dict[str, float]) -> dict[str, float]:
    """Return the parts of one heartbeat as the plot shows them."""
    groups = {name: sum(parts.get(part, 0.0) for part in members) for name, members in _GROUPS}
    return {**groups, "the rest: exporter, directory, Ray": sum(parts.values()) - sum(groups.values())}


def draw(result: dict[str, Any]) -> list[Path]:
    """Draw one bar for each number of connections."""
    bars = {f"{point['connections']} connections": grouped(point["parts_us"]) for point in result["points"]}
    return [plots.stack("breakdown", bars, title="One durable heartbeat", x="µs of processor time, over all serving processes")]


def headlines(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return the row that the README shows."""
    first = result["points"][0]
    biggest = sorted(grouped(first["parts_us"]).items(), key=lambda part: -part[1])[:3]
    said = ", ".join(f"{name} {used:.0f}" for name, used in biggest)
    return [
        (f"one heartbeat at {first['connections']} connections, µs", f"{first['cpu_us_total']:.0f}: {said}, …", "python -m bench.breakdown")
    ]


if __name__ == "__main__":
    main()
