"""What `headcount up` and Ray's driver tell each other: line by line, and with a build beside it that knows more or less."""

import json

import pytest

from serve_app.machine.driver_messages import Connected, Failed, JournalAt, Order, Ready, Report, Step, Stop, line, order, report

REPORTS = [
    Step("Closing the ingress", "Ingress closed"),
    Connected("127.0.0.1:6379"),
    Ready(),
    Failed("the data set has 128 slots,\nnot 256"),
]
ORDERS = [JournalAt("redis://:secret@127.0.0.1:20000/0", "instance"), Stop()]


@pytest.mark.parametrize("told", REPORTS)
def test_a_report_comes_back_from_its_one_line(told: Report) -> None:
    sent = line(told)
    assert sent.count(b"\n") == 1
    assert report(sent) == told


@pytest.mark.parametrize("told", ORDERS)
def test_an_order_comes_back_from_its_one_line(told: Order) -> None:
    assert order(line(told)) == told


@pytest.mark.parametrize("told", REPORTS)
def test_a_report_of_a_newer_build_may_have_a_field_more(told: Report) -> None:
    assert report(json.dumps({**json.loads(line(told)), "of_tomorrow": 1}).encode()) == told


@pytest.mark.parametrize("told", ORDERS)
def test_an_order_of_a_newer_build_may_have_a_field_more(told: Order) -> None:
    assert order(json.dumps({**json.loads(line(told)), "of_tomorrow": 1}).encode()) == told


def test_a_step_of_an_older_build_may_lack_what_it_reads_like_afterwards() -> None:
    assert report(b'{"type":"Step","text":"Ray"}') == Step("Ray")
