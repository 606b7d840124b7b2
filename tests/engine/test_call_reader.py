"""Calls as each of mlx-lm's parsers expects them: whole, several, cut, and with odd names."""

import importlib
import json
from typing import Any

import pytest

from mlxd.engine.call_reader import CallReader
from mlxd.engine.tools import LLAMA, AllowedCalls, ToolFormat
from mlxd.generate_request import ToolUse

MAYBE_INTEGER = {"anyOf": [{"type": "integer"}, {"type": "null"}]}
FORMATS = [
    "function_gemma",
    "gemma4",
    "glm47",
    "json_tools",
    "kimi_k2",
    "kimi_k3",
    "longcat",
    "minicpm5",
    "minimax_m2",
    "mistral",
    "muse_spark",
    "pythonic",
    "qwen3_coder",
]


def function(name: str, **properties: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


TOOLS = [
    function("weather", city={"type": "string"}),
    function("admin.tools.list", n=MAYBE_INTEGER),
    function("a/b:c-d", x={"$ref": "#/$defs/Text"}),
    function("put", value={"type": ["string", "null"]}, o={"type": "object"}),
    {"type": "function", "function": {"name": "now"}},
]


def form(name: str) -> ToolFormat:
    module = importlib.import_module(f"mlx_lm.tool_parsers.{name}")
    start, end = module.tool_call_start, module.tool_call_end
    return ToolFormat(start, end, module.parse_tool_call, native=True)


def read(written_as: str, text: str) -> list[tuple[str, Any]]:
    calls = CallReader(form(written_as), TOOLS).read(text)[0]
    return [(call.name, json.loads(call.arguments)) for call in calls]


def write(written_as: str, name: str, key: str, value: str, *, quoted: bool) -> str:
    """Return a call with one argument, as a model of that family writes it."""
    typed = json.dumps(value) if quoted else value
    text = f"<escape>{value}<escape>" if quoted else value
    kind = "string" if quoted else "number"
    return {
        "function_gemma": f"call:{name}{{{key}:{text}}}",
        "gemma4": f"call:{name}{{{key}:{text}}}".replace("<escape>", '<|"|>'),
        "glm47": f"{name}\n<arg_key>{key}</arg_key>\n<arg_value>{value}</arg_value>\n",
        "json_tools": f'\n{{"name": "{name}", "arguments": {{"{key}": {typed}}}}}\n',
        "kimi_k2": f"<|tool_call_begin|>functions.{name}:0<|tool_call_argument_begin|>"
        f'{{"{key}": {typed}}}<|tool_call_end|>',
        "kimi_k3": f'<|open|>call tool="{name}" index="1"<|sep|><|open|>argument key="{key}" '
        f'type="{kind}"<|sep|>{value}<|close|>argument<|sep|><|close|>call<|sep|>',
        "longcat": f"{name}\n<longcat_arg_key>{key}</longcat_arg_key>\n"
        f"<longcat_arg_value>{value}</longcat_arg_value>\n",
        "minicpm5": f'"{name}"><param name="{key}">{value}</param>',
        "minimax_m2": f'\n<invoke name="{name}">\n<parameter name="{key}">{value}</parameter>\n'
        "</invoke>\n",
        "mistral": f'{name}[ARGS]{{"{key}": {typed}}}',
        "muse_spark": f'<atem:invoke name="{name}">\n<atem:parameter name="{key}">{typed}'
        "</atem:parameter>\n</atem:invoke>",
        "pythonic": f"[{name}({key}={typed})]",
        "qwen3_coder": f"\n<function={name}>\n<parameter={key}>\n{value}\n</parameter>\n"
        "</function>\n",
    }[written_as]


@pytest.mark.parametrize("written_as", FORMATS)
def test_names_and_types_come_back_as_they_are(written_as: str) -> None:
    """github/copilot-cli#1879; for the types vllm#37831, sglang#30832."""
    text = write(written_as, "weather", "city", "Oslo (N)", quoted=True)
    assert read(written_as, text) == [("weather", {"city": "Oslo (N)"})]
    text = write(written_as, "admin.tools.list", "n", "3", quoted=False)
    assert read(written_as, text) == [("admin.tools.list", {"n": 3})]
    text = write(written_as, "a/b:c-d", "x", "see a/b:c-d", quoted=True)
    assert read(written_as, text) == [("a/b:c-d", {"x": "see a/b:c-d"})]


@pytest.mark.parametrize("written_as", FORMATS)
def test_of_half_a_call_nothing_is_lost(written_as: str) -> None:
    """A parser that ignores what it does not know returns the first half of a cut call."""
    text = write(written_as, "weather", "city", "Oslo", quoted=True)
    middle = text.index("Oslo") + 2
    assert read(written_as, text[:middle]) == []


@pytest.mark.parametrize("written_as", FORMATS)
def test_a_call_of_an_unknown_function_is_none(written_as: str) -> None:
    assert read(written_as, write(written_as, "nobody", "city", "Oslo", quoted=True)) == []


@pytest.mark.parametrize("written_as", sorted({*FORMATS} - {"minicpm5", "pythonic"}))
def test_one_block_has_several_calls(written_as: str) -> None:
    """vllm#43713 for qwen3_coder; mlx-lm#1448 for mistral."""
    one = write(written_as, "weather", "city", "Oslo", quoted=True)
    two = write(written_as, "weather", "city", "Rome", quoted=True)
    assert [arguments["city"] for _, arguments in read(written_as, one + two)] == ["Oslo", "Rome"]


def test_llama_writes_functions_in_tags_too() -> None:
    text = '<function=weather>{"city": "Oslo"}</function>'
    assert len(CallReader(LLAMA, TOOLS).read_answer(text)) == 1
    assert CallReader(LLAMA, TOOLS).read_answer(f"{text} and text") == []


def test_a_fence_without_end_is_no_call() -> None:
    """It would take for ever if a pattern tried each newline as the end of the first line."""
    assert CallReader(LLAMA, TOOLS).read_answer("```" + "\n" * 100_000) == []


def test_a_call_may_lack_its_start_mark() -> None:
    """mlx-lm#1616, qwen-code#10692."""
    reader = CallReader(form("qwen3_coder"), TOOLS)
    text = write("qwen3_coder", "weather", "city", "Oslo", quoted=True)
    for answer in (text, text + "</tool_call>"):
        assert [call.arguments for call in reader.read_answer(answer)] == ['{"city": "Oslo"}']


def test_a_list_of_python_calls_is_read_whole_or_not_at_all() -> None:
    both = '[weather(city="a"), admin.tools.list(n=2)]'
    assert [name for name, _ in read("pythonic", both)] == ["weather", "admin.tools.list"]
    assert read("pythonic", '[weather("Oslo")]') == []
    assert read("pythonic", '[weather(city=Oslo), weather(city="b")]') == []


@pytest.mark.parametrize(
    ("written_as", "text", "call"),
    [
        ("json_tools", '{"name": "weather", "arguments": {"city": "a\nb"}}', {"city": "a\nb"}),
        ("json_tools", "{'name': 'weather', 'arguments': {'city': None}}", {"city": None}),
        ("json_tools", '{"name": "weather", "arguments": null}', {}),
        ("json_tools", '{"name": "weather", "arguments": "{}"}', {}),
        ("json_tools", '{"name": "weather", "arguments": "Oslo"}', "Oslo"),
        ("json_tools", '{"name": "weather", "arguments": ["Oslo"]}', ["Oslo"]),
        ("json_tools", '{"type": "function", "function": {"name": "weather"}}', {}),
        ("json_tools", '<function>weather</function>\n{"city": "a"}', {"city": "a"}),
        ("qwen3_coder", '<function=weather>{"city": "a"}</function>', {"city": "a"}),
        ("qwen3_coder", "<function=weather><parameter=city></function></parameter></function>",
         {"city": "</function>"}),
        ("minimax_m2", '<invoke name="weather"><parameter name="city">12</parameter></invoke>',
         {"city": "12"}),
        ("function_gemma", "call:weather{city:<escape>a}, {b<escape>}", {"city": "a}, {b"}),
    ],
)  # fmt: skip
def test_what_is_plainly_meant_is_read(written_as: str, text: str, call: Any) -> None:
    """mlx-omni-server#126 for the name in tags of its own."""
    assert read(written_as, text) == [("weather", call)]


@pytest.mark.parametrize("written_as", ["glm47", "longcat", "qwen3_coder"])
def test_a_name_alone_is_a_call_without_arguments(written_as: str) -> None:
    text = "<function=now>\n</function>" if written_as == "qwen3_coder" else "now\n"
    assert read(written_as, text) == [("now", {})]


@pytest.mark.parametrize(
    ("written_as", "text"),
    [
        ("json_tools", '{"name": "weather", "city": "Oslo"}'),
        ("json_tools", '{"name": "weather", "arguments": {}} and text'),
        ("json_tools", '{"name": "weather", "arguments": "{\\"city\\": "}'),
        ("glm47", "weather is nice"),
        ("minimax_m2", '<invoke name="now"></invoke> text'),
    ],
)
def test_what_is_not_only_calls_is_none(written_as: str, text: str) -> None:
    assert read(written_as, text) == []


def test_text_after_a_call_without_an_end_mark_is_text() -> None:
    """mlx-lm#1448."""
    reader = CallReader(form("mistral"), TOOLS)
    for rest in ("\n\nLet me see.", '[TOOL_CALLS]weather[ARGS]{"ci'):
        calls, after = reader.read('weather[ARGS]{"city": "Oslo"}' + rest)
        assert ([call.name for call in calls], after) == (["weather"], rest)


def test_types_that_may_be_null_stay_texts() -> None:
    text = '<function=put><parameter=value>123</parameter><parameter=o>{"a": 1}</parameter>'
    assert read("qwen3_coder", f"{text}</function>") == [("put", {"value": "123", "o": {"a": 1}})]


def test_mistral_gets_ids_that_its_templates_take() -> None:
    """mlx-lm#1375."""
    calls = AllowedCalls(form("mistral"), ToolUse(TOOLS)).read("now[ARGS]{}[TOOL_CALLS]now[ARGS]{}")
    ids = {call.call_id for call in calls}
    assert len(ids) == 2
    assert all(call_id and len(call_id) == 9 and call_id.isalnum() for call_id in ids)


def test_an_id_that_the_conversation_has_is_not_used_again() -> None:
    text = "<|tool_call_begin|>functions.now:0<|tool_call_argument_begin|>{}<|tool_call_end|>"
    taken = {"functions.now:0"}
    fresh, other = (AllowedCalls(form("kimi_k2"), ToolUse(TOOLS), taken=t) for t in ((), taken))
    assert [call.call_id for call in fresh.read(text * 2)] == ["functions.now:0", None]
    assert [call.call_id for call in other.read(text)] == [None]


@pytest.mark.parametrize("between", ["; ", ";", "\n", ", "])
def test_llama_writes_several_calls_with_something_between_them(between: str) -> None:
    """raullenchai/Rapid-MLX#700, vllm's llama3_json."""
    one = '{"name": "weather", "parameters": {"city": "Oslo"}}'
    calls = CallReader(LLAMA, TOOLS).read(one + between + one)[0]
    assert [call.arguments for call in calls] == ['{"city": "Oslo"}'] * 2
