"""Free ports, told apart from those that are taken."""

import pytest

from storage import free_ports
from storage.free_ports import any_free


def test_a_port_that_is_taken_is_never_given_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_ports, "is_free", lambda _, port: port in {20_003, 20_007})
    assert {any_free(range(20_000, 20_010)) for _ in range(100)} == {20_003, 20_007}
