"""One folder, one server, nothing lost: whatever is killed."""

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from storage.embedded import _CONFIGURATION, EmbeddedValkey, EmbeddedValkeyError
from storage.journal import JournalUnavailableError
from storage.processes import holders_of, name_of
from storage.redis_journal import RedisJournal

STARTER = """
import signal, sys, time
from pathlib import Path
from storage.embedded import EmbeddedValkey
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore it, and so would we
valkey = EmbeddedValkey(Path(sys.argv[1]))
url = valkey.start()
print(valkey.pid, url, flush=True)
time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "val key's"
    yield folder
    # Whatever a test left: only what holds this very folder's lock.
    for process in holders_of(folder / "valkey.lock"):
        os.kill(process.pid, signal.SIGKILL)


def started_elsewhere(folder: Path, **how: Any) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", STARTER, str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        **how,
    )


def announced(process: "subprocess.Popen[str]") -> tuple[int, str]:
    assert process.stdout is not None
    for line in process.stdout:
        if "redis://" in line and line.split()[0].isdigit():
            pid, url = line.split()
            return int(pid), url
    pytest.fail("the starter said nothing")


def until(condition: Callable[[], object], *, limit_s: float = 20.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail("it did not come about in time")
        time.sleep(0.02)


def answers(url: str) -> bool:
    with suppress(redis.RedisError), redis.Redis.from_url(url, socket_timeout=1, retry=Retry(NoBackoff(), 0)) as client:
        return bool(client.ping())
    return False


def servers_on(folder: Path) -> list[int]:
    """Return the pids of the server's processes, its forks too: whatever has the folder's lock open."""
    return sorted(process.pid for process in holders_of(folder / "valkey.lock"))


def test_what_is_written_is_there_after_a_stop_and_a_start_and_the_address_stays(folder: Path) -> None:
    valkey = EmbeddedValkey(folder)
    url = valkey.start()
    with redis.Redis.from_url(url) as client:
        client.set("kept", b"\0value")
    valkey.stop()
    again = EmbeddedValkey(folder)
    assert again.start() == url
    with redis.Redis.from_url(url) as client:
        assert client.get("kept") == b"\0value"
    again.stop()


def test_a_stop_leaves_no_process_and_frees_the_folder(folder: Path) -> None:
    valkey = EmbeddedValkey(folder)
    valkey.start()
    valkey.watch()
    pid = valkey.pid
    assert pid is not None
    assert servers_on(folder) == [pid]
    valkey.stop()
    assert name_of(pid) is None
    assert valkey.pid is None
    assert servers_on(folder) == []


def test_a_stop_ends_a_server_that_hangs(folder: Path) -> None:
    valkey = EmbeddedValkey(folder)
    valkey.start()
    pid = valkey.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    valkey.stop()
    assert name_of(pid) is None


def test_a_stop_without_a_start_does_nothing(folder: Path) -> None:
    EmbeddedValkey(folder).stop()
    assert not folder.exists()


def test_the_password_is_in_a_private_file_and_in_no_command_line(folder: Path) -> None:
    valkey = EmbeddedValkey(folder)
    url = valkey.start()
    password = url.removeprefix("redis://:").partition("@")[0]
    assert len(password) >= 32
    assert password.encode() not in Path(f"/proc/{valkey.pid}/cmdline").read_bytes()
    assert password.encode() not in Path(f"/proc/{valkey.pid}/environ").read_bytes()
    assert stat.S_IMODE((folder / "valkey.conf").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [path for path in folder.rglob("*") if path.is_file() and stat.S_IMODE(path.stat().st_mode) & 0o077] == []
    with redis.Redis.from_url(url.replace(password, "wrong")) as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    valkey.stop()


def test_the_server_listens_on_loopback_only_and_syncs_every_write(folder: Path) -> None:
    valkey = EmbeddedValkey(folder)
    with redis.Redis.from_url(valkey.start()) as client:
        settings = client.config_get(
            "bind",
            "appendonly",
            "appendfsync",
            "save",
            "aof-load-truncated",
            "auto-aof-rewrite-percentage",
            "auto-aof-rewrite-min-size",
            "rdbcompression",
        )
    valkey.stop()
    assert settings == {
        "bind": "127.0.0.1",
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "aof-load-truncated": "yes",
        "auto-aof-rewrite-percentage": "400",
        "auto-aof-rewrite-min-size": str(1024**3),
        "rdbcompression": "no",
    }


def test_an_orphan_of_a_killed_run_is_adopted_with_its_data(folder: Path) -> None:
    parent = started_elsewhere(folder)
    pid, url = announced(parent)
    with redis.Redis.from_url(url) as client:
        client.set("kept", "value")
        parent.kill()
        parent.wait()
        valkey = EmbeddedValkey(folder)
        assert valkey.start() == url
        assert valkey.pid == pid
        assert client.get("kept") == b"value"
    valkey.stop()
    assert name_of(pid) is None


def test_an_interrupt_from_the_keyboard_does_not_reach_the_server(folder: Path) -> None:
    parent = started_elsewhere(folder, start_new_session=True)
    pid, url = announced(parent)
    os.killpg(parent.pid, signal.SIGINT)
    parent.wait(20)
    assert answers(url)
    valkey = EmbeddedValkey(folder)
    valkey.start()
    assert valkey.pid == pid
    valkey.stop()


def test_an_adopted_orphan_is_watched_too(folder: Path) -> None:
    parent = started_elsewhere(folder)
    pid, url = announced(parent)
    parent.kill()
    parent.wait()
    valkey = EmbeddedValkey(folder)
    valkey.start()
    valkey.watch()
    os.kill(pid, signal.SIGKILL)
    until(lambda: valkey.pid not in {None, pid} and answers(url))
    valkey.stop()


def test_an_orphan_that_hangs_is_stopped_and_replaced_with_its_data(folder: Path) -> None:
    parent = started_elsewhere(folder)
    pid, url = announced(parent)
    with redis.Redis.from_url(url) as client:
        client.set("kept", "value")
    parent.kill()
    parent.wait()
    os.kill(pid, signal.SIGSTOP)
    valkey = EmbeddedValkey(folder, silent_s=1.0)
    valkey.start()
    assert name_of(pid) is None
    with redis.Redis.from_url(valkey.start()) as client:
        assert client.get("kept") == b"value"
    valkey.stop()


def test_a_silent_holder_of_the_lock_that_is_not_our_server_is_left_alone_and_named(folder: Path) -> None:
    valkey = EmbeddedValkey(folder, silent_s=0.5)
    valkey.start()
    valkey.stop()
    holder = subprocess.Popen(["flock", str(folder / "valkey.lock"), "sleep", "60"], start_new_session=True)
    until(lambda: len(holders_of(folder / "valkey.lock")) == 2)
    # A record that names the holder's id, but another process's start: the id was used again.
    (folder / "valkey.json").write_text(json.dumps([holder.pid, 1]))
    try:
        with pytest.raises(EmbeddedValkeyError, match=f"{holder.pid}.*not the server"):
            valkey.start()
        assert holder.poll() is None
    finally:
        os.killpg(holder.pid, signal.SIGKILL)
        holder.wait()


def test_many_starts_at_once_on_one_folder_give_one_server(folder: Path) -> None:
    starters = [started_elsewhere(folder) for _ in range(4)]
    with ThreadPoolExecutor() as pool:
        told = set(pool.map(announced, starters))
    for starter in starters:
        starter.kill()
        starter.wait()
    assert len(told) == 1
    ((pid, _),) = told
    assert servers_on(folder) == [pid]
    valkey = EmbeddedValkey(folder)
    valkey.start()
    valkey.stop()


def test_a_killed_server_comes_back_at_the_same_address_with_all_that_was_acknowledged(folder: Path) -> None:
    valkey = EmbeddedValkey(folder)
    url = valkey.start()
    valkey.watch()
    acknowledged = 0
    with redis.Redis.from_url(url, socket_timeout=5) as client:
        for kill in range(5):
            pid = valkey.pid
            assert pid is not None
            for number in range(200):
                client.rpush("list", f"{kill}-{number}")
                acknowledged += 1
            os.kill(pid, signal.SIGKILL)
            until(lambda pid=pid: valkey.pid not in {None, pid} and answers(url))  # type: ignore[misc]
            assert client.llen("list") == acknowledged
    valkey.stop()


def test_a_file_cut_off_in_the_middle_of_a_write_is_loaded_up_to_there(folder: Path) -> None:
    valkey = EmbeddedValkey(folder)
    with redis.Redis.from_url(valkey.start()) as client:
        client.set("whole", "value")
        client.set("torn", "x" * 1_000)
    valkey.stop()
    (increments,) = (folder / "appendonlydir").glob("*.incr.aof")
    os.truncate(increments, increments.stat().st_size - 500)
    with redis.Redis.from_url(valkey.start()) as client:
        assert client.keys() == [b"whole"]
    valkey.stop()


def test_a_file_damaged_in_its_middle_is_refused_with_the_reason_and_left_as_it_is(folder: Path) -> None:
    valkey = EmbeddedValkey(folder)
    with redis.Redis.from_url(valkey.start()) as client:
        for number in range(100):
            client.set(f"key-{number}", "x" * 100)
    valkey.stop()
    (increments,) = (folder / "appendonlydir").glob("*.incr.aof")
    damaged = bytearray(increments.read_bytes())
    damaged[2_000:2_400] = b"\xff" * 400
    increments.write_bytes(damaged)
    with pytest.raises(EmbeddedValkeyError, match="Bad file format") as refused:
        valkey.start()
    assert str(folder / "valkey.log") in str(refused.value)
    assert increments.read_bytes() == bytes(damaged)
    assert servers_on(folder) == []


def test_a_server_killed_while_it_rewrites_its_file_comes_back_whole(folder: Path) -> None:
    valkey = EmbeddedValkey(folder)
    url = valkey.start()
    valkey.watch()
    with redis.Redis.from_url(url, socket_timeout=5) as client:
        client.config_set("rdb-key-save-delay", 2_000)
        pipe = client.pipeline(transaction=False)
        for number in range(5_000):
            pipe.set(f"key-{number}", number)
        pipe.execute()
        client.bgrewriteaof()
        until(lambda: len(servers_on(folder)) == 2)
        pid = valkey.pid
        assert pid is not None
        # Stopped, the fork cannot notice that its parent is gone: it goes on holding the lock.
        (fork,) = set(servers_on(folder)) - {pid}
        os.kill(fork, signal.SIGSTOP)
        os.kill(pid, signal.SIGKILL)
        until(lambda: valkey.pid not in {None, pid} and answers(url), limit_s=5.0)
        assert client.dbsize() == 5_000
        assert servers_on(folder) == [valkey.pid]
    valkey.stop()


def test_a_watch_waits_for_its_port_and_takes_no_other(folder: Path) -> None:
    valkey = EmbeddedValkey(folder)
    url = valkey.start()
    pid, port = valkey.pid, int(url.rpartition(":")[2].partition("/")[0])
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    until(lambda: valkey.pid is None)
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", port))
        squatter.listen()
        valkey.watch()
        until(lambda: "Address already in use" in (folder / "valkey.log").read_text())
        assert servers_on(folder) == []
    until(lambda: answers(url))
    valkey.stop()


def test_a_start_takes_another_port_if_the_old_one_is_gone(folder: Path) -> None:
    valkey = EmbeddedValkey(folder)
    url = valkey.start()
    valkey.stop()
    port = int(url.rpartition(":")[2].partition("/")[0])
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", port))
        squatter.listen()
        other = valkey.start()
        assert other != url
        assert answers(other)
        valkey.stop()


def test_a_server_that_still_loads_is_waited_for_and_means_not_now(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    valkey = EmbeddedValkey(folder)
    url = valkey.start()
    with redis.Redis.from_url(url) as client:
        client.mset({f"key-{number}": number for number in range(2_000)})
        client.bgrewriteaof()
        until(lambda: client.info("persistence")["aof_rewrite_in_progress"] == 0)
    valkey.stop()
    slowly = "key-load-delay 1500\nloading-process-events-interval-bytes 1024\n"
    monkeypatch.setattr("storage.embedded._CONFIGURATION", _CONFIGURATION + slowly)
    other = EmbeddedValkey(folder, silent_s=0.5)
    with ThreadPoolExecutor() as pool:
        starting = pool.submit(valkey.start)
        until(lambda: is_loading(url))
        adopting = pool.submit(other.start)
        with pytest.raises(JournalUnavailableError, match="loading"):
            asyncio.run(ping(url))
        assert not starting.done()
        assert starting.result() == adopting.result() == url
    assert other.pid == valkey.pid
    assert len(servers_on(folder)) == 1
    with redis.Redis.from_url(url) as client:
        assert client.dbsize() == 2_000
    valkey.stop()


def is_loading(url: str) -> bool:
    try:
        answers_now = redis.Redis.from_url(url, socket_timeout=1, retry=Retry(NoBackoff(), 0))
        answers_now.ping()
    except redis.BusyLoadingError:
        return True
    except redis.RedisError:
        return False
    pytest.fail("it had loaded before anybody looked")


async def ping(url: str) -> None:
    journal = RedisJournal(url)
    try:
        await journal.ping()
    finally:
        await journal.close()


def test_the_running_servers_address_is_told_without_starting_one(folder: Path) -> None:
    asked = EmbeddedValkey(folder)
    assert asked.running_url() is None
    assert not folder.exists()
    valkey = EmbeddedValkey(folder)
    url = valkey.start()
    assert asked.running_url() == url
    assert asked.pid is None
    valkey.stop()
    assert asked.running_url() is None
    assert servers_on(folder) == []
