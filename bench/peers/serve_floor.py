"""
Peer (c): Ray and Serve exactly as `headcount up` starts them, with an application that does nothing: the floor of the platform.

(c') is the same reached as our players' endpoints are, past what Serve does for each request (`serve_app/shortcut.py`).
"""

import os
import threading
from pathlib import Path

from serve_app.machine import ports
from serve_app.machine.cluster import Cluster
from serve_app.machine.ray_run import RayRun
from serve_app.settings import Settings

PATH = "/analytics/live/session/heartbeat"
ANSWER = b'{"status":"success"}'


def run(*, port: int, folder: Path, workers: int, shortcut: bool, until: threading.Event) -> None:
    """Serve until told to stop."""
    settings = Settings(port=port, data_dir=folder / "data", replicas=workers)
    settings.data_dir.mkdir(mode=0o700)
    internal = ports.choose(settings, data_dir=settings.data_dir)
    one = RayRun(settings.data_dir)
    os.environ.update(one.environment(settings, internal))
    cluster = Cluster(settings, one.folder)
    try:
        cluster.start_ray()
        cluster.start_serve()
        from serve_app.app import deployment

        cluster.deploy(deployment(make_past_serve if shortcut else make, replicas=workers).bind())
        until.wait()
    finally:
        cluster.stop_serve()
        cluster.stop_ray()
        one.end()


def make() -> object:
    """Return the application: raw ASGI, as ours is."""

    async def nothing(scope: dict, receive: object, send: object) -> None:
        if scope["type"] == "lifespan":
            for answer in ("lifespan.startup.complete", "lifespan.shutdown.complete"):
                await receive()
                await send({"type": answer})
            return
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": ANSWER})

    return nothing


def make_past_serve() -> object:
    """Return the application, and let heartbeats reach it the short way."""
    from serve_app.shortcut import Shortcut

    nothing = make()
    Shortcut.open(nothing, paths=[PATH])
    return nothing
