"""
The configuration that a Prometheus scrapes this tracker with, written into the data folder, the rules beside it.

It decides names and permissions. It does not know settings, nor what the rules say. Paths inside are relative to the
file, so that the folder may be moved, copied or mounted as it is; the token is named by its file and never copied into
the configuration.
"""

from importlib.resources import files
from pathlib import Path
from typing import Final

from storage.whole_file import write_whole

FOLDER: Final = "prometheus"
"""In the data folder."""
CONFIGURATION: Final = "prometheus.yml"
RULES: Final = ("recording.rules.yml", "alerting.rules.yml")
TOKEN_FILE: Final = "ops.token"  # noqa: S105 - a file's name
"""In the folder above: where the token is kept that was made at the first start."""

_DEFAULT_TARGET: Final = "127.0.0.1:8000"
_DEFAULT_TOKEN: Final = f"../{TOKEN_FILE}"


def configuration(*, target: str, token_file: str) -> str:
    """Return the text of `prometheus.yml` for one address, `host:port`, and one token file."""
    text = (files("dashboards") / CONFIGURATION).read_text()
    return text.replace(_DEFAULT_TARGET, target).replace(_DEFAULT_TOKEN, token_file)


def write(data_dir: Path, *, target: str, token: str | None, token_file: Path | None = None) -> Path:
    """
    Write `prometheus/` into the data folder, each file whole or not at all; return the configuration's path.

    `token`: the ops token, if it came from the environment. It then gets a file of its own here, as Prometheus reads
    only files; otherwise `token_file` is named, or the data folder's own. All of it can be read by this user alone.
    """
    folder = data_dir / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
    kept = folder / TOKEN_FILE
    if token is None:
        kept.unlink(missing_ok=True)
    else:
        write_whole(kept, token + "\n")
    for name in RULES:
        write_whole(folder / name, (files("dashboards") / name).read_text())
    named = TOKEN_FILE
    if token is None:
        elsewhere = token_file is not None and token_file.parent != data_dir
        named = str(token_file) if elsewhere else _DEFAULT_TOKEN
    file = folder / CONFIGURATION
    write_whole(file, configuration(target=target, token_file=named))
    return file
