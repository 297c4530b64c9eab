"""The demo, the audit and the status, as an operator runs them, on a tracker with short intervals."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from metrics import scrape
from serve_app.machine import runs
from serve_app.players import examples
from sessions.changes import Key
from storage.processes import ProcessName
from tests.integration.installation import COMMAND, Installation, wait_until

SHORT = {"HEARTBEAT_INTERVAL_S": "3", "SHARDS": "2", "SLOTS": "32", "REPLICAS": "2"}


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    installation = Installation(tmp_path_factory.mktemp("short"), settings=SHORT)
    try:
        installation.start()
        yield installation
    finally:
        installation.clean_up()


def counters(tracker: Installation) -> dict[Key, float]:
    return dict(scrape.counters(scrape.read(tracker.get("/metrics").body.decode())))


def exporter_of(tracker: Installation) -> set[ProcessName]:
    found = set()
    for process in tracker.processes():
        try:
            with open(f"/proc/{process.pid}/cmdline", "rb") as file:  # noqa: PTH123 - of the kernel
                title = file.read()
        except OSError:
            continue
        if title.startswith(b"ray::Exporter"):
            found.add(process)
    return found


def test_an_audience_and_the_tracker_agree_exactly_and_every_ledger_holds(short: Installation, tmp_path: Path) -> None:
    """Only a request that was sent again, because its answer was lost, may leave a count open: by one or two, of some."""
    books = tmp_path / "books.json"
    # As the README has newcomers do: it expires by itself, and spoils nothing.
    assert short.request("GET", "/icon.gif?type=play&v=video-1&p=zone-1&u=viewer-1").status == 200
    wait_until(lambda: short.get("/v1/concurrency").json()["sessions"], within_s=5, what="the pixel is counted")
    demo = short.run("demo", "--viewers", "100", "--seconds", "8", "--seed", "3", "--books", str(books), within_s=120)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "differs" not in demo.stdout
    assert "Somebody else" not in demo.stdout
    assert demo.stdout.splitlines()[-1].startswith("100 viewers, ")
    assert demo.stdout.splitlines()[-1].endswith("Headcount counted all of it right.")
    counts = [low == high for _, low, high in json.loads(books.read_text())["counts"]]
    assert len(counts) > 20
    if "had to be sent again" in demo.stdout:
        assert "The counts agree" in demo.stdout
        assert sum(counts) > len(counts) / 2
    else:
        assert "The counts agree exactly" in demo.stdout, demo.stdout
        assert all(counts)
    audit = short.run("audit")
    assert audit.returncode == 0, audit.stdout + audit.stderr
    assert "Every ledger holds: 32 slots." in audit.stdout
    assert "active 0 = started" in audit.stdout


def test_a_quick_demo_waits_for_nobody_to_expire(short: Installation) -> None:
    demo = short.run("demo", "--quick", within_s=60)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "300 viewers of 8 streams for 10 s" in demo.stdout
    assert "about 18 seconds in all" in demo.stdout
    assert "Headcount counted all of it right." in demo.stdout


def test_status_says_where_everything_is(short: Installation) -> None:
    def sessions() -> int:
        return sum(shard["sessions"] for shard in short.get("/v1/status").json()["shards"].values())

    before = sessions()
    assert short.post("/analytics/live/session/start", examples.START).status == 200
    wait_until(lambda: sessions() == before + 1, within_s=5, what="the directory has heard of the session")
    status = short.run("status")
    assert status.returncode == 0, status.stdout + status.stderr
    assert f"Ready at {short.url}" in status.stdout
    assert "32 of 32 served" in status.stdout
    assert "Journal     yes" in status.stdout
    (heads,) = [line.split() for line in status.stdout.splitlines() if line.startswith("shard ")]
    rows = [dict(zip(heads, line.split(), strict=False)) for line in status.stdout.splitlines() if line.startswith("shard-")]
    assert [(row["shard"], row["alive"]) for row in rows] == [("shard-0", "yes"), ("shard-1", "yes")]
    assert sum(int(row["slots"]) for row in rows) == 32
    assert sum(int(row["sessions"]) for row in rows) == before + 1
    assert [row["unwritten"] for row in rows] == ["0", "0"]
    assert all(0.0 <= float(row["behind"]) < 5.0 for row in rows)
    told = short.get("/v1/status").json()
    assert told["map_version"] == sum(told["epochs"].values())
    for row in rows:
        epochs = {told["epochs"][slot] for slot, owner in told["owners"].items() if owner == f"headcount-{row['shard']}"}
        assert row["epochs"] == "-".join(str(epoch) for epoch in sorted({min(epochs), max(epochs)}))


def test_a_killed_exporter_comes_back_with_the_same_ledger_and_begins_the_rest_anew(short: Installation) -> None:
    before = counters(short)
    assert before["started",] > 0
    assert before["heartbeats",] > 0
    (exporter,) = exporter_of(short)
    runs.kill([exporter], timeout_s=5)
    wait_until(lambda: exporter_of(short) - {exporter}, within_s=30, what="a new exporter")

    def is_back() -> bool:
        answer = short.get("/metrics")
        return answer.status == 200 and scrape.counters(scrape.read(answer.body.decode())).get(("started",)) == before["started",]

    wait_until(is_back, within_s=30, what="the ledger is shown again")
    after = counters(short)
    ledger = ("started", "provisional", "promoted", "revived", "expired", "ended")
    assert {key: count for key, count in after.items() if key[0] in ledger} == {
        key: count for key, count in before.items() if key[0] in ledger
    }
    assert after["heartbeats",] == 0


@pytest.mark.parametrize("command", ["status", "demo", "audit"])
def test_where_nothing_runs_each_command_says_so_and_leaves_nothing(tmp_path_factory: pytest.TempPathFactory, command: str) -> None:
    nowhere = Installation(tmp_path_factory.mktemp("nowhere"), port=9_998)
    told = nowhere.run(command)
    assert told.returncode == 1
    assert f"{COMMAND} up" in told.stderr.replace("\n", "")
    assert "Traceback" not in told.stderr
    assert not nowhere.data.exists()
