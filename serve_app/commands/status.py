"""`headcount status`: whether the tracker is ready, and where its slots and sessions are. It only asks, over HTTP."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import httpx
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from serve_app.access.tokens import load_tokens
from serve_app.machine import data_folder, runs
from serve_app.machine.restarts import RESTARTS_MAX
from serve_app.settings import Settings, SettingsError, typed
from sessions.words import counted

ANSWER_S: Final = 5.0
NODE_CHARS: Final = 8
"""So much of a node's id is shown."""


def run(settings: Settings) -> int:
    """Print how the tracker is; return 0 if it is ready, 1 if not."""
    console, errors = Console(), Console(stderr=True)
    url = settings.front_door_url
    try:
        with httpx.Client(base_url=url, timeout=ANSWER_S, trust_env=False) as client:
            ready = client.get("/readyz")
            # The tokens come second: where nothing runs, none are to be made.
            headers = {"authorization": f"Bearer {load_tokens(settings).ops}"}
            status, concurrency = (client.get(path, headers=headers) for path in ("/v1/status", "/v1/concurrency"))
    except httpx.TransportError as error:
        errors.print(f"[red]{escape(_why_no_answer(settings, error))}[/red]", soft_wrap=True)
        return 1
    except (SettingsError, OSError) as error:
        text = data_folder.told(error, settings.data_dir) if isinstance(error, OSError) else str(error)
        errors.print(f"[red]{escape(text)}[/red]", soft_wrap=True)
        return 1
    console.print(
        f"[green]Ready[/green] at {url}" if ready.is_success else f"[red]Not ready:[/red] {escape(_problem(ready))}", soft_wrap=True
    )
    if not ready.is_success and (why := data_folder.disk_problem(settings.data_dir) or _restarting(settings)):
        console.print(f"[red]{escape(why)}[/red]", soft_wrap=True)
    for answer in (status, concurrency):
        if not answer.is_success:
            errors.print(f"[red]{answer.url.path} says {answer.status_code}: {escape(_problem(answer))}[/red]", soft_wrap=True)
            return 1
    _describe(console, status.json(), concurrency.json())
    if (record := runs.load(settings.data_dir)) and record.after:
        console.print(f"Started again: {record.after}", highlight=False, soft_wrap=True)
    return 0 if ready.is_success else 1


def _why_no_answer(settings: Settings, error: httpx.TransportError) -> str:
    url, folder = settings.front_door_url, settings.data_dir
    if process := data_folder.holder(folder):
        hint = (
            data_folder.disk_problem(folder) or _restarting(settings) or "it may still be starting, or HEADCOUNT_PORT is another one there"
        )
        return f"headcount is up on {folder} (process {process}), but nothing answers at {url} ({error}): {hint}"
    full = f"{found}: make room there first, and " if (found := data_folder.disk_problem(folder)) else ""
    return f"nothing answers at {url} ({error}): {full}start it with {typed('up')}"


def _restarting(settings: Settings) -> str:
    """Return what died, while everything is started again for it."""
    record = runs.load(settings.data_dir)
    if record is None or not record.after or record.ready:
        return ""
    return f"{record.after}, and everything is being started again ({record.restart} of {RESTARTS_MAX} in ten minutes)"


def _describe(console: Console, status: Mapping[str, Any], concurrency: Mapping[str, Any]) -> None:
    states = ", ".join(f"{count} {state}" for state, count in concurrency["states"].items() if count)
    peak = concurrency["peak"]
    console.print(
        f"Active      {counted(concurrency['sessions'], 'session')}{f' ({states})' if states else ''}, as of {concurrency['age_seconds']:.1f} s ago"
    )
    if peak:
        console.print(f"Peak        {peak['sessions']} at {peak['at']}")
    console.print(f"Slots       {status['owned']} of {status['slots']} served, map version {status['map_version']}")
    console.print(f"Journal     {_up(status['journal_up'])}")
    console.print(f"Front door  {_up(status['front_door_up'])}")
    if not status["as_planned"]:
        left = "-" if status["to_move"] is None else status["to_move"]
        console.print(
            f"Plan        {counted(status['planned_shards'], 'shard')}; still to move: {left} slots; still to renew: {status['to_renew']} shards"
        )
    console.print(shards_table(status))
    if len(status["nodes"]) > 1:
        console.print(nodes_table(status))


def shards_table(status: Mapping[str, Any]) -> Table:
    """Return one row for each shard that the directory knows; narrow enough for 80 columns."""
    table = Table(box=None, padding=(0, 1, 0, 0))
    for name in ("shard", "node", "alive", "slots", "epochs", "sessions", "unwritten", "behind", "silent", "restarts"):
        table.add_column(name, justify="left" if name in {"shard", "node", "alive"} else "right", no_wrap=True)
    for name, shard in status["shards"].items():
        coming = f" +{shard['coming']}" if shard.get("coming") else ""
        table.add_row(
            name.removeprefix("headcount-"),
            shard.get("node", "")[:NODE_CHARS] or "-",
            _how(shard),
            _number(shard.get("slots")) + coming,
            _epochs(shard.get("epochs")),
            _number(shard.get("sessions")),
            _number(shard.get("unwritten_sessions")),
            _seconds(shard.get("behind_s")),
            _seconds(shard.get("silent_s")),
            _number(shard.get("restarts")),
        )
    return table


def nodes_table(status: Mapping[str, Any]) -> Table:
    """Return one row for each node of the cluster."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("node", "address", "shards", ""):
        table.add_column(name, justify="right" if name == "shards" else "left", no_wrap=True)
    for node_id, node in status["nodes"].items():
        remarks = ("drained" if node["drained"] else "", "head" if node["head"] else "", "" if node["takes_shards"] else "takes no shards")
        table.add_row(node_id[:NODE_CHARS], node["address"], str(node["shards"]), ", ".join(filter(None, remarks)))
    return table


def _problem(answer: httpx.Response) -> str:
    """Return what an error says, in our shape or in the proxy's."""
    if not answer.headers.get("content-type", "").startswith("application/json"):
        return answer.text[:200].strip()
    told: dict[str, Any] = answer.json()
    return str(told.get("error", {}).get("message", answer.text[:200]))


def _how(shard: Mapping[str, Any]) -> str:
    """Return in a word how a shard is."""
    if not shard["alive"]:
        return "[red]no[/red]"
    if not shard["journal_up"]:
        return "[red]no journal[/red]"
    return "[yellow]leaving[/yellow]" if shard["leaving"] else "[green]yes[/green]"


def _up(value: object) -> str:
    return "[green]yes[/green]" if value else "[red]no[/red]"


def _number(value: object) -> str:
    return "-" if value is None else str(value)


def _epochs(lowest_and_highest: Sequence[int] | None) -> str:
    """Return the terms of ownership of a shard's slots: the oldest and the newest."""
    return "-".join(str(epoch) for epoch in sorted(set(lowest_and_highest or ()))) or "-"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"
