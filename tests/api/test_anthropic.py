"""Anthropic's dialect: bodies to the engine's requests, events to replies and streams."""

import json
from typing import Any

import pytest

from mlxd.api.anthropic import decode_body, decode_count
from mlxd.api.anthropic_types import AnthropicErrors
from mlxd.config import GenerationConfig, ModelSettings
from mlxd.errors import (
    InvalidRequest,
    ModelNotFound,
    QueueFull,
    ThreadUnsupported,
    UnsupportedParameter,
)
from mlxd.generate_request import ChatPrompt, GenerateRequest, Sampling
from mlxd.messages import ChoiceEvent, Delta, Finished, Reasoning, Started, ToolCall, Usage

WEATHER = {
    "name": "weather",
    "description": "Tell the weather.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
STARTED: ChoiceEvent = (0, Started(1, 9, 4))
USAGE = Usage(prompt_tokens=9, cached_tokens=4, completion_tokens=3, reasoning_tokens=2)


def body(*messages: dict[str, Any] | str, **fields: Any) -> bytes:
    turns = [{"role": "user", "content": m} if isinstance(m, str) else m for m in messages]
    return json.dumps({"max_tokens": 50, "messages": turns or [user("Hi")], **fields}).encode()


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content[0] if isinstance(content[0], str) else [*content]}


def assistant(*content: Any) -> dict[str, Any]:
    return user(*content) | {"role": "assistant"}


def request(data: bytes, settings: ModelSettings | None = None) -> GenerateRequest:
    (made,) = decode_body(data).to_requests(settings or ModelSettings(), None)
    return made


def prompt(data: bytes) -> ChatPrompt:
    made = request(data).prompt
    assert isinstance(made, ChatPrompt)
    return made


def finished(reason: Any = "stop", stop_text: str | None = None) -> ChoiceEvent:
    return 0, Finished(1, reason, USAGE, stop_text)


def reply(*events: ChoiceEvent, **fields: Any) -> dict[str, Any]:
    builder = decode_body(body(**fields)).reply_builder("some/model", 0)
    builder.collect([STARTED, *events])
    answer: dict[str, Any] = json.loads(builder.reply())
    return answer


def stream(*events: ChoiceEvent, **fields: Any) -> list[dict[str, Any]]:
    builder = decode_body(body(**fields)).reply_builder("some/model", 0)
    pieces = b"".join(builder.stream([event]) for event in (STARTED, *events)).decode()
    made = []
    for piece in pieces.split("\n\n")[:-1]:
        name, data = piece.split("\n")
        made.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {made[-1]['type']}"
    return made


def test_what_a_request_leaves_out_is_as_configured() -> None:
    defaults = GenerationConfig(temperature=0.5, top_k=4)
    made = request(body(), ModelSettings(generation=defaults))
    assert made.sampling == Sampling(temperature=0.5, top_k=4)
    assert made.max_tokens == 50


def test_sampling_stop_and_seed() -> None:
    made = request(body(temperature=1, top_p=0.5, top_k=7, stop_sequences=["END"], seed=3))
    assert made.sampling == Sampling(temperature=1.0, top_p=0.5, top_k=7)
    assert (made.stop, made.seed) == (["END"], 3)


def test_a_conversation_with_tools_is_one_for_templates() -> None:
    turns = [
        user({"type": "text", "text": "Weather?", "cache_control": {"type": "ephemeral"}}),
        assistant(
            {"type": "thinking", "thinking": "Hm.", "signature": "foreign"},
            {"type": "redacted_thinking", "data": "x"},
            {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Rome"}},
            {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}},
            {"type": "web_search_tool_result", "tool_use_id": "s1", "content": {"error": 1}},
        ),
        user(
            {
                "type": "tool_result",
                "tool_use_id": "t1",
                "content": [{"type": "text", "text": "a"}],
            },
            {"type": "tool_result", "tool_use_id": "t2", "is_error": True, "content": "no"},
            {"type": "tool_result", "tool_use_id": "t3"},
            {"type": "text", "text": "And?"},
        ),
    ]
    made = prompt(body(*turns, system=[{"type": "text", "text": "Be brief."}], tools=[WEATHER]))
    call = {
        "id": "t1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city":"Rome"}'},
    }
    assert made.messages == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "I look.",
            "reasoning_content": "Hm.",
            "tool_calls": [call],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "a"},
        {"role": "tool", "tool_call_id": "t2", "content": "Error: no"},
        {"role": "tool", "tool_call_id": "t3", "content": ""},
        {"role": "user", "content": "And?"},
    ]
    assert made.tools is not None
    assert made.tools.functions[0]["function"]["parameters"] == WEATHER["input_schema"]


@pytest.mark.parametrize(
    ("block", "text"),
    [
        ({"type": "document", "source": {"type": "text", "data": "abc"}}, "abc"),
        ({"type": "document", "title": "T", "source": {"type": "text", "data": "a"}}, "T\na"),
        ({"type": "document", "source": {"type": "content", "content": "abc"}}, "abc"),
        (
            {
                "type": "search_result",
                "title": "T",
                "source": "s",
                "content": [{"type": "text", "text": "a"}],
            },
            "T\ns\na",
        ),
    ],
)
def test_documents_of_text_are_text(block: dict[str, Any], text: str) -> None:
    assert prompt(body(user(block))).messages == [{"role": "user", "content": text}]


def test_an_image_is_refused_where_it_is_asked_about_and_left_out_of_history() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://example.org/cat.png"}}
    with pytest.raises(InvalidRequest, match="reads only text") as refusal:
        decode_body(body("Hi", user(image)))
    assert refusal.value.param == "messages[1].content[0]"
    result = {"type": "tool_result", "tool_use_id": "t", "content": [image]}
    made = prompt(body(user(image), assistant("A cat."), user(result)))
    assert [turn["content"] for turn in made.messages] == [
        "[image left out]",
        "A cat.",
        "[image left out]",
    ]


def test_lines_that_change_with_every_request_are_left_out() -> None:
    system = [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2; cch=1f;"},
        {"type": "text", "text": "Be brief."},
    ]
    made = decode_body(body(system=system), ["x-anthropic-billing-header:"])
    assert made.prompt(ModelSettings()).messages[0] == {"role": "system", "content": "Be brief."}


def test_an_answer_that_was_begun_is_continued() -> None:
    made = prompt(body("Hi", assistant("Once upon")))
    assert made.template.arguments == {"continue_final_message": True}


@pytest.mark.parametrize(
    ("fields", "arguments"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, {"enable_thinking": True}),
        ({"thinking": {"type": "adaptive"}}, {"enable_thinking": True}),
        ({"thinking": {"type": "disabled"}}, {"enable_thinking": False}),
        ({"output_config": {"effort": "low"}}, {"reasoning_effort": "low"}),
    ],
)
def test_thinking_is_an_argument_of_the_template(
    fields: dict[str, Any], arguments: dict[str, Any]
) -> None:
    assert prompt(body(**fields)).template.arguments == arguments


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, ("auto", None, True)),
        ({"type": "any"}, ("required", None, True)),
        ({"type": "any", "disable_parallel_tool_use": True}, ("required", None, False)),
        ({"type": "tool", "name": "weather"}, ("auto", "weather", True)),
    ],
)
def test_tool_choice(choice: dict[str, Any], expected: tuple[str, str | None, bool]) -> None:
    tools = prompt(body(tools=[WEATHER], tool_choice=choice)).tools
    assert tools is not None
    assert (tools.choice, tools.name, tools.parallel) == expected


def test_no_tools() -> None:
    assert prompt(body(tools=[WEATHER], tool_choice={"type": "none"})).tools is None


def test_tools_that_only_anthropics_models_know_are_left_out() -> None:
    search = {"type": "web_search_20250305", "name": "web_search"}
    tools = prompt(body(tools=[search, WEATHER])).tools
    assert tools is not None
    assert [tool["function"]["name"] for tool in tools.functions] == ["weather"]
    with pytest.raises(InvalidRequest, match="not in `tools`"):
        decode_body(body(tools=[search], tool_choice={"type": "tool", "name": "web_search"}))


def test_a_budget_ends_thoughts() -> None:
    assert request(body(thinking={"type": "enabled", "budget_tokens": 7})).thought_tokens == 7
    assert request(body(thinking={"type": "adaptive"})).thought_tokens is None


def test_a_schema_for_the_answer() -> None:
    schema = {"type": "object"}
    made = request(body(output_config={"format": {"type": "json_schema", "schema": schema}}))
    assert made.grammar is not None
    assert json.loads(made.grammar.source) == schema
    assert made.grammar.param == "output_config.format.schema"
    earlier = request(body(output_format={"type": "json_schema", "schema": schema}))
    assert earlier.grammar is not None
    assert earlier.grammar.source == made.grammar.source


@pytest.mark.parametrize(
    "thread", [{"type": "create"}, {"type": "continue", "previous_message_id": "msg_1"}]
)
def test_the_sdks_go_on_without_a_thread(thread: dict[str, str]) -> None:
    """`toolRunner` of anthropic 2.14 for Python and 1.14 for JavaScript reads this code."""
    with pytest.raises(ThreadUnsupported) as refusal:
        decode_body(body(thread=thread))
    error = json.loads(AnthropicErrors().whole(refusal.value))["error"]
    assert error["type"] == "invalid_request_error"
    assert error["details"] == {"error_code": "thread_unsupported_request"}
    assert decode_body(body(thread=None)).thread is None


def test_servers_of_tools_are_refused() -> None:
    with pytest.raises(UnsupportedParameter, match="mcp_servers"):
        decode_body(body(mcp_servers=[{"type": "url", "url": "https://a", "name": "a"}]))
    assert decode_body(body(mcp_servers=[]))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"messages": [{"role": "user", "content": "Hi"}]}', "`max_tokens`: missing"),
        (body(max_tokens=0), "`max_tokens`: expected an integer >= 1"),
        (json.dumps({"max_tokens": 5, "messages": []}).encode(), "`messages`: expected"),
        (body({"role": "tool", "content": "x"}), r"`messages\[0\].role`: expected"),
        (body(tool_choice={"type": "any"}), "`tool_choice`: requires `tools`"),
        (body(thinking={"type": "maybe"}), "`thinking.type`: expected"),
    ],
)
def test_what_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        decode_body(data)


def test_a_whole_reply() -> None:
    answer = reply(
        (0, Reasoning(1, "Hm")),
        (0, Reasoning(1, "m.")),
        (0, Delta(1, "I lo")),
        (0, Delta(1, "ok.")),
        (0, ToolCall(1, "weather", '{"city": "Rome"}', "t1")),
        finished("tool_calls"),
    )
    assert answer.pop("id").startswith("msg_")
    assert answer == {
        "type": "message",
        "role": "assistant",
        "model": "some/model",
        "content": [
            {"type": "thinking", "thinking": "Hmm.", "signature": "mlxd-"},
            {"type": "text", "text": "I look."},
            {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Rome"}},
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 9,
            "cache_read_input_tokens": 4,
            "cache_creation_input_tokens": 0,
            "output_tokens": 3,
            "output_tokens_details": {"thinking_tokens": 2},
        },
    }


@pytest.mark.parametrize(
    "marked",
    [
        {"cache_control": {"type": "ephemeral"}},
        {"system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]},
        {"tools": [WEATHER | {"cache_control": {"type": "ephemeral"}}]},
    ],
)
def test_with_marks_for_the_cache_its_tokens_count_apart(marked: dict[str, Any]) -> None:
    usage = reply((0, Delta(1, "a")), finished(), **marked)["usage"]
    assert (
        usage["input_tokens"],
        usage["cache_read_input_tokens"],
        usage["cache_creation_input_tokens"],
    ) == (1, 4, 4)


def test_an_engine_that_starts_again_begins_the_reply_anew() -> None:
    answer = reply((0, Delta(1, "lost")), STARTED, (0, Delta(1, "kept")), finished())
    assert [block["text"] for block in answer["content"]] == ["kept"]


@pytest.mark.parametrize(
    ("end", "max_tokens", "reason", "text"),
    [
        (finished(), 50, "end_turn", None),
        (finished("stop", "END"), 50, "stop_sequence", "END"),
        (finished("length"), 3, "max_tokens", None),
        (finished("length"), 50, "model_context_window_exceeded", None),
    ],
)
def test_why_an_answer_stopped(
    end: ChoiceEvent, max_tokens: int, reason: str, text: str | None
) -> None:
    answer = reply((0, Delta(1, "a")), end, max_tokens=max_tokens)
    assert (answer["stop_reason"], answer["stop_sequence"]) == (reason, text)


def test_a_stream_has_every_event_in_order() -> None:
    events = stream(
        (0, Reasoning(1, "Hm.")),
        (0, Delta(1, "I lo")),
        (0, Delta(1, "ok.")),
        (0, ToolCall(1, "weather", '{"city": "Rome"}')),
        (0, ToolCall(1, "weather", "{}")),
        finished("tool_calls"),
    )
    first, *_ = events
    assert first["message"]["content"] == []
    assert first["message"]["usage"]["input_tokens"] == 9
    assert [(e["type"], e.get("index"), e.get("delta", {}).get("type")) for e in events] == [
        ("message_start", None, None),
        ("content_block_start", 0, None),
        ("content_block_delta", 0, "thinking_delta"),
        ("content_block_delta", 0, "signature_delta"),
        ("content_block_stop", 0, None),
        ("content_block_start", 1, None),
        ("content_block_delta", 1, "text_delta"),
        ("content_block_delta", 1, "text_delta"),
        ("content_block_stop", 1, None),
        ("content_block_start", 2, None),
        ("content_block_delta", 2, "input_json_delta"),
        ("content_block_stop", 2, None),
        ("content_block_start", 3, None),
        ("content_block_delta", 3, "input_json_delta"),
        ("content_block_stop", 3, None),
        ("message_delta", None, None),
        ("message_stop", None, None),
    ]
    assert events[-2]["delta"] == {"stop_reason": "tool_use", "stop_sequence": None}
    assert events[-2]["usage"]["output_tokens"] == 3


def test_hidden_thoughts_come_back_in_their_signature() -> None:
    hidden = {"thinking": {"type": "adaptive", "display": "omitted"}}
    thoughts = ((0, Reasoning(1, "Hm.")), (0, Delta(1, "Yes.")), finished())
    whole, *_ = reply(*thoughts, **hidden)["content"]
    assert whole["thinking"] == ""
    (signed,) = [
        event["delta"]
        for event in stream(*thoughts, **hidden)
        if event.get("delta", {}).get("type") in ("thinking_delta", "signature_delta")
    ]
    assert signed == {"type": "signature_delta", "signature": whole["signature"]}
    again = prompt(body("Hi", assistant(whole), user("And?")))
    assert again.messages[1]["reasoning_content"] == "Hm."


def test_tokens_are_counted_without_generating() -> None:
    counted = decode_count(json.dumps({"messages": [user("Hi")], "tools": [WEATHER]}).encode())
    (made,) = counted.to_requests(ModelSettings(), None)
    assert made.count_only
    builder = counted.reply_builder("some/model", 0)
    builder.collect([(0, Started(1, 9, 0)), (0, Finished(1, "length", Usage(9, 0, 0)))])
    assert json.loads(builder.reply()) == {"input_tokens": 9}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidRequest("no"), "invalid_request_error"),
        (ModelNotFound("no"), "not_found_error"),
        (QueueFull("no"), "rate_limit_error"),
    ],
)
def test_errors(error: InvalidRequest | ModelNotFound | QueueFull, kind: str) -> None:
    expected = {"type": "error", "error": {"type": kind, "message": "no"}}
    assert json.loads(AnthropicErrors().whole(error)) == expected
    name, data, *_ = AnthropicErrors().event(error).decode().split("\n")
    assert (name, json.loads(data.removeprefix("data: "))) == ("event: error", expected)


def test_documents_in_documents_are_read_to_some_depth() -> None:
    """Before, from some depth on, an error was nobody's."""
    block: dict[str, Any] = {"type": "text", "text": "deep"}
    for _ in range(200):
        block = {"type": "document", "source": {"type": "content", "content": [block]}}
    with pytest.raises(InvalidRequest, match="only text"):
        decode_body(body(user(block)))
    assert "deep" not in str(prompt(body(user(block), "Hi")).messages)
