"""Any JSON schema as one that a grammar can enforce, and what that one leaves out.

Drafts 4 to 2020-12 and OpenAPI 3.0 become the part of 2020-12 that llguidance compiles. Keywords
that cannot be enforced are left out one by one. Objects are closed to properties that the schema
does not name, unless it says otherwise or combines schemas.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from mlxd.engine.schema_context import REFERRING, Schema, SchemaFinding
from mlxd.engine.schema_keywords import Keywords
from mlxd.engine.schema_overlap import Overlap
from mlxd.engine.schema_references import References
from mlxd.engine.schema_satisfiability import remove_impossible

MAX_PARTS = 50_000
"""As many schemas in one as llguidance compiles."""


Places = dict[int, tuple[str, Schema]]
"""For the identity of a converted schema: the path of the one it comes from, and that one."""


def convert(
    schema: Schema, pattern_error: Callable[[str], str | None]
) -> tuple[Schema, list[SchemaFinding], Places]:
    """Return a schema that a grammar can enforce, what it lacks, and where its parts come from.

    llguidance may still refuse keywords of it whose combination it cannot compile.

    Args:
        schema: any JSON schema.
        pattern_error: returns why llguidance cannot have a pattern, None if it can.

    Raises:
        ValueError: the schema has more parts than a grammar can.
    """
    conversion = _Conversion(schema, pattern_error)
    converted = conversion.run()
    return converted, list(dict.fromkeys(conversion.findings)), conversion.places


class _Conversion:
    """One schema on its way into a grammar.

    In its methods `path` is where a schema is, and `is_open` says that its objects stay open.
    """

    def __init__(self, root: Schema, pattern_error: Callable[[str], str | None]) -> None:
        self.pattern_error = lru_cache(None)(pattern_error)
        self.findings: list[SchemaFinding] = []
        self.references = References(root)
        self.overlap = Overlap(self.references)
        self.places: Places = {}
        self._root = root
        self._definitions: Schema = {}
        self._names: dict[tuple[int, bool], str] = {}
        self._waiting: list[tuple[str, Any, str, bool]] = []
        self._count = 0
        self._kept: list[Schema] = []

    def run(self) -> Schema:
        body = self.convert(self._root, "", is_open=False)
        while self._waiting:
            name, target, path, is_open = self._waiting.pop()
            self._definitions[name] = self.convert(target, path, is_open=is_open)
        schema = body if isinstance(body, dict) else {}
        if self._definitions:
            schema["$defs"] = self._definitions
        if body is False or not remove_impossible(schema):
            self.refuse("", "", "no value of finite size meets it")
            return {}
        return schema

    def convert(self, given: Any, path: str, *, is_open: bool) -> Schema | bool:
        """Convert a schema inside this one."""
        self._count += 1
        if self._count > MAX_PARTS:
            raise ValueError(f"it has more than {MAX_PARTS} parts")
        if isinstance(given, bool):
            return given
        if not isinstance(given, dict):
            self.refuse(path, "", "a schema is an object or a boolean")
            return True
        if given.get("not") in ({}, True):
            return False
        converted = Keywords(self, given, path, is_open=is_open).convert()
        if isinstance(converted, dict):
            self.places[id(converted)] = path, given
            self._kept.append(converted)  # an identity is that of one object while it lives
        if given.get("nullable") is True and converted:
            return {"anyOf": [converted, {"type": "null"}]}
        return converted

    def define(self, target: Any, path: str, *, is_open: bool) -> Schema | bool:
        """Return a reference to a schema of this one, which is converted once."""
        if isinstance(target, bool):
            return target
        key = id(target), is_open
        if key not in self._names:
            self._names[key] = f"d{len(self._names)}"
            self._waiting.append((self._names[key], target, path, is_open))
        return {"$ref": f"#/$defs/{self._names[key]}"}

    def resolve(self, given: Schema, path: str, keyword: str) -> tuple[Any, str] | None:
        """Return what a reference refers to, and its path; None if it cannot be followed."""
        target, place, seen = given, path, {id(given)}
        while (found := self._follow(target, place, keyword)) is not None:
            target, place = found
            if not isinstance(target, dict) or not (further := _only_reference(target)):
                return found
            if id(target) in seen:
                self.refuse(path, keyword, "it refers to itself")
                return None
            seen.add(id(target))
            keyword = further
        return None

    def _follow(self, given: Schema, path: str, keyword: str) -> tuple[Any, str] | None:
        reference = given[keyword]
        if not isinstance(reference, str):
            self.refuse(path, keyword, "it is not a string")
            return None
        try:
            found = self.references.resolve(given, reference)
        except KeyError:
            self.refuse(path, keyword, f"{reference[:100]!r} does not exist")
            return None
        if found is None:
            self.drop(path, keyword, f"{reference[:100]!r} is outside of the schema")
        return found

    def drop(self, path: str, keyword: str, reason: str) -> None:
        """Note a keyword that is not enforced."""
        self.findings.append(SchemaFinding(path, keyword, reason))

    def refuse(self, path: str, keyword: str, reason: str) -> None:
        """Note a keyword that makes the schema invalid."""
        self.findings.append(SchemaFinding(path, keyword, reason, invalid=True))


def _only_reference(schema: Schema) -> str | None:
    """Return the keyword of a schema that is nothing but a reference."""
    keywords = [key for key in schema if key in REFERRING or key in Keywords.HANDLED]
    return keywords[0] if len(keywords) == 1 and keywords[0] in REFERRING else None
