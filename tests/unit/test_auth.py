"""Tokens are made once and kept secret; each door opens to its own kind only."""

import os
import threading
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from serve_app import auth
from serve_app.auth import Doorkeeper, Tokens, load_tokens
from serve_app.settings import Settings, SettingsError

NOW = 1_730_484_900.0


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


def doorkeeper(**given: Any) -> Doorkeeper:
    return Doorkeeper(Tokens(ingest="players", ops="people", **given), now=lambda: NOW)


def test_each_token_opens_its_own_door_only() -> None:
    keeper = doorkeeper()
    assert keeper.admits_player(b"Bearer players")
    assert not keeper.admits_player(b"Bearer people")
    assert keeper.admits_operator(b"Bearer people")
    assert not keeper.admits_operator(b"Bearer players")


@pytest.mark.parametrize("shown", [b"bearer players", b"BEARER players", b"Bearer  players ", b"bEaReR players"])
def test_the_schemes_case_does_not_matter(shown: bytes) -> None:
    assert doorkeeper().admits_player(shown)


@pytest.mark.parametrize(
    "shown",
    [
        None,
        b"",
        b"Bearer",
        b"Bearer ",
        b"players",
        b"Basic players",
        b"Bearer player",
        b"Bearer players2",
        b"Bearer \xff",
        b"Bearer " + b"x" * 100_000,
    ],
)
def test_anything_else_stays_outside(shown: bytes | None) -> None:
    assert not doorkeeper().admits_player(shown)
    assert not doorkeeper().admits_operator(shown)


def test_the_query_parameter_counts_only_without_a_header_and_only_for_players() -> None:
    assert doorkeeper().admits_player(None, b"x=1&access_token=players")
    assert not doorkeeper().admits_player(b"Bearer wrong", b"access_token=players")
    assert not doorkeeper().admits_player(None, b"my_access_token=players")
    assert not doorkeeper().admits_player(None, b"access_token=")


@pytest.mark.parametrize("odd", [b"%C3%A9", b"%FF", b"\xff", b"\xc3\xa9", b"%", b"%zz", b"%00", b"\0", b"=", b"a=b", b"+"])
@pytest.mark.parametrize("keys", [{}, {"player_key": "EdDSA"}], ids=["static", "JWT"])
def test_a_query_in_any_bytes_is_judged_by_its_token_alone(odd: bytes, keys: dict[str, str]) -> None:
    keeper = doorkeeper(**{name: pem(KEYS[algorithm]) for name, algorithm in keys.items()})
    good = shown({"exp": NOW + 60}).removeprefix(b"Bearer ") if keys else b"players"
    for stays_out in (b"access_token=" + odd, odd, b"x=" + odd, odd + b"=access_token=" + good, b"x=1;access_token=" + good):
        assert not keeper.admits_player(None, stays_out)
    for comes_in in (b"x=" + odd, odd, odd + b"=1"):
        assert keeper.admits_player(None, b"access_token=" + good + b"&" + comes_in)
        assert keeper.admits_player(None, comes_in + b"&access_token=" + good)


def test_the_first_of_repeated_query_parameters_counts() -> None:
    assert doorkeeper().admits_player(None, b"access_token=players&access_token=wrong")
    assert not doorkeeper().admits_player(None, b"access_token=wrong&access_token=players")
    assert not doorkeeper().admits_player(None, b"access_token=&access_token=players")
    assert not doorkeeper().admits_player(None, b"access_token=%FF&access_token=players")


def test_a_token_in_the_query_may_be_percent_encoded() -> None:
    assert doorkeeper().admits_player(None, b"access_token=%70layer%73")


def test_switched_off_everybody_is_let_in() -> None:
    keeper = doorkeeper(auth=False)
    assert keeper.admits_player(None)
    assert keeper.admits_operator(None)


KEYS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(public_exponent=65_537, key_size=2_048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def pem(private: Any) -> str:
    shown: bytes = private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return shown.decode()


def shown(claims: dict[str, Any], algorithm: str = "EdDSA", key: Any = None) -> bytes:
    return b"Bearer " + jwt.encode(claims, key or KEYS[algorithm], algorithm=algorithm).encode()


@pytest.mark.parametrize("algorithm", KEYS)
def test_a_signed_jwt_is_an_ingest_token_until_it_expires(algorithm: str) -> None:
    now = NOW
    keeper = Doorkeeper(Tokens(ingest="players", ops="people", player_key=pem(KEYS[algorithm])), now=lambda: now)
    token = shown({"exp": NOW + 60, "aud": "anyone", "sub": "viewer"}, algorithm)
    assert keeper.admits_player(token)
    assert keeper.admits_player(None, b"access_token=" + token.removeprefix(b"Bearer "))
    assert keeper.admits_player(token)
    now = NOW + 60
    assert not keeper.admits_player(token)
    assert not keeper.admits_operator(token)


def test_with_jwts_the_static_ingest_token_is_worth_nothing() -> None:
    keeper = doorkeeper(player_key=pem(KEYS["EdDSA"]))
    assert not keeper.admits_player(b"Bearer players")
    assert keeper.admits_operator(b"Bearer people")


def forged(algorithm: str, claims: dict[str, Any]) -> bytes:
    """Sign with the public key as a secret, which a verifier that trusts the header's algorithm would take."""
    secret = pem(KEYS[algorithm]).encode()
    import base64
    import hashlib
    import hmac
    import json

    def part(value: Any) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    signed = part({"alg": "HS256", "typ": "JWT"}) + b"." + part(claims)
    return b"Bearer " + signed + b"." + base64.urlsafe_b64encode(hmac.digest(secret, signed, hashlib.sha256)).rstrip(b"=")


BAD_JWTS = {
    "expired": shown({"exp": NOW}),
    "without exp": shown({"sub": "x"}),
    "exp is no number": shown({"exp": "soon"}),
    "exp is true": shown({"exp": True}),
    "not yet": shown({"exp": NOW + 60, "nbf": NOW + 1}),
    "another's key": shown({"exp": NOW + 60}, key=ed25519.Ed25519PrivateKey.generate()),
    "another algorithm": shown({"exp": NOW + 60}, "RS256"),
    "no algorithm": b"Bearer " + jwt.encode({"exp": NOW + 60}, None, algorithm="none").encode(),
    "public key as a secret": forged("EdDSA", {"exp": NOW + 60}),
    "no JWT": b"Bearer a.b.c",
    "dots": b"Bearer ...",
}


@pytest.mark.parametrize("token", BAD_JWTS.values(), ids=BAD_JWTS.keys())
def test_a_bad_jwt_stays_outside(token: bytes) -> None:
    assert not doorkeeper(player_key=pem(KEYS["EdDSA"])).admits_player(token)


def test_what_was_verified_is_remembered_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "VERIFIED_MAX", 3)
    keeper = doorkeeper(player_key=pem(KEYS["EdDSA"]))
    decoded: list[Any] = []
    real = jwt.decode
    monkeypatch.setattr(auth.jwt, "decode", lambda *given, **named: decoded.append(1) or real(*given, **named))
    tokens = [shown({"exp": NOW + 60, "sub": str(n)}) for n in range(5)]
    for token in tokens:
        assert keeper.admits_player(token)
        assert keeper.admits_player(token)
    assert len(decoded) == 5
    assert len(keeper._verified) == 3


@pytest.mark.parametrize(
    "key",
    [
        "no key",
        pem(ec.generate_private_key(ec.SECP384R1())),
        pem(rsa.generate_private_key(public_exponent=65_537, key_size=1_024)),
        KEYS["EdDSA"].private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode(),
    ],
    ids=["no key", "P-384", "RSA of 1024 bits", "private"],
)
def test_a_key_without_a_pinned_algorithm_is_refused_at_start(tmp_path: Path, key: str) -> None:
    (tmp_path / "key.pem").write_text(key)
    with pytest.raises(SettingsError, match="HEADCOUNT_JWT_PUBLIC_KEY_FILE"):
        load_tokens(settings(tmp_path, jwt_public_key_file=tmp_path / "key.pem"))


def test_the_key_travels_with_the_tokens(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text(pem(KEYS["ES256"]))
    assert load_tokens(settings(tmp_path, jwt_public_key_file=tmp_path / "key.pem")).player_key == pem(KEYS["ES256"])
