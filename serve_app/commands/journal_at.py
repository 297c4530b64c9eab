"""Which journal the settings mean, for commands that read it themselves: the one that is given, or the embedded one if it runs."""

from serve_app.machine import data_folder
from serve_app.settings import Settings, typed
from storage.embedded import EmbeddedValkey


class NoJournalError(Exception):
    """There is none to be read; the message is one line."""


def journal_url(settings: Settings) -> str:
    """Return the journal's URL, password included. Raises `NoJournalError`."""
    url = settings.redis_url or EmbeddedValkey(settings.data_dir / "valkey").running_url()
    if url is None:
        raise NoJournalError(_why_no_journal(settings))
    return url


def _why_no_journal(settings: Settings) -> str:
    folder = settings.data_dir
    if process := data_folder.holder(folder):
        full = data_folder.disk_problem(folder) or f"its log is {folder / 'valkey/valkey.log'}"
        return f"headcount is up on {folder} (process {process}), but its journal does not answer: {full}"
    full = f"{found}: make room there first, and " if (found := data_folder.disk_problem(folder)) else ""
    return f"no journal runs in {folder}: {full}start it with {typed('up')}"
