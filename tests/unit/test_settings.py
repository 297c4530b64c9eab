"""What an operator may set, and how a mistake reads."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from serve_app.settings import Settings, SettingsError, load_settings, typed, unknown_variables


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("HEADCOUNT_"):
            monkeypatch.delenv(name)


def problems() -> tuple[str, ...]:
    with pytest.raises(SettingsError) as raised:
        load_settings()
    return raised.value.problems


def test_defaults_are_those_of_the_design(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    settings = load_settings()
    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.data_dir == tmp_path / "data"
    assert (settings.shards, settings.replicas, settings.slots) == (1, 2, 256)
    assert (settings.heartbeat_interval_s, settings.expiry_intervals, settings.revive_window_s) == (30, 3, 1_800.0)
    assert settings.redis_url is settings.ingest_token is settings.ops_token is settings.jwt_public_key_file is None
    assert (settings.auth, settings.beacon_pullzones, settings.cors_origins) == ("on", (), ("*",))


@pytest.mark.parametrize(("cores", "shards"), [(1, 1), (3, 1), (8, 4)])
def test_shards_default_to_half_the_cores_and_replicas_to_all(monkeypatch: pytest.MonkeyPatch, cores: int, shards: int) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)))
    assert (load_settings().shards, load_settings().replicas) == (shards, cores)


def test_every_bad_setting_is_one_line_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = {
        "HOST": "my machine",
        "PORT": "70000",
        "REDIS_URL": "http://nowhere",
        "SHARDS": "0",
        "SLOTS": "many",
        "HEARTBEAT_INTERVAL_S": "0.5",
        "EXPIRY_INTERVALS": "0",
        "REVIVE_WINDOW_S": "nan",
        "INGEST_TOKEN": "two words",
        "JWT_PUBLIC_KEY_FILE": "/nowhere/key.pem",
        "AUTH": "maybe",
    }
    for name, value in bad.items():
        monkeypatch.setenv(f"HEADCOUNT_{name}", value)
    lines = problems()
    assert {line.split(":")[0] for line in lines} == {f"HEADCOUNT_{name}" for name in bad}
    assert len(lines) == len(bad)
    assert all("\n" not in line for line in lines)


def test_a_problem_never_shows_the_value() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADCOUNT_REDIS_URL", "rediss//user:hunter2@host")
        patch.setenv("HEADCOUNT_OPS_TOKEN", "hunter2 hunter2")
        assert "hunter2" not in "".join(problems())


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("redis://:hunter2@db.example/zero", "cannot be read"),
        ("redis://:hunter2@db.example:0/0", "must look like"),
        ("redis://:hunter2@db.example/0?socket_timeout=1", "socket_timeout"),
        ("redis://default:1#hunter2@db.example/0", "must look like"),
        ("redis://default:1?hunter2=x@db.example/0", "must look like"),
        ("redis://:hun/ter2hunter2@db.example/0", "cannot be read"),
        ("redis://:hunter2@db.example/0?ssl_cert_reqs=none", "ssl_cert_reqs"),
        ("rediss://:hunter2@db.example/0?ssl_cert_reqs=perhaps", "ssl_cert_reqs must be one of none, optional, required"),
        ("rediss://:hunter2@db.example/0?ssl_check_hostname=perhaps", "ssl_check_hostname must be one of"),
        ("rediss://:hunter2@db.example/0?ssl_ca_certs=/nowhere/ca.pem", "ssl_ca_certs is not a file that this user can read"),
    ],
)
def test_a_journal_that_could_not_be_reached_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch, url: str, told: str) -> None:
    monkeypatch.setenv("HEADCOUNT_REDIS_URL", url)
    (line,) = problems()
    assert line.startswith("HEADCOUNT_REDIS_URL: ")
    assert told in line
    assert "hunter2" not in line


def test_a_journal_over_tls_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.touch()
    url = f"rediss://user:p%40ss@db.example:6380/1?ssl_ca_certs={authority}&ssl_cert_reqs=required&ssl_check_hostname=true"
    monkeypatch.setenv("HEADCOUNT_REDIS_URL", url)
    assert load_settings().redis_url == url


def test_printing_the_settings_shows_no_secret() -> None:
    settings = Settings(redis_url="redis://:hunter2@localhost/0", ingest_token="hunter2-in", ops_token="hunter2-ops")
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(settings)


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADCOUNT_REDIS_URL", "")
    monkeypatch.setenv("HEADCOUNT_PORT", "")
    assert load_settings().redis_url is None
    assert load_settings().port == 8000


@pytest.mark.parametrize(
    ("given", "read"),
    [("a", ("a",)), (" a , b ,", ("a", "b")), ("https://a.example,https://b.example", ("https://a.example", "https://b.example"))],
)
def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch, given: str, read: tuple[str, ...]) -> None:
    monkeypatch.setenv("HEADCOUNT_BEACON_PULLZONES", given)
    assert load_settings().beacon_pullzones == read


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("*", ("*",)),
        ("https://a.example, https://b.example:8443/", ("https://a.example", "https://b.example:8443")),
        (
            "http://127.0.0.1:8080,http://[::1]:3000,capacitor://localhost",
            ("http://127.0.0.1:8080", "http://[::1]:3000", "capacitor://localhost"),
        ),
        ("", ()),
        (" ", ()),
    ],
)
def test_origins_are_those_that_browsers_send_and_an_empty_list_is_nobody(
    monkeypatch: pytest.MonkeyPatch, given: str, read: tuple[str, ...]
) -> None:
    monkeypatch.setenv("HEADCOUNT_CORS_ORIGINS", given)
    assert load_settings().cors_origins == read
    monkeypatch.delenv("HEADCOUNT_CORS_ORIGINS")
    assert load_settings().cors_origins == ("*",)


@pytest.mark.parametrize(
    "origin",
    [
        "site.example", "https://*.example", "https://site.example/player", "https://Site.example", "HTTPS://site.example", "https://site.example:443",
        "http://site.example:80", "https://", "https://site.example?x", "https://a b", "null", "https://ü.example", "//site.example",
    ],
)  # fmt: skip
def test_what_no_browser_sends_as_its_origin_is_refused_in_one_line_that_names_it(monkeypatch: pytest.MonkeyPatch, origin: str) -> None:
    monkeypatch.setenv("HEADCOUNT_CORS_ORIGINS", f"https://good.example,{origin}")
    (problem,) = problems()
    assert problem.startswith(f"HEADCOUNT_CORS_ORIGINS: {origin!r} is no origin")


def test_proxies_that_are_trusted_are_addresses_or_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADCOUNT_TRUSTED_PROXIES", "10.0.0.0/8, 192.0.2.7,2001:db8::/32")
    assert load_settings().trusted_proxies == ("10.0.0.0/8", "192.0.2.7", "2001:db8::/32")
    monkeypatch.setenv("HEADCOUNT_TRUSTED_PROXIES", "10.0.0.0/8,balancer")
    assert problems() == ("HEADCOUNT_TRUSTED_PROXIES: 'balancer' is neither an address nor a range of addresses like 10.0.0.0/8",)


def test_a_star_among_origins_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADCOUNT_CORS_ORIGINS", "https://good.example,*")
    assert problems() == ("HEADCOUNT_CORS_ORIGINS: * allows every origin: nothing else may stand beside it",)


def test_more_shards_than_slots_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADCOUNT_SHARDS", "5")
    monkeypatch.setenv("HEADCOUNT_SLOTS", "4")
    assert problems() == ("HEADCOUNT_SHARDS (5) is greater than HEADCOUNT_SLOTS (4): a shard owns at least one slot",)


def test_players_and_operators_cannot_share_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADCOUNT_INGEST_TOKEN", "same")
    monkeypatch.setenv("HEADCOUNT_OPS_TOKEN", "same")
    (line,) = problems()
    assert "same" in line
    assert "HEADCOUNT_INGEST_TOKEN" in line


def test_the_front_door_cannot_lie_inside_the_inner_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADCOUNT_INTERNAL_PORTS", "8000")
    monkeypatch.setenv("HEADCOUNT_PORT", "8199")
    (line,) = problems()
    assert line.startswith("HEADCOUNT_PORT (8199)")
    monkeypatch.setenv("HEADCOUNT_PORT", "8200")
    assert load_settings().port == 8200


def test_settings_cannot_be_changed() -> None:
    settings = Settings()
    with pytest.raises(ValidationError):
        settings.port = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("host", "url"), [("127.0.0.1", "http://127.0.0.1:8000"), ("0.0.0.0", "http://127.0.0.1:8000"), ("10.1.2.3", "http://10.1.2.3:8000")]
)
def test_this_machine_reaches_the_front_door_by_an_address_that_can_be_called(host: str, url: str) -> None:
    assert Settings(host=host).front_door_url == url


def test_a_misspelt_variable_is_noticed() -> None:
    environ = {"HEADCOUNT_SHARD": "2", "HEADCOUNT_SHARDS": "2", "HEADCOUNT_RUN": "x", "PATH": "/bin"}
    assert unknown_variables(environ) == ("HEADCOUNT_SHARD",)


@pytest.mark.parametrize("name", ["DATA_DIR", "TOKENS_DIR", "JWT_PUBLIC_KEY_FILE"])
@pytest.mark.parametrize(
    ("below", "problem"),
    [("x" * 300, "File name too long"), ("file/inner", "Not a directory")],
    ids=["too-long", "below-a-file"],
)
def test_a_path_that_cannot_be_is_one_line_that_names_the_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, below: str, problem: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(f"HEADCOUNT_{name}", str(tmp_path / below))
    assert problems() == (f"HEADCOUNT_{name}: {tmp_path / below} cannot be used: {problem}",)


def test_a_file_is_no_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HEADCOUNT_DATA_DIR", str(tmp_path / "file"))
    assert problems() == (f"HEADCOUNT_DATA_DIR: {tmp_path / 'file'} is not a folder",)


@pytest.mark.parametrize(
    ("called", "on_the_path", "told"),
    [
        (".venv/bin/headcount", None, "`.venv/bin/headcount up`"),
        ("/opt/headcount/.venv/bin/headcount", "/opt/headcount/.venv/bin/headcount", "`headcount up`"),
        ("/usr/bin/pytest", None, "`headcount up`"),
    ],
)
def test_a_hint_names_a_command_as_it_has_to_be_typed(
    monkeypatch: pytest.MonkeyPatch, called: str, on_the_path: str | None, told: str
) -> None:
    monkeypatch.setattr("sys.argv", [called, "status"])
    monkeypatch.setattr("shutil.which", lambda _: on_the_path)
    assert typed("up") == told
