"""A call of an actor that cannot be made, or is not answered, is one kind of error, whatever Ray makes of it."""

import asyncio
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError

from serve_app.delivery import actor_calls as module
from serve_app.delivery.actor_calls import ActorAwayError, Actors


class Method:
    """`handle.method`, whose `remote` does as told."""

    def __init__(self, outcome: object) -> None:
        self.outcome = outcome

    async def remote(self, *arguments: object) -> object:
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        if self.outcome == "sleeps":
            await asyncio.sleep(60)
        return (self.outcome, *arguments)


class Handle:
    def __init__(self, **methods: object) -> None:
        for name, outcome in methods.items():
            setattr(self, name, Method(outcome))


def called(monkeypatch: pytest.MonkeyPatch, *handles: Handle, times: int = 1) -> list[Any]:
    """Call `live` of an actor whose look-ups give these handles, one after the other."""
    found = iter(handles)
    monkeypatch.setattr(module.ray, "get_actor", lambda name, namespace: next(found))

    async def run() -> list[Any]:
        actors = Actors("n")
        said: list[Any] = []
        for _ in range(times):
            try:
                said.append(await actors.call("exporter", "live", 7, within_s=0.05))
            except ActorAwayError as error:
                said.append(str(error))
        return said

    return asyncio.run(run())


def test_an_answer_is_handed_on_and_the_handle_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    assert called(monkeypatch, Handle(live="news"), times=2) == [("news", 7), ("news", 7)]


def test_an_actor_of_an_older_build_is_away_until_a_newer_one_has_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert called(monkeypatch, Handle(render=1), Handle(live="news"), times=2) == [
        "exporter is of an older build, and does not know live",
        ("news", 7),
    ]


def test_who_died_is_looked_up_again_and_who_is_away_for_a_moment_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    assert called(monkeypatch, Handle(live=ActorDiedError()), Handle(live="news"), times=2) == ["exporter: ActorDiedError", ("news", 7)]
    assert called(monkeypatch, Handle(live=ActorUnavailableError("for a moment", None)), times=2) == ["exporter: ActorUnavailableError"] * 2


def test_who_takes_too_long_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    assert called(monkeypatch, Handle(live="sleeps")) == ["exporter did not answer live within 0.05 s"]
