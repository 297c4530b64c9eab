"""What is said of the steps while they are taken."""

from io import StringIO

import pytest
from rich.console import Console

from serve_app.machine.progress import Progress


def shown(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_what_is_printed_during_a_step_stays_out_of_what_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(file=StringIO(), force_terminal=True, color_system=None)
    Progress(console).during("Closing the journal", lambda: print("elsewhere"), done="Journal closed")  # noqa: T201 - that is the point
    assert "Closing the journal" in shown(console)
    assert "Journal closed" in shown(console)
    assert "elsewhere" not in shown(console)
    assert "elsewhere" in capsys.readouterr().out


def test_a_step_leaves_its_line_when_the_next_one_begins() -> None:
    console = Console(file=StringIO(), width=80)
    with Progress(console) as progress:
        progress.begin("Closing the ingress", done="Ingress closed")
        assert "Ingress closed" not in shown(console)
        progress.begin("Ending Ray", done="Ray ended")
        assert "Ingress closed" in shown(console)
        assert "Ray ended" not in shown(console)


def test_a_step_that_broke_off_leaves_no_line() -> None:
    console = Console(file=StringIO(), width=80)
    with pytest.raises(ZeroDivisionError):
        Progress(console).during("Closing the journal", lambda: 1 // 0, done="Journal closed")
    assert shown(console).strip() == ""


def test_steps_of_a_restart_leave_no_lines() -> None:
    console = Console(file=StringIO(), width=80)
    Progress(console, lines=False).during("Ray", lambda: None, done="Ray")
    assert shown(console).strip() == ""
