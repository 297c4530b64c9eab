"""The house: what is packaged is all there is, belongs to us alone, and imports only what it may."""

import ast
import re
import sys
import sysconfig
import tomllib
from importlib.metadata import distributions, files, packages_distributions
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


@pytest.mark.parametrize("package", [name for name in PACKAGES if "." not in name])
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


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked() -> dict[str, tuple[str, int]]:
    """Return (version, number of hashes) of everything that the locks name."""
    found: dict[str, tuple[str, int]] = {}
    for file in ("requirements.lock", "requirements-dev.lock", "requirements-fuzz.lock"):
        for entry in re.split(r"\n(?=\S)", (ROOT / file).read_text().strip()):
            name, version = re.match(r"([\w.-]+)==([\w.!]+)", entry).groups()  # type: ignore[union-attr]
            hashes = len(re.findall(r"--hash=sha256:[0-9a-f]{64}\b", entry))
            assert found.setdefault(plain(name), (version, hashes)) == (version, hashes), f"two locks differ about {name}"
    return found


def test_the_locks_cover_every_installed_distribution_at_its_version() -> None:
    lock = locked()
    # Of this environment alone: Ray puts a folder of others' packages on the path when it is imported.
    installed = {plain(found.metadata["Name"]): found.version for found in distributions(path=[sysconfig.get_path("purelib")])}
    ours = {"headcount", "pip", "setuptools", "wheel"}  # setuptools: a new environment may bring a newer one
    assert {name: version for name, version in installed.items() if name not in ours} == {
        name: lock.get(name, ("not locked", 0))[0] for name in installed if name not in ours
    }


def test_the_locks_say_what_the_constraints_say_and_name_every_file_of_a_release_by_its_hash_and_no_index() -> None:
    lock = locked()
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    assert {plain(name): version for name, version in pinned.items() if plain(name) in lock} == {
        plain(name): lock[plain(name)][0] for name in pinned if plain(name) in lock
    }
    needs = PROJECT["build-system"]["requires"] + PROJECT["project"]["dependencies"] + PROJECT["project"]["optional-dependencies"]["dev"]
    assert {plain(re.match(r"[\w.-]+", need)[0]) for need in needs} <= set(lock)  # type: ignore[index]
    assert min(hashes for _, hashes in lock.values()) >= 1
    # More than this machine's own wheel: those of other systems and Pythons too.
    assert lock["msgspec"][1] > 20
    for file in ROOT.glob("requirements*.lock"):
        assert not re.search(r"://|^-", file.read_text(), re.MULTILINE)


def test_make_hands_its_process_over_so_that_a_signal_reaches_the_tracker() -> None:
    recipe = (ROOT / "Makefile").read_text().partition("\nup:")[2].partition("\n\n")[0]
    assert recipe.splitlines()[-1] == "\t@exec $(BIN)/headcount up"
