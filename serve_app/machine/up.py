"""
`headcount up`: one machine's tracker from nothing to ready, its watch, and its orderly end.

It decides the order of things. What can start side by side does: the journal beside Ray, the shards beside the ingress. A journal that
is given is opened before anything else: what makes it unfit is said within two seconds, and nothing is started for it.

It holds what must outlive Ray: the data folder's lock, the ports, the embedded journal. Everything of Ray's is below a child, the driver
(`driver.py`). When Ray's own processes die, or the driver does, all of them are ended and a new driver is started, a few times
(`restarts.py`). The end goes the way of a request: ingress, shards, Ray, journal.
"""

import os
import secrets
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from datetime import datetime
from pathlib import Path
from typing import IO, Final

from rich.console import Console
from rich.markup import escape

from actors import clock
from actors.logs import write_plainly
from dashboards import prometheus
from serve_app.access.tokens import TokenKind, Tokens, load_tokens
from serve_app.machine import data_folder, ports, ray_run
from serve_app.machine.banner import describe
from serve_app.machine.data_folder import FolderTakenError
from serve_app.machine.driver_messages import Connected, Failed, JournalAt, Ready, Step, Stop
from serve_app.machine.driver_process import DriverProcess
from serve_app.machine.given_journal import GivenJournal
from serve_app.machine.ports import InternalPorts, PortTakenError
from serve_app.machine.progress import Progress
from serve_app.machine.ray_run import ProcessesLeftError, RayRun
from serve_app.machine.restarts import RESTARTS_MAX, Restarts
from serve_app.machine.signals import Signals
from serve_app.settings import Settings, SettingsError, unknown_variables
from sessions.words import counted
from storage.beside import beside
from storage.embedded import EmbeddedValkey, EmbeddedValkeyError
from storage.whole_file import write_whole

RAY_LOG: Final = "ray.log"
"""In the data folder: what Ray and its driver say. Their other logs are in the run's temporary folder while it lives."""
STOP_WITHIN_S: Final = 8.5
"""After this the run's processes are killed rather than asked; what was acknowledged is in the journal anyway."""
_POLL_S: Final = 0.2
_GRACE_S: Final = 0.2
_WATCH_S: Final = 0.25


class UpError(Exception):
    """`up` cannot go on; the message is what the operator reads."""


def run(settings: Settings) -> int:
    """Start everything, stay until told to stop, stop everything. Return the exit code: 0, or 1 with the reason on stderr."""
    write_plainly(sys.stderr)
    errors = Console(stderr=True)
    for name in unknown_variables(os.environ):
        errors.print(f"[yellow]{escape(name)} is no setting of Headcount: is it misspelt?[/yellow]")
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with data_folder.hold(settings.data_dir), (settings.data_dir / RAY_LOG).open("wb") as log:
            _run_locked(settings, Console(), log)
    except (UpError, FolderTakenError, SettingsError, PortTakenError, ProcessesLeftError, EmbeddedValkeyError, OSError) as error:
        text = data_folder.told(error, settings.data_dir) if isinstance(error, OSError) else str(error)
        errors.print(f"[red]{escape(text)}[/red]", soft_wrap=True)
        return 1
    return 0


def _run_locked(settings: Settings, console: Console, log: IO[bytes]) -> None:
    given = GivenJournal(settings.redis_url, beside=beside)
    progress = Progress(console)
    if ended := ray_run.reap(settings.data_dir):
        console.print(f"Ended {counted(ended, 'process', 'processes')} that a killed run had left behind.", highlight=False)
    ports.require_front_door(settings)
    internal = ports.choose(settings, data_dir=settings.data_dir)
    tokens = load_tokens(settings)
    _write_prometheus(settings)
    given.await_first_word()
    if problem := given.problem():
        raise UpError(problem)
    signals = Signals()
    signals.install()
    journal = _Journal(settings)
    deadline = _Deadline(signals)
    try:
        _Tracker(
            settings, internal, tokens=tokens, given=given, journal=journal, console=console, log=log, signals=signals, deadline=deadline
        ).keep_up(progress)
    finally:
        deadline.begin()
        journal.end(Progress(console))


class _Journal:
    """The journal's server, if it is ours; its address in any case."""

    def __init__(self, settings: Settings) -> None:
        """Begin to start it."""
        self._valkey: EmbeddedValkey | None = None
        self.url: Future[str] = Future()
        if settings.redis_url is None:
            self._valkey = EmbeddedValkey(settings.data_dir / "valkey")
            self.url = beside(self._valkey.start)
        else:
            self.url.set_result(settings.redis_url)

    def watch(self) -> None:
        """Start it again whenever it dies, from now on. It runs."""
        if self._valkey is not None:
            self._valkey.watch()

    def end(self, progress: Progress) -> None:
        """End it, whether it runs or is only starting."""
        if self._valkey is not None:
            progress.during("Closing the journal", self._end, done="Journal closed")

    def _end(self) -> None:
        assert self._valkey is not None  # noqa: S101 - see above
        self._valkey.stop()
        wait([self.url], timeout=STOP_WITHIN_S / 2)
        self._valkey.stop()  # in case it came up after the first


class _Deadline:
    """The end takes 10 s at most, by force if it must."""

    def __init__(self, signals: Signals) -> None:
        self._signals = signals
        self._begun = False

    def begin(self) -> None:
        """From now on."""
        if not self._begun:
            self._begun = True
            threading.Thread(target=self._insist, daemon=True).start()

    def _insist(self) -> None:
        pause = threading.Event()
        pause.wait(STOP_WITHIN_S)
        self._signals.kill()
        pause.wait(1.0)
        os._exit(1)


class _Tracker:
    """What lives and dies with Ray: brought up, and up again."""

    def __init__(  # noqa: PLR0913 - all that `up` has at hand
        self,
        settings: Settings,
        internal: InternalPorts,
        *,
        tokens: Tokens,
        given: GivenJournal,
        journal: _Journal,
        console: Console,
        log: IO[bytes],
        signals: Signals,
        deadline: _Deadline,
    ) -> None:
        self._settings = settings
        self._internal = internal
        self._tokens = tokens
        self._given = given
        self._journal = journal
        self._console = console
        self._log = log
        self._signals = signals
        self._deadline = deadline

    def keep_up(self, progress: Progress) -> None:
        """Bring it up, and up again whenever Ray dies, until told to stop. Raises `UpError` if that does not help."""
        restarts = Restarts()
        problem = self._live(progress, self._greet(progress))
        while problem is not None:
            restart = restarts.again(now=clock.monotonic())
            if restart is None:
                raise UpError(
                    f"{problem}, after {RESTARTS_MAX} restarts within ten minutes: stopping. No acknowledged session is lost; {self._logs} may tell why"
                )
            at = datetime.fromtimestamp(clock.now()).astimezone().strftime("%H:%M:%S")
            self._say(f"[yellow]{at}  {escape(problem)}; starting again ({restart} of {RESTARTS_MAX} in ten minutes).[/yellow]")
            again = Progress(self._console, lines=False)
            problem = self._live(again, self._welcome(again), after=f"{problem} at {at}", restart=restart)

    def _live(self, progress: Progress, on_ready: Callable[[], None], *, after: str = "", restart: int = 0) -> str | None:
        """Live once, from the start to the end. Return what died or failed; None: the end was asked for. Raises `UpError` if it should not be tried again."""
        ports.require_front_door(self._settings)
        one = RayRun(self._settings.data_dir, after=after, restart=restart)
        self._signals.kill = one.kill_all
        try:
            driver = DriverProcess(one.folder, environment=one.environment(self._settings, self._internal), log=self._log)
            with progress:
                ready, problem = self._attend(one, driver, progress, on_ready, first=not restart)
            if problem is not None:
                ray_run.keep_logs(one.folder, self._settings.data_dir)
                if not ready and not restart:
                    raise UpError(problem)
            elif ready:
                self._end(one, driver)
            else:
                self._say("Stopped before it was ready.")
        finally:
            one.end()
        return problem

    def _attend(
        self, one: RayRun, driver: DriverProcess, progress: Progress, on_ready: Callable[[], None], *, first: bool
    ) -> tuple[bool, str | None]:
        """Look after a driver until the end is asked for. Return whether it was ready, and what died or failed, if that came first."""
        ready = told = False
        while not self._signals.asked.is_set():
            match driver.next_report(within_s=_WATCH_S if ready else _POLL_S):
                case Step(text, done):
                    progress.begin(text, done=done)
                case Connected(address):
                    one.note_address(address)
                case Ready():
                    ready = True
                    progress.end()
                    one.note_ready()
                    on_ready()
                case Failed(problem):
                    return ready, problem
                case None:
                    if driver.dead():
                        # Who dies of the same dies now, and is named too; and who signals all of a control group signals us.
                        if self._signals.asked.wait(_GRACE_S):
                            break
                        return ready, f"{driver.dead()} died" + (
                            f" while it was starting: {self._logs} may tell why" if first and not ready else ""
                        )
            if not ready and (unfit := self._given.problem()):
                raise UpError(unfit)
            if not told and self._journal.url.done():
                driver.tell(JournalAt(self._journal.url.result(), self._settings.instance or _instance_id(self._settings.data_dir)))
                self._journal.watch()
                told = True
        return ready, None

    def _end(self, one: RayRun, driver: DriverProcess) -> None:
        """End everything of Ray's in order; at once if Ray dies meanwhile."""
        self._deadline.begin()
        self._say("Stopping; live sessions stay in the journal.")
        driver.tell(Stop())
        with Progress(self._console) as progress:
            while True:
                told = driver.next_report(within_s=_POLL_S)
                if isinstance(told, Step):
                    progress.begin(told.text, done=told.done)
                elif told is None and driver.dead():
                    break
            one.end()
            progress.end()

    def _greet(self, progress: Progress) -> Callable[[], None]:
        """Return how it is said that all is up."""
        return lambda: describe(
            self._settings,
            self._internal,
            console=self._console,
            tokens=self._tokens,
            ready_s=progress.elapsed_s,
            warnings=self._given.warnings(),
        )

    def _welcome(self, progress: Progress) -> Callable[[], None]:
        """Return how it is said that all is up again."""
        return lambda: self._say(f"[green]Ready again after {progress.elapsed_s:.1f} s; no acknowledged session is lost.[/green]")

    @property
    def _logs(self) -> str:
        """Where Ray's last words are."""
        return f"{self._settings.data_dir / ray_run.FAILURE_LOGS} (the end of Ray's logs) or {self._settings.data_dir / RAY_LOG}"

    def _say(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True)


def _instance_id(data_dir: Path) -> str:
    """Return this installation's id, made at its first start. Called under the folder's lock."""
    file = data_dir / "instance"
    if not file.exists():
        write_whole(file, secrets.token_hex(16) + "\n")
    return file.read_text().strip()


def _write_prometheus(settings: Settings) -> None:
    """Write what a Prometheus on this machine needs to scrape this tracker."""
    target = settings.front_door_url.removeprefix("http://")
    given = settings.tokens_given(TokenKind.OPS)
    prometheus.write(
        settings.data_dir, target=target, token=given[0] if given else None, token_file=settings.tokens_folder / TokenKind.OPS.file
    )
