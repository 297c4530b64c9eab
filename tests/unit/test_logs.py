"""One line an entry, and no local variable beside a traceback."""

import io
from collections.abc import Iterator

import pytest
import structlog

from actors.logs import write_plainly

HOSTILE = 'a\n2026-11-22 10:00:00 [critical] the journal is gone\r\x1b[31m"}{:\0\u2028'


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    write_plainly(stream)
    yield stream
    structlog.reset_defaults()


def test_what_a_player_chose_forges_no_line_and_no_colour(written: io.StringIO) -> None:
    structlog.get_logger("test").warning("refused", session=HOSTILE, more=[HOSTILE], error=repr(ValueError(HOSTILE)))
    assert written.getvalue().count("\n") == 1
    assert len(written.getvalue().splitlines()) == 1
    assert written.getvalue().rstrip("\n").isprintable()


def test_a_traceback_is_one_line_and_shows_no_variable(written: io.StringIO) -> None:
    def break_down() -> None:
        password = "hunter2"
        raise ValueError(HOSTILE + str(len(password)))

    with pytest.raises(ValueError) as broke:
        break_down()
    structlog.get_logger("test").critical("broken", exc_info=broke.value)
    assert "break_down" in written.getvalue()
    assert written.getvalue().rstrip("\n").isprintable()
    assert "password = 'hunter2'" not in written.getvalue()
    assert "hunter2" not in written.getvalue().replace('password = "hunter2"', "")
