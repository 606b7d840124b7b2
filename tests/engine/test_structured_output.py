"""Grammars over the tokens of the tiny marked model: a token is a byte, or a mark."""

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest
from mlx_lm.utils import load_tokenizer
from msgspec import structs

from mlxd.engine.masks import mask
from mlxd.engine.sandbox import Sandbox
from mlxd.engine.structured_output import (
    ANSWER,
    Grammars,
    Part,
    Thought,
)
from mlxd.errors import InvalidRequest
from mlxd.generate_request import Grammar
from scripts.tiny_model import make_tiny_model
from tests.support.grammars import (
    END_TOKENS,
    VOCABULARY,
    add_long_tokens,
    allowed,
    slow_grammar,
    write,
)

THINK, THINK_END = 259, 260
PARAM = "response_format.json_schema.schema"


@pytest.fixture(scope="module")
def grammars(marked_model: Path) -> Grammars:
    tokenizer = load_tokenizer(marked_model, eos_token_ids=[256, 258])
    return Grammars(tokenizer, VOCABULARY)


@pytest.fixture(scope="module")
def tried(marked_model: Path, sandbox: Sandbox) -> Grammars:
    """Grammars of which large ones are tried in a process of their own first."""
    tokenizer = load_tokenizer(marked_model, eos_token_ids=[256, 258])
    return Grammars(tokenizer, VOCABULARY, sandbox)


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Grammars:
    """Grammars over a vocabulary in which one mask may take seconds."""
    folder = make_tiny_model(tmp_path_factory.mktemp("models") / "long", marked=True)
    add_long_tokens(folder)
    return Grammars(load_tokenizer(folder, eos_token_ids=[256, 258]), VOCABULARY)


def schema(**fields: Any) -> Part:
    return Part("answer", Grammar("json_schema", json.dumps(fields), PARAM))


def regex(source: str) -> Part:
    return Part("answer", Grammar("regex", source, "guided_regex"))


def lark(source: str) -> Part:
    return Part("answer", Grammar("lark", source, "guided_grammar"))


def test_only_what_the_grammar_says_may_come_and_the_end_only_at_its_end(
    grammars: Grammars,
) -> None:
    constraint = grammars.compile(ANSWER, [regex("ab?")])
    assert allowed(constraint) == {ord("a")}
    constraint.accept(ord("a"))
    assert allowed(constraint) == {ord("b")} | END_TOKENS
    constraint.accept(ord("b"))
    assert allowed(constraint) == END_TOKENS


def test_after_the_end_only_end_tokens_are_allowed(grammars: Grammars) -> None:
    constraint = grammars.compile(ANSWER, [regex("a")])
    for token in (ord("a"), 258, 258):
        constraint.accept(token)
    assert allowed(constraint) == END_TOKENS
    assert constraint.failure is None


def test_each_answer_has_its_own_position_in_the_grammar(grammars: Grammars) -> None:
    first, second = (grammars.compile(ANSWER, [regex("ab")]) for _ in range(2))
    first.accept(ord("a"))
    rows = mask([first, second], VOCABULARY)
    assert rows.shape == (2, VOCABULARY)
    assert mx.argmax(rows, axis=-1).tolist() == [ord("b"), ord("a")]


def test_white_space_in_json_is_limited(grammars: Grammars) -> None:
    constraint = grammars.compile(ANSWER, [schema(type="array", items={"type": "null"})])
    write(constraint, "[\n" + " " * 24)
    assert ord(" ") not in allowed(constraint)
    write(constraint, "null]")


@pytest.mark.parametrize(
    ("fields", "where", "what"),
    [
        ({"type": "strin"}, "", "strin"),
        (
            {"type": "object", "properties": {"a": {"type": "array", "items": {"type": 5}}}},
            ".properties.a.items",
            "type",
        ),
        (
            {"properties": {"a": {"$ref": "#/$defs/nowhere"}}},
            ".properties.a",
            "/$defs/nowhere",
        ),
        ({"type": "integer", "minimum": 2, "maximum": 1}, "", "minimum"),
        (
            {
                "type": "object",
                "properties": {"a": {"type": "string", "enum": [1]}},
                "required": ["a"],
            },
            ".properties.a",
            "enum",
        ),
        ({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "", "no value"),
    ],
)
def test_an_invalid_schema_is_rejected_with_the_place(
    grammars: Grammars, fields: dict[str, Any], where: str, what: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        grammars.compile(ANSWER, [schema(**fields)])
    assert caught.value.param == PARAM + where
    assert what in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("no_thread_left")
def test_a_schema_that_takes_too_long_to_compile_is_rejected(
    grammars: Grammars, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlxd.engine.structured_output._COMPILE_SECONDS", 0.01)
    patterns = [{"pattern": f"^.*a.{{{length}}}$"} for length in range(1, 16)]
    with pytest.raises(InvalidRequest, match="takes more than") as caught:
        grammars.compile(ANSWER, [schema(type="string", allOf=patterns)])
    assert caught.value.param == PARAM


EMAIL = r"^(?!\.)(?!.*\.\.)([a-z.]*)[a-z]@([a-z]+\.)+[a-z]{2,}$"


@pytest.mark.parametrize(
    ("fields", "where", "keyword", "answer"),
    [
        (  # Zod 4, email-mcp#58
            {"type": "object", "properties": {"to": {"type": "string", "pattern": EMAIL}}},
            ".properties.to.pattern",
            "pattern",
            '{"to":"a@b.no"}',
        ),
        ({"type": "array", "uniqueItems": True}, ".uniqueItems", "uniqueItems", "[1,1]"),
        ({"type": "string", "pattern": "x^a"}, ".pattern", "pattern", '"b"'),
        (  # what only llguidance finds
            {"type": "object", "patternProperties": {"^a": {"type": "null"}, "a$": {}}},
            ".patternProperties",
            "patternProperties",
            '{"a":1}',
        ),
        (
            {
                "$defs": {"u": {"properties": {"x": {"$ref": "#/$defs/u", "required": ["y"]}}}},
                "$ref": "#/$defs/u",
            },
            ".$defs.u.properties.x.$ref",
            "$ref",
            '{"x":{"y":1}}',
        ),
    ],
)
def test_what_no_grammar_holds_is_overlooked_and_told_and_refused_if_strict(
    grammars: Grammars, fields: dict[str, Any], where: str, keyword: str, answer: str
) -> None:
    part = schema(**fields)
    constraint = grammars.compile(ANSWER, [part])
    write(constraint, answer)
    (told,) = constraint.overlooked
    assert (told.param, told.keyword) == (PARAM + where, keyword)
    strict = replace(part, grammar=structs.replace(part.grammar, strict=True))
    with pytest.raises(InvalidRequest) as caught:
        grammars.compile(ANSWER, [strict])
    assert f"`{keyword}`: " in caught.value.message
    assert caught.value.param == PARAM + where.removesuffix(f".{keyword}")


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "strin"},
        {"type": "array", "items": 5, "uniqueItems": True},
        {"$ref": "#/$defs/nowhere"},
        {"type": "integer", "minimum": 2, "maximum": 1},
        {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {"enum": [], "pattern": "("},
    ],
)
def test_a_lenient_schema_never_refuses_a_request(
    grammars: Grammars, fields: dict[str, Any]
) -> None:
    assert grammars.compile(ANSWER, [replace(schema(**fields), lenient=True)]).overlooked


def test_a_lenient_schema_that_takes_too_long_is_overlooked(
    grammars: Grammars, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlxd.engine.structured_output._COMPILE_SECONDS", 0.01)
    patterns = [{"pattern": f"^.*a.{{{length}}}$"} for length in range(1, 16)]
    slow = replace(schema(type="string", allOf=patterns), lenient=True)
    constraint = grammars.compile(ANSWER, [slow])
    write(constraint, "{}")
    assert "takes more than" in constraint.overlooked[0].reason


def test_references_as_deep_as_a_schema_allows_end_no_engine(grammars: Grammars) -> None:
    parts = {
        f"d{n}": {"type": "object", "properties": {"a": {"$ref": f"#/$defs/d{n + 1}"}}}
        for n in range(2000)
    }
    deep = {"$ref": "#/$defs/d0", "$defs": {**parts, "d2000": {"type": "null"}}}
    write(grammars.compile(ANSWER, [schema(**deep)]), '{"a":{"a":{}}}')


@pytest.mark.parametrize(
    ("part", "what"),
    [
        (regex("a("), "unclosed group"),
        (regex("(?=a)"), "look-around"),
        (lark("start: nowhere"), "nowhere"),
        (lark(""), "no start rule"),
    ],
)
def test_an_invalid_expression_is_rejected(grammars: Grammars, part: Part, what: str) -> None:
    with pytest.raises(InvalidRequest, match=what) as caught:
        grammars.compile(ANSWER, [part])
    assert caught.value.param == part.grammar.param
    assert "\n" not in str(caught.value)


def test_a_grammar_waits_for_the_end_of_a_thought(grammars: Grammars) -> None:
    thought = Thought(start=THINK, end=(THINK_END,), begun=True)
    constraint = grammars.compile(ANSWER, [regex("yes")], thought)
    assert allowed(constraint) == set(range(VOCABULARY)) - END_TOKENS
    constraint.accept(ord("?"))
    constraint.accept(THINK_END)
    assert allowed(constraint) == {ord("y")}


def test_a_thought_may_begin_before_the_answer_and_only_there(grammars: Grammars) -> None:
    thought = Thought(start=THINK, end=(THINK_END,), begun=False)
    constraint = grammars.compile(ANSWER, [regex("yes")], thought)
    assert allowed(constraint) == {ord("y"), THINK}
    constraint.accept(THINK)
    constraint.accept(THINK_END)
    assert allowed(constraint) == {ord("y")}
    write(constraint, "yes")
    assert allowed(constraint) == END_TOKENS


def test_a_token_that_was_not_allowed_is_a_failure_and_the_answer_ends(
    grammars: Grammars,
) -> None:
    constraint = grammars.compile(ANSWER, [regex("yes")])
    constraint.accept(ord("n"))
    assert constraint.failure is not None
    assert allowed(constraint) == END_TOKENS


def test_a_grammar_with_too_many_ways_to_go_on_is_to_blame(grammars: Grammars) -> None:
    constraint = grammars.compile(ANSWER, [lark("start: a+\na: " + " | ".join(['"a"'] * 5000))])
    constraint.allowed()
    constraint.accept(ord("a"))
    constraint.allowed()
    assert constraint.too_complex
    assert "Too many items" in (constraint.failure or "")


def test_a_grammar_that_is_slow_at_once_is_refused(slow: Grammars) -> None:
    for _ in range(2):
        with pytest.raises(InvalidRequest, match="which tokens may come next") as caught:
            slow.compile(ANSWER, [lark(slow_grammar(1))])
        assert caught.value.param == "guided_grammar"


def test_a_grammar_that_becomes_slow_fails_its_answer_and_is_refused_next(slow: Grammars) -> None:
    part = lark(slow_grammar(8))
    constraint = slow.compile(ANSWER, [part])
    for _ in range(8):
        assert constraint.allowed().any()
        constraint.accept(ord("b"))
    constraint.allowed()
    assert constraint.too_complex
    assert "which tokens may come next" in (constraint.failure or "")
    with pytest.raises(InvalidRequest, match="which tokens may come next"):
        slow.compile(ANSWER, [part])
    slow.compile(ANSWER, [lark('start: "c"')])


def test_tools_with_a_slow_schema_are_called_without_it(slow: Grammars) -> None:
    nested = [{"type": "array", "items": {"$ref": "#"}, "maxItems": n + 1} for n in range(900)]
    source = json.dumps({"anyOf": nested})
    part = Part("answer", Grammar("json_schema", source, "tools"), lenient=True)
    constraint = slow.compile(ANSWER, [part])
    (overlooked,) = constraint.overlooked
    assert "which tokens may come next" in overlooked.reason


@pytest.mark.parametrize(
    ("fields", "answer"),
    [
        ({"enum": [f"value {n}" for n in range(5000)]}, '"value 4999"'),
        ({"properties": {f"p{n}": {"type": "string"} for n in range(300)}}, '{"p3": "a"}'),
        ({"anyOf": [{"properties": {"kind": {"const": f"k{n}"}, "n": {"type": "integer"}},
            "required": ["kind"], "additionalProperties": False} for n in range(300)]},
            '{"kind": "k299", "n": 1}'),
    ],
    ids=["enum", "properties", "anyOf"],
)  # fmt: skip
def test_large_schemas_are_not_too_slow(
    slow: Grammars, fields: dict[str, Any], answer: str
) -> None:
    constraint = slow.compile(ANSWER, [schema(**fields)])
    for byte in answer.encode():
        assert constraint.allowed()[byte // 32] >> byte % 32 & 1
        constraint.accept(byte)
    constraint.allowed()
    assert constraint.failure is None


def test_tokens_know_their_bytes(grammars: Grammars) -> None:
    assert grammars.token_bytes(0xC3) == b"\xc3"
    assert grammars.token_bytes(THINK) == b"<think>"
    assert grammars.token_bytes(100_000) == b""


def chain(length: int) -> str:
    rules = "".join(f"r{number}: r{number + 1}\n" for number in range(length))
    return f'start: r0\n{rules}r{length}: "x"\n'


def test_references_that_go_too_deep_end_a_process_of_their_own(
    tried: Grammars,
) -> None:
    write(tried.compile(ANSWER, [Part("answer", Grammar("lark", chain(4000), PARAM))]), "x")
    with pytest.raises(InvalidRequest, match="refers too deeply") as caught:
        tried.compile(ANSWER, [Part("answer", Grammar("lark", chain(60_000), PARAM))])
    assert caught.value.param == PARAM
    with pytest.raises(InvalidRequest, match="more than 1048576 characters"):
        tried.compile(ANSWER, [Part("answer", Grammar("lark", chain(100_000), PARAM))])


def test_patterns_that_take_minutes_leave_no_thread_behind(
    tried: Grammars, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlxd.engine.structured_output._COMPILE_SECONDS", 0.3)
    patterns = [{"pattern": f"^.*a.{{{length}}}$"} for length in range(60)]
    before = set(threading.enumerate())
    with pytest.raises(InvalidRequest, match="takes more than") as caught:
        tried.compile(ANSWER, [schema(type="string", allOf=patterns)])
    assert caught.value.param == PARAM
    assert set(threading.enumerate()) <= before


def test_an_error_in_a_large_schema_is_explained(tried: Grammars) -> None:
    fields: dict[str, Any] = {f"a{number}": {"type": "string"} for number in range(2000)}
    fields["b"] = {"type": "string", "pattern": "("}
    source = json.dumps({"type": "object", "properties": fields})
    strict = Part("answer", Grammar("json_schema", source, PARAM, strict=True))
    with pytest.raises(InvalidRequest, match="cannot be compiled") as caught:
        tried.compile(ANSWER, [strict])
    assert caught.value.param is not None
    assert caught.value.param.startswith(PARAM)
