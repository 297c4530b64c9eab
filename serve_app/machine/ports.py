"""Which ports an instance takes: one block of its own, so that two instances can run side by side."""

import os
import socket
from dataclasses import dataclass, field
from errno import EACCES, EADDRINUSE, EADDRNOTAVAIL
from pathlib import Path
from typing import Final
from zlib import crc32

from serve_app.settings import INTERNAL_PORTS_COUNT, Settings
from storage.free_ports import is_free, why_not
from storage.processes import listener_on

_FIRST: Final = 10_000
_LAST: Final = 20_000
"""Blocks are sought here: above the well-known services, below those that embedded journals choose from."""
_REPLICA_PORTS: Final = range(8, 168)
_GRPC_PORTS: Final = range(168, 200)


class PortTakenError(Exception):
    """A port that this instance needs is in use; the message names it."""


@dataclass(frozen=True, slots=True)
class InternalPorts:
    """One instance's block of ports, beside the front door."""

    first: int
    guard: socket.socket | None = field(default=None, compare=False, repr=False)
    """Holds the block for as long as it is open: other ports of it are opened seconds later, by processes of Ray's."""

    @property
    def haproxy_statistics(self) -> int:
        """HAProxy's statistics page."""
        return self.first

    @property
    def haproxy_metrics(self) -> int:
        """HAProxy's own Prometheus page."""
        return self.first + 1

    @property
    def fallback_http(self) -> int:
        """Serve's Python proxy, which HAProxy falls back on while no replica is alive."""
        return self.first + 2

    @property
    def fallback_grpc(self) -> int:
        """Reserved for the same over gRPC, which is off."""
        return self.first + 3

    @property
    def guarded(self) -> int:
        """Bound by whoever has the block, and listened on by nobody."""
        return self.first + 4

    @property
    def replicas(self) -> range:
        """One for each ingest replica, and for those that died lately: Serve lets a freed port rest."""
        return range(self.first + _REPLICA_PORTS.start, self.first + _REPLICA_PORTS.stop)

    @property
    def replicas_grpc(self) -> range:
        """Reserved for the same over gRPC, which is off."""
        return range(self.first + _GRPC_PORTS.start, self.first + _GRPC_PORTS.stop)


def require_front_door(settings: Settings) -> None:
    """Raise `PortTakenError` unless the front door can be opened: HAProxy itself would share a taken port in silence."""
    problem = why_not(settings.host, settings.port)
    if problem == EACCES:
        message = f"HEADCOUNT_PORT={settings.port}: only root may open ports below 1024. Take a higher one, as in HEADCOUNT_PORT=8000"
    elif problem == EADDRNOTAVAIL:
        message = f"HEADCOUNT_HOST={settings.host} is no address of this machine"
    elif problem == EADDRINUSE:
        taken_by = f" ({found})" if (found := listener_on(settings.port)) else ""
        message = f"port {settings.port} of {settings.host} is in use by another program{taken_by}. Take another one: HEADCOUNT_PORT={_free_after(settings)}"
    elif problem:
        message = f"HEADCOUNT_HOST={settings.host} and HEADCOUNT_PORT={settings.port} cannot be opened: {os.strerror(problem)}"
    else:
        return
    raise PortTakenError(message)


def _free_after(settings: Settings) -> int:
    """Return the next port that is free; the one that is not, if there is none near."""
    near = range(settings.port + 1, min(settings.port + 100, 65_536))
    return next((port for port in near if is_free(settings.host, port)), settings.port)


def choose(settings: Settings, *, data_dir: Path) -> InternalPorts:
    """
    Return a block whose ports are all free, and hold it while its `guard` is open.

    The search begins where the data folder's name says, so that an instance tends to get its old ports back. Two that start at the
    same moment may still want the same block: one of them gets its guard.
    """
    if settings.internal_ports is not None:
        held = _hold(settings.internal_ports, settings)
        if isinstance(held, int):
            message = f"port {held} of the block that HEADCOUNT_INTERNAL_PORTS names is in use by another program"
            raise PortTakenError(message)
        return held
    firsts = range(_FIRST, _LAST - INTERNAL_PORTS_COUNT, INTERNAL_PORTS_COUNT)
    start = crc32(str(data_dir).encode()) % len(firsts)
    for index in range(len(firsts)):
        held = _hold(firsts[(start + index) % len(firsts)], settings)
        if isinstance(held, InternalPorts):
            return held
    message = f"no {INTERNAL_PORTS_COUNT} free ports in a row between {_FIRST} and {_LAST}: set HEADCOUNT_INTERNAL_PORTS"
    raise PortTakenError(message)


def _hold(first: int, settings: Settings) -> InternalPorts | int:
    """Return the block, held; or the first port of it that is not free. The front door's own counts as taken."""
    guarded = InternalPorts(first).guarded
    guard = guard_of(guarded)
    if guard is None:
        return guarded
    for port in range(first, first + INTERNAL_PORTS_COUNT):
        if port == settings.port or (port != guarded and not is_free("0.0.0.0", port)):  # noqa: S104 - probes every interface, serves nothing
            guard.close()
            return port
    return InternalPorts(first, guard)


def guard_of(port: int) -> socket.socket | None:
    """Bind a port for as long as the socket is open; None: somebody has it."""
    guard = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        guard.bind(("0.0.0.0", port))  # noqa: S104 - never listened on
    except OSError:
        guard.close()
        return None
    return guard
