"""Each field of the request types of other servers is honored, refused by name, or ignored."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mlxd.api.chat import ChatBody
from mlxd.api.chat import decode_body as decode_chat
from mlxd.api.completions import CompletionBody
from mlxd.api.completions import decode_body as decode_text
from mlxd.api.other_servers import IGNORED, refused_fields
from mlxd.config import GenerationConfig, ModelSettings
from mlxd.errors import InvalidRequest, UnsupportedParameter
from mlxd.generate_request import ChatPrompt, GenerateRequest, Penalties, TextPrompt

SERVERS = json.loads(Path(__file__).with_name("fields_of_servers.json").read_text())
BODIES: dict[str, type[msgspec.Struct]] = {"chat": ChatBody, "text": CompletionBody}
IGNORED_NAMES = {name for names in IGNORED.values() for name in names}
USUAL = ModelSettings()
LIMITED = ModelSettings(generation=GenerationConfig(max_tokens=9))
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {}}}
TIME = {"type": "function", "function": {"name": "time", "parameters": {}}}


def text(settings: ModelSettings = USUAL, **fields: Any) -> GenerateRequest:
    (made,) = decode_text(json.dumps({"prompt": "Hi", **fields}).encode()).to_requests(
        settings, None
    )
    return made


def chat(**fields: Any) -> GenerateRequest:
    messages = [{"role": "user", "content": "Hi"}]
    body = json.dumps({"messages": messages, **fields}).encode()
    (made,) = decode_chat(body).to_requests(ModelSettings(), None)
    return made


def template_arguments(**fields: Any) -> dict[str, Any]:
    prompt = chat(**fields).prompt
    assert isinstance(prompt, ChatPrompt)
    return prompt.template.arguments


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("dialect", BODIES)
def test_every_field_has_its_place(server: str, dialect: str) -> None:
    known = {*BODIES[dialect].__struct_fields__, *IGNORED_NAMES}
    assert set(SERVERS[server][dialect].split()) <= known


def test_no_field_is_in_two_places() -> None:
    honored = {*ChatBody.__struct_fields__, *CompletionBody.__struct_fields__}
    assert not IGNORED_NAMES & honored


@pytest.mark.parametrize("dialect", BODIES)
def test_a_refused_field_is_named_with_what_it_may_be(dialect: str) -> None:
    ask = {"chat": chat, "text": text}[dialect]
    for name, extra in refused_fields(BODIES[dialect]).items():
        with pytest.raises(UnsupportedParameter) as caught:
            ask(**{name: ["something"]})
        assert caught.value.param == name
        assert " or ".join(extra["shown"]) in caught.value.message
        for empty in (None, "", [], {}):
            assert ask(**{name: empty}) == ask()


@pytest.mark.parametrize(
    "fields",
    [
        {"typical_p": 1.0, "mirostat": 0, "top_n_sigma": -1, "dry_multiplier": 0.0},
        {"use_beam_search": False, "truncate_prompt_tokens": -1, "best_of": 1},
        {"reasoning_format": "auto", "t_max_predict_ms": -1},
        {"store": True, "metadata": {"a": "b"}, "service_tier": "flex", "user": "me"},
        {"cache_prompt": False, "id_slot": -1, "priority": 3, "prediction": {"type": "content"}},
    ],
)
def test_values_that_change_nothing(fields: dict[str, Any]) -> None:
    """What llama.cpp's web page and vLLM's client send along with every request."""
    assert text(**fields) == text()
    assert chat(**fields) == chat()


@pytest.mark.parametrize(
    "fields",
    [
        {"mirostat": False},
        {"use_beam_search": 0.5},
        {"top_n_sigma": True},
        {"options": {"mirostat": 2}},
        {"structured_outputs": {"structural_tag": "x"}},
    ],
)
def test_values_that_only_look_like_nothing(fields: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedParameter):
        text(**fields)


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({}, 9),
        ({"max_tokens": None}, 9),
        ({"max_tokens": -1}, None),
        ({"n_predict": -1}, None),
        ({"max_completion_tokens": -1, "max_tokens": 5}, None),
        ({"max_tokens": 0}, 0),
        ({"max_tokens": 5.0}, 5),
        ({"max_tokens": 2**40}, 2**31 - 1),
        ({"max_tokens": 10**30}, 2**31 - 1),
        ({"n_predict": 4}, 4),
        ({"options": {"num_predict": 4}}, 4),
    ],
)
def test_how_many_tokens(fields: dict[str, Any], tokens: int | None) -> None:
    """-1 is no limit [mlx-openai-server#78, FastFlowLM#749]."""
    assert text(LIMITED, **fields).max_tokens == tokens


def test_without_any_limit_there_is_none() -> None:
    assert text().max_tokens is None


def test_names_of_penalties() -> None:
    assert text(repeat_penalty=1.1).penalties == Penalties(repetition_penalty=1.1)
    assert text(repeat_penalty=1.1, repeat_last_n=0).penalties == Penalties()
    everything = text(repeat_penalty=1.1, repeat_last_n=-1, presence_penalty=1).penalties
    assert (everything.repetition_context_size, everything.presence_context_size) == (0, 0)
    assert text(options={"repeat_last_n": 7}).penalties.frequency_context_size == 7


def test_ollamas_options_come_after_the_fields_of_the_request() -> None:
    made = text(options={"temperature": 0.5, "top_k": 7, "num_ctx": 8192}, temperature=1)
    assert (made.sampling.temperature, made.sampling.top_k) == (1, 7)


def test_what_ends_an_answer() -> None:
    made = text(stop=["a"] * 200, stop_token_ids=[5, 6], min_tokens=3)
    assert (len(made.stop), made.stop_tokens, made.min_tokens) == (200, [5, 6], 3)
    assert text(ignore_eos=True).min_tokens == 2**31 - 1
    assert text(stop=["", "x"]).stop == ["x"]
    assert text(stop="").stop == []


def test_a_seed_of_minus_one_is_random() -> None:
    assert text(seed=-1).seed is None


def test_how_long_a_model_stays() -> None:
    assert decode_text(b'{"prompt": "Hi", "ttl": 60}').kept_alive == 60
    with pytest.raises(InvalidRequest) as caught:
        text(ttl="soon")
    assert caught.value.param == "ttl"


@pytest.mark.parametrize(
    ("fields", "kind", "source"),
    [
        ({"structured_outputs": {"regex": "a+"}}, "regex", "a+"),
        ({"structured_outputs": {"choice": ["a", "b"]}}, "lark", 'start: "a" | "b"'),
        ({"structured_outputs": {"json": {"const": 1}}}, "json_schema", '{"const":1}'),
        ({"structured_outputs": {"json": '{"const": 1}'}}, "json_schema", '{"const":1}'),
        ({"structured_outputs": {"json_object": True}}, "json_schema", '{"type":"object"}'),
        ({"structured_outputs": {"grammar": "root ::= [a]"}}, "gbnf", "root ::= [a]"),
        ({"format": "json"}, "json_schema", '{"type":"object"}'),
        ({"format": {"const": 1}}, "json_schema", '{"const":1}'),
        ({"grammar": "root ::= [a]"}, "gbnf", "root ::= [a]"),
        ({"ebnf": "root ::= [a]"}, "gbnf", "root ::= [a]"),
        ({"regex": "a+"}, "regex", "a+"),
        ({"json_schema": {"const": 1}}, "json_schema", '{"const":1}'),
        ({"json_schema": '{"const": 1}'}, "json_schema", '{"const":1}'),
        (
            {"response_format": {"type": "json_object", "schema": {"const": 1}}},
            "json_schema",
            '{"const":1}',
        ),
        (
            {"response_format": {"type": "json_schema", "schema": {"const": 1}}},
            "json_schema",
            '{"const":1}',
        ),
    ],
)
def test_what_the_answer_must_match(fields: dict[str, Any], kind: str, source: str) -> None:
    """Under the names of each server [outlines#1888, llama.cpp#28697]."""
    for made in (chat(**fields), text(**fields)):
        assert made.grammar is not None
        assert (made.grammar.kind, made.grammar.source) == (kind, source)
        assert made.grammar.param.partition(".")[0] in fields


@pytest.mark.parametrize(
    "fields", [{"grammar": ""}, {"json_schema": ""}, {"structured_outputs": {"json_object": False}}]
)
def test_an_empty_grammar_is_none(fields: dict[str, Any]) -> None:
    assert text(**fields).grammar is None


def test_two_grammars_are_one_too_many() -> None:
    with pytest.raises(InvalidRequest) as caught:
        text(regex="a", structured_outputs={"regex": "a"})
    assert caught.value.param == "structured_outputs.regex"


def test_what_chat_templates_get() -> None:
    assert template_arguments(reasoning={"effort": "high"}) == {"reasoning_effort": "high"}
    assert template_arguments(reasoning={"enabled": False}) == {"enable_thinking": False}
    assert template_arguments(reasoning={"effort": "none"})["enable_thinking"] is False


@pytest.mark.parametrize(
    ("fields", "arguments"),
    [
        ({"think": False}, {"enable_thinking": False}),  # Ollama's own API
        ({"think": "low"}, {"enable_thinking": True, "reasoning_effort": "low"}),
        ({"thinking": {"type": "disabled"}}, {"enable_thinking": False}),  # GLM, DeepSeek, Kimi
        ({"thinking": {"type": "enabled"}}, {"enable_thinking": True}),
        ({"thinking": {"type": "auto"}}, {}),
        ({"thinking": {"type": "disabled"}, "enable_thinking": True}, {"enable_thinking": True}),
    ],
)
def test_thoughts_as_other_servers_ask_for_them(
    fields: dict[str, Any], arguments: dict[str, Any]
) -> None:
    assert template_arguments(**fields) == arguments


def test_the_thoughts_that_a_request_asks_for_may_be_limited() -> None:
    thinking = {"type": "enabled", "budget_tokens": 7}
    assert chat(thinking=thinking) == chat(enable_thinking=True, thinking_token_budget=7)
    assert template_arguments(verbosity="low") == {"verbosity": "low"}
    assert template_arguments(documents=[{"text": "x"}]) == {"documents": [{"text": "x"}]}
    prefill = {"continue_final_message": True, "add_generation_prompt": False}
    assert template_arguments(**prefill) == prefill


def test_a_continued_message_has_no_generation_prompt() -> None:
    with pytest.raises(InvalidRequest) as caught:
        chat(continue_final_message=True, add_generation_prompt=True)
    assert caught.value.param == "continue_final_message"


def test_some_of_the_tools_are_allowed() -> None:
    tools = [{"type": "function", "function": {"name": "time"}}]
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": tools}}
    prompt = chat(tools=[WEATHER, TIME], tool_choice=choice).prompt
    assert isinstance(prompt, ChatPrompt)
    assert prompt.tools is not None
    assert [tool["function"]["name"] for tool in prompt.tools.functions] == ["time"]
    assert prompt.tools.choice == "required"
    with pytest.raises(InvalidRequest) as caught:
        chat(tools=[WEATHER], tool_choice=choice)
    assert caught.value.param == "tool_choice.allowed_tools.tools[0].function.name"


def test_a_text_around_a_gap() -> None:
    assert text(suffix="end").prompt == TextPrompt("Hi", "end")
    assert text(suffix="").prompt == TextPrompt("Hi")
    assert text(add_special_tokens=False).prompt == TextPrompt("Hi", special=False)
    for fields in ({"prompt": [1, 2]}, {"echo": True}):
        with pytest.raises(InvalidRequest) as caught:
            text(suffix="end", **fields)
        assert caught.value.param == "suffix"
