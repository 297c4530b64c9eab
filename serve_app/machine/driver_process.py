"""
Ray's driver as `headcount up` sees it: a child that reports, is told, and may die, or lose Ray, at any moment.

Decides who counts as dead. It does not know what follows from that (`up.py`).
"""

import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Final

from serve_app.machine import runs
from serve_app.machine.driver_messages import Connected, Order, Report, line, report
from storage.processes import ProcessName, is_alive

_MODULE: Final = "serve_app.machine.driver"
_VITAL: Final = frozenset({"gcs_server", "raylet"})


class DriverProcess:
    """The child, and what it has reported so far. Belongs to the thread that made it."""

    def __init__(self, folder: Path, *, environment: Mapping[str, str], log: IO[bytes]) -> None:
        """Start it on a run's folder, with more in its environment than we have in ours; `log`: for all that it prints."""
        reading, writing = os.pipe()
        try:
            self._popen = subprocess.Popen(  # noqa: S603 - our own module
                # -P: or it would import what stands in the folder that we are called from.
                [sys.executable, "-P", "-m", _MODULE, str(writing), str(folder)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
                pass_fds=(writing,),
                start_new_session=True,  # Ctrl-C on a terminal is for us; we tell it
            )
        finally:
            os.close(writing)
        self._vital: dict[str, ProcessName] = {}
        self._connected = self._complete = False
        self._reports: SimpleQueue[Report] = SimpleQueue()
        threading.Thread(target=self._listen, args=(reading,), daemon=True).start()

    def tell(self, order: Order) -> None:
        """Tell it something. That it has died is found out otherwise."""
        assert self._popen.stdin is not None  # noqa: S101 - it is a pipe
        with suppress(BrokenPipeError):
            self._popen.stdin.write(line(order))
            self._popen.stdin.flush()

    def next_report(self, *, within_s: float) -> Report | None:
        """Return what it reported next; None: nothing in time."""
        try:
            return self._reports.get(timeout=within_s)
        except Empty:
            return None

    def has_ended(self) -> bool:
        """Tell whether the driver itself is gone."""
        return self._popen.poll() is not None

    def dead(self) -> str | None:
        """
        Return which of those died without whom Ray cannot go on, in words; None: all live.

        While Ray starts they are looked for by ourselves: the driver finds out about their death after half a minute, or a whole one.
        """
        if not self._complete:
            self._complete = self._connected
            self._vital |= runs.children_named(_VITAL, of=self._popen.pid)
        gone = ["driver"] if self.has_ended() else []
        gone += sorted(name for name, process in self._vital.items() if not is_alive(process))
        return f"Ray's {' and '.join(filter(None, (', '.join(gone[:-1]), gone[-1])))}" if gone else None

    def _listen(self, reading: int) -> None:
        with os.fdopen(reading, "rb") as reports:
            for sent in reports:
                told = report(sent)
                self._connected = self._connected or isinstance(told, Connected)
                self._reports.put(told)
