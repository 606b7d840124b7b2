"""Fields of the OpenAI and mlx_lm APIs that change the answer and that we cannot honour yet.

Each is refused unless its value is neutral, that is, unless leaving it out would mean the same.
Fields that only qualify another one here (a penalty's context size, `xtc_threshold`,
`num_draft_tokens`) need no line of their own: without that other one they mean nothing.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from mlxd.api.decode import decode
from mlxd.errors import UnsupportedParameter

Neutral = Callable[[Any], bool]


def _empty(value: Any) -> bool:
    return value in ("", [], {})


def _one_of(*neutral: Any) -> Neutral:
    def is_neutral(value: Any) -> bool:
        return any(value == n and isinstance(value, bool) == isinstance(n, bool) for n in neutral)

    return is_neutral


_COMMON: dict[str, Neutral] = {
    "adapters": _empty,
    "draft_model": _one_of("default_model"),
    "frequency_penalty": _one_of(0),
    "logit_bias": _empty,
    "n": _one_of(1),
    "presence_penalty": _one_of(0),
    "repetition_penalty": _one_of(0, 1),
    "top_logprobs": _one_of(0, -1),
    "xtc_probability": _one_of(0),
}

CHAT: Mapping[str, Neutral] = _COMMON | {
    "audio": _empty,
    "chat_template": _empty,
    "chat_template_args": _empty,
    "chat_template_kwargs": _empty,
    "function_call": _one_of("none", "auto"),
    "functions": _empty,
    "logprobs": _one_of(False),
    "modalities": _one_of(["text"], []),
    "prediction": _empty,
    "reasoning_effort": _empty,
    "response_format": _one_of({"type": "text"}),
    "role_mapping": _empty,
    "tool_choice": _one_of("none", "auto"),
    "tools": _empty,
    "use_default_chat_template": _one_of(False),
    "verbosity": _one_of("medium"),
    "web_search_options": _empty,
}

COMPLETION: Mapping[str, Neutral] = _COMMON | {
    "best_of": _one_of(1),
    "echo": _one_of(False),
    "logprobs": _one_of(False),
    "suffix": _empty,
}


def refuse_unsupported(data: bytes, fields: Mapping[str, Neutral]) -> None:
    """Look for `fields` in `data`, a JSON object.

    Raises:
        InvalidRequest: `data` cannot be read.
        UnsupportedParameter: for the first one with a value that is neither null nor neutral.
    """
    given = decode(data, dict[str, msgspec.Raw])
    for name, is_neutral in fields.items():
        if name in given and not _is_absent_or(is_neutral, given[name]):
            raise UnsupportedParameter(
                f"`{name}`: not supported with this value; leave it out", param=name
            )


def _is_absent_or(is_neutral: Neutral, value: msgspec.Raw) -> bool:
    try:
        decoded = msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return False
    return decoded is None or is_neutral(decoded)
