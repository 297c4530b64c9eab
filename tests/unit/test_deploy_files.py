"""The files that start a tracker under systemd, in a container and beside Prometheus and Grafana fit each other and the repository."""

from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import yaml

from dashboards.prometheus import CONFIGURATION, FOLDER
from serve_app.machine.up import STOP_WITHIN_S
from serve_app.settings import Settings

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def compose() -> dict[str, Any]:
    services: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    return services


def test_systemd_signals_the_tracker_alone_and_leaves_it_time_to_end() -> None:
    unit = RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(DEPLOY / "headcount.service")
    service = unit["Service"]
    assert service["KillMode"] == "mixed"
    assert float(service["TimeoutStopSec"]) > STOP_WITHIN_S + 1.0
    assert service["ExecStart"] == f"{service['WorkingDirectory']}/.venv/bin/headcount up"
    assert service["Environment"] == f"HEADCOUNT_DATA_DIR=/var/lib/{service['StateDirectory']}"


def test_the_image_installs_by_the_lock_and_keeps_its_data_where_the_volume_is() -> None:
    lines = (DEPLOY / "Dockerfile").read_text()
    assert "--require-hashes --requirement /usr/src/headcount/requirements.lock" in lines
    assert "HEADCOUNT_DATA_DIR=/var/lib/headcount" in lines
    assert "\nVOLUME /var/lib/headcount\n" in lines
    assert f"\nEXPOSE {Settings.model_fields['port'].default}\n" in lines
    assert lines.endswith('CMD ["headcount", "up"]\n')


def test_what_compose_mounts_is_there_and_prometheus_reads_what_the_tracker_writes() -> None:
    services = compose()
    mounted = [volume.split(":")[0] for service in services.values() for volume in service["volumes"]]
    for folder in {source for source in mounted if source.startswith(".")}:
        assert (DEPLOY / folder).is_dir(), folder
    assert (DEPLOY / services["headcount"]["build"]["context"] / services["headcount"]["build"]["dockerfile"]).is_file()
    prometheus = services["prometheus"]
    assert f"--config.file=/var/lib/headcount/{FOLDER}/{CONFIGURATION}" in prometheus["command"]
    # `headcount up` names 127.0.0.1 in that file: only in the tracker's own network is that the tracker.
    assert prometheus["network_mode"] == "service:headcount"
    assert f"--uid {prometheus['user'].split(':')[0]} " in (DEPLOY / "Dockerfile").read_text()


def test_grafana_is_provisioned_with_the_dashboards_and_the_prometheus_of_the_repository() -> None:
    grafana = compose()["grafana"]
    targets = dict(volume.split(":")[:2] for volume in grafana["volumes"])
    assert targets["../dashboards/grafana/provisioning"] == "/etc/grafana/provisioning"
    (provider,) = yaml.safe_load((ROOT / "dashboards/grafana/provisioning/dashboards/headcount.yml").read_text())["providers"]
    assert targets["../dashboards/grafana"] == provider["options"]["path"]
    (source,) = yaml.safe_load((ROOT / "dashboards/grafana/provisioning/datasources/headcount.yml").read_text())["datasources"]
    assert source["url"] == "${HEADCOUNT_PROMETHEUS_URL}"
    assert grafana["environment"]["HEADCOUNT_PROMETHEUS_URL"] == "http://headcount:9090"
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (ROOT / "dashboards/grafana" / home.name).is_file()


def test_the_image_is_built_without_what_belongs_to_one_checkout() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".git", ".venv", "data"} <= set(ignored)
