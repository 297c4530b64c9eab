"""
Ray's driver: the process that starts Ray and Serve on this machine, keeps the connection, and ends them in order.

`headcount up` starts it, in a process session of its own, tells it what it needs on standard input, and hears how far it is on the
descriptor that the first argument names (`driver_messages.py`); the second is the run's folder. It is a process apart because Ray has its hands deep in its driver, which
after the death of a raylet or a GCS is good for nothing but to be killed (`docs/decisions/0016-ray-dies.md`). Whatever Ray or we say here
goes into the log that is both our outputs. If `headcount up` dies, our input ends, and so do we; the kernel ends Ray's processes then.
"""

import http.client
import os
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import BinaryIO, Final

from actors import clock
from actors.logs import write_plainly
from serve_app.access.tokens import load_tokens
from serve_app.machine.actors_config import NAMESPACE, config_of
from serve_app.machine.cluster import Cluster, ClusterError
from serve_app.machine.driver_messages import Connected, Failed, JournalAt, Ready, Report, Step, Stop, line, order
from serve_app.settings import Settings, load_settings
from storage.beside import beside

READY_WITHIN_S: Final = 60.0
"""From the moment the replicas run; the shards may still be loading a large journal."""
_POLL_S: Final = 0.1


class DriverError(Exception):
    """The start cannot go on; the message is one line for the operator."""


class Orders:
    """What `headcount up` has told us so far."""

    def __init__(self) -> None:
        self.journal: Future[JournalAt] = Future()
        self.stop = threading.Event()

    def listen(self, stream: BinaryIO) -> None:
        """Take orders for as long as there is somebody to give them; then end at once."""
        for sent in stream:
            told = order(sent)
            if isinstance(told, JournalAt):
                self.journal.set_result(told)
            elif isinstance(told, Stop):
                self.stop.set()
        os._exit(1)


def main() -> None:
    """Start, stay until told to stop, stop."""
    reports = int(sys.argv[1])
    os.set_inheritable(reports, False)
    write_plainly(sys.stderr)
    orders = Orders()
    threading.Thread(target=orders.listen, args=(sys.stdin.buffer,), daemon=True).start()

    def tell(report: Report) -> None:
        os.write(reports, line(report))

    code = 1
    try:
        run(load_settings(), Path(sys.argv[2]), orders, tell)
        code = 0
    finally:
        if sys.exception() is not None:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # Ray's exit handler would wait for what may be dead


def run(settings: Settings, folder: Path, orders: Orders, tell: Callable[[Report], None]) -> None:
    """Start everything of Ray's, wait for the order to stop, and end it."""
    from actors import launch  # noqa: PLC0415 - imports Ray, which takes a second; what is wrong with our own modules shows before

    cluster = Cluster(settings, folder)
    try:
        start(cluster, settings, orders, tell)
    except (ClusterError, DriverError, launch.LaunchError) as error:
        tell(Failed(str(error)))
        return
    tell(Ready())
    orders.stop.wait()
    tell(Step("Closing the ingress", "Ingress closed"))
    cluster.stop_serve()
    tell(Step("Ending the shards", "Shards ended"))
    launch.shutdown(NAMESPACE)
    tell(Step("Ending Ray", "Ray ended"))
    cluster.stop_ray()


def start(cluster: Cluster, settings: Settings, orders: Orders, tell: Callable[[Report], None]) -> None:
    """Start what can be started side by side, and return once players are answered."""
    from actors import launch  # noqa: PLC0415 - as above

    beside(_import_application)
    tell(Step("Ray"))
    tell(Connected(cluster.start_ray()))
    tell(Step("Journal"))
    journal = orders.journal.result()
    config = config_of(
        settings,
        journal_url=journal.url,
        instance_id=journal.instance,
        shards_are_set="shards" in settings.model_fields_set,
    )
    shards = beside(lambda: launch.launch(config))
    tell(Step("Ingress"))
    ingress = beside(cluster.start_serve)
    from serve_app import app  # noqa: PLC0415 - as above

    application = app.build(settings, config, load_tokens(settings))
    ingress.result()
    tell(Step("Ingest replicas"))
    cluster.deploy(application)
    tell(Step("Shards"))
    shards.result()
    tell(Step("Ready through the front door"))
    _await_ready(settings)


def _import_application() -> None:
    """Do what takes a second while Ray starts, and would be waited for afterwards."""
    from ray import serve  # noqa: F401, PLC0415 - only to have it

    from serve_app import app  # noqa: F401, PLC0415 - the same


def _await_ready(settings: Settings) -> None:
    """Wait for a 200 of `/readyz` through the front door. Raises `DriverError` with the last answer."""
    host = settings.front_door_url.removeprefix("http://").rpartition(":")[0]
    deadline = clock.monotonic() + READY_WITHIN_S
    answer = "nothing"
    pause = threading.Event()
    while clock.monotonic() < deadline:
        connection = http.client.HTTPConnection(host, settings.port, timeout=2)
        try:
            connection.request("GET", "/readyz")
            response = connection.getresponse()
            answer = f"{response.status} {response.read(500).decode(errors='replace')}"
            if response.status == http.HTTPStatus.OK:
                return
        except (OSError, http.client.HTTPException) as error:
            answer = str(error)
        finally:
            connection.close()
        pause.wait(_POLL_S)
    raise DriverError(f"not ready after {READY_WITHIN_S:.0f} s; /readyz said last: {answer}")


if __name__ == "__main__":
    main()
