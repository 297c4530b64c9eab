"""What the settings mean to the actors, on a laptop and on a cluster alike. Free of Ray."""

from typing import Final

from actors.config import TrackerConfig
from serve_app.settings import Settings

NAMESPACE: Final = "headcount"
"""Ray's namespace of every actor of ours."""


def config_of(settings: Settings, *, journal_url: str, instance_id: str, shards_are_set: bool) -> TrackerConfig:
    """Return what the actors are told: the settings, and what is known otherwise where one is not set."""
    return TrackerConfig(
        journal_url=journal_url,
        namespace=NAMESPACE,
        instance_id=instance_id,
        shards=settings.shards,
        shards_are_set=shards_are_set,
        slots=settings.slots,
        heartbeat_interval_s=settings.heartbeat_interval_s,
        expiry_intervals=settings.expiry_intervals,
        revive_window_s=settings.revive_window_s,
        new_sessions_per_minute=settings.new_sessions_per_minute,
        front_door_url=settings.front_door_url,
        new_pixel_sessions_per_network=settings.new_pixel_sessions_per_network,
        pixel_megabytes=settings.pixel_megabytes,
    )
