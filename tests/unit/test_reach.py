"""The way to the directory: what is said when it is not there, and what is not. Ray itself is in `integration/`."""

from pathlib import Path

import pytest
import ray

from serve_app.commands.reach import ADDRESS_VARIABLE, ReachError, directory
from serve_app.settings import Settings


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let Ray be there, with a directory; note when it is left again."""
    noted: list[str] = []
    monkeypatch.setenv(ADDRESS_VARIABLE, "auto")
    monkeypatch.setattr(ray, "init", lambda **_: None)
    monkeypatch.setattr(ray, "get_actor", lambda *_, **__: object())
    monkeypatch.setattr(ray, "shutdown", lambda: noted.append("left"))
    return noted


def test_where_ray_runs_without_a_directory_one_line_says_so(tmp_path: Path, left: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ValueError("Failed to look up actor")

    monkeypatch.setattr(ray, "get_actor", missing)
    with pytest.raises(ReachError, match="the tracker's directory does not"), directory(Settings(data_dir=tmp_path)):
        pass
    assert left == ["left"]


def test_a_mistake_of_whoever_asks_is_not_taken_for_a_missing_directory(tmp_path: Path, left: list[str]) -> None:
    with pytest.raises(ValueError, match="a mistake of ours"), directory(Settings(data_dir=tmp_path)):
        raise ValueError("a mistake of ours")
    assert left == ["left"]
