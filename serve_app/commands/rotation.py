"""`headcount token rotate` and `revoke`: one token follows another without a restart, and nobody is left outside."""

import threading
from collections.abc import Collection

from rich.console import Console
from rich.markup import escape

from serve_app.access.tokens import LOOK_EVERY_S, TokenKind, revoke, rotate
from serve_app.settings import Settings, SettingsError, typed

SEEN_WITHIN_S = 3 * LOOK_EVERY_S
"""Every replica has looked at the files once by then, and a half."""


def run_rotate(settings: Settings, kinds: Collection[TokenKind]) -> int:
    """Make new tokens; return the exit code."""
    console, errors = Console(), Console(stderr=True)
    for kind in kinds:
        try:
            with console.status(f"{kind}: waiting until every replica accepts the new token"):
                rotate(settings, kind, wait=lambda: threading.Event().wait(SEEN_WITHIN_S))
        except SettingsError as error:
            errors.print(f"[red]{escape(str(error))}[/red]", soft_wrap=True)
            return 1
        console.print(
            f"{escape(str(settings.tokens_folder / kind.file))} holds a new token. The one before stays valid until "
            f"{typed(f'token revoke --{kind}')}, or the next rotation.",
            soft_wrap=True,
            highlight=False,
        )
    return 0


def run_revoke(settings: Settings, kinds: Collection[TokenKind]) -> int:
    """Let in nobody but whoever shows the token to use; return the exit code."""
    console, errors = Console(), Console(stderr=True)
    for kind in kinds:
        try:
            revoke(settings, kind)
        except SettingsError as error:
            errors.print(f"[red]{escape(str(error))}[/red]", soft_wrap=True)
            return 1
        console.print(
            f"Within {LOOK_EVERY_S:.0f} s only the token of {escape(str(settings.tokens_folder / kind.file))} is valid.",
            soft_wrap=True,
            highlight=False,
        )
    return 0
