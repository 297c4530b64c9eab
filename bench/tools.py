"""
Where `wrk` and `nginx` are: the machine's own, or what `make` unpacked of Debian's packages beside the other tools.

`make bench-tools` unpacks them, with the libraries that they want, only where the machine has none.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import Final

UNPACKED: Final = Path(sys.prefix) / "debian"


class MissingToolError(Exception):
    """A program that a benchmark drives is not here; the message says how to get it."""


def find(name: str) -> str:
    """Return the path of a tool. Raises `MissingToolError`."""
    places = [os.environ.get("PATH", os.defpath), str(UNPACKED / "usr/bin"), "/usr/sbin", str(UNPACKED / "usr/sbin")]
    if (found := shutil.which(name, path=os.pathsep.join(places))) is None:
        message = f"{name} is not here: run `make bench-tools`, or install Debian's package {name}"
        raise MissingToolError(message)
    return found


def environment() -> dict[str, str]:
    """Return the environment that an unpacked tool needs: ours, and where its libraries are, after those of the machine."""
    folders = sorted({str(file.parent) for file in UNPACKED.glob("**/*.so*")})
    return dict(os.environ) | ({"LD_LIBRARY_PATH": os.pathsep.join(folders)} if folders else {})
