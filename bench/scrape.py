"""
Measure what a scrape costs when there is much to tell: 10,000 streams, 100,000 sessions, in a real tracker.

    python -m bench.scrape [--sessions 100000] [--streams 10000] [--rounds 6] [--seconds 5] [--smoke]

Loads the sessions over HTTP, times scrapes on the idle tracker (text and OpenMetrics, through the front door), and then plays
rounds of heartbeats without and with somebody who scrapes once a second, by turns: the medians of both p99 are compared.
"""

import argparse
import statistics
import sys
import threading
import time
from typing import Any, Final

from bench.contenders import HEADCOUNT, ContenderError, Running, started
from bench.results import machine, write_result
from bench.tools import MissingToolError
from bench.wrk import LoadError, Walk, load
from sessions.limits import STREAM_LABELS_MAX

SCRAPES: Final = 15
CONNECTIONS: Final = 64
LOAD_S_MAX: Final = 90.0
SETTLES_S: Final = 12.0
"""Labels are given out every ten seconds once there are more streams than places."""
SHOWN_S: Final = 2.0
"""Whoever was acknowledged is in a scrape by then."""
SMOKE: Final = (200, 20, 1, 2)
"""Sessions, streams, rounds, seconds."""
PROMISED_MS, PROMISED_BYTES, PROMISED_RATIO = 250.0, 5_000_000, 1.2


def main() -> None:
    """Measure, print, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sessions", type=int, default=100_000)
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=6, help="of each kind")
    parser.add_argument("--seconds", type=int, default=5, help="of each round")
    parser.add_argument("--smoke", action="store_true", help="as short as can be, to see that it works; writes nothing")
    chosen = parser.parse_args()
    if chosen.smoke:
        chosen.sessions, chosen.streams, chosen.rounds, chosen.seconds = SMOKE
    try:
        # Nobody expires while it takes.
        with started(HEADCOUNT, workers=2, HEARTBEAT_INTERVAL_S="600") as running:
            result = measure(running, sessions=chosen.sessions, streams=chosen.streams, rounds=chosen.rounds, seconds=chosen.seconds)
    except (ContenderError, MissingToolError, LoadError) as error:
        sys.exit(str(error))
    print(table(result))
    if not chosen.smoke:
        print("written:", write_result("scrape", result))


def measure(running: Running, *, sessions: int, streams: int, rounds: int, seconds: int) -> dict[str, Any]:
    """Fill the tracker, scrape it idle, then by turns under load; return everything."""
    walk = Walk("scrape", sessions)
    fill(running, walk, sessions=sessions, streams=streams, seconds=seconds)
    idle = {kind: [_timed(running, kind) for _ in range(SCRAPES)] for kind in ("text/plain", "application/openmetrics-text")}
    _check(running, walk)
    beats: dict[str, list[dict[str, Any]]] = {"alone": [], "scraped": []}
    scraped: list[tuple[float, int]] = []
    for number in range(rounds):
        for kind in ("alone", "scraped") if number % 2 == 0 else ("scraped", "alone"):
            with _Scraper(running, scraped) if kind == "scraped" else _Nobody():
                beats[kind].append(_beat(running, walk, seconds=seconds, streams=streams))
    p99 = {kind: statistics.median(each["p99_ms"] for each in turns) for kind, turns in beats.items()}
    rate = {kind: round(statistics.median(each["accepted_per_s"] for each in turns)) for kind, turns in beats.items()}
    summary = {
        "sessions": running.watching(),
        "streams": streams,
        "scrape_ms": {kind: _spread([took_ms for took_ms, _ in found]) for kind, found in idle.items()},
        "bytes": {kind: found[-1][1] for kind, found in idle.items()},
        "scrape_ms_under_load": _spread([took_ms for took_ms, _ in scraped]),
        "heartbeats_per_s": rate,
        "p99_ms": p99,
        "p99_ratio": round(p99["scraped"] / p99["alone"], 3),
        "promised": {"scrape_ms": PROMISED_MS, "bytes": PROMISED_BYTES, "p99_ratio": PROMISED_RATIO},
    }
    return {"machine": machine(), "summary": summary, "beats": beats, "idle": idle, "scraped": scraped}


def fill(running: Running, walk: Walk, *, sessions: int, streams: int, seconds: int = 5) -> None:
    """Open the sessions, and wait until all are counted and the labels are given out."""
    begun = time.monotonic()
    while walk.bounds[1] < sessions:
        if time.monotonic() - begun > LOAD_S_MAX:
            message = f"only {walk.bounds} of {sessions} sessions after {LOAD_S_MAX:.0f} s"
            raise ContenderError(message)
        _beat(running, walk, seconds=seconds, streams=streams, connections=256)
    time.sleep(SETTLES_S if streams > STREAM_LABELS_MAX else SHOWN_S)


def _beat(running: Running, walk: Walk, *, seconds: int, streams: int, connections: int = CONNECTIONS) -> dict[str, Any]:
    token = running.ingest_token
    return load(running.url, walk, kind="heartbeats", token=token, connections=connections, seconds=seconds, streams=streams)


def _timed(running: Running, accept: str) -> tuple[float, int]:
    """Scrape once; return how long it took, in ms, and the size of the body."""
    begun = time.perf_counter()
    size = len(running.get("/metrics", accept=accept))
    return (time.perf_counter() - begun) * 1e3, size


def _check(running: Running, walk: Walk) -> None:
    """See that all are there, and that the streams add up to them; of what wrk broke off at a round's end nobody knows."""
    sums = {"headcount_sessions{": 0.0, "headcount_stream_sessions{": 0.0}
    for line in running.get("/metrics").decode().splitlines():
        for name in sums:
            if line.startswith(name):
                sums[name] += float(line.rpartition(" ")[2])
    least, most = walk.bounds
    if len(set(sums.values())) != 1 or not all(least <= total <= most for total in sums.values()):
        message = f"{walk.bounds} sessions are shown as {sums}"
        raise ContenderError(message)


def _spread(found: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(found), 1), "max": round(max(found), 1), "count": len(found)}


def table(result: dict[str, Any]) -> str:
    """Return what was promised and what was measured, as markdown."""
    summary = result["summary"]
    first_ms, *later_ms = (took for kind in result["idle"].values() for took, _ in kind)
    size = max(summary["bytes"].values())
    rows = (
        ("the first scrape of all, which spells every series", f"{first_ms:.0f} ms", f"{PROMISED_MS:.0f} ms", first_ms <= PROMISED_MS),
        ("any later one, idle, the slowest", f"{max(later_ms):.0f} ms", f"{PROMISED_MS:.0f} ms", max(later_ms) <= PROMISED_MS),
        ("its size", f"{size / 1e6:.2f} MB", f"{PROMISED_BYTES / 1e6:.0f} MB", size <= PROMISED_BYTES),
        (
            "p99 of a heartbeat with a scrape a second, to that without",
            f"{summary['p99_ratio']}",
            f"{PROMISED_RATIO}",
            summary["p99_ratio"] <= PROMISED_RATIO,
        ),
    )
    lines = [
        f"{summary['sessions']:,} sessions of {summary['streams']:,} streams.",
        "",
        "| what | measured | at most | |",
        "|---|---:|---:|---|",
    ]
    lines += [f"| {what} | {measured} | {promised} | {'met' if met else '**missed**'} |" for what, measured, promised, met in rows]
    under_load, p99, rate = summary["scrape_ms_under_load"], summary["p99_ms"], summary["heartbeats_per_s"]
    lines += [
        "",
        (
            f"Under load a scrape takes {under_load['median']:.0f} ms (the slowest of {under_load['count']}: {under_load['max']:.0f}). Heartbeats at "
            f"{CONNECTIONS} connections: p99 {p99['alone']:.0f} ms and {rate['alone']:,}/s alone, {p99['scraped']:.0f} ms and {rate['scraped']:,}/s "
            "with the scrapes; medians of alternating rounds."
        ),
    ]
    return "\n".join(lines)


class _Nobody:
    def __enter__(self) -> None:
        """Let nobody scrape."""

    def __exit__(self, *_: object) -> None:
        """Nothing to end."""


class _Scraper(_Nobody):
    """Scrapes once a second, in a thread of its own."""

    def __init__(self, running: Running, found: list[tuple[float, int]]) -> None:
        self._running = running
        self._found = found
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._scrape, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _scrape(self) -> None:
        while not self._over.wait(1.0):
            self._found.append(_timed(self._running, "text/plain"))


if __name__ == "__main__":
    main()
