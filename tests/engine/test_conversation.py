"""Conversations of any form, through templates with the demands of well-known ones."""

import json
from typing import Any

import pytest

from mlxd.api.chat import decode_body
from mlxd.api.conversation import for_templates
from mlxd.engine import templates
from mlxd.engine.loader import LoadedModel
from mlxd.engine.prompts import PromptReader, RenderedChat
from mlxd.engine.tools import supports_tools
from mlxd.errors import InvalidRequest
from mlxd.messages import ChatPrompt, Template
from tests.support.chat_templates import (
    DEEPSEEK,
    GEMMA2,
    GPT_OSS,
    LLAMA3,
    MISTRAL,
    QWEN35,
    TEMPLATES,
)

Message = dict[str, Any]


def call(name: str, arguments: Any, call_id: str | None = None) -> Message:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def said(role: str, content: str | None, **fields: Any) -> Message:
    return {"role": role, "content": content, **fields}


SYSTEM, USER, ANSWER = said("system", "Sys."), said("user", "Ask?"), said("assistant", "Told!")
CALLED = said("assistant", None, tool_calls=[call("look", {"at": "sky"}, "call_abc123")])
RESULT = said("tool", "Blue", tool_call_id="call_abc123")
CONVERSATIONS = {
    "plain": [SYSTEM, USER, ANSWER, said("user", "More?")],
    "no user": [SYSTEM],  # verl#7725
    "two systems": [SYSTEM, said("system", "Developer."), USER],
    "late system": [USER, ANSWER, SYSTEM, said("user", "More?")],  # vllm#41114
    "last system": [USER, ANSWER, SYSTEM],
    "two users": [SYSTEM, USER, said("user", "And?")],  # vllm#6862
    "two answers": [USER, ANSWER, said("assistant", "Also."), said("user", "More?")],
    "answer first": [ANSWER, USER],
    "answer last": [USER, ANSWER],
    "call": [SYSTEM, USER, CALLED, RESULT],  # text-generation-inference#3198
    "our id": [
        USER,
        said("assistant", "", tool_calls=[call("look", {}, "call_0123456789abcdef01234567")]),
        said("tool", "Blue", tool_call_id="call_0123456789abcdef01234567"),
    ],  # mlx-lm#1375
    "Anthropic's id": [
        USER,
        said("assistant", "", tool_calls=[call("look", {}, "toolu_01A09q90qw90lq917835lq9")]),
        said("tool", "Blue", tool_call_id="toolu_01A09q90qw90lq917835lq9"),
    ],
    "no ids": [
        USER,
        said("assistant", "", tool_calls=[call("look", {}), call("hear", {})]),
        said("tool", "Blue"),
        said("tool", "Birds"),
        ANSWER,
    ],
    "repeated ids": [
        USER,
        said("assistant", "", tool_calls=[call("look", {}, "1"), call("hear", {}, "1")]),
        said("tool", "Blue", tool_call_id="1"),
        said("tool", "Birds", tool_call_id="1"),
    ],
    "results in another order": [
        USER,
        said("assistant", "", tool_calls=[call("look", {}, "a"), call("hear", {}, "b")]),
        said("tool", "Birds", tool_call_id="b"),
        said("tool", "Blue", tool_call_id="a"),
    ],  # vllm#11592: a Llama has one call at once
    "user after a result": [USER, CALLED, RESULT, said("user", "Stop!")],
    "no result": [USER, CALLED, said("user", "Never mind.")],
    "result without a call": [said("tool", "Blue", tool_call_id="x"), USER],
    "text and thoughts beside a call": [
        USER,
        {**CALLED, "content": "I try.", "reasoning_content": "Where is it?"},
        RESULT,
    ],  # lmstudio-bug-tracker#842
    "broken arguments": [
        USER,
        said("assistant", "", tool_calls=[call("look", '{"at": "sk', "1")]),
        said("tool", "Blue", tool_call_id="1"),
    ],  # vllm#43995
    "list of arguments": [
        USER,
        said("assistant", "", tool_calls=[call("look", '["sky"]', "1")]),
        said("tool", "Blue", tool_call_id="1"),
    ],  # sglang#28035
}


@pytest.fixture
def reader(loaded: LoadedModel) -> PromptReader:
    return PromptReader(loaded.tokenizer)


def prompt(messages: list[Message], source: str) -> ChatPrompt:
    body = decode_body(json.dumps({"messages": messages}).encode())
    return ChatPrompt(for_templates(body.messages), Template(source=source))


def read(reader: PromptReader, messages: list[Message], source: str) -> RenderedChat:
    made = prompt(messages, source)
    describe = not supports_tools(reader._tokenizer, made.template)
    return reader.read_chat(made, describe=describe)


def texts(messages: list[Message]) -> list[str]:
    """Return what a conversation says, the names of its calls among it."""
    said = [message["content"] for message in messages if message["content"]]
    calls = [call for message in messages for call in message.get("tool_calls", [])]
    return said + [call["function"]["name"] for call in calls]


@pytest.mark.parametrize("conversation", CONVERSATIONS.values(), ids=CONVERSATIONS)
@pytest.mark.parametrize("source", TEMPLATES.values(), ids=TEMPLATES)
def test_every_template_takes_every_conversation_whole(
    reader: PromptReader, source: str, conversation: list[Message]
) -> None:
    text = read(reader, conversation, source).text
    for part in texts(conversation):
        assert text.count(part) == 1, text


def test_a_conversation_that_a_template_takes_is_rendered_once_as_it_is(
    reader: PromptReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered: list[list[Message]] = []

    def render(*arguments: Any) -> str:
        rendered.append(arguments[2])
        return str(templates.render(*arguments))

    monkeypatch.setattr("mlxd.engine.prompts.render", render)
    conversation = [SYSTEM, USER, said("user", "And?"), CALLED, RESULT]
    made = prompt(conversation, TEMPLATES["QWEN3"])
    assert reader.read_chat(made).messages == made.messages
    assert rendered == [made.messages]


@pytest.mark.parametrize(
    ("source", "conversation", "roles"),
    [
        (GEMMA2, "plain", "user assistant user"),
        (GEMMA2, "answer first", "user assistant user"),
        (GEMMA2, "call", "user assistant user"),
        (QWEN35, "late system", "system user assistant user"),
        (QWEN35, "two systems", "system user"),
        (QWEN35, "no user", "system user"),
        (MISTRAL, "two users", "system user"),
        (MISTRAL, "user after a result", "user assistant tool assistant user"),
        (MISTRAL, "no result", "user assistant tool assistant user"),
        (LLAMA3, "results in another order", "user assistant tool assistant tool"),
        (DEEPSEEK, "call", "system user assistant tool"),
        (GPT_OSS, "text and thoughts beside a call", "user assistant tool"),
        (GPT_OSS, "result without a call", "user user"),
    ],
)
def test_a_conversation_becomes_what_the_template_demands(
    reader: PromptReader, source: str, conversation: str, roles: str
) -> None:
    messages = read(reader, CONVERSATIONS[conversation], source).messages
    assert [message["role"] for message in messages] == roles.split()


def test_what_systems_say_is_joined_before_what_the_user_says_first(reader: PromptReader) -> None:
    messages = read(reader, CONVERSATIONS["two systems"], GEMMA2).messages
    assert messages == [said("user", "Sys.\n\nDeveloper.\n\nAsk?")]


@pytest.mark.parametrize("conversation", ["our id", "no ids", "repeated ids", "call"])
def test_ids_become_nine_signs_and_results_keep_their_calls(
    reader: PromptReader, conversation: str
) -> None:
    first, second = (read(reader, CONVERSATIONS[conversation], MISTRAL).messages for _ in "12")
    calls = [call["id"] for message in first for call in message.get("tool_calls", [])]
    assert all(len(call_id) == 9 and call_id.isalnum() for call_id in calls)
    assert len(set(calls)) == len(calls)
    assert [message["tool_call_id"] for message in first if message["role"] == "tool"] == calls
    assert first == second


def test_mlxds_own_instructions_are_moved_too(reader: PromptReader) -> None:
    """omlx#197: a Gemma 2, which takes neither functions nor a system, with functions."""
    tools = [{"type": "function", "function": {"name": "look"}}]
    chat = reader.read_chat(prompt([SYSTEM, USER, CALLED, RESULT], GEMMA2), tools, describe=True)
    first, called, result = chat.messages
    assert first["content"].startswith("Sys.\n\nYou can call functions.")
    assert first["content"].endswith("Ask?")
    assert '{"name": "look", "arguments": {"at": "sky"}}' in called["content"]
    assert result == said("user", "<tool_response>\nBlue\n</tool_response>")


@pytest.mark.parametrize(
    ("text", "object_"),
    [('{"at": "sky"}', {"at": "sky"}), ("", {}), ("[" * 100_000, {"arguments": "[" * 100_000})],
)
def test_arguments_may_come_as_json_text(reader: PromptReader, text: str, object_: Message) -> None:
    called = said("assistant", "", tool_calls=[call("look", text, "1")])
    made = ChatPrompt([USER, called], Template(source=QWEN35))
    (read_call,) = reader.read_chat(made).messages[1]["tool_calls"]
    assert read_call["function"]["arguments"] == object_


def test_a_template_that_refuses_everything_says_what_it_said_first(reader: PromptReader) -> None:
    source = "{{ raise_exception('only %d now' % messages | length) }}"
    with pytest.raises(InvalidRequest, match="only 2 now"):
        read(reader, [USER, said("user", "And?")], source)
