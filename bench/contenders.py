"""
Who is measured, how each is started and ended, and what it says when it is asked how many are watching.

Each runs alone, as one program in a folder and on a port of its own, and is ended before the next begins: an idle Ray
beside it would cost a fifth of a core. Headcount is the installed command with its defaults; the others are `bench/peers/`.
"""

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench import processes
from storage.free_ports import any_free
from storage.processes import name_of, send

ROOT: Final = Path(__file__).resolve().parent.parent
READY_S: Final = 90.0
STOP_S: Final = 30.0
ANSWER_S: Final = 5.0
_PORTS: Final = range(8_100, 8_990)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One program that takes heartbeats, or pixels."""

    name: str
    title: str
    ready: str
    """The path that answers 200 once it is up."""
    loads: tuple[str, ...] = ("heartbeats",)
    asks: str = ""
    """The path that says how many are watching; empty: it cannot know."""
    connections: tuple[int, ...] = ()
    """At how many connections it is worth measuring; empty: at all."""
    spaces: bool = False
    """Whether it matters how many sessions there are."""


HEADCOUNT: Final = Contender(
    name="headcount",
    title="**Headcount**, acknowledged after an fsynced commit",
    ready="/readyz",
    loads=("heartbeats", "pixels", "reports", "batches"),
    asks="/v1/concurrency",
    spaces=True,
)
FLOOR: Final = Contender(name="floor", title="(c) Serve, HAProxy and our settings, a handler that does nothing", ready="/")
CONTENDERS: Final = (
    HEADCOUNT,
    Contender(
        name="redis", title="(a) FastAPI + pydantic + redis-py, fsync once a second", ready="/watching", asks="/watching", spaces=True
    ),
    Contender(name="redis-always", title="(a) the same, every write fsynced, as ours", ready="/watching", asks="/watching", spaces=True),
    Contender(
        name="stateless", title="(b) FastAPI + Redis doing our work, fsynced as ours", ready="/watching", asks="/watching", spaces=True
    ),
    FLOOR,
    Contender(name="shortcut", title="(c') the same, reached past Serve's books as our players' endpoints are", ready="/"),
    Contender(name="tutorial", title="(d) Serve with its default proxy, a handler that does nothing", ready="/", connections=(64, 256)),
    Contender(name="starlette", title="(e) bare Starlette under uvicorn, a handler that does nothing", ready="/"),
    Contender(name="nginx", title="(f) nginx `empty_gif` with an access log", ready="/icon.gif", loads=("pixels",)),
)


class ContenderError(Exception):
    """A contender did not start, or broke; the message says where its log is."""


@dataclass(slots=True)
class Running:
    """A contender that is up."""

    contender: Contender
    process: "subprocess.Popen[bytes]"
    folder: Path
    url: str
    mark: str
    environment: dict[str, str]
    ready_s: float = 0.0

    @property
    def data(self) -> Path:
        """Headcount's data folder."""
        return self.folder / "data"

    @property
    def ingest_token(self) -> str:
        """The token that players send."""
        return self._token("ingest")

    @property
    def ops_token(self) -> str:
        """The token that operators send."""
        return self._token("ops")

    def _token(self, kind: str) -> str:
        file = self.data / f"{kind}.token"
        return file.read_text().strip() if file.exists() else "none"

    def get(self, path: str, *, accept: str = "*/*") -> bytes:
        """Ask as an operator. Raises `urllib.error.URLError` and what sockets raise."""
        headers = {"Authorization": f"Bearer {self.ops_token}", "Accept": accept}
        request = urllib.request.Request(f"{self.url}{path}", headers=headers)  # noqa: S310
        with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:  # noqa: S310 - our own URL
            return bytes(answer.read())

    def watching(self) -> int | None:
        """Return how many sessions it says are live; None: it cannot say."""
        if not self.contender.asks:
            return None
        answer: dict[str, Any] = json.loads(self.get(self.contender.asks))
        return int(answer["sessions"])

    def family(self) -> dict[int, str]:
        """Return its processes."""
        return processes.family(self.process.pid, mark=self.mark)

    def cpu_s(self) -> Counter[str]:
        """Return the processor seconds that it has used, by kind of process."""
        return processes.cpu_s(self.family())

    def await_ready(self) -> None:
        """Wait until it answers. Raises `ContenderError`."""
        begun = time.monotonic()
        while True:
            if self.process.poll() is not None:
                raise ContenderError(f"{self.contender.name} ended with {self.process.returncode}:\n{self.last_words()}")
            try:
                self.get(self.contender.ready)
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                if time.monotonic() - begun > READY_S:
                    raise ContenderError(f"{self.contender.name} is not ready after {READY_S:.0f} s:\n{self.last_words()}") from None
                time.sleep(0.1)
            else:
                self.ready_s = time.monotonic() - begun
                return

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run another `headcount` command beside it."""
        command = [str(Path(sys.executable).with_name("headcount")), *arguments]
        return subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False)  # noqa: S603

    def last_words(self) -> str:
        """Return the end of what it printed."""
        return (self.folder / "output.log").read_text(errors="replace")[-2_000:]


@contextmanager
def started(contender: Contender, *, workers: int, **settings: str) -> Iterator[Running]:
    """
    Start a contender, wait until it is ready, and end it and all that it started.

    `workers`: processes that take requests. `settings` are Headcount's, without their prefix. Raises `ContenderError`.
    """
    with tempfile.TemporaryDirectory(prefix="hcb-") as name:
        folder, mark = Path(name), secrets.token_hex(8)
        port = any_free(_PORTS)
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HEADCOUNT_", "RAY_"))}
        if contender is HEADCOUNT:
            command = [str(Path(sys.executable).with_name("headcount")), "up"]
            # As delivered, but for the bounds on new sessions: a load of nothing but newcomers, all from one address, is what they refuse.
            mine = {
                "PORT": str(port),
                "DATA_DIR": str(folder / "data"),
                "REPLICAS": str(workers),
                "NEW_SESSIONS_PER_MINUTE": "10000000",
                "NEW_PIXEL_SESSIONS_PER_NETWORK": "10000000",
                **settings,
            }
            environment, where = kept | {f"HEADCOUNT_{key}": value for key, value in mine.items()}, folder
        else:
            command = [sys.executable, "-m", "bench.peers", contender.name, str(port), str(folder), str(workers)]
            environment, where = kept | {"PYTHONPATH": str(ROOT)}, ROOT
        with (folder / "output.log").open("wb") as log:
            process = subprocess.Popen(  # noqa: S603 - our own programs
                command,
                cwd=where,
                env=environment | {processes.MARK: mark},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is ours to pass on
            )
        _leave_by_the_door()
        running = Running(contender, process, folder, f"http://127.0.0.1:{port}", mark, environment)
        try:
            running.await_ready()
            yield running
        finally:
            _end(running)


def _leave_by_the_door() -> None:
    """Let SIGTERM end this process as an exception would: what it started ends with it."""
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def _end(running: Running) -> None:
    """Ask it to stop; kill what is left of it. It gets no chance to leave an orphan, whatever it is."""
    family = [name for pid in running.family() if (name := name_of(pid))]
    running.process.send_signal(signal.SIGTERM)
    try:
        running.process.wait(STOP_S)
    finally:
        # By name, not by mark: a server that sets its title has overwritten its environment.
        for name in {*family, *(name for pid in running.family() if (name := name_of(pid)))}:
            send(name, signal.SIGKILL)
        running.process.wait(STOP_S)
