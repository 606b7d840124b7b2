"""Fields of the OpenAI API that change the answer and that we cannot honour.

Each is refused unless its value is neutral, that is, unless leaving it out would mean the same.
The neutral values are a JSON schema, of which only what the fields need is understood.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from mlxd.errors import UnsupportedParameter

Schema = dict[str, Any]

_EMPTY: list[Schema] = [
    {"type": "string", "maxLength": 0},
    {"type": "array", "maxItems": 0},
    {"type": "object", "maxProperties": 0},
]
_KINDS: dict[str, type] = {"string": str, "array": list, "object": dict}


CHAT: Mapping[str, list[Schema]] = {
    "audio": _EMPTY,
    "function_call": [{"enum": ["none", "auto"]}],
    "functions": _EMPTY,
    "modalities": [{"enum": [["text"], []]}],
    "prediction": _EMPTY,
    "verbosity": [{"enum": ["medium"]}],
    "web_search_options": _EMPTY,
}

COMPLETION: Mapping[str, list[Schema]] = {
    "echo": [{"enum": [False]}],
    "suffix": _EMPTY,
}


def refuse_unsupported(data: bytes, fields: Mapping[str, list[Schema]]) -> None:
    """Look for `fields` in `data`, a decoded JSON object; each has its neutral values' schemas.

    Raises:
        UnsupportedParameter: for the first one with a value that is neither null nor neutral.
    """
    given = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    for name, neutral in fields.items():
        if name in given and not _is_absent_or(neutral, given[name]):
            raise UnsupportedParameter(
                f"`{name}`: not supported with this value; leave it out", param=name
            )


def _is_absent_or(neutral: list[Schema], value: msgspec.Raw) -> bool:
    try:
        decoded = msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return False
    return decoded is None or any(_matches(decoded, schema) for schema in neutral)


def _matches(value: Any, schema: Schema) -> bool:
    if "enum" in schema:
        return any(type(value) is type(allowed) and value == allowed for allowed in schema["enum"])
    return isinstance(value, _KINDS[schema["type"]]) and not value
