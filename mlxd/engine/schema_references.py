"""What the references of a JSON schema refer to. Nothing is ever fetched."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

DEFINITIONS = ("$defs", "definitions")
NAMED = ("properties", "patternProperties", "dependentSchemas", *DEFINITIONS)
"""Keywords that hold schemas by name."""
LISTED = ("anyOf", "oneOf", "allOf", "prefixItems")
"""Keywords that hold a list of schemas."""
SINGLE = (
    "items",
    "additionalItems",
    "additionalProperties",
    "unevaluatedItems",
    "unevaluatedProperties",
    "propertyNames",
    "contains",
    "not",
    "if",
    "then",
    "else",
)
"""Keywords that hold one schema."""

_ROOT = ""
"""The address of a schema that has none."""


def inner_schemas(schema: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what a schema's keywords hold in the place of schemas, each with its path."""
    for keyword, value in schema.items():
        if isinstance(value, dict) and keyword in NAMED:
            yield from ((f".{keyword}.{name}", inner) for name, inner in value.items())
        elif isinstance(value, list) and (keyword in LISTED or keyword == "items"):
            yield from ((f".{keyword}[{place}]", inner) for place, inner in enumerate(value))
        elif keyword in SINGLE:
            yield f".{keyword}", value


class References:
    """The addresses and anchors in a schema."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._bases: dict[int, str] = {}
        self._resources: dict[str, tuple[dict[str, Any], str]] = {_ROOT: (root, "")}
        self._anchors: dict[tuple[str, str], tuple[dict[str, Any], str]] = {}
        self._enter(root)

    def resolve(self, schema: dict[str, Any], reference: str) -> tuple[Any, str] | None:
        """Return what a reference in `schema` refers to, and its path; None if it is not here.

        Raises:
            KeyError: it refers to a place in this schema that does not exist.
        """
        base = self._bases.get(id(schema), _ROOT)
        address, fragment = urldefrag(_joined(base, reference))
        if (resource := self._resources.get(address)) is None:
            return None
        fragment = unquote(fragment)
        if not fragment.strip("/"):
            return resource
        if not fragment.startswith("/"):
            return self._anchors[address, fragment]
        target, path = resource
        for step in fragment[1:].split("/"):
            target, path = _step(target, path, step.replace("~1", "/").replace("~0", "~"))
        if isinstance(target, dict):
            self._bases.setdefault(id(target), address)
        return target, path

    def _enter(self, root: dict[str, Any]) -> None:
        """Note the address of each schema, and the anchors."""
        rest: list[tuple[Any, str, str]] = [(root, "", _ROOT)]
        while rest:
            schema, path, base = rest.pop()
            if not isinstance(schema, dict):
                continue
            name = schema.get("$id", schema.get("id"))
            if isinstance(name, str):
                address, fragment = urldefrag(_joined(base, name))
                if fragment:  # as drafts 4 to 7 wrote anchors
                    self._anchors[address, fragment] = schema, path
                else:
                    base = address
                    self._resources.setdefault(base, (schema, path))
            self._bases[id(schema)] = base
            for keyword in ("$anchor", "$dynamicAnchor"):
                if isinstance(anchor := schema.get(keyword), str):
                    self._anchors.setdefault((base, anchor), (schema, path))
            rest += ((inner, path + step, base) for step, inner in inner_schemas(schema))


def _joined(base: str, reference: str) -> str:
    if reference.startswith("#"):
        return base + reference  # urljoin does not know every scheme
    try:
        return urljoin(base, reference)
    except ValueError:
        return reference


def _step(target: Any, path: str, step: str) -> tuple[Any, str]:
    if isinstance(target, list) and step.isdecimal() and int(step) < len(target):
        return target[int(step)], f"{path}[{int(step)}]"
    if isinstance(target, dict):
        return target[step], f"{path}.{step}"
    raise KeyError(step)
