"""Typed access to a GGUF file's metadata; a wrong or missing key is one clear error."""

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from mlxd.errors import InvalidRequest
from mlxd.gguf.container import Value

_Item = TypeVar("_Item")

_KINDS: dict[object, str] = {
    int: "one whole number",
    float: "a number",
    bool: "true or false",
    str: "a string",
    list[str]: "a list of strings",
    list[int]: "a list of whole numbers",
    list[float]: "a list of numbers",
}


class Metadata:
    """The keys under one prefix, such as `llama.` or `tokenizer.ggml.`."""

    def __init__(self, values: Mapping[str, Value], prefix: str = "") -> None:
        self._values = values
        self._prefix = prefix

    def under(self, prefix: str) -> "Metadata":
        """Return the same metadata under `prefix`."""
        return Metadata(self._values, prefix)

    def has(self, key: str) -> bool:
        """Return whether the key is there."""
        return self._prefix + key in self._values

    def get(self, key: str, kind: type[_Item], default: _Item | None = None) -> _Item:
        """Return a value of the type `kind`.

        Raises:
            InvalidRequest: it has another type, or it is missing and there is no `default`.
        """
        value = self._values.get(self._prefix + key, default)
        if value is None:
            raise InvalidRequest(f"the file lacks the key {self._prefix}{key}")
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError:
            raise self.refuse(key, _KINDS[kind]) from None

    def count(self, key: str, default: int | None = None) -> int:
        """Return a whole number that is not negative.

        Raises:
            InvalidRequest: it is something else, or it is missing and there is no `default`.
        """
        value = self.get(key, int, default)
        if value < 0:
            raise self.refuse(key, _KINDS[int])
        return value

    def refuse(self, key: str, allowed: str) -> InvalidRequest:
        """Return the error for a value that cannot be imported; `allowed` says what can."""
        value = self._values.get(self._prefix + key)
        found = f"a list of {len(value)} values" if isinstance(value, list) else repr(value)
        return InvalidRequest(f"{self._prefix}{key} is {found}; {allowed} can be imported")
