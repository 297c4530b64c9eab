"""
Fuzz every parser: inputs grown towards new branches of our code, none of which may raise what the parser does not document.

    python -m bench.fuzz [--seconds 600] [--only NAME ...] [--keep]

Needs `atheris` (`make fuzz` installs it). The seconds are shared out among the parsers of `bench/parsers.py`, each in a process of its
own. It begins with the corpus of `tests/corpus/`, which the unit tests replay; `--keep` adds the smallest of the inputs that
reached something new. An input that breaks a parser is printed, kept in `tests/corpus/`, and the exit code is 1.
"""

import argparse
import base64
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.corpus import CORPUS, read, write
from bench.results import machine, write_result

KEPT_MAX = 60
INPUT_BYTES_MAX = 4_096
_DONE = re.compile(r"Done (\d+) runs in")
_WORDS = re.compile(r'"(\w+)"')


def fuzz_one(name: str, arguments: list[str]) -> None:
    """Become libFuzzer for one parser; never returns."""
    import atheris  # noqa: PLC0415 - no dependency of ours

    with atheris.instrument_imports(include=["actors", "metrics", "serve_app", "sessions", "storage", "jwt"]):
        from bench import parsers  # noqa: PLC0415 - instrumented while it is imported

    atheris.Setup([sys.argv[0], *arguments], parsers.PARSERS[name])
    atheris.Fuzz()


def _dictionary(folder: Path) -> Path:
    """Write libFuzzer's dictionary: every word of the contract."""
    from serve_app.operators import openapi  # noqa: PLC0415 - not in the fuzzing processes

    words = sorted(set(_WORDS.findall(str(openapi.document()).replace("'", '"'))))
    file = folder / "words"
    file.write_text("".join(f'"{word}"\n' for word in words if len(word) <= 40))
    return file


def _run(name: str, arguments: list[str], *, within_s: float) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench.fuzz", "--child", name, "--", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=3 * within_s + 600, check=False)  # noqa: S603 - ourselves


def fuzz(name: str, *, seconds: int, keep: bool, folder: Path) -> tuple[int, list[bytes]]:
    """Fuzz one parser for a while; return how many inputs it judged, and those that broke it."""
    grown, broken = folder / name, folder / f"{name}-broken"
    grown.mkdir()
    broken.mkdir()
    for number, held in enumerate(read(name)):
        (grown / f"{number:04}").write_bytes(held)
    limits = [f"-max_len={INPUT_BYTES_MAX}", "-rss_limit_mb=2048", "-timeout=10", f"-artifact_prefix={broken}/"]
    run = _run(name, [*limits, f"-max_total_time={seconds}", f"-dict={_dictionary(folder)}", str(grown)], within_s=seconds)
    done = _DONE.search(run.stderr)
    found = [file.read_bytes() for file in sorted(broken.iterdir())]
    if run.returncode and not found:
        raise RuntimeError(f"the fuzzer of {name} ended with {run.returncode}:\n{run.stderr[-2_000:]}")
    if found:
        print(run.stderr[-4_000:])
    if keep:
        reached = sorted((file.read_bytes() for file in grown.iterdir()), key=lambda held: (len(held), held))
        write(name, dict.fromkeys([*read(name), *reached[:KEPT_MAX]]))
    if found:
        write(name, [*read(name), *found])
    return int(done[1]) if done else 0, found


def main() -> int:
    """Fuzz what is asked for; return the exit code."""
    if sys.argv[1:2] == ["--child"]:
        fuzz_one(sys.argv[2], sys.argv[4:])
    names = sorted(file.stem for file in CORPUS.glob("*.txt"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=600, help="in all")
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--keep", action="store_true", help="write the grown corpus back")
    asked = parser.parse_args()
    each_s = max(1, asked.seconds // len(asked.only))
    began = time.monotonic()
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in asked.only:
            runs, found = fuzz(name, seconds=each_s, keep=asked.keep, folder=Path(folder))
            rows[name] = {"inputs": runs, "broke": [base64.b64encode(held).decode() for held in found]}
            print(f"{name:14} {runs:>10,} inputs in {each_s} s   {'BROKEN by ' + str(found) if found else 'clean'}", flush=True)
    broken = sum(len(row["broke"]) for row in rows.values())
    result = {"machine": machine(), "nice": os.nice(0), "seconds": round(time.monotonic() - began), "parsers": rows, "broken": broken}
    print(write_result("fuzz", result))
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
