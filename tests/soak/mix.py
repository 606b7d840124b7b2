"""The requests of a soak: every dialect, streamed or not, with tools, schemas and long prompts."""

import random
from dataclasses import dataclass
from typing import Any

MODELS = ("talk", "marked")
CONTEXT = 16384
READ, LEAVE, UNREAD = "read", "leave", "unread"

_SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "size": {"enum": [1, 2, 3]}},
    "required": ["name", "size"],
    "additionalProperties": False,
}
_WEATHER = {"type": "object", "properties": {"city": {"enum": ["Rome", "Oslo"]}}}
_SHORT = ("Hi", "What is it?", "Tell me about the sea.", "Grüße aus Köln 🌊")
_LONG_TOKENS = (1000, 6000)
_NEED_A_MODEL = ("messages", "ollama_chat", "ollama_generate")


@dataclass(frozen=True)
class Ask:
    """One request of a `dialect`; `manner` is how its client takes the answer."""

    dialect: str
    path: str
    body: dict[str, Any]
    manner: str = READ

    @property
    def stream(self) -> bool:
        return bool(self.body["stream"])


def draw(chance: random.Random) -> Ask:
    """Return a valid request, which an unhurried daemon would answer."""
    dialect = chance.choice(list(_DIALECTS))
    path, make = _DIALECTS[dialect]
    body = make(chance, _prompt(chance))
    body["stream"] = dialect == "socket" or chance.random() < 0.6
    manner = READ
    if dialect != "socket":
        manner = chance.choices((READ, LEAVE, UNREAD), (80, 15, 5))[0]
    if manner == UNREAD:
        body = {**make(chance, "Write."), "stream": True, **_length(dialect, 2000)}
    if chance.random() < 0.7 or dialect in _NEED_A_MODEL:
        body["model"] = chance.choice(MODELS)
    return Ask(dialect, path, body, manner)


def _prompt(chance: random.Random) -> str:
    if chance.random() < 0.8:
        return chance.choice(_SHORT)
    words = ("sea", "ship", "sail", "storm", "salt")
    length = chance.randint(*_LONG_TOKENS)
    return " ".join(chance.choice(words) for _ in range(length // 5))


def _length(dialect: str, tokens: int) -> dict[str, Any]:
    if dialect in ("responses", "background", "socket"):
        return {"max_output_tokens": tokens}
    if dialect.startswith("ollama"):
        return {"options": {"num_predict": tokens}}
    return {"max_tokens": tokens}


def _some_tokens(chance: random.Random) -> int:
    return chance.choice((1, 16, 64, 64, 400))


def _chat(chance: random.Random, prompt: str) -> dict[str, Any]:
    body = {"messages": _turns(chance, prompt), **_length("chat", _some_tokens(chance))}
    shape = chance.random()
    if shape < 0.2:
        function = {"name": "weather", "description": "now", "parameters": _WEATHER}
        body["tools"] = [{"type": "function", "function": function}]
        body["tool_choice"] = chance.choice(("auto", "required"))
    elif shape < 0.4:
        schema = {"name": "thing", "schema": _SCHEMA, "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif shape < 0.5:
        body |= {"n": 3, "logprobs": True, "top_logprobs": 2, "temperature": 1.0}
    elif shape < 0.55:
        body["chat_template"] = "{% for m in messages %}{{ m.content }}{% endfor %}"
    return body


def _completions(chance: random.Random, prompt: str) -> dict[str, Any]:
    body = {"prompt": prompt, **_length("completions", _some_tokens(chance))}
    if chance.random() < 0.2:
        body |= {"n": 2, "temperature": 0.8, "stop": ["zzz"]}
    return body


def _messages(chance: random.Random, prompt: str) -> dict[str, Any]:
    body = {"messages": _turns(chance, prompt), **_length("messages", _some_tokens(chance))}
    if chance.random() < 0.3:
        body["system"] = "Be brief."
        body["tools"] = [{"name": "weather", "description": "now", "input_schema": _WEATHER}]
    return body


def _responses(chance: random.Random, prompt: str) -> dict[str, Any]:
    body = {"input": prompt, **_length("responses", _some_tokens(chance))}
    if chance.random() < 0.3:
        form = {"type": "json_schema", "name": "thing", "schema": _SCHEMA}
        body["text"] = {"format": form}
    return body


def _background(chance: random.Random, prompt: str) -> dict[str, Any]:
    return {**_responses(chance, prompt), "background": True}


def _ollama_chat(chance: random.Random, prompt: str) -> dict[str, Any]:
    body = {"messages": _turns(chance, prompt), **_length("ollama_chat", _some_tokens(chance))}
    if chance.random() < 0.3:
        body["format"] = _SCHEMA
    return body


def _ollama_generate(chance: random.Random, prompt: str) -> dict[str, Any]:
    return {"prompt": prompt, **_length("ollama_generate", _some_tokens(chance))}


def _turns(chance: random.Random, prompt: str) -> list[dict[str, str]]:
    before = [
        {"role": role, "content": f"{role} {turn}"}
        for turn in range(chance.choice((0, 0, 1, 3)))
        for role in ("user", "assistant")
    ]
    return [*before, {"role": "user", "content": prompt}]


_DIALECTS = {
    "chat": ("/v1/chat/completions", _chat),
    "completions": ("/v1/completions", _completions),
    "messages": ("/v1/messages", _messages),
    "responses": ("/v1/responses", _responses),
    "background": ("/v1/responses", _background),
    "socket": ("/v1/responses", _responses),
    "ollama_chat": ("/api/chat", _ollama_chat),
    "ollama_generate": ("/api/generate", _ollama_generate),
}
