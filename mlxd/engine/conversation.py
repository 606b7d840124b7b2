"""Conversations as a template demands them: joined, moved and renamed, but only where it refuses.

A template is asked once, with tiny conversations, what it takes. What it does not take is changed
in the way that keeps the most; the rest stays as it was sent.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from mlxd.engine.templates import Chat
from mlxd.engine.tools import describe_tools

ChatMessage = dict[str, Any]

_NINE_SIGNS = re.compile(r"[a-zA-Z0-9]{9}")
_SYSTEM, _USER, _ASSISTANT, _TOOL = "system", "user", "assistant", "tool"


@dataclass(frozen=True)
class Demands:
    """What a template takes, field by field.

    `any_id` is calls whose ids are not nine letters or digits, `objects` arguments that are objects
    and not JSON text, `plain_content` content that is text and not a list of parts.
    """

    system: bool = False
    later_system: bool = False
    no_user: bool = False
    assistant_first: bool = False
    neighbours: bool = False
    results: bool = False
    any_id: bool = False
    objects: bool = False
    several_calls: bool = False
    user_after_result: bool = False
    text_beside_thoughts_and_calls: bool = False
    answer_last: bool = True
    plain_content: bool = True


def find_demands(takes: Callable[[Chat], bool]) -> Demands:
    """Ask a template what it takes.

    `takes` returns whether it renders a conversation with what `words_of` finds in it.
    """
    user, answer, system = _said(_USER, "Ask7"), _said(_ASSISTANT, "x"), _said(_SYSTEM, "Do8")
    another = _said(_SYSTEM, "Do9")
    plain = takes([user]) or not takes(_in_parts([user]))

    def can(*messages: ChatMessage) -> bool:
        return takes(list(messages) if plain else _in_parts(list(messages)))

    objects = can(*_call_and_result({}))
    arguments: Any = {} if objects else "{}"
    return Demands(
        system=can(system, user),
        later_system=can(user, answer, system, user) and can(system, another, user),
        no_user=can(system) and can(answer),
        assistant_first=can(answer, user),
        neighbours=can(user, user) and can(user, answer, answer, user),
        results=objects or can(*_call_and_result(arguments)),
        any_id=can(*_call_and_result(arguments, prefix="call_")),
        objects=objects,
        several_calls=can(*_call_and_result(arguments, count=2)),
        user_after_result=can(*_call_and_result(arguments), user),
        text_beside_thoughts_and_calls=can(*_call_and_result(arguments, text="x", thoughts="x")),
        answer_last=can(user, answer),
        plain_content=plain,
    )


def with_objects(messages: Chat) -> Chat:
    """Return messages in which the arguments of calls are objects, also where they are text."""
    return [_with_arguments(message, _as_object) for message in messages]


def words_of(messages: Chat) -> list[str]:
    """Return what systems and users say in a conversation with which a template is asked."""
    said = [message["content"] for message in messages if message["role"] in (_SYSTEM, _USER)]
    return [content if isinstance(content, str) else content[0]["text"] for content in said]


def fitted(messages: Chat, demands: Demands) -> Iterator[Chat]:
    """Yield a conversation as a template demands it, and then as the strictest would."""
    yield _fit(messages, demands)
    strictest = Demands(plain_content=demands.plain_content, answer_last=demands.answer_last)
    yield _fit(messages, strictest)


def _said(role: str, content: str) -> ChatMessage:
    return {"role": role, "content": content}


def _call_and_result(
    arguments: Any, *, prefix: str = "abcd", count: int = 1, text: str = "", thoughts: str = ""
) -> Chat:
    """Return a question that leads to `count` calls at once, and their results."""
    ids = [f"{prefix}{12345 + number}" for number in range(count)]
    function = {"name": "f", "arguments": arguments}
    calls = [{"id": each, "type": "function", "function": function} for each in ids]
    results = [{**_said(_TOOL, "x"), "tool_call_id": each} for each in ids]
    answer = {**_said(_ASSISTANT, text), "tool_calls": calls}
    if thoughts:
        answer["reasoning_content"] = thoughts
    return [_said(_USER, "Ask7"), answer, *results]


def _fit(messages: Chat, demands: Demands) -> Chat:
    chat = _answered(messages) if demands.results else describe_tools(messages, [])
    if not (demands.system and demands.later_system):
        chat = _with_one_system(chat, takes_system=demands.system)
    chat = _with_user(chat, demands)
    if not demands.neighbours:
        chat = _joined(chat)
    if not demands.several_calls:
        chat = _one_call_each(chat)
    if not demands.user_after_result:
        chat = _with_answer_after_result(chat)
    if not demands.text_beside_thoughts_and_calls:
        chat = [_with_text_in_thoughts(message) for message in chat]
    if not demands.answer_last and chat[-1]["role"] == _ASSISTANT:
        chat = [*chat, _said(_USER, "")]
    if not demands.any_id:
        chat = [_with_ids(message, _nine_signs) for message in chat]
    if not demands.objects:
        chat = [_with_arguments(message, _as_text) for message in chat]
    return chat if demands.plain_content else _in_parts(chat)


def _answered(messages: Chat) -> Chat:
    """Return messages in which each call has an id and a result, and each result its call's id.

    A result without a call becomes what the user says. The last message may be calls.
    """
    chat: Chat = []
    waiting: dict[str, None] = {}  # the ids of calls without a result, in their order
    number = 0
    for message in messages:
        if message["role"] == _TOOL:
            call_id = _taken(waiting, message.get("tool_call_id"))
            result = {**message, "tool_call_id": call_id}
            chat += [result] if call_id else describe_tools([message], [])
            continue
        chat += [{**_said(_TOOL, ""), "tool_call_id": call_id} for call_id in waiting]
        waiting = {}
        calls = []
        for call in message.get("tool_calls") or []:
            number += 1
            call_id = call.get("id")
            if not call_id or call_id in waiting:
                call_id = f"mlxd_{number}"
            waiting[call_id] = None
            calls.append({**call, "id": call_id})
        chat.append({**message, "tool_calls": calls} if calls else message)
    return chat


def _taken(waiting: dict[str, None], result_id: str | None) -> str | None:
    """Return the id of the call that a result belongs to, which waits no longer."""
    call_id = result_id if result_id in waiting else next(iter(waiting), None)
    if call_id is not None:
        del waiting[call_id]
    return call_id


def _with_one_system(messages: Chat, *, takes_system: bool) -> Chat:
    """Join what systems say: first of all, or before what the user says first."""
    told = [message["content"] for message in messages if message["role"] == _SYSTEM]
    if not told:
        return messages
    text = "\n\n".join(filter(None, told))
    chat = [message for message in messages if message["role"] != _SYSTEM]
    if takes_system:
        return [_said(_SYSTEM, text), *chat]
    place = next((i for i, message in enumerate(chat) if message["role"] == _USER), None)
    if place is None:
        return [_said(_USER, text), *chat]
    return [*chat[:place], _as_one([_said(_USER, text), chat[place]]), *chat[place + 1 :]]


def _with_user(messages: Chat, demands: Demands) -> Chat:
    """Begin with a user who says nothing, where a template wants that the user says something."""
    place = next((i for i, m in enumerate(messages) if m["role"] != _SYSTEM), len(messages))
    first = messages[place]["role"] if place < len(messages) else None
    anyone = any(message["role"] == _USER for message in messages)
    if (anyone or demands.no_user) and (first == _USER or demands.assistant_first):
        return messages
    return [*messages[:place], _said(_USER, ""), *messages[place:]]


def _joined(messages: Chat) -> Chat:
    """Make one message of what one role says in several."""
    chat: Chat = []
    for role, group in groupby(messages, lambda message: str(message["role"])):
        said = list(group)
        chat += [_as_one(said)] if role in (_USER, _ASSISTANT) else said
    return chat


def _as_one(messages: Chat) -> ChatMessage:
    """Return the first of some messages with what all of them say."""
    one = dict(messages[0])
    for name in ("content", "reasoning_content"):
        if texts := list(filter(None, (message.get(name) for message in messages))):
            one[name] = "\n\n".join(texts)
    if calls := [call for message in messages for call in message.get("tool_calls") or []]:
        one["tool_calls"] = calls
    return one


def _one_call_each(messages: Chat) -> Chat:
    """Make a message of each call, followed by its result."""
    chat: Chat = []
    results: dict[str, Chat] = {}
    for message in messages:
        calls = message.get("tool_calls") or []
        if message["role"] == _TOOL and message["tool_call_id"] in results:
            results[message["tool_call_id"]].append(message)
            continue
        for group in results.values():
            chat += group
        results = {}
        if len(calls) < 2:
            chat.append(message)
            continue
        for index, call in enumerate(calls):
            said = message if index == 0 else _said(_ASSISTANT, "")
            results[call["id"]] = [{**said, "tool_calls": [call]}]
    return [*chat, *(message for group in results.values() for message in group)]


def _with_answer_after_result(messages: Chat) -> Chat:
    chat: Chat = []
    for message in messages:
        if chat and (chat[-1]["role"], message["role"]) == (_TOOL, _USER):
            chat.append(_said(_ASSISTANT, ""))
        chat.append(message)
    return chat


def _with_text_in_thoughts(message: ChatMessage) -> ChatMessage:
    thoughts, text = message.get("reasoning_content"), message["content"]
    if not (thoughts and text and message.get("tool_calls")):
        return message
    return {**message, "content": "", "reasoning_content": f"{thoughts}\n\n{text}"}


def _with_ids(message: ChatMessage, change: Callable[[str], str]) -> ChatMessage:
    changed = dict(message)
    if call_id := message.get("tool_call_id"):
        changed["tool_call_id"] = change(call_id)
    if calls := message.get("tool_calls"):
        changed["tool_calls"] = [{**call, "id": change(call["id"])} for call in calls]
    return changed


def _nine_signs(call_id: str) -> str:
    """Return an id of nine letters and digits, always the same for equal ids."""
    if _NINE_SIGNS.fullmatch(call_id):
        return call_id
    return hashlib.sha256(call_id.encode()).hexdigest()[:9]


def _with_arguments(message: ChatMessage, change: Callable[[Any], Any]) -> ChatMessage:
    if not (calls := message.get("tool_calls")):
        return message
    changed = [
        {
            **call,
            "function": {**call["function"], "arguments": change(call["function"]["arguments"])},
        }
        for call in calls
    ]
    return {**message, "tool_calls": changed}


def _as_object(arguments: Any) -> Any:
    if not isinstance(arguments, str):
        return arguments
    try:
        value = json.loads(arguments or "{}")
    except (ValueError, RecursionError):
        value = arguments
    return value if isinstance(value, dict) else {"arguments": value}


def _as_text(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)


def _in_parts(messages: Chat) -> Chat:
    return [
        {**message, "content": [{"type": "text", "text": message["content"]}]}
        for message in messages
    ]
