"""Conversations with tools for templates that know none."""

from typing import Any

from mlxd.engine.tool_prompt import tell

TOOL = {"type": "function", "function": {"name": "weather", "description": "Of a city."}}


def call(arguments: str) -> dict[str, Any]:
    return {"id": "1", "function": {"name": "weather", "arguments": arguments}}


def test_the_functions_join_the_system_message() -> None:
    (system, user) = tell(
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}], [TOOL]
    )
    assert system["content"].startswith("Be brief.\n\n")
    assert '{"name": "weather", "description": "Of a city."}' in system["content"]
    assert user == {"role": "user", "content": "Hi"}


def test_without_a_system_message_there_is_one() -> None:
    assert [m["role"] for m in tell([{"role": "user", "content": "Hi"}], [TOOL])] == [
        "system",
        "user",
    ]


def test_past_calls_and_results_become_text_with_roles_that_alternate() -> None:
    messages = [
        {"role": "user", "content": "Oslo and Rome?"},
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [call('{"city": "Oslo"}'), call('{"city": "Rome"}')],
        },
        {"role": "tool", "content": "rain", "tool_call_id": "1"},
        {"role": "tool", "content": "sun", "tool_call_id": "2"},
    ]
    user, assistant, results = tell(messages, [])
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
    assert tell(messages, []) == messages
