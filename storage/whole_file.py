"""
Writing a file whole: whatever happens meanwhile, a power failure included, there is the old content or the new one, and never less.

Decides that each such file is its owner's alone, that its bytes are on the disk before its name is, and its name before the writer goes on.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex


def write_whole(file: Path, content: str | bytes) -> None:
    """Replace a file, or make it."""
    with drafted(file, content) as draft:
        draft.replace(file)


def make_whole(file: Path, content: str | bytes) -> bool:
    """Make a file; False: somebody else did meanwhile, and theirs stands."""
    with drafted(file, content) as draft:
        try:
            # Unlike a rename, a link never replaces what is there.
            os.link(draft, file)
        except FileExistsError:
            return False
    return True


@contextmanager
def drafted(file: Path, content: str | bytes) -> Iterator[Path]:
    """Have the content on the disk beside the file, under a name of its own, until it was given its name."""
    draft = file.with_name(f".{file.name}.{token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as opened:
            opened.write(content.encode() if isinstance(content, str) else content)
            opened.flush()
            os.fsync(opened.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(file.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
