"""
The data folder of one installation: who has it, and whether something can be written there.

It knows nothing of what is in it.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import IO, Final

_LOCK: Final = "up.lock"
_NEEDED_BYTES: Final = 1024 * 1024


class FolderTakenError(Exception):
    """Another `headcount up` has the folder; the message says which process."""


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold the folder for as long as this run lives; the kernel lets go of it however that ends. Raises `FolderTakenError`."""
    with (folder / _LOCK).open("a+") as file:
        if not _lock(file):
            raise FolderTakenError(f"headcount is already up on {folder} (process {_written_in(file)})")
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def holder(folder: Path) -> str | None:
    """Return the id of the process that has the folder; None: nobody has it."""
    try:
        with (folder / _LOCK).open("r+") as file:
            return None if _lock(file) else _written_in(file)
    except OSError:
        return None


def disk_problem(folder: Path) -> str | None:
    """Return what is wrong with the disk of a folder; None: there is room, or no such folder."""
    if not folder.exists():
        return None
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return f"{folder} cannot be read: {error.strerror}"
    return f"the disk that holds {folder} is full" if free < _NEEDED_BYTES else None


def told(error: OSError, folder: Path) -> str:
    """Return in one line what the system did not let us do, with the path concerned."""
    path = error.filename or folder
    if error.errno in {ENOSPC, EDQUOT}:
        return f"the disk that holds {path} is full: make room there, and start again"
    return f"{path}: {error.strerror or error}"


def _lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _written_in(file: IO[str]) -> str:
    file.seek(0)
    return file.read().strip() or "unknown"
