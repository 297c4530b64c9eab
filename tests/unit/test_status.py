"""What `headcount status` says while nobody answers."""

from pathlib import Path

import httpx
import pytest

from serve_app.commands import status
from serve_app.machine import data_folder, runs
from serve_app.machine.runs import RunRecord
from serve_app.settings import Settings

REFUSED = httpx.ConnectError("Connection refused")


def said(data: Path, *, after: str, ready: bool) -> str:
    runs.save(RunRecord(run="r", boot=runs.boot_id(), folder="/tmp/hc-none", after=after, restart=2, ready=ready), data)
    return status._why_no_answer(Settings(data_dir=data), REFUSED)


@pytest.fixture(autouse=True)
def is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_folder, "holder", lambda folder: "42")


def test_while_everything_is_started_again_it_says_what_died(tmp_path: Path) -> None:
    assert said(tmp_path, after="Ray's raylet died at 12:00:00", ready=False).endswith(
        "(Connection refused): Ray's raylet died at 12:00:00, and everything is being started again (2 of 3 in ten minutes)"
    )


@pytest.mark.parametrize(("after", "ready"), [("", False), ("Ray's raylet died at 12:00:00", True)])
def test_a_first_start_and_a_restart_that_was_ready_are_no_restart(tmp_path: Path, after: str, ready: bool) -> None:
    told = said(tmp_path, after=after, ready=ready)
    assert "it may still be starting" in told
    assert "died" not in told
