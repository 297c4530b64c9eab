"""Peer (d): Ray Serve as its tutorials show it, defaults everywhere; kept on this machine's loopback."""

import os
import tempfile
import threading
from pathlib import Path


def run(*, port: int, folder: Path, workers: int, until: threading.Event) -> None:
    """Serve until told to stop."""
    del folder
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    from ray import serve
    from starlette.requests import Request

    class Nothing:
        async def __call__(self, _: Request) -> dict[str, str]:
            return {"status": "success"}

    with tempfile.TemporaryDirectory(prefix="hcb-", dir="/tmp") as temporary:
        ray.init(
            address="local",
            num_cpus=16,
            include_dashboard=False,
            object_store_memory=100 * 1024 * 1024,
            log_to_driver=False,
            _temp_dir=temporary,
        )
        try:
            serve.start(http_options={"host": "127.0.0.1", "port": port})
            serve.run(serve.deployment(Nothing, num_replicas=workers).bind(), route_prefix="/")
            until.wait()
        finally:
            serve.shutdown()
            ray.shutdown()
