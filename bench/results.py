"""Where measurements are written, with the machine and the commit that they were made on."""

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).with_name("results")


def machine() -> dict[str, Any]:
    """Return what a figure depends on: cores, processor, Python, commit."""
    model = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S607
    return {
        "cores": os.cpu_count(),
        "processor": model[0] if model else platform.machine(),
        "python": platform.python_version(),
        "commit": commit.stdout.strip(),
    }


def write_result(name: str, result: dict[str, Any]) -> Path:
    """Write one measurement as JSON; return the file."""
    FOLDER.mkdir(exist_ok=True)
    file = FOLDER / f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    file.write_text(json.dumps(result, indent=1) + "\n")
    return file.relative_to(FOLDER.parent.parent)
