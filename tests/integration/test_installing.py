"""Installing says nothing, with the newest pip and setuptools too: what a newcomer reads first is not a list of warnings."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
NOT_SOURCE = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "build", "data", "docs", "results")


def pip(*arguments: str | Path, tools: Path | None = None) -> str:
    """Run pip as the Makefile does, or the one in a folder of `tools`; return all that it said."""
    environment = os.environ | ({"PYTHONPATH": str(tools)} if tools else {})
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_newest_pip_and_setuptools_install_it_without_a_word(tmp_path: Path) -> None:
    tools, source, installed = tmp_path / "tools", tmp_path / "source", tmp_path / "installed"
    pip("--upgrade", "--target", tools, "pip", "setuptools")
    shutil.copytree(ROOT, source, ignore=NOT_SOURCE)
    assert pip("--no-deps", "--no-build-isolation", "--target", installed, source, tools=tools) == ""
    assert (installed / "dashboards/grafana/provisioning/datasources/headcount.yml").exists()
    assert (installed / "storage/commit.lua").exists()
