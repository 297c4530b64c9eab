"""The scenes that faults are played in, and the table that they fill."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict
from random import Random, SystemRandom

import pytest

from sessions.changes import Policy
from storage.embedded import EmbeddedValkey
from tests.chaos import table as tables
from tests.chaos.crowd import Crowd
from tests.chaos.full_house import fill
from tests.chaos.scene import SETTINGS, Scene
from tests.chaos.strangers import step_file
from tests.chaos.table import Row
from tests.chaos.valve import Valve
from tests.integration.installation import Installation

PLAYERS = 200
ROW = pytest.StashKey[Row]()
PROPERTY = "chaos"


@pytest.fixture(scope="session")
def seed() -> int:
    """The seed of every moment and every choice: `HEADCOUNT_CHAOS_SEED`, or a new one."""
    chosen = int(os.environ.get("HEADCOUNT_CHAOS_SEED") or SystemRandom().randrange(1_000_000))
    print(f"\nchaos: HEADCOUNT_CHAOS_SEED={chosen}")
    return chosen


@pytest.fixture(scope="module")
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, seed: int) -> Iterator[Scene]:
    """
    One tracker under one crowd for all faults of a module.

    If the module says VALVED, the journal's server is ours, behind a valve; SETTINGS go beside the usual ones; and so many HOUSED
    sessions are in the journal when the tracker starts.
    """
    tracker = Installation(tmp_path_factory.mktemp("chaos"), settings=SETTINGS | getattr(request.module, "SETTINGS", {}))
    with ExitStack() as ends:
        ends.callback(tracker.clean_up)
        if housed := getattr(request.module, "HOUSED", 0):
            _fill(tracker, housed)
        clock = step_file(tracker)
        tracker.settings = {**tracker.settings, "TEST_CLOCK_STEP_FILE": str(clock)}
        valkey, valve = _behind_a_valve(tracker, ends) if getattr(request.module, "VALVED", False) else (None, None)
        tracker.start()
        crowd = ends.enter_context(Crowd(port=tracker.port, token=tracker.ingest_token, players=PLAYERS, seed=seed))
        yield Scene(tracker, crowd, Random(seed), valkey=valkey, valve=valve, clock=clock)


def _own_journal(tracker: Installation) -> EmbeddedValkey:
    # In the folder where `up` has its own, so that it is found, and ended, as one of the tracker's processes.
    tracker.data.mkdir(parents=True)
    return EmbeddedValkey(tracker.data / "valkey")


def _behind_a_valve(tracker: Installation, ends: ExitStack) -> tuple[EmbeddedValkey, Valve]:
    valkey = _own_journal(tracker)
    url = valkey.start()
    ends.callback(valkey.stop)
    valkey.watch()
    credentials, _, port = url.removesuffix("/0").rpartition(":")
    valve = ends.enter_context(Valve(int(port)))
    tracker.settings = {**tracker.settings, "REDIS_URL": f"{credentials}:{valve.port}/0"}
    return valkey, valve


def _fill(tracker: Installation, sessions: int) -> None:
    valkey = _own_journal(tracker)
    (tracker.data / "instance").write_text("full-house\n")
    policy = Policy(heartbeat_interval_s=int(tracker.settings["HEARTBEAT_INTERVAL_S"]))
    fill(valkey.start(), sessions=sessions, policy=policy, instance="full-house", now=time.time())
    valkey.stop()


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Callable[[str], Row]:
    """Make the test's row of the table."""

    def named(fault: str) -> Row:
        return request.node.stash.setdefault(ROW, Row(fault))

    return named


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report = yield
    if call.when == "call" and ROW in item.stash:
        # A report crosses from a worker to whoever prints the summary; the item does not.
        report.user_properties.append((PROPERTY, asdict(item.stash[ROW])))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for reports in terminalreporter.stats.values() for report in reports if isinstance(report, pytest.TestReport)]
    rows = [Row(**value) for report in reports for name, value in report.user_properties if name == PROPERTY]
    if rows:
        terminalreporter.section("chaos")
        for line in tables.render(rows):
            terminalreporter.write_line(line)
