"""The client library: its types hold, what is served is what its source builds and no larger than promised, and it does what it says."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = Path(sys.executable).parents[1] / "player"
SOURCE = ROOT / "player"


def run(*command: str, cwd: Path) -> str:
    """Run one of the tools, and return what it printed; a skip, and in CI a failure, if they are not there."""
    if not (TOOLS / "node_modules").exists():
        pytest.skip("no tools for the client library: make .venv/.player says why")
    path = os.pathsep.join((str(TOOLS / "bin"), str(TOOLS / "node_modules/.bin"), os.environ["PATH"]))
    done = subprocess.run(command, cwd=cwd, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"{done.stdout[-20_000:]}\n{done.stderr[-5_000:]}"
    return done.stdout


def test_its_types_hold() -> None:
    run("tsc", "--project", "tsconfig.json", cwd=SOURCE)


def test_what_is_served_is_what_the_source_builds(tmp_path: Path) -> None:
    command = json.loads((SOURCE / "package.json").read_text())["scripts"]["build"].split()
    assert command[-2:] == ["--output", "headcount.min.js"]
    run(*command[:-1], str(tmp_path / "built.js"), cwd=SOURCE)
    assert (tmp_path / "built.js").read_text() == (SOURCE / "headcount.min.js").read_text(), "make player, and commit what it built"


def test_it_needs_nothing_at_run_time_and_its_version_is_ours() -> None:
    package = json.loads((SOURCE / "package.json").read_text())
    assert "dependencies" not in package
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    told = re.search(r'^const VERSION = "(.*)";$', (SOURCE / "headcount.js").read_text(), re.MULTILINE)
    assert told is not None
    assert {package["version"], told[1], ours} == {ours}


def test_every_package_that_builds_it_is_pinned_by_its_hash_and_names_no_registry() -> None:
    lock = json.loads((SOURCE / "package-lock.json").read_text())
    packages = {name: each for name, each in lock["packages"].items() if name}
    assert len(packages) > 2
    assert all(each["integrity"].startswith("sha512-") and "resolved" not in each for each in packages.values())


@pytest.mark.parametrize("claims", sorted(Path(__file__).parent.glob("*.test.js")), ids=lambda file: file.name)
def test_it_does_what_it_says(claims: Path) -> None:
    said = run("node", "--test", "--test-reporter=tap", claims.name, cwd=claims.parent)
    assert re.search(r"^# pass [1-9]", said, re.MULTILINE), said
    assert re.search(r"^# skipped 0$", said, re.MULTILINE), said
