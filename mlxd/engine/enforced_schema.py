"""What a grammar enforces of a request's JSON schema, and what it overlooks."""

import json
from dataclasses import dataclass

from mlxd.engine.json_schema import Places, convert
from mlxd.engine.schema_context import Schema, SchemaFinding
from mlxd.engine.schema_repair import ErrorOf, leave_out
from mlxd.errors import InvalidRequest
from mlxd.generate_request import Grammar
from mlxd.messages import Overlooked

ANY_OBJECT: Schema = {"type": "object"}
_MOST_REPORTED = 100


@dataclass(frozen=True)
class EnforcedSchema:
    """A schema that llguidance compiles, and the request's keywords that it lacks."""

    schema: Schema
    overlooked: list[Overlooked]


def enforce(grammar: Grammar, error_of: ErrorOf, *, lenient: bool, checked: bool) -> EnforcedSchema:
    """Return what a grammar enforces of a schema.

    Args:
        grammar: has the schema.
        error_of: returns why a schema cannot be compiled, None if it can be.
        lenient: overlook what makes the schema invalid or impossible to meet, too.
        checked: find what llguidance cannot compile. It is not needed where it compiles the whole.

    Raises:
        InvalidRequest: it is invalid, nothing meets it, or it is strict and partly not enforced.
    """
    try:
        schema, findings, places = convert(
            json.loads(grammar.source), lambda pattern: error_of({"pattern": pattern})
        )
    except (ValueError, RecursionError) as error:
        finding = SchemaFinding("", "", str(error) or "it is nested too deeply", invalid=True)
        schema, findings, places = dict(ANY_OBJECT), [finding], {}
    _check(grammar, findings, lenient)
    if checked:
        findings += _repair(grammar, schema, places, error_of, lenient)
    return EnforcedSchema(schema, [_told(grammar, found) for found in findings[:_MOST_REPORTED]])


def _repair(
    grammar: Grammar, schema: Schema, places: Places, error_of: ErrorOf, lenient: bool
) -> list[SchemaFinding]:
    findings: list[SchemaFinding] = []
    while (finding := leave_out(schema, places, error_of)) is not None:
        _check(grammar, [finding], lenient)
        findings.append(finding)
        if not schema.keys() - {"$defs"}:
            break
    return findings


def _check(grammar: Grammar, findings: list[SchemaFinding], lenient: bool) -> None:
    """Raise InvalidRequest for the first finding that is not to be overlooked."""
    for finding in findings:
        if grammar.strict or (finding.invalid and not lenient):
            param = grammar.param + finding.path
            keyword = f"`{finding.keyword}`: " if finding.keyword else ""
            message = f"`{param}` cannot be compiled: {keyword}{finding.reason}"
            raise InvalidRequest(message, param=param)


def _told(grammar: Grammar, finding: SchemaFinding) -> Overlooked:
    step = f".{finding.keyword}" if finding.keyword else ""
    return Overlooked(f"{grammar.param}{finding.path}{step}", finding.keyword, finding.reason)
