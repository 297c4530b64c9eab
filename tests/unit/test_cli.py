"""The command line itself: its version, and what a shell can complete."""

import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from serve_app.cli import app

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]


def test_it_says_its_version() -> None:
    told = CliRunner().invoke(app, ["--version"])
    assert (told.exit_code, told.output) == (0, f"headcount {PROJECT['version']}\n")


@pytest.mark.parametrize(("begun", "completed"), [("headcount sta", {"status"}), ("headcount token ro", {"rotate"})])
def test_bash_completes_commands(begun: str, completed: set[str]) -> None:
    words = begun.split()
    asked = {"_HEADCOUNT_COMPLETE": "complete_bash", "COMP_WORDS": begun, "COMP_CWORD": str(len(words) - 1)}
    told = CliRunner().invoke(app, [], env=asked, prog_name="headcount")
    assert set(told.output.split()) == completed
