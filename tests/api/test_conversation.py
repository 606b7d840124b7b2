"""The messages of a request in the many forms that programs send, and what templates get."""

import json
from typing import Any

import pytest

from mlxd.api.chat import decode_body
from mlxd.api.conversation import for_templates
from mlxd.engine.time_limit import within
from mlxd.errors import InvalidRequest

Message = dict[str, Any]
USER = {"role": "user", "content": "Hello"}


def read(*messages: Any) -> list[Message]:
    body = decode_body(json.dumps({"messages": messages}).encode())
    return for_templates(body.messages)


def answer(**fields: Any) -> Message:
    """Return what templates get for an answer with these fields, but its role."""
    (message,) = read({"role": "assistant", **fields})
    assert message.pop("role") == "assistant"
    return message


def call(arguments: Any, **fields: Any) -> Message:
    return {**fields, "type": "function", "function": {"name": "f", "arguments": arguments}}


@pytest.mark.parametrize(
    ("arguments", "object_"),
    [
        ('{"a": 1}', {"a": 1}),
        ({"a": 1}, {"a": 1}),  # llama.cpp#25510
        ('{"cmd": "ls', {"arguments": '{"cmd": "ls'}),  # vllm#43995
        ('{"a": 1}}', {"arguments": '{"a": 1}}'}),  # langchain-qwq#30
        ("ls -l", {"arguments": "ls -l"}),
        ('{"a": NaN}', {"arguments": '{"a": NaN}'}),
        ("", {}),
        (" ", {}),
        ("null", {}),  # CLIProxyAPI#2001
        (None, {}),
        ('"Beijing"', {"arguments": "Beijing"}),  # sglang#28035
        ('["Beijing"]', {"arguments": ["Beijing"]}),
        (["Beijing"], {"arguments": ["Beijing"]}),
        (5, {"arguments": 5}),
        (False, {"arguments": False}),
        ('"{\\"a\\": 1}"', {"a": 1}),
        ('{"a": 99999999999999999999}', {"arguments": '{"a": 99999999999999999999}'}),
        ("[" * 100_000, {"arguments": "[" * 100_000}),
        ('{"a":' * 65 + "1" + "}" * 65, {"arguments": '{"a":' * 65 + "1" + "}" * 65}),
    ],
    ids=lambda value: str(value)[:20],
)
def test_arguments_of_a_past_call_become_an_object(arguments: Any, object_: Message) -> None:
    assert answer(tool_calls=[call(arguments)])["tool_calls"] == [call(object_)]


def test_a_past_call_may_leave_out_nearly_everything() -> None:
    calls = [{"function": {"name": "f"}}, {"id": 7, "type": None, "index": 0}, {}]
    assert answer(tool_calls=calls)["tool_calls"] == [
        call({}),
        {"id": "7", "type": "function", "function": {"name": "", "arguments": {}}},
        {"type": "function", "function": {"name": "", "arguments": {}}},
    ]


def test_a_call_and_its_result_in_their_older_form_become_the_newer_one() -> None:
    called = {"role": "assistant", "content": None, "function_call": call('{"a": 1}')["function"]}
    result = {"role": "function", "name": "f", "content": "4"}
    assert read(called, result) == [
        {"role": "assistant", "content": "", "tool_calls": [call({"a": 1})]},
        {"role": "tool", "content": "4", "name": "f"},
    ]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, ""),  # mcp-agent#328
        ([], ""),
        ([{"type": "text", "text": "4"}, {"type": "text", "text": "2"}], "42"),
        ({"type": "text", "text": "4"}, "4"),
        ({"answer": [42]}, '{"answer":[42]}'),
        ([{"id": 1}, {"id": 2}], '[{"id":1},{"id":2}]'),
        ([{"type": "file", "name": "a"}], '[{"type":"file","name":"a"}]'),
        (["a", "b"], '["a","b"]'),
        (4.5, "4.5"),
        (True, "true"),
    ],
)
def test_the_result_of_a_tool_becomes_text(content: Any, text: str) -> None:
    assert read({"role": "tool", "content": content}) == [{"role": "tool", "content": text}]


def test_a_result_may_leave_its_content_out() -> None:
    assert read({"role": "tool", "tool_call_id": "1"}) == [
        {"role": "tool", "content": "", "tool_call_id": "1"}
    ]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([{"type": "output_text", "text": "4", "annotations": []}], {"content": "4"}),
        ([{"type": "refusal", "refusal": "No."}], {"content": "No."}),  # command-code#820
        (
            [{"type": "thinking", "thinking": "2+2", "signature": "x"}, {"text": "4"}],
            {"content": "4", "reasoning_content": "2+2"},
        ),
        (
            [{"type": "reasoning", "text": "2+2"}, {"type": "text", "text": "4"}],
            {"content": "4", "reasoning_content": "2+2"},
        ),  # vercel/ai#17779
        (
            [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "2+2"}]}],
            {"content": "", "reasoning_content": "2+2"},
        ),
        (
            [{"type": "thinking", "thinking": [{"type": "text", "text": "2+2"}]}],
            {"content": "", "reasoning_content": "2+2"},
        ),
        ([{"type": "redacted_thinking", "data": "abc"}, "4"], {"content": "4"}),
        (
            [{"type": "tool_use", "id": "1", "name": "f", "input": {"a": 1}}],
            {"content": "", "tool_calls": [call({"a": 1}, id="1")]},
        ),
        ([{"type": "from next year", "text": "4"}], {"content": "4"}),
    ],
    ids=lambda value: value[0].get("type") if isinstance(value, list) else "",
)
def test_parts_of_an_answer_are_text_thoughts_or_calls(parts: Any, message: Message) -> None:
    assert answer(content=parts) == message


@pytest.mark.parametrize(
    "fields",
    [
        {"reasoning_content": "2+2"},
        {"reasoning": "2+2"},
        {"thinking": "2+2"},
        {"reasoning": {"content": "2+2"}},
        {"reasoning_details": [{"type": "reasoning.text", "text": "2+2"}]},
        {"reasoning_content": None, "reasoning": "2+2"},
    ],
)
def test_earlier_thoughts_go_to_the_template(fields: Message) -> None:
    assert answer(content="4", **fields) == {"content": "4", "reasoning_content": "2+2"}


def test_a_refusal_without_content_is_what_was_said() -> None:
    assert answer(content=None, refusal="No.") == {"content": "No."}
    assert answer(content="4", refusal=None) == {"content": "4"}


@pytest.mark.parametrize("role", ["system", "user", "assistant", "tool"])
def test_fields_that_say_nothing_are_left_out(role: str) -> None:
    nothing = {"name": None, "tool_calls": None, "function_call": None, "audio": None}
    nothing |= {"annotations": [], "id": "msg_1", "cache_control": {"type": "ephemeral"}}
    assert read({"role": role, "content": "4", **nothing}) == [{"role": role, "content": "4"}]


@pytest.mark.parametrize("role", ["user", "system"])
@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "x"}},
        {"type": "input_image", "image_url": "x"},
        {"type": "image", "source": {"data": "x"}},
        {"type": "input_audio", "input_audio": {"data": "x"}},
        {"type": "file", "file": {"file_id": "x"}},
    ],
    ids=lambda part: part["type"],
)
def test_what_is_no_text_is_refused_by_name(role: str, part: Message) -> None:
    with pytest.raises(InvalidRequest, match=f'only text, not "{part["type"]}"') as caught:
        read(USER, {"role": role, "content": [{"type": "text", "text": "See"}, part]})
    assert caught.value.param == "messages[1].content[1].type"


@pytest.mark.parametrize("role", ["user", "assistant", "tool"])
def test_what_is_no_text_is_left_out_of_history(role: str) -> None:
    parts = [{"type": "text", "text": "See "}, {"type": "image_url", "image_url": {"url": "x"}}]
    said = {"role": "assistant", "content": "A cat."}
    content = read({"role": role, "content": parts}, said, USER)[0]["content"]
    assert content == "See [image_url left out]"


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"type": "reasoning_content", "reasoning_content": "2+2"}, {"reasoning_content": "2+2"}),
        ({"type": "step-start"}, {}),  # vercel/ai's own parts
        ({"type": "text", "text": None}, {}),
    ],
    ids=lambda value: value.get("type"),
)
def test_a_part_of_an_answer_is_no_reason_to_refuse(part: Message, said: Message) -> None:
    assert answer(content=[part, {"type": "text", "text": "4"}]) == {"content": "4", **said}


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant", "tool"])
def test_content_that_is_null_is_an_empty_text(role: str) -> None:
    """open-webui#12441, freellmapi#165: programs send null for what they have nothing of."""
    assert read({"role": role, "content": None})[0]["content"] == ""


@pytest.mark.parametrize("role", ["user", "assistant", "tool"])
def test_a_message_may_have_many_parts(role: str) -> None:
    """To add one after another to what there is takes minutes, on the event loop."""
    part = {"type": "text", "text": "x" * 200}
    (message,) = within(20, lambda: read({"role": role, "content": [part] * 90_000}))
    assert len(message["content"]) == 18_000_000
