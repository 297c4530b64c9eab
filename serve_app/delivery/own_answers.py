"""
What HAProxy refuses by itself, counted: none of it ever reaches a replica.

That is what HAProxy answered to clients beyond what its servers answered to it, by its own statistics, which one replica of each node reads
every few seconds: whoever holds a lock beside HAProxy's socket, where it is also kept how far has been counted. It knows statuses by their
first digit alone, as HAProxy does. A reload is a new HAProxy that counts from nothing; what the old one still answers is not counted.
"""

import asyncio
import csv
import fcntl
import json
from pathlib import Path
from typing import Final, NamedTuple

from serve_app.delivery.tallies import Tallies

FRONT_DOOR: Final = "front_door"
"""In metrics, the endpoint of what HAProxy refuses."""
FRONTEND: Final = "http_frontend"
"""As Serve calls HAProxy's side of players and operators."""
LOOK_EVERY_S: Final = 5.0
ANSWER_S: Final = 2.0
_TOTALS: Final = frozenset({"FRONTEND", "BACKEND"})
_PROCESS: Final = "Pid: "


class OwnAnswers(NamedTuple):
    """What one HAProxy process has refused by itself since it began."""

    process: int
    bad_request: int = 0
    """Of 400 to 499: heads and bodies that are wrong, or never come."""
    unavailable: int = 0
    """Of 500 to 599: no replica could take the request."""


def own_answers(statistics: str) -> OwnAnswers | None:
    """Read the answer to `show info; show stat`; None: it is none."""
    info, found, table = statistics.partition("# pxname,")
    process = next((line.removeprefix(_PROCESS) for line in info.splitlines() if line.startswith(_PROCESS)), "")
    if not found or not process.isdecimal():
        return None
    own = {"hrsp_4xx": 0, "hrsp_5xx": 0}
    for row in csv.DictReader(("pxname," + table).splitlines()):
        sign = int(row["pxname"] == FRONTEND and row["svname"] == "FRONTEND") - int(row["svname"] not in _TOTALS)
        for column in own:
            own[column] += sign * int(row[column] or 0)
    return OwnAnswers(int(process), own["hrsp_4xx"], own["hrsp_5xx"])


def counted_on(before: OwnAnswers, now: OwnAnswers) -> OwnAnswers:
    """Return how far has been counted once `now` is: never less than before, as an answer that is on its way is only on one side yet."""
    if before.process != now.process:
        before = OwnAnswers(now.process)
    return OwnAnswers(now.process, max(before.bad_request, now.bad_request), max(before.unavailable, now.unavailable))


async def count_own_answers(tallies: Tallies, socket: Path) -> None:
    """Count for as long as we run, whenever no other replica of this node does. `socket`: HAProxy's, for its operators."""
    while not socket.parent.is_dir():  # noqa: ASYNC110 - HAProxy is not there yet, or not on this node, and nobody tells
        await asyncio.sleep(LOOK_EVERY_S)
    with socket.with_name("own-answers.lock").open("w") as lock:
        while not _is_ours(lock.fileno()):  # noqa: ASYNC110 - nobody tells that it is free
            await asyncio.sleep(LOOK_EVERY_S)
        kept = socket.with_name("own-answers.json")
        before = OwnAnswers(*json.loads(kept.read_text())) if kept.exists() else OwnAnswers(0)
        while True:
            now = own_answers(await _ask(socket))
            if now is not None:
                after = counted_on(before, now)
                begun = before if before.process == now.process else OwnAnswers(now.process)
                tallies.rejected(FRONT_DOOR, "bad_request", times=after.bad_request - begun.bad_request)
                tallies.rejected(FRONT_DOOR, "unavailable", times=after.unavailable - begun.unavailable)
                if after != before:
                    _keep(kept, after)
                before = after
            await asyncio.sleep(LOOK_EVERY_S)


def _keep(file: Path, counted: OwnAnswers) -> None:
    """Keep it whole for whoever counts on. It need not outlive the machine: HAProxy does not, either."""
    draft = file.with_suffix(".new")
    draft.write_text(json.dumps(counted))
    draft.replace(file)


def _is_ours(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


async def _ask(socket: Path) -> str:
    """Return what HAProxy says; nothing, while it is away: it is started again, and asked at the next look."""
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_unix_connection(str(socket))
            try:
                writer.write(b"show info; show stat\n")
                await writer.drain()
                said = await reader.read()
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return ""
    return said.decode("utf-8", "replace")
