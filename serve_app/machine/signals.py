"""What an operator asks for by signals while `headcount up` runs."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """
    The first stops, the second is told to wait, the third kills.

    They set a flag and nothing else, which whoever works looks at in between: an exception out of a handler would leave things half done.
    """

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.kill: Callable[[], object] = lambda: None
        self._count = 0

    def install(self) -> None:
        """Take the signals. From the main thread."""
        for number in _SIGNALS:
            signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._count += 1
        self.asked.set()
        if self._count == 2:  # noqa: PLR2004 - the second time
            os.write(sys.stderr.fileno(), b"Stopping takes 10 s at most. Once more kills.\n")
        elif self._count > 2:  # noqa: PLR2004 - and the third
            self.kill()
            os._exit(1)
