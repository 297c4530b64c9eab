"""The document tells of every route, with the seed's bodies, and of nothing else."""

import asyncio
import json
from typing import Any

import pytest
from fastapi.routing import APIRoute
from jsonschema import Draft202012Validator

from serve_app.operators import openapi
from serve_app.operators.ops import operators_app
from serve_app.players import examples
from serve_app.players.answers import STATUSES, Code
from serve_app.players.routes import CMCD_PATH, EPAS_PATH, PIXEL_PATH, POSTS
from serve_app.players.script import HASHED_PATH, SCRIPT_PATH
from tests.front_door import FrontDoor, ask

DOCUMENT = openapi.document()


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    return {"$ref": schema["$ref"], "components": DOCUMENT["components"]} if "$ref" in schema else schema


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, operation) for path, methods in DOCUMENT["paths"].items() for method, operation in methods.items()]


def test_it_is_openapi_3_1_and_json() -> None:
    assert DOCUMENT["openapi"] == "3.1.0"
    assert json.loads(json.dumps(DOCUMENT)) == DOCUMENT


def test_every_route_is_told() -> None:
    door_routes = {*POSTS, CMCD_PATH, EPAS_PATH, PIXEL_PATH, SCRIPT_PATH, HASHED_PATH}

    async def routes() -> set[str]:
        door = FrontDoor()
        app = operators_app(door.backstage, doorkeeper=None, broadcast=None, openapi={})  # type: ignore[arg-type]
        return {route.path.replace(":any", "") for route in app.routes if isinstance(route, APIRoute)}

    assert set(DOCUMENT["paths"]) == door_routes | asyncio.run(routes())


@pytest.mark.parametrize("route", POSTS.values(), ids=lambda route: route.endpoint)
def test_the_seeds_bodies_are_its_examples_and_fit_its_schemas(route: Any) -> None:
    schemas = DOCUMENT["components"]["schemas"]
    operation = DOCUMENT["paths"][route.path]["post"]
    request = operation["requestBody"]["content"]["application/json"]["schema"]
    answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
    example = {"start": examples.START, "heartbeat": examples.HEARTBEAT, "end": examples.END, "events": examples.EVENTS}[route.endpoint]
    for schema, body in ((request, example), (answer, route.example)):
        assert schemas[schema["$ref"].rpartition("/")[2]]["examples"] == [body]
        Draft202012Validator(resolved(schema)).validate(body)


def test_all_schemas_are_sound_and_all_references_lead_somewhere() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)

    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [ref for name, inner in value.items() for ref in ([inner] if name == "$ref" else references(inner))]
        return [ref for inner in value for ref in references(inner)] if isinstance(value, list) else []

    found = references(DOCUMENT)
    assert len(found) > 20
    for reference in found:
        target: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]


def test_players_and_operators_are_asked_for_their_own_tokens() -> None:
    for path, _, operation in operations():
        asked = [name for scheme in operation["security"] for name in scheme]
        if path in {*POSTS, EPAS_PATH}:
            assert asked == ["ingest", "ingestParameter"]
        elif operation["tags"] == ["operators"]:
            assert asked == ["ops"]
        else:
            assert asked == []


def test_every_error_has_the_one_shape_and_a_status_that_is_ours() -> None:
    for _, _, operation in operations():
        for status, response in operation["responses"].items():
            if status not in {"200", "204", "304"}:
                assert int(status) in STATUSES.values()
                assert response["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Error"}


def test_what_asks_for_patience_says_for_how_long() -> None:
    for _, _, operation in operations():
        for status, response in operation["responses"].items():
            assert ("Retry-After" in response.get("headers", {})) == (status in {"429", "503"})


@pytest.mark.parametrize("code", Code)
def test_every_code_fits_the_error_schema(code: Code) -> None:
    Draft202012Validator(DOCUMENT["components"]["schemas"]["Error"]).validate(
        {"status": "error", "error": {"code": code.value, "message": "m", "fields": []}}
    )


def test_it_is_served_as_it_is() -> None:
    async def served() -> Any:
        return await ask(FrontDoor().app, "GET", "/openapi.json", token=None)

    assert asyncio.run(served()).json == DOCUMENT
