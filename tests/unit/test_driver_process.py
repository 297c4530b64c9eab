"""Ray's driver as a child: heard, told, found dead; played by a few lines of Python."""

from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent

import pytest

from serve_app.machine import driver_process
from serve_app.machine.driver_messages import Connected, Failed, JournalAt, Ready, Report, Step, Stop
from serve_app.machine.driver_process import DriverProcess

Play = Callable[[str], DriverProcess]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    """Start a driver of these lines; `tell`, `orders` and `start` are at hand in them."""
    started: list[DriverProcess] = []

    def begin(lines: str) -> DriverProcess:
        head = """
            import os, subprocess, sys
            from serve_app.machine.driver_messages import *
            def tell(told): os.write(int(sys.argv[1]), line(told))
            orders = sys.stdin.buffer
            def start(name):
                os.symlink("/usr/bin/sleep", os.path.join(os.path.dirname(sys.argv[2]), name))
                return subprocess.Popen([os.path.join(os.path.dirname(sys.argv[2]), name), "60"])
        """
        (tmp_path / "played_driver.py").write_text(dedent(head) + dedent(lines))
        monkeypatch.setattr(driver_process, "_MODULE", "played_driver")
        with (tmp_path / "log").open("wb") as log:
            path = f"{tmp_path}:{Path(driver_process.__file__).parents[2]}"
            started.append(DriverProcess(tmp_path / "folder", environment={"PYTHONPATH": path}, log=log))
        return started[-1]

    yield begin
    for driver in started:
        driver._popen.kill()
        driver._popen.wait()


def reports(driver: DriverProcess, count: int) -> list[Report | None]:
    return [driver.next_report(within_s=30) for _ in range(count)]


def test_its_reports_are_heard_in_order(play: Play) -> None:
    driver = play("tell(Step('Ray')); tell(Ready()); tell(Failed('no')); orders.read()")
    assert reports(driver, 3) == [Step("Ray"), Ready(), Failed("no")]
    assert driver.next_report(within_s=0) is None


def test_it_hears_what_it_is_told(play: Play) -> None:
    driver = play("""
        told = order(orders.readline())
        tell(Step(told.url, told.instance))
        tell(Step(type(order(orders.readline())).__name__))
    """)
    driver.tell(JournalAt("redis://one/0", "instance"))
    driver.tell(Stop())
    assert reports(driver, 2) == [Step("redis://one/0", "instance"), Step("Stop")]


def test_it_gets_the_folder_and_a_process_session_of_its_own_and_says_the_rest_to_the_log(play: Play, tmp_path: Path) -> None:
    driver = play(
        "print('to the log', flush=True); print('this too', file=sys.stderr); tell(Step(sys.argv[2], str(os.getsid(0) == os.getpid())))"
    )
    assert reports(driver, 1) == [Step(str(tmp_path / "folder"), "True")]
    driver._popen.wait(30)
    assert (tmp_path / "log").read_text() == "to the log\nthis too\n"


def test_its_own_death_is_found_and_what_it_is_told_then_is_lost(play: Play) -> None:
    driver = play("tell(Ready()); orders.read()")
    assert reports(driver, 1) == [Ready()]
    assert driver.dead() is None
    driver._popen.kill()
    driver._popen.wait(30)
    driver.tell(Stop())
    assert driver.dead() == "Ray's driver"


def test_of_rays_processes_those_are_named_that_died(play: Play) -> None:
    driver = play(
        """
    raylet, gcs, other = start("raylet"), start("gcs_server"), start("log_monitor")
    tell(Connected("address"))
    for process in (other, raylet, gcs):
        orders.readline(); process.kill(); process.wait(); tell(Step("killed"))
    orders.read()
    """
    )
    assert reports(driver, 1) == [Connected("address")]
    told = [driver.dead()]
    for _ in range(3):
        driver.tell(Stop())
        assert reports(driver, 1) == [Step("killed")]
        told.append(driver.dead())
    driver._popen.kill()
    driver._popen.wait(30)
    told.append(driver.dead())
    assert told == [None, None, "Ray's raylet", "Ray's gcs_server and raylet", "Ray's driver, gcs_server and raylet"]


def test_a_death_is_found_before_the_driver_is_connected_to_ray(play: Play) -> None:
    driver = play(
        """
    gcs = start("gcs_server"); tell(Step("started"))
    orders.readline(); gcs.kill(); gcs.wait(); tell(Step("killed")); orders.read()
    """
    )
    assert reports(driver, 1) == [Step("started")]
    assert driver.dead() is None
    driver.tell(Stop())
    assert reports(driver, 1) == [Step("killed")]
    assert driver.dead() == "Ray's gcs_server"
