"""
`headcount up`: one machine's tracker from nothing to ready, its watch, and its orderly end.

It decides the order of things. What can start side by side does: the journal beside Ray, the shards beside the ingress. A journal that
is given is opened before anything else: what makes it unfit is said within two seconds, and nothing is started for it.
The end goes the way of a request: ingress, shards, journal, Ray.
"""

import http.client
import os
import secrets
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final, TypeVar
from urllib.parse import quote

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner

from actors import clock
from actors.logs import write_plainly
from dashboards import prometheus
from serve_app.access.tokens import TokenKind, Tokens, load_tokens
from serve_app.machine import data_folder, ports
from serve_app.machine.actors_config import NAMESPACE, config_of
from serve_app.machine.cluster import Cluster, ClusterError, reap
from serve_app.machine.data_folder import FolderTakenError
from serve_app.machine.given_journal import GivenJournal
from serve_app.machine.ports import InternalPorts, PortTakenError
from serve_app.settings import VERSION, Settings, SettingsError, unknown_variables
from sessions.words import counted
from storage.embedded import EmbeddedValkey, EmbeddedValkeyError
from storage.findings import Finding
from storage.whole_file import write_whole

RAY_LOG: Final = "ray.log"
"""In the data folder: what Ray tells its driver. Its own logs are in the run's temporary folder while it lives."""
READY_WITHIN_S: Final = 60.0
"""From the moment the replicas run; the shards may still be loading a large journal."""
STOP_WITHIN_S: Final = 8.5
"""After this the run's processes are killed rather than asked; what was acknowledged is in the journal anyway."""
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_POLL_S: Final = 0.1
_WATCH_S: Final = 1.0
_RECORD_S: Final = 5.0

_Result = TypeVar("_Result")


class UpError(Exception):
    """`up` cannot go on; the message is what the operator reads."""


class _RayLostError(UpError):
    """Ray's control processes died under us."""


class _Signals:
    """
    What was asked for by signals: the first stops, the second is told to wait, the third kills.

    They set a flag and nothing else. An exception out of a handler gets lost, or changed, inside Ray's compiled code;
    so everything that takes long happens in another thread while the main one waits for either.
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


@dataclass(slots=True)
class _Parts:
    """What has been started so far, for the end to end."""

    valkey: EmbeddedValkey | None = None
    journal: "Future[str] | None" = None
    cluster: Cluster | None = None
    launched: bool = False


class _Progress:
    """Says what is being done and how long it took."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began_at = clock.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Return the seconds since the start."""
        return clock.monotonic() - self._began_at

    @contextmanager
    def step(self, text: str, *, done: str = "") -> Iterator[None]:
        """
        Show `text` while it lasts; then leave one line, with `done` if that reads better afterwards.

        What is printed meanwhile goes where it always goes. A live display of Rich's draws standard output to itself unless told
        not to, and then Ray's messages, which belong into a file, stand on the terminal.
        """
        with Live(Spinner("dots", text), console=self._console, transient=True, redirect_stdout=False):
            yield
        self._console.print(f"[dim]{self.elapsed_s:5.1f} s[/dim]  {done or text}", highlight=False)

    def during(self, text: str, work: Callable[[], object], *, done: str) -> None:
        """Do some work as one step."""
        with self.step(text, done=done):
            work()


def run(settings: Settings) -> int:
    """Start everything, stay until told to stop, stop everything. Return the exit code: 0, or 1 with the reason on stderr."""
    write_plainly(sys.stderr)
    errors = Console(stderr=True)
    for name in unknown_variables(os.environ):
        errors.print(f"[yellow]{escape(name)} is no setting of Headcount: is it misspelt?[/yellow]")
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with data_folder.hold(settings.data_dir):
            console = Console(file=sys.stdout)  # named, or it would follow the next line
            sys.stdout = (settings.data_dir / RAY_LOG).open("w", buffering=1)  # Ray's messages from afar are printed
            _run_locked(settings, console)
    except (UpError, FolderTakenError, SettingsError, PortTakenError, ClusterError, EmbeddedValkeyError, OSError) as error:
        text = data_folder.told(error, settings.data_dir) if isinstance(error, OSError) else str(error)
        errors.print(f"[red]{escape(text)}[/red]", soft_wrap=True)
        if isinstance(error, _RayLostError):
            os._exit(1)  # everything has been ended; Ray's exit handler would wait for those who are dead
        return 1
    return 0


def _run_locked(settings: Settings, console: Console) -> None:
    given = GivenJournal(settings.redis_url, beside=_beside)
    progress = _Progress(console)
    if ended := reap(settings.data_dir):
        console.print(f"Ended {counted(ended, 'process', 'processes')} that a killed run had left behind.", highlight=False)
    ports.require_front_door(settings)
    internal = ports.choose(settings, data_dir=settings.data_dir)
    tokens = load_tokens(settings)
    _write_prometheus(settings)
    given.await_first_word()
    if problem := given.problem():
        raise UpError(problem)
    signals = _Signals()
    parts = _Parts()
    signals.install()
    starting = _beside(lambda: _start(settings, tokens, internal, parts=parts, progress=progress, signals=signals), stay=True)
    while not starting.done() and not signals.asked.wait(_POLL_S):
        signals.install()  # again and again: Ray's compiled part takes SIGTERM for itself when it connects
        if problem := given.problem():
            Console(stderr=True).print(f"[red]{escape(problem)}[/red]", soft_wrap=True)
            _abort(parts)
            os._exit(1)  # a thread still waits for what has just been killed
    if not starting.done():
        _abort(parts)
        console.print("Stopped before it was ready.")
        console.file.flush()
        os._exit(0)  # a thread still waits for what has just been killed
    try:
        starting.result()
        _describe(settings, internal, console=console, tokens=tokens, ready_s=progress.elapsed_s, warnings=given.warnings())
        while not signals.asked.wait(_WATCH_S):
            if parts.cluster is not None:
                _require_ray(parts.cluster)
        console.print("Stopping; live sessions stay in the journal.")
    finally:
        _stop(parts, signals, _Progress(console))


def _start(settings: Settings, tokens: Tokens, internal: InternalPorts, *, parts: _Parts, progress: _Progress, signals: _Signals) -> None:
    if settings.redis_url is None:
        parts.valkey = EmbeddedValkey(settings.data_dir / "valkey")
        parts.journal = journal = _beside(parts.valkey.start)
    else:
        journal = Future()
        journal.set_result(settings.redis_url)
    with progress.step("Ray"):
        parts.cluster = cluster = Cluster(settings, internal)
        signals.kill = cluster.kill_all
        cluster.prepare()
        cluster.start_ray()
    with progress.step("Journal"):
        config = config_of(
            settings,
            journal_url=journal.result(),
            instance_id=settings.instance or _instance_id(settings.data_dir),
            shards_are_set="shards" in settings.model_fields_set,
        )
        if parts.valkey is not None:
            parts.valkey.watch()

    from actors import launch  # noqa: PLC0415 - imports Ray, which reads its environment then

    parts.launched = True
    shards = _beside(lambda: launch.launch(config))
    with progress.step("Ingress"):
        ingress = _beside(cluster.start_serve)
        from serve_app import app  # noqa: PLC0415 - takes a second, in which the ingress starts

        application = app.build(settings, config, tokens)
        ingress.result()
    with progress.step("Ingest replicas"):
        cluster.deploy(application)
    with progress.step("Shards"):
        try:
            shards.result()
        except launch.LaunchError as error:
            raise UpError(str(error)) from error
    with progress.step("Ready through the front door"):
        _await_ready(settings, cluster)
    cluster.recorder.slow_down(interval_s=_RECORD_S)


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


def _beside(work: Callable[[], _Result], *, stay: bool = False) -> "Future[_Result]":
    """
    Do something in a thread that no exit waits for, and hand out its result.

    `stay`: keep the thread afterwards. The kernel ends Ray's processes with the *thread* that started them.
    """
    future: Future[_Result] = Future()

    def run_it() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - carried to whoever asks for the result
            future.set_exception(error)
        if stay:
            threading.Event().wait()

    threading.Thread(target=run_it, daemon=True).start()
    return future


def _await_ready(settings: Settings, cluster: Cluster) -> None:
    """Wait for a 200 of `/readyz` through the front door. Raises `UpError` with the last answer."""
    host = settings.front_door_url.removeprefix("http://").rpartition(":")[0]
    deadline = clock.monotonic() + READY_WITHIN_S
    answer = "nothing"
    pause = threading.Event()
    while clock.monotonic() < deadline:
        _require_ray(cluster)
        connection = http.client.HTTPConnection(host, settings.port, timeout=2)
        try:
            connection.request("GET", "/readyz")
            response = connection.getresponse()
            answer = f"{response.status} {response.read(500).decode(errors='replace')}"
            if response.status == http.HTTPStatus.OK:
                return
        except (OSError, http.client.HTTPException) as error:
            answer = str(error)
        finally:
            connection.close()
        pause.wait(_POLL_S)
    raise UpError(f"not ready after {READY_WITHIN_S:.0f} s; /readyz said last: {answer}")


def _require_ray(cluster: Cluster) -> None:
    """Raise `_RayLostError` once Ray cannot go on. Its own calls would wait for ever."""
    if gone := cluster.lost():
        raise _RayLostError(f"{gone} died; stopping. Start again: no acknowledged session is lost.")


def _abort(parts: _Parts) -> None:
    """End a start that is under way, by force: nothing has been acknowledged that the journal does not hold."""
    if parts.cluster is not None:
        parts.cluster.abandon()
    if parts.valkey is not None:
        parts.valkey.stop()
        if parts.journal is not None:
            wait([parts.journal], timeout=STOP_WITHIN_S / 2)
            parts.valkey.stop()  # in case it came up after the first


def _stop(parts: _Parts, signals: _Signals, progress: _Progress) -> None:
    """End what was started, in the order of a request's way. Takes 10 s at most, by force at the end."""
    cluster = parts.cluster
    done = threading.Event()

    def insist() -> None:
        if not done.wait(STOP_WITHIN_S):
            signals.kill()
            if not done.wait(1.0):
                os._exit(1)

    threading.Thread(target=insist, daemon=True).start()
    with ExitStack() as ends:  # the last named goes first, and each goes whatever became of those before
        ends.callback(done.set)
        if cluster is not None:
            ends.callback(progress.during, "Ending Ray", cluster.stop_ray, done="Ray ended")
        if parts.valkey is not None:
            ends.callback(progress.during, "Closing the journal", parts.valkey.stop, done="Journal closed")
        if cluster is not None:
            if parts.launched and cluster.lost() is None:
                from actors import launch  # noqa: PLC0415 - imports Ray

                ends.callback(progress.during, "Ending the shards", lambda: launch.shutdown(NAMESPACE), done="Shards ended")
            ends.callback(progress.during, "Closing the ingress", cluster.stop_serve, done="Ingress closed")


def _source(settings: Settings, kind: TokenKind) -> tuple[str, str]:
    """Return where a token stands, for people and for a shell."""
    if settings.tokens_given(kind):
        variable = f"HEADCOUNT_{kind.upper()}_TOKEN"
        return variable, f"${{{variable}%%,*}}"  # of two the first
    file = settings.tokens_folder / kind.file
    return str(file), f"$(cat {shlex.quote(str(file))})"


def _describe(
    settings: Settings, internal: InternalPorts, *, console: Console, tokens: Tokens, ready_s: float, warnings: Sequence[Finding]
) -> None:
    """Print where everything is. The tokens themselves are for a terminal; a log is told where they are."""
    url = settings.front_door_url
    shown = console.is_terminal
    ingest_at, _ = _source(settings, TokenKind.INGEST)
    ops_at, ops_word = _source(settings, TokenKind.OPS)
    journal = "HEADCOUNT_REDIS_URL" if settings.redis_url else f"{settings.data_dir / 'valkey'} (embedded Valkey, 127.0.0.1)"
    bearer = f"'Authorization: Bearer {tokens.ops}'" if shown else f'"Authorization: Bearer {ops_word}"'
    lines = [
        f"[bold green]Headcount is up[/bold green] after {ready_s:.1f} s (version {VERSION}). Ctrl-C stops it; live sessions are kept.",
        "",
        f"  Players and operators  {url}    (listens on {settings.host}:{settings.port})",
        f"  Live page              {escape(f'{url}/#token={quote(tokens.ops)}' if shown else f'{url}/')}   (ops token)",
        f"  API documents          {url}/docs   {url}/openapi.json",
        f"  Metrics                {url}/metrics   (ops token)",
        f"  Prometheus             {escape(str(settings.data_dir / prometheus.FOLDER / prometheus.CONFIGURATION))}",
        f"  Health                 {url}/healthz   {url}/readyz",
        f"  Data folder            {escape(str(settings.data_dir))}",
        f"  Journal                {escape(journal)}",
        f"  Ingest token           {escape(f'{tokens.ingest}   ({ingest_at})' if shown else ingest_at)}",
        f"  Ops token              {escape(f'{tokens.ops}   ({ops_at})' if shown else ops_at)}",
        f"  Inner ports            {internal.first}-{internal.first + 2} HAProxy's pages and fallback, on 127.0.0.1",
        f"                         {internal.replicas.start}-{internal.replicas.stop - 1} ingest replicas, on {settings.host}",
        "                         Ray's and the shards', random, on 127.0.0.1; but one for each replica on every interface (Serve's gRPC,",
        "                         which asks for Ray's token)",
        "",
        "  Try it:",
        f"  curl -s '{url}/icon.gif?type=play&v=video-1&p=zone-1&u=viewer-1' -o /dev/null -w '%{{http_code}}\\n'",
        f"  curl -s -H {escape(bearer)} '{url}/v1/concurrency'",
    ]
    if settings.host == "0.0.0.0":  # noqa: S104 - compared, not bound
        lines.insert(-3, "  [yellow]Every interface is open: let only the front door's port through your firewall.[/yellow]")
    if settings.auth == "off":
        lines.insert(1, "[bold red]AUTHENTICATION IS OFF (HEADCOUNT_AUTH=off): anybody can write sessions and read everything.[/bold red]")
    for warning in warnings:
        lines.insert(1, f"[bold red]THE JOURNAL: {escape(str(warning))}.[/bold red]")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)
