"""What a shard says where its node is not as it should be. Ray itself is in `integration/`."""

import asyncio
import errno

import pytest
import ray
from structlog.testing import capture_logs

from actors.channel import Address
from actors.ray_actors import SessionShard


class Unbindable:
    """A `Listener` on a node that Ray knows by an address of somebody else's, a router's for instance."""

    async def address(self, host: str) -> Address:
        raise OSError(errno.EADDRNOTAVAIL, f"could not bind on {host}")


def test_a_shard_that_cannot_listen_on_its_node_s_address_gets_its_batches_through_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray.util, "get_node_ip_address", lambda: "203.0.113.1")
    shard = SessionShard.__new__(SessionShard)
    monkeypatch.setattr(shard, "_listener", Unbindable(), raising=False)
    with capture_logs() as logs:
        assert asyncio.run(shard.channel()) is None
    assert [(log["event"], log["host"]) for log in logs] == [("no port can be opened here: batches come through Ray", "203.0.113.1")]
