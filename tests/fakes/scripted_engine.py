"""An engine that answers by script, so that an agent's whole loop runs without a large model.

The model folder has a `script.json` with scenes. A scene begins at the last message of the user
that contains its `user` text. Its first answer replies to that message, the second one to what
followed the first answer (the results of its calls, most often), and so on. Whatever no scene knows
gets the answer OTHERWISE, and so does the same text without functions where the scene calls some:
agents also ask for titles and summaries.

The engine checks the agent, too. It refuses a request that does not offer the function to call, one
after the scene's last answer, and one whose messages since the last answer lack the `after` text.
"""

import itertools
import json
import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from mlxd.frames import FrameSplitter, decode_daemon_frame, encode_frame
from mlxd.generate_request import ChatPrompt, GenerateRequest
from mlxd.messages import (
    PROTOCOL_VERSION,
    Budget,
    Delta,
    EngineMessage,
    Event,
    Failed,
    Finished,
    Generate,
    Hello,
    Load,
    Ping,
    Pong,
    Ready,
    Reasoning,
    Shutdown,
    Started,
    ToolCall,
    Usage,
    Warm,
)

MEMORY, CONTEXT = 1000, 200_000


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One answer; `calls` has the name and the arguments of each function that it calls.

    `pause` is how many seconds each word takes.
    """

    text: str = ""
    reasoning: str = ""
    calls: list[tuple[str, dict[str, Any]]] = []
    after: str = ""
    pause: float = 0.0


class Scene(msgspec.Struct, frozen=True):
    """The answers in a conversation that begins with the `user` text."""

    user: str
    answers: list[Answer]


OTHERWISE = Answer(text="A short answer.")


class OffScript(Exception):
    """The agent asked what the script does not expect."""


def choose(script: list[Scene], request: GenerateRequest) -> Answer:
    """Return the answer to a request; raises OffScript."""
    if not isinstance(request.prompt, ChatPrompt):
        return OTHERWISE
    messages, tools = request.prompt.messages, request.prompt.tools
    functions = {tool["function"]["name"] for tool in tools.functions} if tools else set()
    for index, message in reversed(list(enumerate(messages))):
        if message["role"] == "user":
            for scene in script:
                meant = functions or not any(answer.calls for answer in scene.answers)
                if meant and scene.user in _text_of(message):
                    return _next_answer(scene, messages[index + 1 :], functions)
    return OTHERWISE


def _next_answer(scene: Scene, since: list[dict[str, Any]], functions: set[str]) -> Answer:
    turns = [
        (role, list(turn))
        for role, turn in itertools.groupby(since, lambda message: message["role"] == "assistant")
    ]
    done = sum(is_answer for is_answer, _ in turns)
    if done >= len(scene.answers):
        raise OffScript(f"{scene.user!r} has only {len(scene.answers)} answers")
    answer = scene.answers[done]
    said = "\n".join(_text_of(message) for message in turns[-1][1]) if turns else ""
    if answer.after not in said:
        raise OffScript(f"answer {done + 1} comes after {answer.after!r}, not after {said!r}")
    for name, _ in answer.calls:
        if name not in functions:
            raise OffScript(f"{name} is none of the functions {sorted(functions)}")
    return answer


def _text_of(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


def events(id_: int, request: GenerateRequest, script: list[Scene]) -> Iterator[Event]:
    """Yield what the daemon is told of a request, a word at a time."""
    prompt_tokens = len(msgspec.json.encode(request.prompt)) // 4
    yield Started(id_, prompt_tokens, 0)
    try:
        answer = choose(script, request)
    except OffScript as error:
        yield Failed(id_, "invalid_request", f"off script: {error}", "messages")
        return
    thoughts = [Reasoning(id_, word) for word in _words(answer.reasoning)]
    texts = [Delta(id_, word) for word in _words(answer.text)]
    calls = [ToolCall(id_, name, json.dumps(arguments)) for name, arguments in answer.calls]
    whole: list[Event] = [*thoughts, *texts, *calls]
    said = whole[: request.max_tokens]
    for event in said:
        time.sleep(answer.pause)
        yield event
    reason = "tool_calls" if calls else "stop"
    yield Finished(
        id_,
        reason if len(said) == len(whole) else "length",
        Usage(prompt_tokens, 0, len(said), min(len(said), len(thoughts))),
    )


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+|\s+$", text)


def main() -> None:
    """Serve one daemon, whose end of the socket is standard input's."""
    connection = socket.socket(fileno=os.dup(0))

    def send(*messages: EngineMessage) -> None:
        connection.sendall(encode_frame(list(messages)))

    script: list[Scene] = []
    splitter = FrameSplitter()
    send(Hello(PROTOCOL_VERSION, os.getpid()), Warm(MEMORY))
    while data := connection.recv(65536):
        for message in itertools.chain.from_iterable(
            decode_daemon_frame(payload) for payload in splitter.feed(data)
        ):
            match message:
                case Load(path=path):
                    text = (Path(path) / "script.json").read_bytes()
                    script = msgspec.json.decode(text, type=list[Scene])
                    send(Ready(CONTEXT, MEMORY))
                case Generate(id=id_, request=request):
                    for event in events(id_, request, script):
                        send(event)
                case Ping() | Budget():
                    send(Pong(MEMORY, context_fits=CONTEXT))
                case Shutdown():
                    sys.exit(0)


if __name__ == "__main__":
    main()
