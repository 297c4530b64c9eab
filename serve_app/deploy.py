"""
The tracker on a cluster: what `serve deploy` (or KubeRay) is pointed at, `serve_app.deploy:application`.

Decides what of a cluster is known from where: settings from the arguments in the Serve config file, what is secret (the journal's
URL, the tokens) from the environment of the nodes, as everywhere. Whoever deploys finds the directory, or makes it: the
first deployment of a cluster starts it, and it starts the shards; later ones leave both alone, and replace the ingest replicas.
"""

from collections.abc import Mapping
from typing import Any, Final

import ray
from pydantic import ValidationError
from ray import serve

from actors import launch, names
from actors.config import TrackerConfig
from serve_app import app
from serve_app.access.tokens import load_tokens
from serve_app.machine import actors_config
from serve_app.machine.actors_config import NAMESPACE
from serve_app.settings import PREFIX, Settings, SettingsError, described

_SECRET: Final = frozenset({"redis_url", "ingest_token", "ops_token"})


def application(arguments: dict[str, Any]) -> serve.Application:
    """Start the actors unless they run, and return the ingest application. Raises `SettingsError` or `LaunchError`: the deployment fails."""
    settings = settings_of(arguments)
    tokens = load_tokens(settings, make=False)
    config = config_of(settings)
    try:
        ray.get_actor(names.DIRECTORY, namespace=NAMESPACE)
    except ValueError:
        try:
            launch.launch(config)
        except launch.LaunchError:
            launch.shutdown(NAMESPACE)  # or the next deployment would find what this one could not use
            raise
    return app.build(settings, config, tokens)


def settings_of(arguments: Mapping[str, Any]) -> Settings:
    """Return the settings of a cluster, all judged together. Raises `SettingsError`."""
    problems = [
        f"args: {name} is a secret: name it {PREFIX}{name.upper()} in the environment of the nodes" for name in _SECRET & set(arguments)
    ]
    problems += [f"args: {name} sets nothing; is it misspelt?" for name in sorted(set(arguments) - set(Settings.model_fields))]
    if problems:
        raise SettingsError(tuple(problems))
    try:
        settings = Settings(**arguments)
    except ValidationError as error:
        raise SettingsError(described(error)) from None
    if settings.redis_url is None:
        problems.append(f"{PREFIX}REDIS_URL is not set: a cluster keeps its journal on a Redis of its own")
    if settings.instance is None:
        problems.append(f"{PREFIX}INSTANCE is not set: name the installation, so that no second one takes its data set")
    if problems:
        raise SettingsError(tuple(problems))
    return settings


def config_of(settings: Settings) -> TrackerConfig:
    """Return what the actors are told. The settings are those of `settings_of`."""
    if settings.redis_url is None or settings.instance is None:
        raise SettingsError((f"{PREFIX}REDIS_URL and {PREFIX}INSTANCE are not set",))
    return actors_config.config_of(settings, journal_url=settings.redis_url, instance_id=settings.instance, shards_are_set=False)
