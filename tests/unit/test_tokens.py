"""Tokens are made once and kept secret; one follows another while both are let in."""

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from structlog.testing import capture_logs

from serve_app.access import tokens as module
from serve_app.access.tokens import TokenKind, Tokens, follow, load_tokens, revoke, rotate
from serve_app.settings import Settings, SettingsError


def settings(folder: Path, **given: Any) -> Settings:
    return Settings(data_dir=folder, **given)


def test_tokens_are_made_at_the_first_start_and_kept(tmp_path: Path) -> None:
    first = load_tokens(settings(tmp_path / "data"))
    assert first == load_tokens(settings(tmp_path / "data"))
    assert first.ingest != first.ops
    assert min(len(first.ingest), len(first.ops)) >= 40
    assert {file.name for file in (tmp_path / "data").iterdir()} == {"ingest.token", "ops.token"}
    assert (tmp_path / "data/ingest.token").read_text().strip() == first.ingest
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in (tmp_path / "data").iterdir())


def test_nobody_else_can_read_a_token_while_it_is_being_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    link = os.link
    monkeypatch.setattr(os, "link", lambda draft, file: (modes.append(draft.stat().st_mode & 0o777), link(draft, file)))
    load_tokens(settings(tmp_path))
    assert modes == [0o600, 0o600]


def test_two_that_start_at_once_agree(tmp_path: Path) -> None:
    made: list[Tokens] = []
    threads = [threading.Thread(target=lambda: made.append(load_tokens(settings(tmp_path)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    assert len(set(made)) == 1


def test_the_environment_goes_before_the_files(tmp_path: Path) -> None:
    tokens = load_tokens(settings(tmp_path, ingest_token="players", ops_token="people"))
    assert (tokens.ingest, tokens.ops) == ("players", "people")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_others_can_read_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / "ops.token").write_text("old-ops-token\n")
    (tmp_path / "ops.token").chmod(0o644)
    assert load_tokens(settings(tmp_path)).ops == "old-ops-token"
    assert (tmp_path / "ops.token").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("held", ["", "\n", "two words", "naïve", "a\x00b"])
def test_a_file_without_a_token_is_refused_by_name(tmp_path: Path, held: str) -> None:
    (tmp_path / "ingest.token").write_text(held)
    with pytest.raises(SettingsError, match=r"ingest\.token holds no token"):
        load_tokens(settings(tmp_path))


def test_the_same_token_for_both_doors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ops.token").write_text("same")
    with pytest.raises(SettingsError, match="the same"):
        load_tokens(settings(tmp_path, ingest_token="same"))


def test_tokens_do_not_show_themselves() -> None:
    tokens = Tokens(ingest="secret-1", ops="secret-2", player_key="secret-3")
    assert "secret" not in f"{tokens!r} {tokens!s} {tokens}"


def test_a_rotated_token_is_let_in_before_it_is_the_one_to_use_and_the_one_before_stays(tmp_path: Path) -> None:
    configured = settings(tmp_path)
    old = load_tokens(configured)
    seen: list[Tokens] = []
    rotate(configured, TokenKind.OPS, wait=lambda: seen.append(load_tokens(configured)))
    new = load_tokens(configured)
    assert new.ops != old.ops
    assert seen[0].ops == old.ops
    assert seen[0].all_ops == new.all_ops == {old.ops, new.ops}
    assert new.all_ingest == old.all_ingest
    assert (tmp_path / "ops.token").read_text() == f"{new.ops}\n"
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in tmp_path.iterdir())


def test_a_second_rotation_and_a_revocation_shut_the_oldest_out(tmp_path: Path) -> None:
    configured = settings(tmp_path)
    first = load_tokens(configured).ingest
    rotate(configured, TokenKind.INGEST, wait=lambda: None)
    second = load_tokens(configured).ingest
    rotate(configured, TokenKind.INGEST, wait=lambda: None)
    third = load_tokens(configured)
    assert third.all_ingest == {second, third.ingest}
    assert first not in third.all_ingest
    revoke(configured, TokenKind.INGEST)
    assert load_tokens(configured).all_ingest == {third.ingest}


def test_whoever_deletes_a_token_wants_none_of_its_time(tmp_path: Path) -> None:
    configured = settings(tmp_path)
    old = load_tokens(configured)
    rotate(configured, TokenKind.OPS, wait=lambda: None)
    (tmp_path / "ops.token").unlink()
    assert not load_tokens(configured).all_ops & old.all_ops
    assert len(load_tokens(configured).all_ops) == 1


def test_two_tokens_of_the_environment_are_both_valid_and_the_first_is_to_use(tmp_path: Path) -> None:
    tokens = load_tokens(settings(tmp_path, ingest_token="new,old", ops_token="people"))
    assert (tokens.ingest, tokens.all_ingest) == ("new", {"new", "old"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("kind", "given"), [(TokenKind.INGEST, {"ingest_token": "a"}), (TokenKind.OPS, {"ops_token": "a"})])
def test_a_token_of_the_environment_is_not_changed_here(tmp_path: Path, kind: TokenKind, given: dict[str, str]) -> None:
    for change in (lambda: rotate(settings(tmp_path, **given), kind, wait=lambda: None), lambda: revoke(settings(tmp_path, **given), kind)):
        with pytest.raises(SettingsError, match=f"HEADCOUNT_{kind.upper()}_TOKEN: set it to NEW,OLD"):
            change()


def test_a_folder_of_tokens_is_read_as_it_is_and_nothing_is_made_there(tmp_path: Path) -> None:
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    configured = settings(tmp_path, tokens_dir=mounted)
    with pytest.raises(SettingsError, match=r"ingest\.token"):
        load_tokens(configured)
    (mounted / "ingest.token").write_text("players")
    (mounted / "ops.token").write_text("people\n")
    (mounted / "ops.valid").write_text("people\nfolk\n")
    for file in mounted.iterdir():
        file.chmod(0o440)
    tokens = load_tokens(configured)
    assert (tokens.ingest, tokens.ops, tokens.ops_too) == ("players", "people", ("folk",))
    assert {file.stat().st_mode & 0o777 for file in mounted.iterdir()} == {0o440}
    with pytest.raises(SettingsError, match="HEADCOUNT_TOKENS_DIR"):
        rotate(configured, TokenKind.OPS, wait=lambda: None)


def test_more_than_two_valid_tokens_are_refused(tmp_path: Path) -> None:
    (tmp_path / "ops.token").write_text("a")
    (tmp_path / "ops.valid").write_text("a\nb\nc\n")
    with pytest.raises(SettingsError, match="more than 2 tokens"):
        load_tokens(settings(tmp_path))


def follow_through(configured: Settings, monkeypatch: pytest.MonkeyPatch, *steps: Callable[[], object]) -> list[Tokens]:
    """Return what was handed over; each step is taken between two looks."""
    adopted: list[Tokens] = []
    left = list(steps)

    async def look_again(_: float) -> None:
        if not left:
            raise asyncio.CancelledError
        left.pop(0)()

    monkeypatch.setattr(module.asyncio, "sleep", look_again)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(follow(configured, adopted.append))
    return adopted


def test_whoever_follows_gets_the_tokens_at_once_and_after_each_change_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configured = settings(tmp_path)
    old = load_tokens(configured)
    adopted = follow_through(
        configured,
        monkeypatch,
        lambda: None,
        lambda: rotate(configured, TokenKind.INGEST, wait=lambda: None),
        lambda: None,
        lambda: revoke(configured, TokenKind.INGEST),
    )
    new = load_tokens(configured)
    assert [tokens.all_ingest for tokens in adopted] == [{old.ingest}, {old.ingest, new.ingest}, {new.ingest}]


def test_tokens_that_cannot_be_read_leave_those_before_in_force_and_are_told_of_without_their_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured = settings(tmp_path)
    old = load_tokens(configured)
    with capture_logs() as logs:
        adopted = follow_through(
            configured,
            monkeypatch,
            lambda: (tmp_path / "ops.token").write_text("no token at all"),
            (tmp_path / "ops.token").unlink,
            lambda: (tmp_path / "ops.token").write_text("fresh-token"),
        )
    assert [tokens.ops for tokens in adopted] == [old.ops, "fresh-token"]
    assert [log["event"] for log in logs] == ["the tokens cannot be read: the last ones stay valid"] * 2
    assert "no token at all" not in str(logs)


UNKNOWN_CURVE = """-----BEGIN PUBLIC KEY-----
MEAwEAYHKoZIzj0CAQYFK4EEAAEDLAAEBIeNmdeFN4NnF5U+/IB5lIZcZdQjAqWe
HSLzDyjUcfoTGGXHPfo1RXOm
-----END PUBLIC KEY-----
"""
"""Of sect163k1, which the library knows by name and takes no keys of."""


@pytest.mark.parametrize("held", [b"\x30\x82\x01\x22\x30\x0d\x06\x09\x2a\x86", UNKNOWN_CURVE.encode(), b"", b"no key"])
def test_a_key_file_that_holds_no_key_of_ours_leaves_those_before_in_force_and_kills_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: bytes
) -> None:
    file = tmp_path / "key.pem"
    private = Ed25519PrivateKey.generate()
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    file.write_bytes(pem)
    configured = settings(tmp_path, jwt_public_key_file=file)
    load_tokens(configured)
    with capture_logs() as logs:
        adopted = follow_through(configured, monkeypatch, lambda: file.write_bytes(held), lambda: file.write_bytes(pem + b"\n"))
    assert [tokens.player_key for tokens in adopted] == [pem.decode(), pem.decode() + "\n"]
    assert ["must be a PEM public key" in log["problem"] for log in logs] == [True]


def test_a_read_that_fails_once_is_made_up_for_although_the_files_stay_as_they_are_and_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configured = settings(tmp_path)
    load_tokens(configured)
    failures = 0

    def failing(*given: Any, **more: Any) -> Tokens:
        nonlocal failures
        if failures < 2:
            failures += 1
            raise OSError(errno.EMFILE, "Too many open files")
        return load_tokens(*given, **more)

    with capture_logs() as logs:
        adopted = follow_through(
            configured,
            monkeypatch,
            lambda: (rotate(configured, TokenKind.INGEST, wait=lambda: None), monkeypatch.setattr(module, "load_tokens", failing)),
            lambda: None,
            lambda: None,
            lambda: None,
        )
    assert failures == 2
    assert [tokens.all_ingest for tokens in adopted][1:] == [load_tokens(configured).all_ingest]
    assert [log["problem"] for log in logs] == ["[Errno 24] Too many open files"]
