"""
The journal that is given, opened beside whatever else starts, and judged as soon as it has answered.

Decides how long a start waits for its first word. It does not know what is looked at (`storage/server_check.py`).
"""

from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Final

from storage.findings import Finding, Level
from storage.server_check import FIRST_WORD_S, examine, unfit

FIRST_LOOK_S: Final = FIRST_WORD_S + 0.1
"""Most servers answer at once; where one is found unfit by then, or silent, nothing has been started that has to be stopped."""

Beside = Callable[[Callable[[], list[Finding]]], "Future[list[Finding]]"]
"""Does something in a thread that no exit waits for."""


class GivenJournal:
    """The journal that `HEADCOUNT_REDIS_URL` names, examined in a thread while the rest of the start goes on."""

    def __init__(self, url: str | None, *, beside: Beside) -> None:
        """Begin to look; `url` None: the journal is the embedded one, which is as it should be."""
        self._url = url
        self._looking: Future[list[Finding]] | None = None if url is None else beside(lambda: examine(url))

    def await_first_word(self) -> None:
        """Wait for the answer, but not for long."""
        if self._looking is not None:
            wait([self._looking], timeout=FIRST_LOOK_S)

    def problem(self) -> str | None:
        """Return the line that says why it cannot be the journal; None: it can, or has not answered yet."""
        if self._url is None or self._looking is None or not self._looking.done():
            return None
        return unfit(self._looking.result(), self._url)

    def warnings(self) -> list[Finding]:
        """Return what has to be said loudly. Waits for the answer."""
        findings = [] if self._looking is None else self._looking.result()
        return [finding for finding in findings if finding.level is Level.WARNING]
