"""The doctor says of each thing whether it is enough, and what to do if it is not."""

from pathlib import Path

import pytest

from serve_app.access.tokens import TokenKind
from serve_app.commands import doctor
from serve_app.settings import Settings
from storage.findings import Finding, Level, evicting, policy_of
from storage.server_check import Measured, unfit


def levels(measured: Measured) -> dict[str, Level]:
    return {finding.what: finding.level for finding in doctor.judged(measured)}


def test_a_journal_that_is_fast_roomy_and_in_time_is_right() -> None:
    assert set(levels(Measured([0.001] * 19 + [0.4], 0.02, 700, 1_000)).values()) == {Level.OK}


@pytest.mark.parametrize(
    ("measured", "what"),
    [
        (Measured([0.06] * 11 + [0.001] * 9, 0.0, 0, 1_000), "fsync"),
        (Measured([0.001], 0.0, 801, 1_000), "memory"),
        (Measured([0.001], -3_600.0, 0, 1_000), "clocks"),
        (Measured([0.001], 1.5, 0, 1_000), "clocks"),
    ],
)
def test_what_is_slow_full_or_out_of_time_is_to_be_looked_at(measured: Measured, what: str) -> None:
    assert [name for name, level in levels(measured).items() if level is Level.WARNING] == [what]


def test_a_server_that_does_not_tell_its_memory_is_not_called_full() -> None:
    assert levels(Measured([0.001], 0.0, 5_000, 0))["memory"] is Level.OK


def tokens(folder: Path, *, auth: str = "on") -> list[Finding]:
    return [each for each in doctor.machine(Settings(data_dir=folder, auth=auth)) if each.what == "tokens"]  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _no_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "is_free", lambda *_: True)


def test_tokens_that_others_can_read_that_are_empty_or_not_there_are_told_apart(tmp_path: Path) -> None:
    ingest, ops = tmp_path / TokenKind.INGEST.file, tmp_path / TokenKind.OPS.file
    assert [finding.level for finding in tokens(tmp_path)] == [Level.OK, Level.OK]
    ingest.write_text("secret")
    ingest.chmod(0o644)
    ops.write_text("\n")
    ops.chmod(0o600)
    found = {finding.level: str(finding) for finding in tokens(tmp_path)}
    assert found == {
        Level.WARNING: f"{ingest} can be read by others (mode 644); chmod 600 {ingest}",
        Level.UNFIT: f"{ops} is empty; `headcount token rotate` makes a new one",
    }
    ingest.chmod(0o600)
    ops.write_text("secret")
    assert [finding.level for finding in tokens(tmp_path)] == [Level.OK, Level.OK]
    assert [finding.level for finding in tokens(tmp_path, auth="off")] == [Level.WARNING]


def test_a_data_folder_that_cannot_be_made_is_wrong_and_one_that_is_not_there_yet_is_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def of(folder: Path) -> Level:
        return next(each.level for each in doctor.machine(Settings(data_dir=folder)) if each.what == "data folder")

    assert of(tmp_path / "not" / "yet") is Level.OK
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere
    assert of(tmp_path / "not" / "yet") is Level.UNFIT


def test_a_full_disk_is_to_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1024**3})())
    found = next(each for each in doctor.machine(Settings(data_dir=tmp_path)) if each.what == "data folder")
    assert (found.level, "1.0 GiB of disk left" in found.text) == (Level.WARNING, True)


def test_few_open_files_are_told_by_the_connections_that_they_make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _: (1_024, 4_096))
    found = next(each for each in doctor.machine(Settings(data_dir=tmp_path)) if each.what == "file limit")
    # (1,024 - 200) / 2.5
    assert found.level is Level.WARNING
    assert "takes 329 connections" in found.text


def test_the_eviction_policy_is_read_from_what_info_memory_says() -> None:
    assert policy_of("# Memory\r\nused_memory:1\r\nmaxmemory_policy:allkeys-lru\r\nx:y\r\n") == "allkeys-lru"
    assert policy_of("# Memory\r\n") == "noeviction"


def test_the_line_of_an_unfit_journal_names_it_without_its_password() -> None:
    line = unfit([Finding("reach", Level.OK, "answers"), evicting("allkeys-lru")], "redis://:s3cret@host:1/0")
    assert line is not None
    assert line == (
        "The journal at redis://host:1/0 cannot be used: it would drop sessions without a word when its memory is full "
        "(maxmemory-policy allkeys-lru); set maxmemory-policy noeviction"
    )


def test_a_clock_that_was_set_since_a_shard_began_is_told() -> None:
    def told(**steps_s: float) -> list[tuple[Level, str]]:
        shards = {name.replace("_", "-"): {"clock_step_s": step_s} for name, step_s in steps_s.items()}
        return [(finding.level, finding.text) for finding in doctor.steps_in({"shards": shards})]

    assert told(shard_0=0.4, shard_1=-0.9) == [(Level.OK, "the clock was not set since the shards started")]
    assert told(shard_0=600.04, shard_1=0.0, shard_2=-3_600.0) == [
        (Level.WARNING, "the clock was set by 600.0 s ahead since shard-0 began, 3600.0 s back since shard-2 began")
    ]
    # Of an older build, or of no shard at all, nothing is known.
    assert list(doctor.steps_in({"shards": {}})) == []
