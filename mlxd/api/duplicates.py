"""Objects that have a key twice: JSON parsers disagree on which one counts, so none does."""

import json
from typing import Any, NoReturn

from mlxd.errors import InvalidRequest


class _Repetition(Exception):
    """A key is there twice."""


class _Pairs(list[tuple[str, Any]]):
    """An object of JSON, as it was written."""


def refuse_duplicates(text: str) -> None:
    """Look into every object of `text`, which is valid JSON.

    Raises:
        InvalidRequest: `param` is the path of a key that an object has twice.
        RecursionError: it is nested too deeply.
    """
    try:
        json.loads(text, strict=False, parse_int=float, object_pairs_hook=_require_unique)
    except _Repetition:
        # Only now is the way to the key worth its time.
        _name(json.loads(text, strict=False, parse_int=float, object_pairs_hook=_Pairs), "")


def _require_unique(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) < len(pairs):
        raise _Repetition


def _name(value: Any, path: str) -> None:
    if isinstance(value, _Pairs):
        seen = set()
        for key, inner in value:
            param = f"{path}.{key}".lstrip(".")
            if key in seen:
                _refuse(param)
            seen.add(key)
            _name(inner, param)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _name(inner, f"{path}[{index}]")


def _refuse(param: str) -> NoReturn:
    raise InvalidRequest(f"`{param}`: the key is there twice", param=param)
