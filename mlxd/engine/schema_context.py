"""What the conversion of a schema's parts shares: references, and what was found on the way."""

from dataclasses import dataclass
from typing import Any, Protocol

from mlxd.engine.schema_overlap import Overlap

Schema = dict[str, Any]
REFERRING = ("$ref", "$dynamicRef", "$recursiveRef")


@dataclass(frozen=True)
class SchemaFinding:
    """A keyword of the schema at `path` that is not enforced, and why.

    `invalid` says that the schema has no meaning there, or that no value meets it.
    """

    path: str
    keyword: str
    reason: str
    invalid: bool = False


class Context(Protocol):
    """The conversion of the whole schema."""

    overlap: Overlap

    def convert(self, given: Any, path: str, *, is_open: bool) -> Schema | bool:
        """Convert a schema inside this one."""

    def define(self, target: Any, path: str, *, is_open: bool) -> Schema | bool:
        """Return a reference to a schema, which is converted once."""

    def resolve(self, given: Schema, path: str, keyword: str) -> tuple[Any, str] | None:
        """Return what a reference refers to, and its path."""

    def pattern_error(self, pattern: str) -> str | None:
        """Return why the grammar's engine cannot have a pattern, None if it can."""

    def drop(self, path: str, keyword: str, reason: str) -> None:
        """Note a keyword that is not enforced."""

    def refuse(self, path: str, keyword: str, reason: str) -> None:
        """Note a keyword that makes the schema invalid."""
