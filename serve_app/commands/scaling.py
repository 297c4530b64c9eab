"""
`headcount scale`, `drain`, `undrain` and `rollout`: what an operator wants of a running tracker, and how far it has come.

The directory keeps what is wanted and does it (`actors/directory/fleet.py`); here it is asked, and watched until it is so. Whoever stops
watching stops nothing.
"""

import threading
from collections.abc import Callable
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from actors import clock
from serve_app.commands import reach
from serve_app.commands.reach import Directory, ReachError, Status
from serve_app.commands.status import NODE_CHARS
from serve_app.settings import Settings, typed
from sessions.words import counted

LOOK_S: Final = 0.2
STUCK_S: Final = 120.0
"""Without any change for so long, nobody watches any more."""
INTERRUPTED: Final = 130

Order = Callable[[Directory, Console], str]
"""Asks for something, waits until it is so, and returns what to say then."""


def scale(settings: Settings, *, shards: int) -> int:
    """Have another number of shards. Return the exit code, once it is so."""

    def order(directory: Directory, console: Console) -> str:
        before = directory.status()
        directory.order("scale", shards)
        if "shards" in settings.model_fields_set and settings.shards != shards:
            wins = f"HEADCOUNT_SHARDS={settings.shards} is set here: the next start will use {settings.shards} again."
            console.print(f"[yellow]{wins}[/yellow]", soft_wrap=True)
        return f"Now {counted(shards, 'shard')} instead of {before['planned_shards']}: {_follow(directory, console, before=before)}."

    return _run(settings, order)


def drain(settings: Settings, *, node: str) -> int:
    """Have no shard on a node. Return the exit code, once it is so."""

    def order(directory: Directory, console: Console) -> str:
        before = directory.status()
        node_id = str(directory.order("drain", node))
        happened = _follow(directory, console, before=before)
        if before["nodes"][node_id]["head"]:
            return (
                f"Node {node_id[:NODE_CHARS]} has no shards now: {happened}. Ray's head is there, too: stopping the node stops the cluster."
            )
        return f"Node {node_id[:NODE_CHARS]} has no shards now and gets none: {happened}. You can stop it."

    return _run(settings, order)


def undrain(settings: Settings, *, node: str) -> int:
    """Let shards live on a node again. Return the exit code, once they are spread."""

    def order(directory: Directory, console: Console) -> str:
        before = directory.status()
        node_id = str(directory.order("undrain", node))
        return f"Node {node_id[:NODE_CHARS]} takes shards again: {_follow(directory, console, before=before)}."

    return _run(settings, order)


def rollout(settings: Settings) -> int:
    """Replace every shard by a new one, one after the other, and then the directory. Return the exit code, once it is so."""

    def order(directory: Directory, console: Console) -> str:
        before = directory.status()
        shards = directory.order("rollout")
        happened = _follow(directory, console, before=before)
        directory.renew()
        _follow(directory, console, before=before, unless_pid=before["pid"])
        return f"Replaced {counted(int(str(shards)), 'shard')}, then the directory: {happened}."

    return _run(settings, order)


def _run(settings: Settings, order: Order) -> int:
    console, errors = Console(), Console(stderr=True)
    try:
        with reach.directory(settings) as directory:
            console.print(order(directory, console), highlight=False, soft_wrap=True)
    except ReachError as error:
        errors.print(f"[red]{escape(str(error))}[/red]", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        errors.print(f"No longer watching; the change goes on. {typed('status')} shows how far it is.", soft_wrap=True)
        return INTERRUPTED
    return 0


def _follow(directory: Directory, console: Console, *, before: Status, unless_pid: int | None = None) -> str:
    """
    Show how far it is until the cluster is as planned, and not by the word of the process `unless_pid`; return what it took.

    Raises `ReachError` if nothing changes for long. A directory that does not answer begins anew in a moment, and goes on.
    """
    began_at = changed_at = clock.monotonic()
    seen: tuple[object, ...] = ()
    renewing = 0
    pause = threading.Event()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        slots, shards = progress.add_task("Slots moved", total=None), progress.add_task("Shards renewed", visible=False)
        while True:
            status = _look(directory)
            if status is not None:
                moved, to_move = status["map_version"] - before["map_version"], status["to_move"]
                renewing = max(renewing, status["to_renew"])
                progress.update(slots, completed=moved, total=None if to_move is None else moved + to_move)
                progress.update(shards, completed=renewing - status["to_renew"], total=renewing, visible=bool(renewing))
                if status["as_planned"] and status["pid"] != unless_pid:
                    return f"{counted(moved, 'slot')} moved in {clock.monotonic() - began_at:.1f} s"
                alive = sum(shard["alive"] for shard in status["shards"].values())
                now_seen = (moved, to_move, status["to_renew"], status["owned"], alive)
                if now_seen != seen:
                    seen, changed_at = now_seen, clock.monotonic()
            if clock.monotonic() - changed_at > STUCK_S:
                raise ReachError(f"no progress for {STUCK_S:.0f} s ({_why(status)}). The change is kept, and goes on by itself")
            pause.wait(LOOK_S)


def _look(directory: Directory) -> Status | None:
    try:
        return directory.status()
    except ReachError:
        return None


def _why(status: Status | None) -> str:
    if status is None:
        return "the directory does not answer"
    if not status["journal_up"]:
        return "the journal does not answer"
    missing = sorted(name for name, shard in status["shards"].items() if not shard["alive"])
    return f"no answer from {', '.join(missing)}" if missing else f"{status['owned']} of {status['slots']} slots are served"
