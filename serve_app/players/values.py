"""
The kinds of values that the contract's bodies are made of: ids, texts, moments, counts, and what is free.

Decides what one value may look like, whatever field it stands in: which numbers are whole, that no text holds a NUL, and
how much JSON of a player's own choosing is taken. It knows no body: see `wire.py`.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, PlainValidator, StringConstraints, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema
from typing_extensions import TypeAliasType

from serve_app.players.timestamps import seconds_of
from sessions import limits


@dataclass(frozen=True, slots=True)
class Whole:
    """
    Marks a field as a whole number, 0 or more.

    `5.0` is one, as JSON Schema has it and thus our OpenAPI document says; `5.5`, `"5"` and `true` are none.
    """

    maximum: int | None = None

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return pydantic's own integer, and beside it a float that is looked at here; most never are."""
        schema: dict[str, object] = {"type": "integer", "minimum": 0}
        upto = ""
        if self.maximum is not None:
            schema["maximum"] = self.maximum
            upto = f" up to {self.maximum}"
        return core_schema.union_schema(
            [
                core_schema.int_schema(strict=True, ge=0, le=self.maximum),
                core_schema.no_info_after_validator_function(self._of_float, core_schema.float_schema(strict=True, ge=0)),
            ],
            mode="left_to_right",
            custom_error_type="whole_number",
            custom_error_message=f"must be a whole number, 0 or more{upto}",
            metadata={"pydantic_js_functions": [lambda _schema, _handler: schema]},
        )

    def _of_float(self, value: float) -> int:
        if not value.is_integer() or (self.maximum is not None and value > self.maximum):
            raise PydanticCustomError("whole_number", "must be a whole number")
        return int(value)


_NO_NUL: Final = r"^[^\x00]*$"

Id = Annotated[str, StringConstraints(min_length=1, max_length=limits.ID_CHARS_MAX, pattern=_NO_NUL)]
"""Names something: 1 to 256 characters, no NUL."""
Text = Annotated[str, StringConstraints(pattern=_NO_NUL)]
"""Describes something: any length (what is kept is cut to `limits.TEXT_CHARS_MAX`), no NUL."""
Timestamp = Annotated[
    float,
    PlainValidator(seconds_of),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2024-11-01T18:15:00Z"]}),
]
"""A moment of the player's clock: text on the wire, seconds since the epoch here."""
Count = Annotated[int, Whole()]
"""Of anything; whatever its size, it is capped before it is summed."""
Amount = Annotated[float, Field(ge=0)]


class _NamedWithoutNul:
    """Tells of an object whose names are texts; pydantic's own telling of it would let other names through."""

    @staticmethod
    def __get_pydantic_json_schema__(source: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        told = handler(source)
        ((pattern, values),) = told.pop("patternProperties").items()
        return {**told, "propertyNames": {"pattern": pattern}, "additionalProperties": values}


Free = TypeAliasType("Free", "bool | Text | int | float | list[Free] | Annotated[dict[Text, Free], _NamedWithoutNul] | None")
"""Any JSON value without a NUL: given back, never measured. It only tells: `judge_free` judges."""

_TOO_MANY: Final = f"must hold at most {limits.FREE_VALUES_MAX} values"
_TOO_DEEP: Final = f"must be nested at most {limits.FREE_LEVELS_MAX} levels deep"
_WITH_NUL: Final = "must hold no NUL"
_NOT_FINITE: Final = "must hold only finite numbers"
FREE_BOUNDS: Final = f"At most {limits.FREE_VALUES_MAX} values, nested at most {limits.FREE_LEVELS_MAX} levels deep."


def _free_object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _not_free("must be an object")
    judge_free(value)
    return value


def _free_list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise _not_free("must be a list")
    judge_free(value)
    return value


def judge_free(root: dict[str, Any] | list[Any]) -> None:
    """
    Walk what was just decoded, once, and raise one error for the first thing that is wrong.

    Strangers choose its shape, so the walk keeps its own stack, and stops at the first value past a bound. Whole
    numbers that the journal has no bytes for become floats, in place.
    """
    values = 0
    ahead: list[tuple[dict[str, Any] | list[Any], int]] = [(root, 1)]
    while ahead:
        holder, level = ahead.pop()
        if level > limits.FREE_LEVELS_MAX:
            raise _not_free(_TOO_DEEP)
        values += len(holder)
        if values > limits.FREE_VALUES_MAX:
            raise _not_free(_TOO_MANY)
        entries: Iterable[tuple[Any, Any]] = enumerate(holder)
        if isinstance(holder, dict):
            if any("\0" in name for name in holder):
                raise _not_free(_WITH_NUL)
            entries = holder.items()
        for key, value in entries:
            if isinstance(value, dict | list):
                ahead.append((value, level + 1))
            elif isinstance(value, str):
                if "\0" in value:
                    raise _not_free(_WITH_NUL)
            elif isinstance(value, int | float) and not -(2**63) <= value < 2**63:
                holder[key] = _finite_float(value)


def _finite_float(value: float) -> float:
    """Return a number that is no 64-bit integer as what can be kept of it."""
    try:
        kept = float(value)
    except OverflowError:
        kept = math.inf
    if not math.isfinite(kept):
        raise _not_free(_NOT_FINITE)
    return kept


def _not_free(problem: str) -> PydanticCustomError:
    return PydanticCustomError("not_free", "{problem}", {"problem": problem})


FreeObject = Annotated[dict[str, Any], PlainValidator(_free_object, json_schema_input_type=Annotated[dict[Text, Free], _NamedWithoutNul])]
FreeList = Annotated[list[Any], PlainValidator(_free_list, json_schema_input_type=list[Free])]
