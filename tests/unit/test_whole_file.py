"""A file is there whole, or as it was before: on the disk, and for its owner alone."""

import os
import stat
from pathlib import Path

import pytest

from storage.whole_file import drafted, make_whole, write_whole


@pytest.fixture
def deeds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What was done to the disk, in order: what was synced, and when a name was given."""
    done: list[str] = []
    fsync, replace, link = os.fsync, Path.replace, os.link

    def synced(handle: int) -> None:
        done.append("folder synced" if stat.S_ISDIR(os.fstat(handle).st_mode) else "content synced")
        fsync(handle)

    def replaced(draft: Path, file: Path) -> Path:
        done.append("named")
        return replace(draft, file)

    def linked(draft: Path, file: Path) -> None:
        done.append("named")
        link(draft, file)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    monkeypatch.setattr(os, "link", linked)
    return done


def left_in(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_a_file_is_replaced_once_its_content_is_on_the_disk_and_its_name_is_too_before_the_writer_goes_on(
    tmp_path: Path, deeds: list[str]
) -> None:
    file = tmp_path / "instance"
    write_whole(file, "one")
    write_whole(file, b"two")
    assert file.read_bytes() == b"two"
    assert left_in(tmp_path) == ["instance"]
    assert deeds == ["content synced", "named", "folder synced"] * 2


def test_a_file_that_is_made_never_replaces_another(tmp_path: Path, deeds: list[str]) -> None:
    file = tmp_path / "token"
    assert make_whole(file, "first")
    assert deeds == ["content synced", "named", "folder synced"]
    assert not make_whole(file, "second")
    assert file.read_text() == "first"
    assert left_in(tmp_path) == ["token"]


def test_what_is_written_is_its_owners_alone_from_the_first_byte_on(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with drafted(tmp_path / "secret", "x") as draft:
            assert draft.stat().st_mode & 0o777 == 0o600
        write_whole(tmp_path / "secret", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_a_writer_that_breaks_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "instance"
    write_whole(file, "before")

    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(file, "after")
    assert file.read_text() == "before"
    assert left_in(tmp_path) == ["instance"]
