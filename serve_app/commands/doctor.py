"""
`headcount doctor`: everything that a tracker stands on, looked at now: one line for each, with what to do.

It can be asked at any time, whether the tracker runs or not, and changes nothing. What it decides is where enough ends and too little begins.
"""

import os
import resource
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any, Final

import httpx
from rich.console import Console
from rich.markup import escape

from actors import clock
from serve_app.access.tokens import TokenKind, load_tokens
from serve_app.commands.journal_at import NoJournalError, journal_url
from serve_app.settings import Settings, SettingsError
from storage.findings import Finding, Level
from storage.free_ports import is_free
from storage.journal import JournalError
from storage.server_check import Measured, examine, measure

SLOW_WRITE_S: Final = 0.05
"""A write that takes longer keeps every player waiting: a commit waits for one."""
CLOCKS_APART_S: Final = 1.0
MEMORY_PART_MAX: Final = 0.8
DISK_FREE_MIN: Final = 2 * 1024**3
"""The embedded journal's file grows to 1 GB and more before it is rewritten, and is then there twice."""
FILES_MIN: Final = 20_000
ANSWER_S: Final = 2.0
_MIB: Final = 1024**2
_MARKS: Final = {Level.OK: "[green]ok     [/green]", Level.WARNING: "[yellow]look at[/yellow]", Level.UNFIT: "[red]wrong  [/red]"}


def run(settings: Settings) -> int:
    """Print every check; return 0 if nothing is wrong, 1 otherwise. What is only to be looked at is not wrong."""
    console = Console()
    worst = 0
    for finding in look(settings):
        console.print(f"{_MARKS[finding.level]}  {finding.what:<12}{escape(str(finding))}", soft_wrap=True, highlight=False)
        worst = max(worst, finding.level is Level.UNFIT)
    return int(worst)


def look(settings: Settings) -> Iterator[Finding]:
    """Yield what is found, the journal first."""
    yield from _journal(settings)
    yield from machine(settings)


def _journal(settings: Settings) -> Iterator[Finding]:
    try:
        url = journal_url(settings)
    except NoJournalError:
        yield Finding("journal", Level.WARNING, "the embedded journal does not run", "`headcount up` starts it; then ask again")
        return
    findings = examine(url)
    yield from findings
    if any(finding.level is Level.UNFIT for finding in findings):
        return
    try:
        yield from judged(measure(url, now=clock.now, monotonic=clock.monotonic))
    except JournalError as error:
        yield Finding("measure", Level.UNFIT, str(error), "see the journal's log")


def judged(measured: Measured) -> Iterator[Finding]:
    """Judge how fast the journal is, how full, and how far from our time."""
    usual_s, longest_s = median(measured.writes_s), max(measured.writes_s)
    took = (
        f"an acknowledged write takes {1000 * usual_s:.1f} ms (median of {len(measured.writes_s)}; the longest {1000 * longest_s:.1f} ms)"
    )
    if usual_s > SLOW_WRITE_S:
        yield Finding("fsync", Level.WARNING, took, "players wait for it with every request: a faster disk, or one that is not shared")
    else:
        yield Finding("fsync", Level.OK, took)
    used = f"it uses {measured.used_bytes / _MIB:.0f} MiB of {measured.limit_bytes / _MIB:.0f}"
    if measured.limit_bytes and measured.used_bytes > MEMORY_PART_MAX * measured.limit_bytes:
        yield Finding("memory", Level.WARNING, used, "give it more (maxmemory), before it refuses writes")
    else:
        yield Finding("memory", Level.OK, used)
    apart = f"its clock and ours are {abs(measured.clock_ahead_s):.3f} s apart"
    if abs(measured.clock_ahead_s) > CLOCKS_APART_S:
        yield Finding("clocks", Level.WARNING, apart, "set both by NTP; nobody expires for it, but times in logs and stories disagree")
    else:
        yield Finding("clocks", Level.OK, apart)


def machine(settings: Settings) -> Iterator[Finding]:
    """Look at the data folder, the tokens, the limits and the port."""
    yield from _folder(settings.data_dir)
    yield from _tokens(settings)
    yield _files(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    yield (door := _port(settings))
    if door.level is Level.OK:
        yield from _steps(settings)


def _folder(folder: Path) -> Iterator[Finding]:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(existing, os.W_OK | os.X_OK):
        yield Finding("data folder", Level.UNFIT, f"{folder} cannot be written", "give it to the user who runs the tracker")
        return
    free = shutil.disk_usage(existing).free
    text = f"{folder} has {free / 1024**3:.1f} GiB of disk left"
    if free < DISK_FREE_MIN:
        yield Finding("data folder", Level.WARNING, text, f"the embedded journal may need {DISK_FREE_MIN / 1024**3:.0f} GiB more")
    else:
        yield Finding("data folder", Level.OK, text)


def _tokens(settings: Settings) -> Iterator[Finding]:
    if settings.auth == "off":
        yield Finding("tokens", Level.WARNING, "authentication is off: anybody can write and read everything", "unset HEADCOUNT_AUTH")
        return
    for kind in TokenKind:
        if settings.tokens_given(kind):
            yield Finding("tokens", Level.OK, f"the {kind} token comes from the environment")
        else:
            yield _token_file(kind, settings.tokens_folder / kind.file)


def _token_file(kind: TokenKind, file: Path) -> Finding:
    try:
        mode = file.stat().st_mode
        readable = bool(file.read_text(encoding="ascii").strip())
    except FileNotFoundError:
        return Finding("tokens", Level.OK, f"there is no {kind} token yet: the first start makes {file}")
    except (OSError, UnicodeDecodeError) as error:
        return Finding("tokens", Level.UNFIT, f"{file} cannot be read: {error}", "give it to the user who runs the tracker")
    if not readable:
        return Finding("tokens", Level.UNFIT, f"{file} is empty", "`headcount token rotate` makes a new one")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        return Finding("tokens", Level.WARNING, f"{file} can be read by others (mode {stat.S_IMODE(mode):o})", f"chmod 600 {file}")
    return Finding("tokens", Level.OK, f"{file} can be read by its owner alone")


def _files(limit: int) -> Finding:
    text = f"a process may have {limit} files open"
    if limit < FILES_MIN:
        return Finding(
            "file limit",
            Level.WARNING,
            f"{text}: the front door takes {max(0, int((limit - 200) / 2.5))} connections",
            f"ulimit -n {FILES_MIN * 3}",
        )
    return Finding("file limit", Level.OK, text)


def _port(settings: Settings) -> Finding:
    where = f"{settings.host}:{settings.port}"
    if is_free(settings.host, settings.port):
        return Finding("front door", Level.OK, f"{where} is free: nothing runs there")
    try:
        answer = httpx.get(f"{settings.front_door_url}/readyz", timeout=ANSWER_S, trust_env=False)
    except httpx.HTTPError as error:
        return Finding("front door", Level.UNFIT, f"{where} is taken, and does not answer as a tracker ({error})", "set HEADCOUNT_PORT")
    if answer.is_success:
        return Finding("front door", Level.OK, f"a tracker is ready at {where}")
    if "error" not in _names_in(answer):
        return Finding("front door", Level.UNFIT, f"{where} is taken by another program", "set HEADCOUNT_PORT")
    return Finding(
        "front door", Level.UNFIT, f"the tracker at {where} is not ready (/readyz says {answer.status_code})", "see `headcount status`"
    )


def _steps(settings: Settings) -> Iterator[Finding]:
    """Ask the tracker, if one runs, whether a clock was set since its shards began; what keeps us from asking has been told before."""
    try:
        headers = {"authorization": f"Bearer {load_tokens(settings, make=False).ops}"}
        answer = httpx.get(f"{settings.front_door_url}/v1/status", headers=headers, timeout=ANSWER_S, trust_env=False)
    except (httpx.HTTPError, SettingsError, OSError):
        return
    if answer.is_success:
        yield from steps_in(answer.json())


def steps_in(status: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield by how much the clock of each shard's machine was set since it began; one line if of none."""
    steps = {name: shard.get("clock_step_s", 0.0) for name, shard in sorted(status["shards"].items())}
    stepped = [
        f"{abs(step_s):.1f} s {'ahead' if step_s > 0 else 'back'} since {name} began"
        for name, step_s in steps.items()
        if abs(step_s) > CLOCKS_APART_S
    ]
    if stepped:
        yield Finding(
            "clock steps",
            Level.WARNING,
            f"the clock was set by {', '.join(stepped)}",
            "nobody expires for it, but stories and answers show times of the clock before it, until `headcount rollout`; set the clock by NTP",
        )
    elif steps:
        yield Finding("clock steps", Level.OK, "the clock was not set since the shards started")


def _names_in(answer: httpx.Response) -> Iterable[str]:
    told = answer.json() if answer.headers.get("content-type", "").startswith("application/json") else {}
    return told.keys() if isinstance(told, dict) else ()
