"""Calls as families of models write them, and the grammar of a required call."""

import json
from pathlib import Path
from typing import Any

import pytest
from mlx_lm.tool_parsers import kimi_k2, mistral, qwen3_coder
from mlx_lm.utils import load_tokenizer

from mlxd.engine.structured_output import Grammars
from mlxd.engine.tools import (
    HERMES,
    LLAMA,
    AllowedCalls,
    Call,
    ToolFormat,
    describe_tools,
    tool_format,
)
from mlxd.messages import Template, ToolUse
from tests.support.grammars import END_TOKENS, VOCABULARY, allowed, write

TOOL_CALL = 261


def function(name: str, **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


WEATHER = function("weather", city={"type": "string"})
TIME = function("time", hours={"type": "integer"})


def form(module: Any) -> ToolFormat:
    start, end = module.tool_call_start, module.tool_call_end
    return ToolFormat(start, end, module.parse_tool_call, native=True)


@pytest.mark.parametrize(
    ("written_as", "text", "call"),
    [
        (HERMES, '{"name": "time", "arguments": {"hours": 3}}', Call("time", '{"hours": 3}')),
        (HERMES, '{"name": "time", "parameters": {"hours": 3}}', Call("time", '{"hours": 3}')),
        (HERMES, '{"name": "time", "arguments": "{\\"hours\\": 3}"}', Call("time", '{"hours": 3}')),
        (HERMES, '{"name": "weather"}', Call("weather", "{}")),
        (
            form(qwen3_coder),
            "\n<function=time>\n<parameter=hours>\n3\n</parameter>\n</function>\n",
            Call("time", '{"hours": 3}'),
        ),
        (
            form(mistral),
            'weather[CALL_ID]abcDEF123[ARGS]{"city": "Zürich"}',
            Call("weather", '{"city": "Zürich"}', "abcDEF123"),
        ),
        (
            form(kimi_k2),
            "<|tool_call_begin|>functions.time:0<|tool_call_argument_begin|>"
            '{"hours": 3}<|tool_call_end|>',
            Call("time", '{"hours": 3}', "functions.time:0"),
        ),
        (
            form(qwen3_coder),
            '{"name": "time", "arguments": {"hours": 3}}',
            Call("time", '{"hours": 3}'),
        ),
    ],
)
def test_the_calls_of_each_family_are_read(written_as: ToolFormat, text: str, call: Call) -> None:
    assert AllowedCalls(written_as, ToolUse([WEATHER, TIME])).read(text) == [call]


def test_one_pair_of_marks_may_have_several_calls() -> None:
    text = '[{"name": "time", "arguments": {}}, {"name": "weather", "arguments": {}}]'
    both = ToolUse([WEATHER, TIME])
    assert [c.name for c in AllowedCalls(form(mistral), both).read(text)] == ["time", "weather"]
    one = ToolUse([WEATHER, TIME], parallel=False)
    assert [c.name for c in AllowedCalls(form(mistral), one).read(text)] == ["time"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "weather(Oslo)",
        "[]",
        "7",
        '{"name": 1}',
        '{"name": "time", "arguments": {"hours": NaN}}',
        '{"name": "time", "arguments": "{x"}',
        '{"name": "weather", "arguments": {}}',
    ],
)
def test_an_invalid_call_is_not_read(text: str) -> None:
    assert AllowedCalls(HERMES, ToolUse([TIME])).read(text) == []


@pytest.fixture(scope="module")
def tokenizer(marked_model: Path) -> Any:
    return load_tokenizer(marked_model, eos_token_ids=[256, 258])


def test_the_family_is_that_of_the_template_in_use(tokenizer: Any) -> None:
    assert tool_format(tokenizer, Template()).native
    assert tool_format(tokenizer, Template(source="{{ messages }}")) is HERMES
    assert tool_format(tokenizer, Template(role_mapping={"bos": ""})) is HERMES


def test_llamas_template_describes_functions_itself(tiny_model: Path) -> None:
    """raullenchai/Rapid-MLX#700: its templates have no marks that mlx-lm knows."""
    template = Template(source="""{{ tools }} {"name": a name, "parameters": its arguments}""")
    other = load_tokenizer(tiny_model)
    assert tool_format(other, template) is HERMES
    other.add_special_tokens({"additional_special_tokens": ["<|python_tag|>"]})
    assert tool_format(other, template) is LLAMA


def test_a_required_call_of_a_llama_has_its_mark_and_its_key(tokenizer: Any) -> None:
    use = ToolUse([function("admin.tools.list", n={"type": "integer"})], "required")
    constraint = rule_for(tokenizer, use, LLAMA)
    text = '[{"name": "admin.tools.list", "parameters": {"n": 1}}]'
    write(constraint, LLAMA.start + text)
    assert constraint.failure is None
    assert AllowedCalls(LLAMA, use).read(text) == [Call("admin.tools.list", '{"n": 1}')]


def test_a_model_without_support_for_tools_is_told_to_write_as_hermes(tiny_model: Path) -> None:
    assert tool_format(load_tokenizer(tiny_model), Template()) is HERMES


def rule_for(tokenizer: Any, use: ToolUse, written_as: ToolFormat = HERMES) -> Any:
    rule, parts = AllowedCalls(written_as, use).rule(tokenizer.encode)
    return Grammars(tokenizer, VOCABULARY).compile(f"start: calls\n{rule}", parts)


def test_a_required_call_allows_nothing_else(tokenizer: Any) -> None:
    constraint = rule_for(tokenizer, ToolUse([WEATHER, TIME], "required"))
    assert allowed(constraint) == {TOOL_CALL}
    constraint.accept(TOOL_CALL)
    write(constraint, '\n{"name": "')
    assert allowed(constraint) == {ord("w"), ord("t")}
    write(constraint, 'time", "arguments": {"hours": ')
    assert ord('"') not in allowed(constraint)
    write(constraint, "12}}\n")
    constraint.accept(TOOL_CALL + 1)
    assert allowed(constraint) > END_TOKENS
    assert TOOL_CALL in allowed(constraint)
    assert constraint.failure is None


def test_a_named_function_is_called_once(tokenizer: Any) -> None:
    constraint = rule_for(tokenizer, ToolUse([WEATHER, TIME], name="weather"))
    constraint.accept(TOOL_CALL)
    write(constraint, '\n{"name": "weather", "arguments": {"city": "Oslo"}}\n')
    constraint.accept(TOOL_CALL + 1)
    assert allowed(constraint) == END_TOKENS
    assert constraint.failure is None


def test_calls_without_an_end_mark_are_a_list(
    tokenizer: Any,
) -> None:
    use = ToolUse([WEATHER, TIME], "required")
    constraint = rule_for(tokenizer, use, form(mistral))
    text = (
        '[{"name": "time", "arguments": {"hours": 1}}, {"name": "time", "arguments": {"hours":2}}]'
    )
    write(constraint, "[TOOL_CALLS]" + text)
    assert allowed(constraint) == END_TOKENS
    assert len(AllowedCalls(form(mistral), use).read(text)) == 2


def test_arguments_have_only_the_names_of_the_schema(tokenizer: Any) -> None:
    constraint = rule_for(tokenizer, ToolUse([function("f")], "required"))
    constraint.accept(TOOL_CALL)
    write(constraint, '\n{"name": "f", "arguments": {')
    assert ord('"') not in allowed(constraint)


def test_schemas_keep_their_own_definitions(tokenizer: Any) -> None:
    def of(kind: str) -> dict[str, Any]:
        return {"properties": {"x": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"type": kind}}}

    tools = [
        {"type": "function", "function": {"name": name, "parameters": of(kind)}}
        for name, kind in [("f", "null"), ("g", "boolean")]
    ]
    for name, value in [("f", "null"), ("g", "true")]:
        constraint = rule_for(tokenizer, ToolUse(tools, "required"))
        constraint.accept(TOOL_CALL)
        write(constraint, f'\n{{"name": "{name}", "arguments": {{"x": {value}}}}}')


def test_arguments_are_written_as_json() -> None:
    (call,) = AllowedCalls(HERMES, ToolUse([TIME])).read(
        '{"name": "time", "arguments": {"a": "\\n"}}'
    )
    assert json.loads(call.arguments) == {"a": "\n"}


OF_A_CITY = {"type": "function", "function": {"name": "weather", "description": "Of a city."}}


def past_call(arguments: str) -> dict[str, Any]:
    return {"id": "1", "function": {"name": "weather", "arguments": arguments}}


def test_the_functions_join_the_system_message() -> None:
    (system, user) = describe_tools(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}], [OF_A_CITY]
    )
    assert system["content"].startswith("Be brief.\n\n")
    assert '{"name": "weather", "description": "Of a city."}' in system["content"]
    assert user == {"role": "user", "content": "Hi"}


def test_without_a_system_message_there_is_one() -> None:
    assert [
        m["role"] for m in describe_tools([{"role": "user", "content": "Hi"}], [OF_A_CITY])
    ] == [
        "system",
        "user",
    ]


def test_past_calls_and_results_become_text_with_roles_that_alternate() -> None:
    messages = [
        {"role": "user", "content": "Oslo and Rome?"},
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [past_call('{"city": "Oslo"}'), past_call('{"city": "Rome"}')],
        },
        {"role": "tool", "content": "rain", "tool_call_id": "1"},
        {"role": "tool", "content": "sun", "tool_call_id": "2"},
    ]
    user, assistant, results = describe_tools(messages, [])
    assert user == messages[0]
    assert assistant["content"] == (
        "I look.\n"
        '<tool_call>\n{"name": "weather", "arguments": {"city": "Oslo"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'
    )
    assert "tool_calls" not in assistant
    assert results == {
        "role": "user",
        "content": "<tool_response>\nrain\n</tool_response>\n"
        "<tool_response>\nsun\n</tool_response>",
    }


def test_a_conversation_without_tools_stays_as_it_is() -> None:
    messages = [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}]
    assert describe_tools(messages, []) == messages
