"""What the answer must match: OpenAI's `response_format` and vLLM's `guided_…` fields."""

import json
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from mlxd.api.decode import doc, read_json, read_schema
from mlxd.errors import InvalidRequest
from mlxd.messages import Grammar

_Choice = Annotated[str, Meta(min_length=1)]


class TextFormat(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """Any text."""


class JsonObjectFormat(msgspec.Struct, frozen=True, tag_field="type", tag="json_object"):
    """A JSON object."""


class NamedSchema(msgspec.Struct, frozen=True, kw_only=True):
    """A JSON schema. `name` and `description` do not change the answer."""

    schema: Annotated[dict[str, Any], doc("The JSON schema.")]
    name: Annotated[str | None, doc("A name for the schema.")] = None
    description: Annotated[str | None, doc("What the schema is for.")] = None
    strict: Annotated[
        bool | None,
        doc("Refuse a schema that cannot be enforced as a whole, instead of parts of it."),
    ] = None


class JsonSchemaFormat(msgspec.Struct, frozen=True, tag_field="type", tag="json_schema"):
    """JSON that matches a schema."""

    json_schema: NamedSchema


ResponseFormat = TextFormat | JsonObjectFormat | JsonSchemaFormat


class GuidedFields(msgspec.Struct, frozen=True, kw_only=True):
    """vLLM's ways to say what the answer must match. A request may use one of them."""

    guided_json: Annotated[
        dict[str, Any] | str | None,
        doc("The answer is JSON that matches this schema (an object or a string)."),
    ] = None
    guided_regex: Annotated[str | None, doc("The answer matches this regular expression.")] = None
    guided_grammar: Annotated[str | None, doc("The answer matches this Lark grammar.")] = None
    guided_choice: Annotated[
        Annotated[list[_Choice], Meta(min_length=1)] | None,
        doc("The answer is one of these strings."),
    ] = None

    def grammars(self) -> list[Grammar]:
        """Return one grammar for each field that is set."""
        grammars = []
        if self.guided_json is not None:
            grammars.append(_schema(_object(self.guided_json), "guided_json"))
        if self.guided_regex is not None:
            grammars.append(Grammar("regex", self.guided_regex, "guided_regex"))
        if self.guided_grammar is not None:
            grammars.append(Grammar("lark", self.guided_grammar, "guided_grammar"))
        if self.guided_choice is not None:
            choices = " | ".join(json.dumps(text) for text in self.guided_choice)
            grammars.append(Grammar("lark", f"start: {choices}", "guided_choice"))
        return grammars


def grammar_of(response_format: ResponseFormat | None) -> list[Grammar]:
    """Return the grammar for `response_format`, if it needs one."""
    match response_format:
        case JsonObjectFormat():
            return [_schema({"type": "object"}, "response_format")]
        case JsonSchemaFormat(json_schema=named):
            strict = bool(named.strict)
            return [_schema(named.schema, "response_format.json_schema.schema", strict=strict)]
        case _:
            return []


def only_one(grammars: list[Grammar]) -> Grammar | None:
    """Return the only grammar, if there is one; several are an InvalidRequest."""
    if len(grammars) > 1:
        first, second, *_ = (grammar.param for grammar in grammars)
        raise InvalidRequest(f"`{second}`: cannot be combined with `{first}`", param=second)
    return grammars[0] if grammars else None


def _object(given: dict[str, Any] | str) -> dict[str, Any]:
    if isinstance(given, dict):
        return given
    try:
        schema = read_json(given)
    except (ValueError, RecursionError):
        schema = None
    if not isinstance(schema, dict):
        message = "`guided_json`: the string is not a JSON object"
        raise InvalidRequest(message, param="guided_json")
    return schema


def _schema(schema: dict[str, Any], param: str, *, strict: bool = False) -> Grammar:
    held = read_schema(schema, param)
    source = json.dumps(held, ensure_ascii=False, separators=(",", ":"))
    return Grammar("json_schema", source, param, strict)
