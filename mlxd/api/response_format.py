"""What the answer must match: OpenAI's `response_format`, and the fields of other servers."""

import json
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from mlxd.api.decode import doc, read_json, read_schema
from mlxd.api.other_servers import RefusedFields, check_refused, only
from mlxd.errors import InvalidRequest
from mlxd.generate_request import Grammar

_Choice = Annotated[str, Meta(min_length=1)]


class TextFormat(msgspec.Struct, frozen=True, tag_field="type", tag="text"):
    """Any text."""


class JsonObjectFormat(msgspec.Struct, frozen=True, tag_field="type", tag="json_object"):
    """A JSON object, which matches `schema` if there is one."""

    schema: Annotated[dict[str, Any] | None, doc("The JSON schema.")] = None


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

    json_schema: Annotated[NamedSchema | None, doc("The schema.")] = None
    schema: Annotated[dict[str, Any] | None, doc("llama.cpp's place for the schema.")] = None


ResponseFormat = TextFormat | JsonObjectFormat | JsonSchemaFormat


class StructuredOutputs(msgspec.Struct, frozen=True, kw_only=True):
    """vLLM's newer way to say what the answer must match."""

    json: Annotated[dict[str, Any] | str | None, doc("As `guided_json`.")] = None
    regex: Annotated[str | None, doc("As `guided_regex`.")] = None
    choice: Annotated[
        Annotated[list[_Choice], Meta(min_length=1)] | None, doc("As `guided_choice`.")
    ] = None
    grammar: Annotated[str | None, doc("As `grammar`.")] = None
    json_object: Annotated[bool | None, doc("The answer is a JSON object.")] = None
    disable_any_whitespace: Annotated[Any, only(False)] = None
    structural_tag: Annotated[Any, only()] = None
    whitespace_pattern: Annotated[Any, only()] = None


class GuidedFields(RefusedFields, frozen=True, kw_only=True):
    """What the answer must match, as other servers spell it. A request may use one of them."""

    response_format: Annotated[
        ResponseFormat | None, doc("The format that the answer must have.")
    ] = None
    guided_json: Annotated[
        dict[str, Any] | str | None,
        doc("The answer is JSON that matches this schema (an object or a string)."),
    ] = None
    json_schema: Annotated[dict[str, Any] | str | None, doc("Another name for `guided_json`.")] = (
        None
    )
    guided_regex: Annotated[str | None, doc("The answer matches this regular expression.")] = None
    regex: Annotated[str | None, doc("Another name for `guided_regex`.")] = None
    guided_grammar: Annotated[str | None, doc("The answer matches this Lark grammar.")] = None
    grammar: Annotated[
        str | None, doc("The answer matches this grammar, in llama.cpp's GBNF or in Lark.")
    ] = None
    ebnf: Annotated[str | None, doc("Another name for `grammar`.")] = None
    guided_choice: Annotated[
        Annotated[list[_Choice], Meta(min_length=1)] | None,
        doc("The answer is one of these strings."),
    ] = None
    format: Annotated[
        dict[str, Any] | str | None,
        doc("As Ollama's own API has it: `json` for a JSON object, or a JSON schema."),
    ] = None
    structured_outputs: Annotated[
        StructuredOutputs | None, doc("One of these fields under vLLM's newer names.")
    ] = None

    def grammars(self) -> list[Grammar]:
        """Return one grammar for each field that is set and not empty."""
        found = _grammars(self, _KINDS) + grammar_of(self.response_format)
        if self.structured_outputs is not None:
            check_refused(self.structured_outputs, "structured_outputs.")
            found += _grammars(self.structured_outputs, _STRUCTURED_KINDS, "structured_outputs.")
        return found


_Kind = Literal["json", "regex", "lark", "gbnf", "choice", "object", "format"]
_KINDS: dict[str, _Kind] = {
    "guided_json": "json",
    "json_schema": "json",
    "guided_regex": "regex",
    "regex": "regex",
    "guided_grammar": "lark",
    "grammar": "gbnf",
    "ebnf": "gbnf",
    "guided_choice": "choice",
    "format": "format",
}
_STRUCTURED_KINDS: dict[str, _Kind] = {
    "json": "json",
    "regex": "regex",
    "choice": "choice",
    "grammar": "gbnf",
    "json_object": "object",
}


def _grammars(holder: object, kinds: dict[str, _Kind], prefix: str = "") -> list[Grammar]:
    return [
        _grammar(kind, value, prefix + name)
        for name, kind in kinds.items()
        if (value := getattr(holder, name)) is not None and value not in ("", False)
    ]


def _grammar(kind: _Kind, value: Any, param: str) -> Grammar:
    match kind:
        case "format" if value == "json":
            return _schema({"type": "object"}, param)
        case "json" | "format":
            return _schema(_object(value, param), param)
        case "object":
            return _schema({"type": "object"}, param)
        case "choice":
            choices = " | ".join(json.dumps(text) for text in value)
            return Grammar("lark", f"start: {choices}", param)
        case _:
            return Grammar(kind, value, param)


def grammar_of(response_format: ResponseFormat | None) -> list[Grammar]:
    """Return the grammar for `response_format`, if it needs one."""
    match response_format:
        case JsonObjectFormat(schema=None):
            return [_schema({"type": "object"}, "response_format")]
        case JsonSchemaFormat(json_schema=NamedSchema(schema=schema, strict=strict)):
            path = "response_format.json_schema.schema"
            return [_schema(schema, path, strict=bool(strict))]
        case JsonObjectFormat(schema=dict(schema)) | JsonSchemaFormat(schema=dict(schema)):
            return [_schema(schema, "response_format.schema")]
        case JsonSchemaFormat():
            path = "response_format.json_schema"
            raise InvalidRequest(f"`{path}`: missing", param=path)
        case _:
            return []


def only_one(grammars: list[Grammar]) -> Grammar | None:
    """Return the only grammar, if there is one; several are an InvalidRequest."""
    if len(grammars) > 1:
        first, second, *_ = (grammar.param for grammar in grammars)
        raise InvalidRequest(f"`{second}`: cannot be combined with `{first}`", param=second)
    return grammars[0] if grammars else None


def _object(given: dict[str, Any] | str, param: str) -> dict[str, Any]:
    if isinstance(given, dict):
        return given
    try:
        schema = read_json(given)
    except (ValueError, RecursionError):
        schema = None
    if not isinstance(schema, dict):
        message = f"`{param}`: the string is not a JSON object"
        raise InvalidRequest(message, param=param)
    return schema


def _schema(schema: dict[str, Any], param: str, *, strict: bool = False) -> Grammar:
    held = read_schema(schema, param)
    source = json.dumps(held, ensure_ascii=False, separators=(",", ":"))
    return Grammar("json_schema", source, param, strict)
