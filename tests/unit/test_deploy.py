"""What `serve deploy` builds, through Serve's own way of calling a builder: the actors once, the replicas each time."""

from typing import Any

import pytest
from ray.serve._private.api import call_user_app_builder_with_args_if_necessary as build

from actors import names
from actors.config import TrackerConfig
from serve_app import app, deploy

ARGUMENTS = {"instance": "production", "shards": 2, "replicas": 2}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is asked of Ray, with no directory there."""
    asked: list[Any] = []

    def find(name: str, *, namespace: str) -> str:
        asked.append((name, namespace))
        raise ValueError

    monkeypatch.setattr(deploy.ray, "get_actor", find)
    monkeypatch.setattr(deploy.launch, "launch", asked.append)
    monkeypatch.setattr(deploy.launch, "shutdown", asked.append)
    for name, value in {"REDIS_URL": "redis://:hunter2@journal", "INGEST_TOKEN": "players", "OPS_TOKEN": "people"}.items():
        monkeypatch.setenv(f"HEADCOUNT_{name}", value)
    return asked


def test_the_first_deployment_starts_the_actors(told: list[Any]) -> None:
    application = build(deploy.application, dict(ARGUMENTS))
    assert application._bound_deployment.name == app.DEPLOYMENT
    (looked, config) = told
    assert looked == (names.DIRECTORY, "headcount")
    assert isinstance(config, TrackerConfig)
    assert (config.instance_id, config.shards, config.shards_are_set) == ("production", 2, False)


def test_a_later_deployment_leaves_them_alone(told: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploy.ray, "get_actor", lambda *_, **__: "the directory")
    build(deploy.application, dict(ARGUMENTS))
    assert told == []


def test_a_start_that_fails_leaves_nothing_and_fails_the_deployment(told: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: TrackerConfig) -> None:
        raise deploy.launch.LaunchError("the data set has 128 slots")

    monkeypatch.setattr(deploy.launch, "launch", fail)
    with pytest.raises(deploy.launch.LaunchError, match="128 slots"):
        build(deploy.application, dict(ARGUMENTS))
    assert told[-1] == "headcount"


def test_without_tokens_nothing_starts_and_none_are_made(told: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.delenv("HEADCOUNT_OPS_TOKEN")
    monkeypatch.setenv("HEADCOUNT_DATA_DIR", str(tmp_path))
    with pytest.raises(deploy.SettingsError, match=r"ops\.token"):
        build(deploy.application, dict(ARGUMENTS))
    assert told == []
    assert list(tmp_path.iterdir()) == []
