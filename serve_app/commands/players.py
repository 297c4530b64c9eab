"""`headcount players`: which players report by themselves, and what is to be done about what they do wrong. It only asks, over HTTP."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import httpx
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from serve_app.access.tokens import load_tokens
from serve_app.machine import data_folder
from serve_app.settings import Settings, SettingsError, typed

ANSWER_S: Final = 5.0
_COLUMNS: Final = ("player", "version", "sessions", "blind", "taken", "repeated", "late", "lost", "without_sid", "other")
_OTHERS: Final = ("unknown_token", "newer_version", "unreadable", "overloaded")


def run(settings: Settings) -> int:
    """Print what is connected; return 0, or 1 if nobody answers."""
    console, errors = Console(), Console(stderr=True)
    url = settings.front_door_url
    try:
        with httpx.Client(base_url=url, timeout=ANSWER_S, trust_env=False) as client:
            answer = client.get("/v1/players", headers={"authorization": f"Bearer {load_tokens(settings).ops}"})
    except httpx.TransportError as error:
        errors.print(f"[red]nothing answers at {url} ({escape(str(error))}): start it with {typed('up')}[/red]", soft_wrap=True)
        return 1
    except (SettingsError, OSError) as error:
        text = data_folder.told(error, settings.data_dir) if isinstance(error, OSError) else str(error)
        errors.print(f"[red]{escape(text)}[/red]", soft_wrap=True)
        return 1
    if not answer.is_success:
        errors.print(f"[red]/v1/players says {answer.status_code}[/red]", soft_wrap=True)
        return 1
    show(console, answer.json()["players"])
    return 0


def show(console: Console, players: Sequence[Mapping[str, Any]]) -> None:
    """Print one row for each player, and below what is to be done."""
    if not players:
        console.print("No player has reported by itself yet; docs/players.md has the lines of configuration.", soft_wrap=True)
        return
    table = Table(box=None, padding=(0, 1, 0, 0))
    for name in _COLUMNS:
        table.add_column(name.replace("_", " "), justify="left" if name in {"player", "version"} else "right", no_wrap=True)
    for row in players:
        others = sum(row[name] for name in _OTHERS)
        table.add_row(*(str(others if name == "other" else row[name] or ("-" if name == "version" else 0)) for name in _COLUMNS))
    console.print(table)
    for row in players:
        for remedy in row["remedies"]:
            console.print(f"{escape(row['player'])}: {escape(remedy)}", highlight=False, soft_wrap=True)
