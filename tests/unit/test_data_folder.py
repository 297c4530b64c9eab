"""The data folder: who has it, and what is said when the disk is full."""

import os
from errno import EACCES, ENOSPC
from pathlib import Path
from types import SimpleNamespace

import pytest

from serve_app.machine import data_folder


def test_the_holder_is_named_while_the_folder_is_held(tmp_path: Path) -> None:
    assert data_folder.holder(tmp_path) is None
    with data_folder.hold(tmp_path):
        assert data_folder.holder(tmp_path) == str(os.getpid())
        with (
            pytest.raises(data_folder.FolderTakenError, match=rf"already up on {tmp_path} \(process {os.getpid()}\)"),
            data_folder.hold(tmp_path),
        ):
            pass
    assert data_folder.holder(tmp_path) is None


def test_a_full_disk_is_called_so_with_the_path_concerned(tmp_path: Path) -> None:
    assert data_folder.told(OSError(ENOSPC, "No space left on device", str(tmp_path / "ops.token")), tmp_path) == (
        f"the disk that holds {tmp_path / 'ops.token'} is full: make room there, and start again"
    )
    assert data_folder.told(OSError(ENOSPC, "No space left on device"), tmp_path).startswith(f"the disk that holds {tmp_path} is full")
    assert data_folder.told(OSError(EACCES, "Permission denied", "/root/data"), tmp_path) == "/root/data: Permission denied"


def test_a_disk_without_room_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert data_folder.disk_problem(tmp_path) is None
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=4_096))
    assert data_folder.disk_problem(tmp_path) == f"the disk that holds {tmp_path} is full"
