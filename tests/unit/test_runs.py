"""Which processes belong to a run: by mark or by record, never by pid alone."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from serve_app.machine import runs
from serve_app.machine.runs import RunRecord
from storage.processes import ProcessName, is_alive, name_of

RUN = "0123456789abcdef"


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Collect processes to be ended with the test."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def start(started: list[subprocess.Popen[bytes]], *, run: str | None = None) -> ProcessName:
    environment = {"PATH": os.environ["PATH"]} | ({} if run is None else {"HEADCOUNT_RUN": run})
    started.append(subprocess.Popen(["sleep", "60"], env=environment))
    name = name_of(started[-1].pid)
    assert name is not None
    return name


def record(*processes: ProcessName, boot: str | None = None) -> RunRecord:
    return RunRecord(run=RUN, boot=boot or runs.boot_id(), folder="/tmp/hc-none", processes=processes)


def test_a_process_that_carries_the_mark_belongs_to_the_run(started: list[subprocess.Popen[bytes]]) -> None:
    marked, stranger, other = start(started, run=RUN), start(started), start(started, run="another")
    found = runs.survivors(record())
    assert marked in found
    assert not found & {stranger, other}


def test_a_recorded_process_belongs_to_the_run_without_a_mark(started: list[subprocess.Popen[bytes]]) -> None:
    process = start(started)
    assert process in runs.survivors(record(process))


def test_a_pid_that_was_given_out_again_is_a_stranger(started: list[subprocess.Popen[bytes]]) -> None:
    process = start(started)
    earlier = ProcessName(process.pid, process.started - 1)
    assert process not in runs.survivors(record(earlier))
    assert runs.kill({earlier}, timeout_s=1) == set()
    assert is_alive(process)


def test_what_a_process_of_the_run_started_belongs_to_it_too(started: list[subprocess.Popen[bytes]]) -> None:
    started.append(subprocess.Popen(["sh", "-c", "env -i sleep 60 & wait"], env={"PATH": os.environ["PATH"]}, start_new_session=True))
    parent = name_of(started[-1].pid)
    assert parent is not None
    found: set[ProcessName] = set()
    for _ in range(1_000):
        found = runs.survivors(record(parent))
        if len(found) > 1:
            break
    assert len(found) == 2
    assert runs.kill(found, timeout_s=5) == set()


def test_after_a_reboot_nothing_is_left_of_a_run(started: list[subprocess.Popen[bytes]]) -> None:
    process = start(started, run=RUN)
    assert runs.survivors(record(process, boot="an earlier one")) == set()


def test_killing_waits_until_they_are_gone(started: list[subprocess.Popen[bytes]]) -> None:
    processes = {start(started), start(started)}
    assert runs.kill(processes, timeout_s=5) == set()
    assert not [process for process in processes if is_alive(process)]


def test_this_process_never_belongs_to_the_run_that_it_looks_at() -> None:
    me = name_of(os.getpid())
    assert me is not None
    assert me not in runs.survivors(record(me))


def test_a_record_comes_back_as_it_was_saved_for_its_owner_alone(tmp_path: Path) -> None:
    saved = record(ProcessName(7, 70), ProcessName(8, 80))
    runs.save(saved, tmp_path)
    assert runs.load(tmp_path) == saved
    assert (tmp_path / runs.RECORD_NAME).stat().st_mode & 0o077 == 0
    runs.forget(tmp_path)
    assert runs.load(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{", "{}", '{"processes": 3}', '{"run":"a","boot":"b","folder":"c","processes":[[1]]}'])
def test_a_record_that_cannot_be_read_is_no_record(tmp_path: Path, content: str) -> None:
    (tmp_path / runs.RECORD_NAME).write_text(content)
    assert runs.load(tmp_path) is None
