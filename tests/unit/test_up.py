"""`headcount up` beside a driver that is none: when all is started again, when it gives up, and what it says."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from io import BytesIO, StringIO
from pathlib import Path
from typing import IO

import pytest
from rich.console import Console

from serve_app.access.tokens import Tokens
from serve_app.machine import ray_run, runs, up
from serve_app.machine.driver_messages import Connected, Failed, JournalAt, Order, Ready, Report, Step, Stop
from serve_app.machine.given_journal import GivenJournal
from serve_app.machine.ports import InternalPorts
from serve_app.machine.progress import Progress
from serve_app.machine.ray_run import RayRun
from serve_app.machine.runs import RunRecord
from serve_app.machine.signals import Signals
from serve_app.settings import Settings

Happens = Report | str | Callable[[], object]
"""A report, the words for what died, or something that is done at that moment."""
READY: list[Happens] = [Step("Ray"), Connected("127.0.0.1:6379"), Step("Ingress"), Ready()]


@dataclass
class Driver:
    """What happens to one driver, in order; then it stays as it is."""

    script: list[Happens]
    told: list[Order] = field(default_factory=list)
    gone: str | None = None

    def __call__(self, folder: Path, *, environment: Mapping[str, str], log: IO[bytes]) -> "Driver":
        return self

    def tell(self, order: Order) -> None:
        self.told.append(order)
        if isinstance(order, Stop):
            self.gone = "Ray's driver"

    def next_report(self, *, within_s: float) -> Report | None:
        if not self.script:
            return None
        happens = self.script.pop(0)
        if isinstance(happens, str):
            self.gone = happens
        elif callable(happens):
            happens()
        else:
            return happens
        return None

    def dead(self) -> str | None:
        return self.gone


@dataclass
class House:
    """`up` with the drivers that it will start, one after the other."""

    tracker: up._Tracker
    console: Console
    signals: Signals
    data: Path
    drivers: list[Driver]
    started: list[Driver] = field(default_factory=list)
    records: list[RunRecord] = field(default_factory=list)

    def start(self, folder: Path, *, environment: Mapping[str, str], log: IO[bytes]) -> Driver:
        record = runs.load(self.data)
        assert record is not None
        self.records.append(record)
        self.started.append(self.drivers.pop(0))
        return self.started[-1]

    def keep_up(self) -> None:
        self.tracker.keep_up(Progress(self.console))

    @property
    def said(self) -> str:
        assert isinstance(self.console.file, StringIO)
        return self.console.file.getvalue()


Build = Callable[..., House]


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Build]:
    def build(*scripts: list[Happens]) -> House:
        settings = Settings(data_dir=tmp_path)
        console, signals = Console(file=StringIO(), width=200), Signals()
        journal = up._Journal(Settings(data_dir=tmp_path, redis_url="redis://journal:1/0"))
        tracker = up._Tracker(
            settings,
            InternalPorts(10_000),
            tokens=Tokens(ingest="i", ops="o"),
            given=GivenJournal(None, beside=lambda work: Future()),
            journal=journal,
            console=console,
            log=BytesIO(),
            signals=signals,
            deadline=up._Deadline(signals),
        )
        built = House(tracker, console, signals, tmp_path, [Driver(script) for script in scripts])
        monkeypatch.setattr(up, "DriverProcess", built.start)
        return built

    monkeypatch.setattr(up.ports, "require_front_door", lambda settings: None)
    monkeypatch.setattr(RayRun, "environment", lambda *_: {})
    monkeypatch.setattr(up._Deadline, "begin", lambda self: None)  # it would end this process
    return build


def asking(house: House) -> Callable[[], object]:
    return house.signals.asked.set


def test_when_ray_dies_all_is_started_again_and_both_are_said(house: Build) -> None:
    built = house([*READY, "Ray's raylet"], [*READY])
    built.drivers[1].script.append(asking(built))
    built.keep_up()
    assert len(built.started) == 2
    assert "Headcount is up" in built.said
    assert "Ray's raylet died; starting again (1 of 3 in ten minutes)." in built.said
    assert "Ready again after" in built.said
    assert built.said.count("Headcount is up") == 1


def test_each_driver_is_told_where_the_journal_is(house: Build) -> None:
    built = house([*READY, "Ray's gcs_server"], [*READY])
    built.drivers[1].script.append(asking(built))
    built.keep_up()
    instance = (built.data / "instance").read_text().strip()
    journal = JournalAt("redis://journal:1/0", instance)
    assert [driver.told for driver in built.started] == [[journal], [journal, Stop()]]


def test_the_record_says_during_a_restart_what_died(house: Build) -> None:
    built = house([*READY, "Ray's raylet"], [*READY])
    built.drivers[1].script.append(asking(built))
    built.keep_up()
    first, second = built.records
    assert (first.after, first.restart) == ("", 0)
    assert second.after.startswith("Ray's raylet died at ")
    assert second.restart == 1
    assert not second.ready
    assert first.run != second.run


def test_the_fourth_death_in_ten_minutes_ends_it_with_one_line_that_says_where_the_logs_are(house: Build) -> None:
    built = house(*[[*READY, "Ray's raylet"] for _ in range(4)])
    with pytest.raises(up.UpError) as ended:
        built.keep_up()
    assert str(ended.value) == (
        "Ray's raylet died, after 3 restarts within ten minutes: stopping. No acknowledged session is lost; "
        f"{built.data}/last-failure (the end of Ray's logs) or {built.data}/ray.log may tell why"
    )
    assert len(built.started) == 4


def test_a_restart_that_fails_counts_as_one_and_the_next_is_tried(house: Build) -> None:
    built = house([*READY, "Ray's raylet"], [Failed("Ray does not start: no memory")], [Step("Ray"), "Ray's gcs_server"], [*READY])
    built.drivers[3].script.append(asking(built))
    built.keep_up()
    assert "Ray does not start: no memory; starting again (2 of 3 in ten minutes)." in built.said
    assert "Ray's gcs_server died; starting again (3 of 3 in ten minutes)." in built.said
    assert "Ready again after" in built.said


def test_a_first_start_that_fails_is_not_tried_again(house: Build) -> None:
    built = house([Step("Ray"), Failed("the data set has 128 slots, not 256")])
    with pytest.raises(up.UpError, match=r"^the data set has 128 slots, not 256$"):
        built.keep_up()


def test_ray_that_dies_in_the_first_start_ends_it_and_says_where_to_look(house: Build) -> None:
    built = house([Step("Ray"), "Ray's raylet"])
    with pytest.raises(up.UpError, match=r"^Ray's raylet died while it was starting: .*last-failure.*ray\.log may tell why$"):
        built.keep_up()


def test_a_stop_during_a_restart_is_a_stop(house: Build) -> None:
    built = house([*READY, "Ray's raylet"], [Step("Ray")])
    built.drivers[1].script.append(asking(built))
    built.keep_up()
    assert "Stopped before it was ready." in built.said
    assert Stop() not in built.started[1].told
    assert runs.load(built.data) is None


def test_a_signal_to_the_whole_control_group_is_a_stop_though_ray_died_of_it_too(house: Build) -> None:
    built = house([*READY])

    def everybody_is_signalled() -> None:
        built.started[0].gone = "Ray's raylet and gcs_server"
        built.signals.asked.set()

    built.drivers[0].script.append(everybody_is_signalled)
    built.keep_up()
    assert "starting again" not in built.said
    assert "Stopping; live sessions stay in the journal." in built.said


def test_nothing_of_a_run_is_left_whichever_way_it_ended(house: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[Path] = []
    end = RayRun.end

    def noted(self: RayRun) -> None:
        ended.append(self.folder)
        end(self)

    monkeypatch.setattr(RayRun, "end", noted)
    built = house([*READY, "Ray's raylet"], [Failed("no")], [*READY])
    built.drivers[2].script.append(asking(built))
    built.keep_up()
    assert len(set(ended)) == 3
    assert not [folder for folder in ended if folder.exists()]
    assert (built.data / ray_run.FAILURE_LOGS).is_dir()
