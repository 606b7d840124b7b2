"""Typed access to a GGUF file's metadata; a wrong or missing key is one clear line."""

from collections.abc import Mapping
from typing import TypeVar

from mlxd.errors import InvalidRequest
from mlxd.gguf.container import Value

_Item = TypeVar("_Item", str, int, float)


class Metadata:
    """The keys under one prefix, like `llama.` or `tokenizer.ggml.`.

    Every getter raises InvalidRequest for a value of another type, and for an absent key when it is
    given no default.
    """

    def __init__(self, values: Mapping[str, Value], prefix: str = "") -> None:
        self._values = values
        self._prefix = prefix

    def under(self, prefix: str) -> "Metadata":
        """The same metadata, under `prefix`."""
        return Metadata(self._values, prefix)

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number, not negative."""
        value = self._get(key, default)
        if not isinstance(value, int) or value < 0:
            raise self.refuse(key, "one whole number")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A number."""
        value = self._get(key, default)
        if not isinstance(value, int | float):
            raise self.refuse(key, "a number")
        return float(value)

    def flag(self, key: str, default: bool | None = None) -> bool:
        """True or false."""
        value = self._get(key, default)
        if not isinstance(value, bool):
            raise self.refuse(key, "true or false")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        """A string."""
        value = self._get(key, default)
        if not isinstance(value, str):
            raise self.refuse(key, "a string")
        return value

    def texts(self, key: str) -> list[str]:
        """An array of strings."""
        return self._array(key, str, "a list of strings")

    def integers(self, key: str) -> list[int]:
        """An array of whole numbers."""
        return self._array(key, int, "a list of whole numbers")

    def numbers(self, key: str) -> list[float]:
        """An array of floating-point numbers."""
        return self._array(key, float, "a list of numbers")

    def has(self, key: str) -> bool:
        """Whether the key is there."""
        return self._prefix + key in self._values

    def refuse(self, key: str, allowed: str) -> InvalidRequest:
        """The error for a value that cannot be imported; `allowed` says what can."""
        value = self._values.get(self._prefix + key)
        found = f"a list of {len(value)} values" if isinstance(value, list) else repr(value)
        return InvalidRequest(f"{self._prefix}{key} is {found}; {allowed} can be imported")

    def _get(self, key: str, default: Value | None) -> Value:
        value = self._values.get(self._prefix + key, default)
        if value is None:
            raise InvalidRequest(f"the file lacks the key {self._prefix}{key}")
        return value

    def _array(self, key: str, kind: type[_Item], allowed: str) -> list[_Item]:
        values = self._get(key, None)
        if not isinstance(values, list):
            raise self.refuse(key, allowed)
        items = [value for value in values if isinstance(value, kind)]
        if len(items) != len(values):
            raise self.refuse(key, allowed)
        return items
