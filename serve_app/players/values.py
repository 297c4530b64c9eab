"""
The kinds of values that the contract's bodies are made of: ids, texts, moments, counts, and what is free.

Decides what one value may look like, whatever field it stands in: which numbers are whole, that no text holds a NUL, and
how much JSON of a player's own choosing is taken. It knows no body: see `wire.py`.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, PlainValidator, StringConstraints, WithJsonSchema
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema
from typing_extensions import TypeAliasType

from serve_app.players.timestamps import seconds_of
from sessions import limits


@dataclass(frozen=True, slots=True)
class Kind:
    """Marks what a field may hold, in a player author's words."""

    words: str
    is_text: bool = False
    """It describes something and names nothing: half a character in it is read as U+FFFD."""


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


PLACEHOLDER_ID: Final = "placeholder_id"
"""Of pydantic's error, and what it is counted as: an id that nobody filled in, and that many viewers would share."""
PLACEHOLDERS: Final = frozenset(
    {
        "undefined",
        "null",
        "NULL",
        "Null",
        "None",
        "nil",
        "<nil>",
        "NaN",
        "(null)",
        "(none)",
        "[object Object]",
        "[object Undefined]",
        "[object Null]",
    }
)
MACRO_BEGINS: Final = frozenset("{$#%[<_")
_MACRO: Final = re.compile(
    r"\{\{.*\}\}|\{[A-Za-z_][\w.]*\}|[$#%]\{.*\}|\$\(.*\)|%%.+%%|%[A-Za-z_]\w*%|\[[A-Z][A-Z0-9_]*\]|<%.*%>|__[A-Z][A-Z0-9_]*__", re.DOTALL
)
"""What templates and advertising servers leave where they were to write a value. A GUID in braces is none."""
_HALF_A_CHARACTER: Final = re.compile("[\ud800-\udfff]")


def is_placeholder(name: str) -> bool:
    """Tell whether an id is what a program writes where there is none, or a macro that was never filled in."""
    return name in PLACEHOLDERS or (name[:1] in MACRO_BEGINS and _MACRO.fullmatch(name) is not None)


def _filled_in(name: str) -> str:
    if is_placeholder(name):
        raise PydanticCustomError(PLACEHOLDER_ID, "is a placeholder that nobody filled in")
    return name


def mended_text(text: str) -> str:
    """Return a text with U+FFFD where half a character (a lone surrogate) stands."""
    return _HALF_A_CHARACTER.sub("\N{REPLACEMENT CHARACTER}", text)


BITRATE_KBPS_MIN: Final = 0.001
"""One bit per second: a bitrate of 0 is none."""
BITRATE_KBPS_MAX: Final = limits.BITRATE_BPS_MAX // 1_000
LATENCY_MS_MAX: Final = limits.LATENCY_US_MAX // 1_000

_NO_NUL: Final = r"^[^\x00]*$"

Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=limits.ID_CHARS_MAX, pattern=_NO_NUL),
    Kind(f"text of 1 to {limits.ID_CHARS_MAX} characters, no NUL"),
]
"""Says which of a kind: a quality, a country."""
Id = Annotated[
    str,
    StringConstraints(min_length=1, max_length=limits.ID_CHARS_MAX, pattern=_NO_NUL),
    AfterValidator(_filled_in),
    Kind(f"id of 1 to {limits.ID_CHARS_MAX} characters, no NUL, no placeholder"),
]
"""Names something: 1 to 256 characters, no NUL, and filled in."""
Text = Annotated[str, StringConstraints(pattern=_NO_NUL), Kind("text, no NUL", is_text=True)]
"""Describes something: any length (what is kept is cut to `limits.TEXT_CHARS_MAX`), no NUL."""
Timestamp = Annotated[
    float,
    PlainValidator(seconds_of),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2024-11-01T18:15:00Z"]}),
    Kind("ISO 8601 date and time with a zone"),
]
"""A moment of the player's clock: text on the wire, seconds since the epoch here."""
Flag = Annotated[bool, Kind("`true` or `false`")]
Number = Annotated[float, Kind("any finite number")]
Count = Annotated[int, Whole(limits.PLAYER_COUNTER_MAX), Kind(f"whole number, 0 to {limits.PLAYER_COUNTER_MAX:,}")]
"""Of anything; `5.0` is whole."""
CountOrUnknown = Annotated[
    int | None, Whole(limits.PLAYER_COUNTER_MAX), Kind(f"whole number, 0 to {limits.PLAYER_COUNTER_MAX:,}; above: unknown")
]
"""One that is required, and so cannot be dropped: beyond its bound it is None. On the wire it is no null."""
Bitrate = Annotated[
    float, Field(ge=BITRATE_KBPS_MIN, le=BITRATE_KBPS_MAX), Kind(f"number, {BITRATE_KBPS_MIN} to {BITRATE_KBPS_MAX:,}: 1 bit/s to 1 Gbit/s")
]
Latency = Annotated[float, Field(ge=0, le=LATENCY_MS_MAX), Kind(f"number, 0 to {LATENCY_MS_MAX:,}: one hour")]
DvrOffset = Annotated[float, Field(ge=0, le=limits.DVR_OFFSET_S_MAX), Kind(f"number, 0 to {limits.DVR_OFFSET_S_MAX:,}")]


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


FreeObject = Annotated[
    dict[str, Any],
    PlainValidator(_free_object, json_schema_input_type=Annotated[dict[Text, Free], _NamedWithoutNul]),
    Kind(f"object of any JSON. {FREE_BOUNDS}"),
]
FreeList = Annotated[list[Any], PlainValidator(_free_list, json_schema_input_type=list[Free]), Kind(f"list of any JSON. {FREE_BOUNDS}")]
