"""`headcount up`, for real: ready through the front door, gone without a trace, and back after the worst."""

import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from metrics import scrape
from serve_app.machine import ports, runs
from serve_app.players import examples
from serve_app.settings import Settings
from sessions.changes import Key
from storage.processes import ProcessName, is_alive
from tests.integration.installation import COMMAND, READY_WITHIN_S, Installation, wait_until

STOP_WITHIN_S = 10.0
EXPIRY_S = 6.0
"""Less than a stop and a start take; long enough to be looked at after them."""
LEDGER = {"started", "provisional", "promoted", "revived", "expired", "ended"}

Install = Callable[..., Installation]


def say(tracker: Installation, what: str, session_id: str) -> None:
    body = {"start": examples.START, "heartbeat": examples.HEARTBEAT}[what] | {"session_id": session_id}
    answer = tracker.post(f"/analytics/live/session/{what}", body)
    assert answer.status == 200, answer.body


def ledger(tracker: Installation) -> dict[Key, float]:
    """Return what `/metrics` says of the ledger; nothing while it has no answer."""
    answer = tracker.get("/metrics")
    told = scrape.counters(scrape.read(answer.body.decode())) if answer.status == 200 else {}
    return {key: count for key, count in told.items() if key[0] in LEDGER}


def leave(tracker: Installation, *session_ids: str) -> tuple[dict[Key, float], float]:
    """Let everybody beat a last time; return the ledger and when that was."""
    wait_until(lambda: ledger(tracker).get(("started",)) == len(session_ids), within_s=5, what="the starts are counted")
    told = ledger(tracker)
    for session_id in session_ids:
        say(tracker, "heartbeat", session_id)
    return told, time.monotonic()


def return_to(tracker: Installation, left: tuple[dict[Key, float], float], *session_ids: str) -> None:
    """Start again; claim that the time away, longer than the expiry, has expired nobody and moved no count."""
    before, left_at = left
    tracker.start()
    assert time.monotonic() - left_at > EXPIRY_S
    for session_id in session_ids:
        say(tracker, "heartbeat", session_id)
    wait_until(lambda: ledger(tracker), within_s=5, what="the ledger is shown")
    assert tracker.get("/v1/concurrency?stream_id=stream_abc123").json()["sessions"] == len(session_ids)
    assert ledger(tracker) == before
    audit = tracker.run("audit")
    assert audit.returncode == 0, audit.stdout + audit.stderr
    assert "Every ledger holds" in audit.stdout


def stop_in_time(tracker: Installation, number: signal.Signals) -> None:
    """Stop; claim that it took at most 10 s, said so with exit code 0, and left no process and no temporary folder."""
    record = tracker.record
    everybody = tracker.processes()
    assert len(everybody) > 10
    began = time.monotonic()
    assert tracker.stop(number) == 0, tracker.output
    assert time.monotonic() - began <= STOP_WITHIN_S
    assert not [process for process in everybody if is_alive(process)]
    assert not tracker.journal()
    assert not Path(record.folder).exists()


def test_it_is_ready_keeps_sessions_through_a_stop_and_a_massacre_and_leaves_nothing(install: Install) -> None:
    tracker = install(HEARTBEAT_INTERVAL_S="2", EXPIRY_INTERVALS="3")
    tracker.start()
    assert tracker.request("GET", "/readyz").status == 200
    say(tracker, "start", "kept")
    left = leave(tracker, "kept")
    stop_in_time(tracker, signal.SIGTERM)

    return_to(tracker, left, "kept")
    say(tracker, "heartbeat", "kept")
    say(tracker, "start", "kept-too")
    left = leave(tracker, "kept", "kept-too")
    killed = tracker.record
    victims = tracker.kill_everything()
    assert len(victims) > 10

    return_to(tracker, left, "kept", "kept-too")
    assert tracker.record.run != killed.run
    assert not runs.survivors(killed)
    assert not Path(killed.folder).exists()
    stop_in_time(tracker, signal.SIGINT)


def kill_of_ray(tracker: Installation, program: str) -> None:
    """Kill one of Ray's own processes."""
    victims = {process for process in tracker.record.processes if is_alive(process) and comm(process) == program}
    assert len(victims) == 1
    assert not runs.kill(victims, timeout_s=5)


def comm(process: ProcessName) -> str:
    return Path(f"/proc/{process.pid}/comm").read_text().strip()


def test_when_ray_dies_all_is_back_by_itself_and_a_stop_meanwhile_is_a_stop(install: Install) -> None:
    tracker = install(HEARTBEAT_INTERVAL_S="2", EXPIRY_INTERVALS="3")
    tracker.start()
    say(tracker, "start", "kept")
    before, left_at = leave(tracker, "kept")
    journal, killed, everybody = tracker.journal(), tracker.record, tracker.processes()
    kill_of_ray(tracker, "raylet")
    wait_until(lambda: "Ray's raylet died; starting again (1 of 3 in ten minutes)." in tracker.output, within_s=5, what="the death is said")
    asked = tracker.run("status")
    assert asked.returncode == 1
    assert re.search(r"Ray's raylet died at [0-9:]{8}, and everything is being started again \(1 of 3 in ten minutes\)", asked.stderr), (
        asked.stderr
    )
    up = tracker.process
    assert up is not None
    wait_until(
        lambda: "Ready again after" in tracker.output or up.poll() is not None,
        within_s=READY_WITHIN_S,
        what=f"see {tracker.folder}/up.log",
    )
    assert up.poll() is None, tracker.output
    assert time.monotonic() - left_at > EXPIRY_S
    say(tracker, "heartbeat", "kept")
    wait_until(lambda: ledger(tracker), within_s=5, what="the ledger is shown")
    assert ledger(tracker) == before
    assert tracker.journal() == journal
    # `up` itself and its journal are the same as before, and nobody else.
    assert {process.pid for process in everybody - journal if is_alive(process)} == {up.pid}
    assert not runs.survivors(killed)
    assert not Path(killed.folder).exists()
    assert any((tracker.data / "last-failure").glob("raylet*"))
    told = tracker.run("status")
    assert told.returncode == 0
    assert "Started again: Ray's raylet died at" in told.stdout
    tracker.assert_ledgers_hold()

    everybody = tracker.processes()
    kill_of_ray(tracker, "gcs_server")
    wait_until(lambda: "Ray's gcs_server died; starting again (2 of 3" in tracker.output, within_s=5, what="the death is said")
    everybody |= tracker.processes()
    began = time.monotonic()
    assert tracker.stop(signal.SIGTERM) == 0, tracker.output
    assert time.monotonic() - began <= STOP_WITHIN_S
    assert "Stopped before it was ready." in tracker.output
    assert not [process for process in everybody if is_alive(process)]
    assert not tracker.journal()


def test_the_next_start_ends_what_a_killed_up_left(install: Install) -> None:
    tracker = install()
    tracker.start()
    record = tracker.record
    left = tracker.processes()
    assert tracker.process is not None
    tracker.process.kill()
    tracker.process.wait(10)
    assert any(is_alive(process) for process in left)

    tracker.start()
    journal = tracker.journal()
    assert len(journal) == 1
    assert not [process for process in left - journal if is_alive(process)]
    assert not Path(record.folder).exists()


def test_ctrl_c_on_a_terminal_ends_it_in_words_of_ours_alone(tmp_path: Path) -> None:
    tracker = Installation(tmp_path / "terminal")
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(tracker.folder)
        os.execve(COMMAND, [str(COMMAND), "up"], {**tracker.environment, "TERM": "xterm"})
    shown = b""
    pressed_at = 0
    try:
        while select.select([terminal], [], [], READY_WITHIN_S)[0]:
            try:
                shown += os.read(terminal, 65_536)
            except OSError:  # it has ended, and the terminal with it
                break
            if not pressed_at and b"/v1/concurrency" in shown:
                pressed_at = len(shown)
                os.write(terminal, b"\x03")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, shown
    finally:
        os.close(terminal)
        tracker.clean_up()
    told = re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]|\r", b"", shown[pressed_at:]).decode()
    assert "Ingress closed" in told
    assert "Ray ended" in told
    assert "raylet" not in told


def test_a_stop_while_it_starts_leaves_nothing(install: Install) -> None:
    tracker = install()
    with (tracker.folder / "up.log").open("w") as log:
        process = subprocess.Popen([COMMAND, "up"], cwd=tracker.folder, env=tracker.environment, stdout=log, stderr=log)
    try:
        wait_until(lambda: (record := runs.load(tracker.data)) and len(record.processes) > 3, within_s=30, what="Ray is starting")
        everybody = set(tracker.record.processes)
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_WITHIN_S) == 0
        assert not [one for one in everybody if is_alive(one)]
        assert not tracker.journal()
        assert "Stopped before it was ready." in tracker.output
    finally:
        process.kill()


def test_a_second_up_on_the_same_folder_is_refused_in_one_line(tracker: Installation) -> None:
    assert tracker.process is not None
    second = tracker.run("up")
    assert second.returncode == 1
    assert f"headcount is already up on {tracker.data} (process {tracker.process.pid})" in second.stderr
    assert "Traceback" not in second.stderr
    assert tracker.request("GET", "/readyz").status == 200


def test_a_taken_port_is_one_clear_line(tracker: Installation, tmp_path: Path) -> None:
    second = Installation(tmp_path / "second", port=tracker.port)
    answer = second.run("up")
    assert answer.returncode == 1
    assert "HEADCOUNT_PORT" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_bad_settings_are_named_one_a_line(tmp_path: Path) -> None:
    installation = Installation(tmp_path / "bad", settings={"SHARDS": "0", "AUTH": "perhaps"})
    answer = installation.run("up")
    assert answer.returncode == 2
    assert [line.split(":")[0] for line in answer.stderr.splitlines()] == ["HEADCOUNT_SHARDS", "HEADCOUNT_AUTH"]


def test_tokens_and_what_holds_them_are_for_their_owner_alone(tracker: Installation) -> None:
    for file in (tracker.data / "ingest.token", tracker.data / "ops.token", tracker.data / "up.json", Path(tracker.record.folder)):
        assert file.stat().st_mode & 0o077 == 0, file


def test_two_that_start_at_the_same_moment_take_different_ports(tmp_path: Path) -> None:
    """HAProxy opens its ports seconds after they were chosen: until then the guard alone says whose they are."""
    settings = Settings(data_dir=tmp_path)
    first = ports.choose(settings, data_dir=tmp_path)
    second = ports.choose(settings, data_dir=tmp_path)
    assert second.first != first.first
    for held in (first, second):
        assert held.guard is not None
        held.guard.close()
    third = ports.choose(settings, data_dir=tmp_path)
    assert third.first == first.first
    assert third.guard is not None
    third.guard.close()
