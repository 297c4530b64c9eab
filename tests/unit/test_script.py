"""The client library is served to any page that may ask, small, and under its hash for good."""

import asyncio
import gzip
from typing import Any

import pytest

from player import HASH, SCRIPT
from serve_app.players.ingest import Rules
from serve_app.players.script import HASHED_PATH
from tests.front_door import SLOTS, FrontDoor, ask

PAGE = "https://site.example"


def get(path: str = "/headcount.js", method: str = "GET", *, rules: Rules | None = None, **headers: str) -> Any:
    async def answered() -> Any:
        door = FrontDoor(rules=rules or Rules(slots=SLOTS))
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return await ask(door.app, method, path, token=None, headers={"origin": PAGE, **given})

    return asyncio.run(answered())


def test_it_is_a_module_that_a_page_of_another_origin_may_load_also_an_isolated_one() -> None:
    answer = get()
    assert (answer.status, answer.body) == (200, SCRIPT)
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["vary"] == "accept-encoding, origin"


def test_a_page_that_is_not_allowed_is_not_named() -> None:
    answer = get(rules=Rules(slots=SLOTS, cors_origins=("https://other.example",)))
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["vary"] == "accept-encoding, origin"


@pytest.mark.parametrize("accepted", ["gzip", "br, gzip;q=0.8", "deflate,gzip"])
def test_it_is_at_most_5_000_bytes_as_it_is_served(accepted: str) -> None:
    answer = get(accept_encoding=accepted)
    assert answer.headers["content-encoding"] == "gzip"
    assert gzip.decompress(answer.body) == SCRIPT
    assert int(answer.headers["content-length"]) == len(answer.body) <= 5_000


@pytest.mark.parametrize("refused", ["", "br", "gzip;q=0", "gzip; q=0.0, br"])
def test_whoever_takes_no_gzip_gets_none(refused: str) -> None:
    answer = get(accept_encoding=refused)
    assert "content-encoding" not in answer.headers
    assert answer.body == SCRIPT


def test_it_is_kept_for_minutes_under_its_name_and_for_good_under_its_hash() -> None:
    short, long = get(), get(f"/headcount.{HASH}.js")
    assert short.headers["cache-control"] == "public, max-age=300"
    assert long.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert short.body == long.body
    assert short.headers["content-location"] == long.headers["content-location"] == f"/headcount.{HASH}.js" == HASHED_PATH


def test_whoever_has_it_is_told_so() -> None:
    answer = get(if_none_match=get().headers["etag"])
    assert (answer.status, answer.body) == (304, b"")
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert get(if_none_match='"another"').status == 200


def test_a_head_says_how_long_it_is() -> None:
    answer = get(method="HEAD")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", str(len(SCRIPT)))


def test_another_hash_is_not_there_and_another_method_not_allowed() -> None:
    assert get("/headcount.0123456789abcdef.js").code == "not_found"
    wrong = get(method="POST")
    assert (wrong.status, wrong.code, wrong.headers["allow"]) == (405, "method_not_allowed", "GET, HEAD, OPTIONS")


def test_a_preflight_names_the_methods() -> None:
    answer = get(method="OPTIONS")
    assert (answer.status, answer.headers["access-control-allow-methods"]) == (204, "GET, HEAD, OPTIONS")
