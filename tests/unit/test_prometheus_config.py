"""The configuration that `headcount up` writes: one file for this tracker, with nothing secret in it."""

import stat
from pathlib import Path

import yaml

from dashboards import prometheus


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_committed_file_is_the_one_for_the_defaults() -> None:
    committed = (Path(prometheus.__file__).parent / prometheus.CONFIGURATION).read_text()
    assert prometheus.configuration(target="127.0.0.1:8000", token_file="../ops.token") == committed
    for marker in ("127.0.0.1:8000", "../ops.token"):
        assert committed.count(marker) == 1


def test_it_names_the_address_the_token_file_and_the_rules(tmp_path: Path) -> None:
    written = yaml.safe_load(prometheus.write(tmp_path, target="10.0.0.7:9001", token=None).read_text())
    assert written["global"]["scrape_interval"] == "5s"
    (job,) = written["scrape_configs"]
    assert job["job_name"] == "headcount"
    assert job["static_configs"] == [{"targets": ["10.0.0.7:9001"]}]
    assert job["authorization"] == {"credentials_file": "../ops.token"}
    assert {file.name for file in (tmp_path / "prometheus").iterdir()} == {"prometheus.yml", *written["rule_files"]}


def test_nobody_else_can_read_any_of_it(tmp_path: Path) -> None:
    folder = prometheus.write(tmp_path, target="127.0.0.1:8000", token="secret").parent
    assert mode(folder) == 0o700
    assert {mode(file) for file in folder.iterdir()} == {0o600}


def test_a_token_from_the_environment_is_in_a_file_of_its_own_and_gone_with_it(tmp_path: Path) -> None:
    file = prometheus.write(tmp_path, target="127.0.0.1:8000", token="secret")
    assert "secret" not in file.read_text()
    assert yaml.safe_load(file.read_text())["scrape_configs"][0]["authorization"] == {"credentials_file": "ops.token"}
    assert (file.parent / "ops.token").read_text() == "secret\n"
    prometheus.write(tmp_path, target="127.0.0.1:8000", token=None)
    assert not (file.parent / "ops.token").exists()


def test_what_an_earlier_run_left_open_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "prometheus"
    folder.mkdir(mode=0o755)
    (folder / "prometheus.yml").write_text("left over")
    (folder / "prometheus.yml").chmod(0o644)
    assert "left over" not in prometheus.write(tmp_path, target="127.0.0.1:8000", token=None).read_text()
    assert {mode(path) for path in (folder, *folder.iterdir())} == {0o700, 0o600}
