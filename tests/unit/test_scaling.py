"""What the operator hears of a change: how far it is, when it is done, and why it is not."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from rich.console import Console

from serve_app.commands import reach, scaling
from serve_app.commands.reach import ReachError, Status
from serve_app.settings import Settings


def status(**changed: Any) -> dict[str, Any]:
    usual = {
        "as_planned": True,
        "pid": 1,
        "planned_shards": 2,
        "map_version": 10,
        "to_move": 0,
        "to_renew": 0,
        "owned": 16,
        "slots": 16,
        "journal_up": True,
        "shards": {"shard-0": {"alive": True}, "shard-1": {"alive": True}},
        "nodes": {"aaaabbbbcccc": {"head": False}},
    }
    return usual | changed


class Directory:
    """Says one status after the other, the last for ever; None: it does not answer."""

    def __init__(self, *says: Status | None, value: object = None, problem: str | None = None) -> None:
        self.says = list(says)
        self.value = value
        self.problem = problem
        self.ordered: list[tuple[object, ...]] = []

    def order(self, *what: object) -> object:
        self.ordered.append(what)
        if self.problem is not None:
            raise ReachError(self.problem)
        return self.value

    def renew(self) -> None:
        self.ordered.append(("renew",))

    def status(self) -> Status:
        said = self.says.pop(0) if len(self.says) > 1 else self.says[0]
        if said is None:
            raise ReachError("no answer")
        return said


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "LOOK_S", 0.001)


def reaching(monkeypatch: pytest.MonkeyPatch, directory: Directory) -> Directory:
    @contextmanager
    def connected(_settings: Settings) -> Iterator[Directory]:
        yield directory

    monkeypatch.setattr(reach, "directory", connected)
    return directory


def test_it_ends_when_everything_is_as_planned_and_says_what_moved(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    under_way = status(as_planned=False, map_version=12, to_move=3)
    directory = reaching(monkeypatch, Directory(status(), status(as_planned=False, to_move=None), under_way, None, status(map_version=15)))
    assert scaling.scale(Settings(), shards=3) == 0
    assert directory.ordered == [("scale", 3)]
    assert "Now 3 shards instead of 2: 5 slots moved in" in capsys.readouterr().out


def test_how_far_it_is_is_shown_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    under_way = status(as_planned=False, map_version=12, to_move=3, to_renew=2)
    reaching(monkeypatch, Directory(status(), under_way, status(map_version=15)))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(scaling, "Console", partial(Console, force_terminal=True, width=100))
    assert scaling.scale(Settings(), shards=3) == 0
    shown = capsys.readouterr().out
    # As it ends: what is drawn before that is a matter of time.
    assert re.search(r"Slots moved.*5/5", shown)
    assert re.search(r"Shards renewed.*2/2", shown)


def test_a_rollout_ends_when_the_directory_is_new_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    done = status(map_version=14)
    directory = reaching(monkeypatch, Directory(status(), status(as_planned=False), done, done, None, done | {"pid": 2}, value=2))
    assert scaling.rollout(Settings()) == 0
    assert directory.ordered == [("rollout",), ("renew",)]
    assert directory.says == [done | {"pid": 2}]
    assert "Replaced 2 shards, then the directory: 4 slots moved in" in capsys.readouterr().out


def test_what_a_start_would_undo_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    reaching(monkeypatch, Directory(status()))
    scaling.scale(Settings(shards=2), shards=3)
    assert "HEADCOUNT_SHARDS=2 is set here: the next start will use 2 again." in capsys.readouterr().out
    scaling.scale(Settings(shards=3), shards=3)
    assert "HEADCOUNT_SHARDS" not in capsys.readouterr().out


def test_a_refusal_is_one_line_and_exit_code_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    reaching(monkeypatch, Directory(status(), problem="the number of shards must be from 1 to 16, not 0"))
    assert scaling.scale(Settings(), shards=0) == 1
    assert capsys.readouterr().err == "the number of shards must be from 1 to 16, not 0\n"


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"journal_up": False}, "the journal does not answer"),
        ({"shards": {"shard-0": {"alive": True}, "shard-1": {"alive": False}}}, "no answer from shard-1"),
        ({"owned": 15}, "15 of 16 slots are served"),
    ],
)
def test_without_any_change_for_long_it_ends_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], changed: dict[str, Any], why: str
) -> None:
    monkeypatch.setattr(scaling, "STUCK_S", 0.05)
    reaching(monkeypatch, Directory(status(as_planned=False, **changed)))
    assert scaling.rollout(Settings()) == 1
    assert why in capsys.readouterr().err


@pytest.mark.parametrize(("head", "said"), [(False, "You can stop it."), (True, "stopping the node stops the cluster.")])
def test_a_drained_node_can_be_stopped_unless_it_is_the_head(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], head: bool, said: str
) -> None:
    directory = reaching(monkeypatch, Directory(status(nodes={"aaaabbbbcccc": {"head": head}}), value="aaaabbbbcccc"))
    assert scaling.drain(Settings(), node="aaaa") == 0
    assert directory.ordered == [("drain", "aaaa")]
    told = capsys.readouterr().out
    assert "Node aaaabbbb has no shards now" in told
    assert said in told


def test_who_stops_watching_is_told_that_it_goes_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    directory = reaching(monkeypatch, Directory(status(), status(as_planned=False)))

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(directory, "order", interrupted)
    assert scaling.rollout(Settings()) == scaling.INTERRUPTED
    assert "the change goes on" in capsys.readouterr().err
