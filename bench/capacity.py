"""
Find how many live sessions this machine carries, and how right and how fresh the number is meanwhile.

    python -m bench.capacity [--sessions 20000,50000,100000,150000] [--seconds 300]

For each size a fresh `headcount up` with its defaults and an open-loop audience (`bench/crowd.py`) on the same machine:
latency counts from when a request was due. Every second the count is held against the truth, and the latencies of what was due in it are kept beside the times at which the journal rewrote its file. In the end what was
acknowledged is compared with what was counted, and the journal is audited. Memory is the proportional set size, processor time in cores, both by kind of process, while the audience is complete.
"""

import argparse
import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench import plots
from bench.contenders import HEADCOUNT, ROOT, ContenderError, Running, started
from bench.crowd import EXPIRY_INTERVALS
from bench.processes import memory_bytes
from bench.results import machine, write_result
from metrics import scrape

SESSIONS: Final = (20_000, 50_000, 100_000, 150_000)
JOINS_PER_S_MAX: Final = 2_500
"""While the audience assembles."""
INTERVAL_S: Final = 30
STAY_S: Final = 600.0
"""How long a session lasts, on average."""
CONNECTIONS: Final = 1_000
_BEGUN: Final = "Starting automatic rewriting"
_LOGGED: Final = re.compile(rf" (\d+ \w+ \d+ [\d:.]+) \* ({_BEGUN}|Background AOF rewrite finished)")
SETTLED_S: Final = 2.0
"""For so long after a rewrite has ended its backlog is still made up for."""
COUNTED: Final = {"start": "started", "beat": "heartbeats", "end": "ended"}
"""The tracker's counters of what an audience says."""
P99_MS_MAX: Final = 250.0
FRESH_S_MAX: Final = 2.0


def main() -> None:
    """Measure each size, print the tables, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", default=",".join(map(str, SESSIONS)))
    parser.add_argument("--seconds", type=float, default=300.0, help="with the audience complete, of each size")
    parser.add_argument("--stay", type=float, default=STAY_S, help="how long a session lasts on average, in seconds")
    parser.add_argument("--smoke", action="store_true", help="a few viewers for a few seconds, to see that it works; writes nothing")
    chosen = parser.parse_args()
    if chosen.smoke:
        chosen.sessions, chosen.seconds, chosen.stay = "200", 8.0, 10.0
    interval_s = 1 if chosen.smoke else INTERVAL_S
    result: dict[str, Any] = {"machine": machine(), "seconds": chosen.seconds, "stay_s": chosen.stay, "sizes": []}
    for size in map(int, chosen.sessions.split(",")):
        try:
            with started(HEADCOUNT, workers=len(os.sched_getaffinity(0)), HEARTBEAT_INTERVAL_S=str(interval_s)) as running:
                result["sizes"].append(measure(running, sessions=size, interval_s=interval_s, seconds=chosen.seconds, stay_s=chosen.stay))
        except ContenderError as error:
            sys.exit(str(error))
        print(json.dumps({name: value for name, value in result["sizes"][-1].items() if name not in ("series", "seconds")}), flush=True)
    print(table(result))
    if not chosen.smoke:
        print("written:", write_result("capacity", result))


def measure(running: Running, *, sessions: int, interval_s: int, seconds: float, stay_s: float) -> dict[str, Any]:
    """Let an audience of this size live; return what it and the processes went through."""
    _await_empty_house(running, within_s=2.0 * interval_s * EXPIRY_INTERVALS)
    counted = counted_by(running)
    ramp_s = ramp_of(sessions, interval_s=interval_s)
    told = {
        "url": running.url,
        "ingest_token": running.ingest_token,
        "ops_token": running.ops_token,
        "sessions": sessions,
        "ramp_s": ramp_s,
        "duration_s": seconds,
        "stay_s": stay_s,
        "interval_s": interval_s,
        "connections": CONNECTIONS,
    }
    command = [sys.executable, "-m", "bench.crowd"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as crowd:  # noqa: S603
        begun = time.monotonic()
        assert crowd.stdin is not None  # noqa: S101 - as it was asked for
        crowd.stdin.write(json.dumps(told))
        crowd.stdin.close()
        crowd.stdin = None
        time.sleep(ramp_s + 1)
        before, before_at = running.cpu_s(), time.monotonic()
        time.sleep(max(0.0, seconds - 2 - (before_at - begun - ramp_s - 1)))
        spent, memory = running.cpu_s(), memory_bytes(running.family())
        spent.subtract(before)
        over_s = time.monotonic() - before_at
        output, _ = crowd.communicate()
    if crowd.returncode:
        raise ContenderError(f"the audience ended with {crowd.returncode}")
    seen: dict[str, Any] = json.loads(output)
    audit = running.command("audit")
    counted = {kind: count - counted[kind] for kind, count in counted_by(running).items()}
    log = running.data / "valkey/valkey.log"
    return {
        **seen,
        "rewrites": rewrites(log.read_text() if log.exists() else "", since=seen["began_at"]),
        "counted": counted,
        "lost": sum(max(0, count - counted[kind]) for kind, count in seen["acknowledged"].items()),
        "cores": {kind: round(used / over_s, 3) for kind, used in spent.most_common()},
        "memory_mb": {kind: round(used / 1e6) for kind, used in memory.most_common()},
        "audit": {"holds": audit.returncode == 0, "said": audit.stdout.strip().splitlines()[-1:]},
    }


def ramp_of(sessions: int, *, interval_s: int) -> int:
    """
    Return for how many seconds an audience assembles.

    Whole heartbeat intervals, so that the beats lie evenly: what joins in part of one beats in that part of every interval that follows.
    """
    return interval_s * max(1, math.ceil(sessions / (JOINS_PER_S_MAX * interval_s)))


def counted_by(running: Running) -> dict[str, int]:
    """Return how many starts, beats and ends the tracker has counted in all."""
    counters = scrape.counters(scrape.read(running.get("/metrics").decode()))
    return {kind: round(sum(count for key, count in counters.items() if key[0] == name)) for kind, name in COUNTED.items()}


def rewrites(log: str, *, since: float) -> list[list[float]]:
    """Return when the journal began and ended to rewrite its file, from Valkey's log, in seconds since a Unix time."""
    begun: list[float] = []
    ended: list[float] = []
    for line in log.splitlines():
        found = _LOGGED.search(line)
        if found:
            at = datetime.strptime(found[1], "%d %b %Y %H:%M:%S.%f").astimezone().timestamp() - since
            (begun if found[2] == _BEGUN else ended).append(round(at, 2))
    return [[start, end] for start, end in zip(begun, ended, strict=False) if end > 0]


def _await_empty_house(running: Running, *, within_s: float) -> None:
    """Wait until nobody is watching: the truth knows this audience only."""
    begun = time.monotonic()
    while left := running.watching():
        if time.monotonic() - begun > within_s:
            raise ContenderError(f"{left} sessions of somebody else do not end")
        time.sleep(0.1)


def gathered(kept: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return one result with each size as it was measured last; older ones say of which commit they are."""
    newest = kept[-1]
    sizes = {
        size["sessions"]: size if result is newest else {**size, "commit": result["machine"]["commit"]}
        for result in kept
        if result["seconds"] == newest["seconds"]
        for size in result["sizes"]
    }
    return {**newest, "sizes": [sizes[sessions] for sessions in sorted(sizes)]}


def failures(size: dict[str, Any]) -> int:
    """Return what a size did not get: refused, not accepted, not answered, or not said because the beat before was still on its way."""
    return int(sum(size["failed"].values()) + size["unanswered"] + size["counts"].get("missed", 0))


def is_carried(size: dict[str, Any]) -> bool:
    """Tell whether a size was carried: nothing failed, quick enough, fresh enough, and always right."""
    fresh = size["freshness_s"].get("p99", float("inf")) <= FRESH_S_MAX
    quick = size["latency_ms"]["p99"] <= P99_MS_MAX
    return bool(not failures(size) and quick and fresh and size["right"] == size["asked"] and not size["lost"] and size["audit"]["holds"])


def table(result: dict[str, Any]) -> str:
    """Return the tables as markdown: what players and operators saw, what it took, the targets."""
    sizes = result["sizes"]
    players = [
        "| live sessions | requests/s | p50 ms | p99 ms | p999 ms | failed | missed | beat → number p50, p99 s | number right | carried |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for each in sizes:
        late, fresh = each["latency_ms"], each["freshness_s"]
        players.append(
            f"| {each['sessions']:,} | {each['requests_per_s']:,.0f} | {late['p50']:.1f} | {late['p99']:.1f} | {late['p999']:.1f} | "
            f"{failures(each) - each['counts'].get('missed', 0)} | {each['counts'].get('missed', 0)} | "
            f"{fresh.get('p50', float('nan')):.2f}, {fresh.get('p99', float('nan')):.2f} | {each['right']} of {each['asked']} s | "
            f"{'yes' if is_carried(each) else 'no'} |"
        )
    costs = ["| live sessions | cores: all, of them | memory MB: all, of them | generator |", "|---:|---|---|---|"]
    for each in sizes:
        cores, memory = each["cores"], each["memory_mb"]
        costs.append(
            f"| {each['sessions']:,} | {sum(cores.values()):.2f}: {_biggest(cores, '{:.2f}')} | {sum(memory.values()):,}: {_biggest(memory, '{:,}')} | "
            f"{each['generator_cores']:.2f} cores, {each['generator_us_per_request']:.0f} µs a request |"
        )
    older = [f"{each['sessions']:,} at commit {each['commit']}" for each in sizes if "commit" in each]
    noted = [f"Measured before the others: {', '.join(older)}.", ""] if older else []
    return "\n".join([*players, "", *noted, *costs, "", *seconds_table(sizes), targets(result)])


def seconds_table(sizes: list[dict[str, Any]]) -> list[str]:
    """Return how long a second's requests took, apart for those in which the journal rewrote its file, or had just."""
    lines = [
        "| live sessions | the journal's file rewritten | p99 of a second meanwhile: median, worst | of the other seconds: median, worst |",
        "|---:|---:|---|---|",
    ]
    for each in sizes:
        if "seconds" not in each:
            continue
        rewriting = [(start, end + SETTLED_S) for start, end in each["rewrites"] if end > each["ramp_s"]]
        during: list[float] = []
        quiet: list[float] = []
        for second, _, _, p99, *_ in each["seconds"]:
            if second >= each["ramp_s"]:
                (during if any(start < second + 1 and second < end for start, end in rewriting) else quiet).append(p99)
        told = [f"{median(some):.0f}, {max(some):.0f} ms" if some else "" for some in (during, quiet)]
        lines.append(f"| {each['sessions']:,} | {len(rewriting)} times | {told[0]} | {told[1]} |")
    return [*lines, ""] if len(lines) > 2 else []


def _biggest(values: dict[str, float], form: str) -> str:
    return ", ".join(f"{kind} {form.format(value)}" for kind, value in sorted(values.items(), key=lambda each: -each[1])[:3])


def targets(result: dict[str, Any]) -> str:
    """Return which targets this result meets."""
    lines = ["| target | measured | |", "|---|---|---|"]
    for each in result["sizes"]:
        if each["sessions"] != 100_000:
            continue
        fresh = each["freshness_s"].get("p99", float("inf"))
        for what, measured, met in (
            (
                "no acknowledged loss",
                f"{each['lost']} of {sum(each['acknowledged'].values()):,} not counted; {' '.join(each['audit']['said'])}",
                not each["lost"] and each["audit"]["holds"],
            ),
            ("p99 ≤ 250 ms", f"{each['latency_ms']['p99']:.0f} ms", each["latency_ms"]["p99"] <= P99_MS_MAX),
            ("the count right at every second", f"{each['right']} of {each['asked']}", each["right"] == each["asked"]),
            ("freshness p99 ≤ 2 s", f"{fresh:.2f} s", fresh <= FRESH_S_MAX),
        ):
            length = f"{result['seconds'] / 60:.0f} min" if result["seconds"] >= 60 else f"{result['seconds']:.0f} s"
            lines.append(f"| 100,000 live sessions for {length}: {what} | {measured} | {'met' if met else '**missed**'} |")
    carried = [each["sessions"] for each in result["sizes"] if is_carried(each)]
    lines.append(f"| the most that was carried | {max(carried, default=0):,} live sessions | |")
    return "\n".join(lines)


def draw(result: dict[str, Any]) -> list[Path]:
    """Draw the knee: latency and freshness against the size of the audience, and what it takes."""
    sizes = result["sizes"]

    def line(figure: str, quantile: str, times: float = 1.0) -> list[tuple[float, float]]:
        return [(each["sessions"], times * each[figure][quantile]) for each in sizes if quantile in each[figure]]

    latency = {name: line("latency_ms", name) for name in ("p50", "p99", "p999")} | {"beat → number, p99": line("freshness_s", "p99", 1e3)}
    memory = {"all processes, MB": [(each["sessions"], sum(each["memory_mb"].values())) for each in sizes]}
    memory |= {kind: [(each["sessions"], each["memory_mb"].get(kind, 0)) for each in sizes] for kind in ("shards", "valkey", "replicas")}
    by_second = {
        f"{each['sessions']:,} live sessions": [(row[0] - each["ramp_s"], row[3]) for row in each["seconds"] if row[0] >= each["ramp_s"]]
        for each in sizes
        if "seconds" in each
    }
    title = "p99 of what was due in each second"
    limits = {"p99 ≤ 250 ms": P99_MS_MAX}
    return [
        plots.lines("capacity-seconds", by_second, title=title, x="second", y="ms", limits=limits, log="y"),
        plots.lines(
            "capacity",
            latency,
            title="From when it was due to its answer",
            x="live sessions",
            y="ms",
            limits=limits,
            log="xy",
        ),
        plots.lines("capacity-memory", memory, title="Memory (proportional set size)", x="live sessions", y="MB", log=""),
    ]


def headlines(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return the rows that the README shows."""
    command = "python -m bench.capacity"
    carried = max((each for each in result["sizes"] if is_carried(each)), key=lambda each: each["sessions"], default=None)
    if carried is None:
        return [("live sessions carried", "none of the sizes measured: see docs/performance.md", command)]
    late, fresh = carried["latency_ms"], carried["freshness_s"]
    return [
        (
            f"live sessions carried for {result['seconds']:.0f} s, a beat every 30 s: none failed, every count right",
            f"{carried['sessions']:,}",
            command,
        ),
        ("… p50 / p99 / p999 from when a beat was due", f"{late['p50']:.0f} / {late['p99']:.0f} / {late['p999']:.0f} ms", command),
        ("… from a beat to the number, p50 / p99", f"{fresh['p50']:.2f} / {fresh['p99']:.2f} s", command),
    ]


if __name__ == "__main__":
    main()
