"""
What more viewers would take, reckoned from what one heartbeat costs (`bench/breakdown.py`): arithmetic, not a measurement.

It takes every part as proportional to the beats, which is on the safe side: batches grow with the load, and a beat in a bigger batch
costs less. What goes on without players (exporter, directory, the rest of Ray) is left out; it does not grow with them.
"""

from math import ceil
from typing import Any, Final

SOURCE: Final = "breakdown"
VIEWERS: Final = (100_000, 1_000_000, 10_000_000)
INTERVAL_S: Final = 30
BUSY_MAX: Final = 0.6
"""Of a core, on average: the rest is for starts, ends, events, peaks and the loss of a machine."""
CORES_PER_MACHINE: Final = 8
SESSION_BYTES: Final = 1_400
"""In its shard (`bench/core.py`)."""
STORED_BYTES: Final = 500
"""In the journal's memory, and in its file for each beat (`bench/journal.py`)."""
REQUEST_BYTES: Final = 1_050
ANSWER_BYTES: Final = 450
"""On the wire, headers of HTTP, TCP and IP included, without TLS."""
_SESSIONS_PER_SHARD: Final = 1_000_000
"""`limits.SESSIONS_PER_SHARD_MAX`."""


def needs(parts_us: dict[str, float], *, viewers: int) -> dict[str, float]:
    """Return what an audience takes: beats a second, cores and processes by kind, memory, bandwidth."""
    beats = viewers / INTERVAL_S

    def cores(kind: str) -> float:
        return beats * sum(used for part, used in parts_us.items() if part.partition(":")[0] == kind) / 1e6

    kinds = {kind: cores(kind) for kind in ("haproxy", "replicas", "shards", "valkey")}
    return {
        "beats": beats,
        **kinds,
        "cores": sum(kinds.values()),
        "machines": ceil(sum(kinds.values()) / BUSY_MAX / CORES_PER_MACHINE),
        "replica processes": ceil(kinds["replicas"] / BUSY_MAX),
        "shard actors": max(ceil(kinds["shards"] / BUSY_MAX), ceil(viewers / _SESSIONS_PER_SHARD)),
        "primaries": ceil(kinds["valkey"] / BUSY_MAX),
        "shards_gb": viewers * SESSION_BYTES / 1e9,
        "journal_gb": viewers * STORED_BYTES / 1e9,
        "journal_mb_s": beats * STORED_BYTES / 1e6,
        "in_gbit_s": beats * REQUEST_BYTES * 8 / 1e9,
        "out_gbit_s": beats * ANSWER_BYTES * 8 / 1e9,
    }


def table(result: dict[str, Any]) -> str:
    """Return the needs of each audience as markdown, from the first point of a breakdown."""
    point = result["points"][0]
    all_needs = [needs(point["parts_us"], viewers=viewers) for viewers in VIEWERS]
    rows = (
        ("beats a second", "beats", "{:,.0f}"),
        ("cores busy: HAProxy", "haproxy", "{:.1f}"),
        ("cores busy: replicas", "replicas", "{:.1f}"),
        ("cores busy: shards", "shards", "{:.1f}"),
        ("cores busy: Redis", "valkey", "{:.2f}"),
        (f"machines of {CORES_PER_MACHINE} cores, {BUSY_MAX:.0%} busy", "machines", "{:,.0f}"),
        ("ingest replicas", "replica processes", "{:,.0f}"),
        ("shard actors", "shard actors", "{:,.0f}"),
        ("Redis primaries", "primaries", "{:,.0f}"),
        ("memory of all shards' sessions, GB", "shards_gb", "{:.1f}"),
        ("memory of the journal, GB", "journal_gb", "{:.1f}"),
        ("written to the journal's file, MB/s", "journal_mb_s", "{:.0f}"),
        ("bandwidth in, Gbit/s, without TLS", "in_gbit_s", "{:.2f}"),
        ("bandwidth out, Gbit/s", "out_gbit_s", "{:.2f}"),
    )
    lines = [
        f"| reckoned from {point['cpu_us_total']:.0f} µs a beat | " + " | ".join(f"{viewers:,} viewers" for viewers in VIEWERS) + " |",
        "|---|" + "---:|" * len(VIEWERS),
    ]
    lines += [f"| {what} | " + " | ".join(form.format(each[name]) for each in all_needs) + " |" for what, name, form in rows]
    return "\n".join(lines)
