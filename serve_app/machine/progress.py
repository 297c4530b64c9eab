"""Saying what is being done, and how long it took."""

from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner

from actors import clock


class Progress:
    """
    One step after the other. A step is shown while it lasts, and leaves one line once it is done.

    As a context manager it ends the last step without a line: what broke off is not done.
    """

    def __init__(self, console: Console, *, lines: bool = True) -> None:
        """`lines`: whether steps leave theirs."""
        self._console = console
        self._lines = lines
        self._began_at = clock.monotonic()
        self._shown: Live | None = None
        self._done = ""

    @property
    def elapsed_s(self) -> float:
        """Return the seconds since the start."""
        return clock.monotonic() - self._began_at

    def begin(self, text: str, *, done: str = "") -> None:
        """Show what is done from now on; the step before is done. `done`: how it reads afterwards, if that is better."""
        self.end()
        self._done = done or text
        self._shown = Live(Spinner("dots", text), console=self._console, transient=True, redirect_stdout=False)
        self._shown.start()

    def end(self) -> None:
        """Let the step be done."""
        if self._shown is not None:
            self._hide()
            if self._lines:
                self._console.print(f"[dim]{self.elapsed_s:5.1f} s[/dim]  {self._done}", highlight=False)

    def during(self, text: str, work: Callable[[], object], *, done: str) -> None:
        """Do some work as one step."""
        with self:
            self.begin(text, done=done)
            work()
            self.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._hide()

    def _hide(self) -> None:
        if self._shown is not None:
            self._shown.stop()
            self._shown = None
