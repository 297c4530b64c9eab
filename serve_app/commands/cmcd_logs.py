"""`headcount cmcd-logs`: posts what players said to a CDN, as its access logs have it. It only asks, over HTTP."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import httpx
from rich.console import Console
from rich.markup import escape

from actors import clock
from serve_app.access.tokens import load_tokens
from serve_app.cmcd.logs import Logged, read_log
from serve_app.machine import data_folder
from serve_app.settings import Settings, SettingsError, typed
from sessions.words import counted

ANSWER_S: Final = 30.0
RECORDS_PER_POST: Final = 200
POST_EVERY_S: Final = 5.0
"""What comes slowly waits no longer than this."""
STDIN: Final = "-"
_PLAYER: Final = "access-log"


def run(settings: Settings, source: str, *, parameters: str = "") -> int:
    """Post what a log, or the standard input, says; return 0, or 1 if it cannot be read or nobody answers."""
    console, errors = Console(), Console(stderr=True)
    url = settings.front_door_url
    query = "&".join(part for part in (f"player={_PLAYER}", parameters) if part)
    lines = taken = 0
    sessions: set[str] = set()
    oldest_s = 0.0
    try:
        headers = {"authorization": f"Bearer {load_tokens(settings).ingest}", "content-type": "application/cmcd"}
        with httpx.Client(base_url=url, timeout=ANSWER_S, trust_env=False, headers=headers) as client:
            for logged, read in batches(read_log(_lines_of(source))):
                lines += read
                sessions |= {each.sid for each in logged}
                oldest_s = max([oldest_s, *(clock.now() - each.at for each in logged)])
                if logged:
                    answer = client.post(f"/cmcd?{query}", content="\n".join(each.line for each in logged).encode())
                    told = dict(part.partition("=")[::2] for part in answer.headers.get("x-headcount", "").split(";"))
                    taken += int(told.get("taken", 0))
    except httpx.TransportError as error:
        errors.print(f"[red]nothing answers at {url} ({escape(str(error))}): start it with {typed('up')}[/red]", soft_wrap=True)
        return 1
    except (SettingsError, OSError, UnicodeError) as error:
        text = f"{source}: {error}" if not isinstance(error, SettingsError) else str(error)
        errors.print(
            f"[red]{escape(data_folder.told(error, settings.data_dir) if isinstance(error, PermissionError) else text)}[/red]",
            soft_wrap=True,
        )
        return 1
    console.print(
        f"{counted(lines, 'line')}, {counted(taken, 'report')} taken of {counted(len(sessions), 'session')}. They are as late as the log: the oldest is "
        f"{oldest_s / 60:.1f} min old. A session shows from when it is posted until 90 s after its last line is.",
        soft_wrap=True,
        highlight=False,
    )
    return 0


def batches(logged: Iterable[Logged | None]) -> Iterator[tuple[list[Logged], int]]:
    """Yield what is to be posted together, and how many lines it was."""
    batch: list[Logged] = []
    lines, since = 0, clock.monotonic()
    for each in logged:
        lines += 1
        if each is not None:
            batch.append(each)
        if len(batch) >= RECORDS_PER_POST or (batch and clock.monotonic() - since > POST_EVERY_S):
            yield batch, lines
            batch, lines, since = [], 0, clock.monotonic()
    if lines:
        yield batch, lines


def _lines_of(source: str) -> Iterator[str]:
    if source == STDIN:
        yield from sys.stdin
        return
    with Path(source).open(encoding="utf-8", errors="replace") as file:
        yield from file
