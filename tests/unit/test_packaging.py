"""The house: what is packaged is all there is, belongs to us alone, and imports only what it may."""

import ast
import sys
import tomllib
from importlib.metadata import files, packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = PROJECT["tool"]["setuptools"]["packages"]
IMPURE = {
    "asyncio", "concurrent", "ctypes", "http", "io", "logging", "multiprocessing", "os", "pathlib", "queue", "random",
    "secrets", "select", "selectors", "shutil", "signal", "socket", "sqlite3", "ssl", "subprocess", "tempfile",
    "threading", "time", "urllib", "uuid",
}  # fmt: skip


def imported_by(file: Path) -> set[str]:
    """Return the top-level names that a module imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{file}: say the whole name"
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_each_top_level_name_belongs_to_our_distribution_alone(package: str) -> None:
    assert set(packages_distributions().get(package, ())) == {"headcount"}


def test_every_package_of_the_checkout_is_packaged() -> None:
    unpackaged = {"bench", "tests"}
    found = {".".join(file.relative_to(ROOT).parent.parts) for file in ROOT.glob("[a-z]*/**/__init__.py") if "build" not in file.parts}
    assert {name for name in found if name.split(".")[0] not in unpackaged} == set(PACKAGES)


def test_every_file_of_a_package_is_installed() -> None:
    installed = {str(file) for file in files("headcount") or ()}
    if any("__editable__" in name for name in installed):
        return  # the checkout itself is what is imported
    wanted = {
        str(file.relative_to(ROOT))
        for package in PACKAGES
        for file in (ROOT / package).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert wanted <= installed


def test_it_cannot_be_uploaded_by_mistake() -> None:
    assert "Private :: Do Not Upload" in PROJECT["project"]["classifiers"]


@pytest.mark.parametrize("file", sorted((ROOT / "sessions").glob("*.py")), ids=lambda file: file.name)
def test_the_core_imports_the_standard_library_alone_and_nothing_that_acts(file: Path) -> None:
    foreign = imported_by(file) - {"sessions"} - sys.stdlib_module_names
    assert not foreign
    assert not imported_by(file) & IMPURE


@pytest.mark.parametrize("package", PACKAGES)
def test_only_the_clock_reads_the_time(package: str) -> None:
    readers = {str(file.relative_to(ROOT)) for file in (ROOT / package).rglob("*.py") if "time" in imported_by(file)}
    assert readers <= {"actors/clock.py"}


def test_constraints_pin_every_dependency_and_name_no_host() -> None:
    lines = (ROOT / "constraints.txt").read_text().split()
    pinned = {line.split("==")[0].lower().replace("_", "-").replace(".", "-") for line in lines}
    assert all(line.count("==") == 1 for line in lines)
    assert not any("/" in line or "@" in line for line in lines)
    needs = PROJECT["build-system"]["requires"] + PROJECT["project"]["dependencies"] + PROJECT["project"]["optional-dependencies"]["dev"]
    for need in needs:
        name = need.replace("[", "<").replace("=", "<").replace(">", "<").split("<")[0]
        assert name in pinned
