"""Which ports an instance takes."""

import socket
from errno import EACCES, EADDRINUSE, EADDRNOTAVAIL
from pathlib import Path

import pytest

from serve_app.machine import ports
from serve_app.machine.ports import PortTakenError
from serve_app.settings import INTERNAL_PORTS_COUNT, Settings

HERE = Path("/data/here")


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Return the ports that count as in use."""
    in_use: set[int] = set()
    monkeypatch.setattr("serve_app.machine.ports.is_free", lambda _, port: port not in in_use)
    monkeypatch.setattr("serve_app.machine.ports.guard_of", lambda port: None if port in in_use else socket.socket())
    return in_use


def test_an_instance_gets_its_old_ports_back(taken: set[int]) -> None:
    assert ports.choose(Settings(), data_dir=HERE) == ports.choose(Settings(), data_dir=HERE)


def test_a_block_with_one_taken_port_is_passed_over(taken: set[int]) -> None:
    first = ports.choose(Settings(), data_dir=HERE).first
    taken.add(first + INTERNAL_PORTS_COUNT - 1)
    assert abs(ports.choose(Settings(), data_dir=HERE).first - first) >= INTERNAL_PORTS_COUNT


def test_the_front_door_is_never_inside_the_block(taken: set[int]) -> None:
    first = ports.choose(Settings(), data_dir=HERE).first
    assert ports.choose(Settings(port=first + 3), data_dir=HERE).first != first


def test_parts_of_a_block_do_not_overlap(taken: set[int]) -> None:
    block = ports.choose(Settings(), data_dir=HERE)
    singles = [block.haproxy_statistics, block.haproxy_metrics, block.fallback_http, block.fallback_grpc, block.guarded]
    every = [*singles, *block.replicas, *block.replicas_grpc]
    assert len(set(every)) == len(every)
    assert set(every) <= set(range(block.first, block.first + INTERNAL_PORTS_COUNT))


def test_a_block_that_was_asked_for_is_taken_or_refused_by_name(taken: set[int]) -> None:
    assert ports.choose(Settings(internal_ports=20_000), data_dir=HERE).first == 20_000
    taken.add(20_007)
    with pytest.raises(PortTakenError, match=r"port 20007 .* HEADCOUNT_INTERNAL_PORTS"):
        ports.choose(Settings(internal_ports=20_000), data_dir=HERE)


def test_when_nothing_is_free_the_operator_is_told_what_to_set(taken: set[int]) -> None:
    taken.update(range(65_536))
    with pytest.raises(PortTakenError, match="HEADCOUNT_INTERNAL_PORTS"):
        ports.choose(Settings(), data_dir=HERE)


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        (EACCES, r"^HEADCOUNT_PORT=80: only root may open ports below 1024"),
        (EADDRNOTAVAIL, r"^HEADCOUNT_HOST=127\.0\.0\.1 is no address of this machine$"),
        (EADDRINUSE, r"^port 80 of 127\.0\.0\.1 is in use by another program \(nginx, process 7\)\. Take another one: HEADCOUNT_PORT=81$"),
    ],
)
def test_a_front_door_that_cannot_be_opened_is_refused_with_the_way_out(
    taken: set[int], monkeypatch: pytest.MonkeyPatch, problem: int, told: str
) -> None:
    monkeypatch.setattr("serve_app.machine.ports.listener_on", lambda port: f"nginx, process {port - 73}")
    monkeypatch.setattr("serve_app.machine.ports.why_not", lambda *_: 0)
    ports.require_front_door(Settings(port=80))
    monkeypatch.setattr("serve_app.machine.ports.why_not", lambda *_: problem)
    with pytest.raises(PortTakenError, match=told):
        ports.require_front_door(Settings(port=80))
