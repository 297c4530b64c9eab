"""One run of Ray, seen from outside: what it leaves behind."""

import os
import subprocess
from pathlib import Path

from serve_app.machine import ray_run, runs
from serve_app.machine.ray_run import RayRun
from storage.processes import is_alive, name_of


def test_the_end_of_each_log_is_kept_and_what_was_kept_before_goes(tmp_path: Path) -> None:
    folder, data = tmp_path / "run", tmp_path / "data"
    logs = folder / "ray/session_2026-01-01/logs"
    (logs / "old").mkdir(parents=True)
    (logs / "raylet.err").write_text("a check failed")
    (logs / "gcs_server.out").write_bytes(b"a" * 300_000 + b"the last words")
    (data / "last-failure").mkdir(parents=True)
    (data / "last-failure/monitor.log").write_text("of an earlier one")
    kept = ray_run.keep_logs(folder, data)
    assert kept == data / "last-failure"
    assert sorted(file.name for file in kept.iterdir()) == ["gcs_server.out", "raylet.err"]
    assert (kept / "raylet.err").read_text() == "a check failed"
    # 256 KiB, and no more than that.
    assert (kept / "gcs_server.out").stat().st_size == 262_144
    assert (kept / "gcs_server.out").read_bytes().endswith(b"the last words")


def test_logs_that_cannot_be_kept_stop_nobody(tmp_path: Path) -> None:
    assert ray_run.keep_logs(tmp_path, tmp_path / "there is no such folder") == tmp_path / "there is no such folder/last-failure"


def test_its_end_takes_all_its_processes_its_folder_and_its_record(tmp_path: Path) -> None:
    one = RayRun(tmp_path, after="Ray's raylet died at 12:00:00", restart=2)
    record = runs.load(tmp_path)
    assert record is not None
    assert (record.after, record.restart, record.ready) == ("Ray's raylet died at 12:00:00", 2, False)
    environment = {"PATH": os.environ["PATH"], "HEADCOUNT_RUN": record.run}
    with subprocess.Popen(["sh", "-c", "sleep 60 & sleep 60"], env=environment, start_new_session=True) as process:
        started = name_of(process.pid)
        assert started is not None
        one.note_ready()
        ready = runs.load(tmp_path)
        assert ready is not None
        assert ready.ready
        one.end()
        assert not is_alive(started)
    assert not runs.survivors(record)
    assert not one.folder.exists()
    assert runs.load(tmp_path) is None
