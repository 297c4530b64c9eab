"""What `headcount up` shows once it is up, and what it keeps to itself."""

from io import StringIO
from pathlib import Path

from rich.console import Console

from serve_app.access.tokens import Tokens
from serve_app.machine.banner import describe
from serve_app.machine.ports import InternalPorts
from serve_app.settings import VERSION, Settings

TOKENS = Tokens(ingest="players-secret", ops="operators-secret")


def described(settings: Settings, *, terminal: bool) -> str:
    console = Console(file=StringIO(), force_terminal=terminal, color_system=None, width=200)
    describe(settings, InternalPorts(10_000), console=console, tokens=TOKENS, ready_s=9.0, warnings=())
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_a_terminal_is_shown_the_tokens_and_a_log_where_they_are(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    on_a_terminal, in_a_log = described(settings, terminal=True), described(settings, terminal=False)
    for secret, file in (("players-secret", "ingest.token"), ("operators-secret", "ops.token")):
        assert secret in on_a_terminal
        assert secret not in in_a_log
        assert f"{tmp_path / file}" in in_a_log
    assert f'curl -s -H "Authorization: Bearer $(cat {tmp_path}/ops.token)"' in in_a_log


def test_a_terminal_is_shown_a_link_to_the_live_page_that_carries_the_ops_token_where_no_server_sees_it(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert "Live page              http://127.0.0.1:8000/#token=operators-secret " in described(settings, terminal=True)
    assert "Live page              http://127.0.0.1:8000/ " in described(settings, terminal=False)


def test_of_two_tokens_in_the_environment_the_command_to_try_takes_the_first(tmp_path: Path) -> None:
    told = described(Settings(data_dir=tmp_path, ops_token="new-one,old-one"), terminal=False)
    assert 'curl -s -H "Authorization: Bearer ${HEADCOUNT_OPS_TOKEN%%,*}"' in told
    assert "new-one" not in told


def test_the_banner_names_the_version(tmp_path: Path) -> None:
    assert f"Headcount is up after 9.0 s (version {VERSION})." in described(Settings(data_dir=tmp_path), terminal=False)
