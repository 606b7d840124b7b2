"""The fields that chat and text completions share, and the engine's request made of them."""

import hashlib
import re
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from mlxd import messages
from mlxd.api.keep_alive import KEEP_ALIVE_SCHEMA, keep_alive_seconds
from mlxd.api.response_format import GuidedFields
from mlxd.config import GenerationConfig
from mlxd.errors import InvalidRequest
from mlxd.messages import Draft, GenerateRequest, Grammar, Penalties, Sampling

INT32_MAX = 2**31 - 1
MAX_CHOICES = 128
EXACTLY = "x-exactly"
"""In a field's extra JSON schema: what its schema is, where the type cannot say it."""

_MAX_STOPS = 16
_MAX_TOP_LOGPROBS = 20
_KEY_PATTERN = r"^[0-9]{1,9}$"
_BIAS_PATTERN = r"^[+-]?[0-9]{1,9}([.][0-9]{1,20})?$"
_LARGEST_BIAS = 1e9

Prompt = messages.ChatPrompt | messages.TextPrompt | messages.TokensPrompt
_TokenCount = Annotated[int, Meta(ge=1, le=INT32_MAX)]
_ContextSize = Annotated[int, Meta(ge=0, le=INT32_MAX)]
_Penalty = Annotated[float, Meta(ge=-100, le=100)]
_StopText = Annotated[str, Meta(min_length=1)]
_Number = TypeVar("_Number", int, float)

_LOGIT_BIAS_SCHEMA = {
    "anyOf": [
        {
            "type": "object",
            "propertyNames": {"pattern": _KEY_PATTERN},
            "additionalProperties": {
                "anyOf": [
                    {"type": "number", "minimum": -_LARGEST_BIAS, "maximum": _LARGEST_BIAS},
                    {"type": "string", "pattern": _BIAS_PATTERN},
                ]
            },
        },
        {"type": "null"},
    ]
}


class StreamOptions(msgspec.Struct, frozen=True):
    """How a stream is made."""

    include_usage: Annotated[
        bool | None, Meta(description="Send one more chunk at the end, with the token counts.")
    ] = None


class CommonFields(GuidedFields, frozen=True, kw_only=True):
    """The fields of every dialect; null is the same as leaving a field out."""

    model: Annotated[
        str | None,
        Meta(description="The model's id or alias; `default_model` or nothing is the default."),
    ] = None
    max_tokens: Annotated[
        _TokenCount | None,
        Meta(
            description="How many tokens the answer may have; what is beyond the room that the "
            "prompt leaves in the model's context is cut off."
        ),
    ] = None
    max_completion_tokens: Annotated[
        _TokenCount | None, Meta(description="The newer name of `max_tokens`; wins over it.")
    ] = None
    temperature: Annotated[
        Annotated[float, Meta(ge=0, le=2)] | None,
        Meta(description="How freely tokens are drawn; 0 takes the likeliest."),
    ] = None
    top_p: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None,
        Meta(description="Draw from the likeliest tokens of this total probability; 0 is off."),
    ] = None
    top_k: Annotated[
        Annotated[int, Meta(ge=-1, le=INT32_MAX)] | None,
        Meta(description="Draw from this many tokens; 0 and -1 are off."),
    ] = None
    min_p: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None,
        Meta(description="Drop tokens below this share of the likeliest one's probability."),
    ] = None
    xtc_probability: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None,
        Meta(description="How often the likeliest tokens are left out (XTC); 0 is off."),
    ] = None
    xtc_threshold: Annotated[
        Annotated[float, Meta(ge=0, le=0.5)] | None,
        Meta(description="XTC leaves out all but the last token above this probability (0.1)."),
    ] = None
    repetition_penalty: Annotated[
        Annotated[float, Meta(ge=0, le=100)] | None,
        Meta(description="Divides the logits of tokens that were there; 0 and 1 are off."),
    ] = None
    repetition_context_size: Annotated[
        _ContextSize | None,
        Meta(
            description="To how many of the last tokens `repetition_penalty` applies (20); 0 is "
            "all."
        ),
    ] = None
    presence_penalty: Annotated[
        _Penalty | None, Meta(description="Taken from the logits of tokens that were there.")
    ] = None
    presence_context_size: Annotated[
        _ContextSize | None,
        Meta(
            description="To how many of the last tokens `presence_penalty` applies (20); 0 is all."
        ),
    ] = None
    frequency_penalty: Annotated[
        _Penalty | None,
        Meta(description="Taken from the logits of tokens once for each time they were there."),
    ] = None
    frequency_context_size: Annotated[
        _ContextSize | None,
        Meta(
            description="To how many of the last tokens `frequency_penalty` applies (20); 0 is all."
        ),
    ] = None
    logit_bias: Annotated[
        dict[str, Any] | None,
        Meta(
            description="Added to the logits: token ids, and for each a number or its text.",
            extra_json_schema={EXACTLY: _LOGIT_BIAS_SCHEMA},
        ),
    ] = None
    logprobs: Annotated[
        bool | Annotated[int, Meta(ge=0, le=_MAX_TOP_LOGPROBS)] | None,
        Meta(
            description="Give the log-probability of each token; a number also says how many of "
            "the likeliest tokens are given in its place."
        ),
    ] = None
    top_logprobs: Annotated[
        Annotated[int, Meta(ge=-1, le=_MAX_TOP_LOGPROBS)] | None,
        Meta(
            description="How many of the likeliest tokens are given in each place, which asks for "
            "`logprobs` too; 0 and -1 are none."
        ),
    ] = None
    n: Annotated[
        Annotated[int, Meta(ge=1, le=MAX_CHOICES)] | None,
        Meta(description="How many answers to give to each prompt (1)."),
    ] = None
    stop: Annotated[
        _StopText | Annotated[list[_StopText], Meta(max_length=_MAX_STOPS)] | None,
        Meta(description="A text that ends the answer and is not shown, or several."),
    ] = None
    seed: Annotated[
        Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None,
        Meta(description="Makes a random answer repeatable."),
    ] = None
    stream: Annotated[
        bool | None, Meta(description="Send the answer in pieces, as server-sent events.")
    ] = None
    stream_options: Annotated[
        StreamOptions | None, Meta(description="What a stream holds besides the answer.")
    ] = None
    draft_model: Annotated[
        str | None,
        Meta(
            description="A smaller model with the same tokens that guesses ahead; "
            "`default_model` or nothing is the configured one."
        ),
    ] = None
    num_draft_tokens: Annotated[
        Annotated[int, Meta(ge=0, le=64)] | None,
        Meta(description="How many tokens the draft model guesses ahead (3); 0 does without it."),
    ] = None
    adapters: Annotated[
        str | None,
        Meta(
            description="The name of an adapter to apply to the model; `default_model` or nothing "
            "is the configured one, an empty text is none."
        ),
    ] = None

    keep_alive: Annotated[
        float | str | None,
        Meta(
            description="How long the model stays in memory afterwards: seconds, or a duration "
            'such as `"10m"`; negative is for ever, 0 not at all.',
            extra_json_schema={EXACTLY: KEEP_ALIVE_SCHEMA},
        ),
    ] = None

    @property
    def kept_alive(self) -> float | None:
        """How many seconds the model stays in memory afterwards, -1 for ever; None as usual.

        Raises:
            InvalidRequest: `keep_alive` is no time.
        """
        return keep_alive_seconds(self.keep_alive)

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a chunk of token counts."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def choices_per_prompt(self) -> int:
        """How many answers each prompt gets."""
        return self.n or 1

    @property
    def wanted_logprobs(self) -> int | None:
        """How many tokens to give in each place; None where none is asked for.

        Raises:
            InvalidRequest: `logprobs` and `top_logprobs` contradict each other.
        """
        top = max(0, self.top_logprobs or 0)
        if self.logprobs is False and top:
            raise InvalidRequest(
                "`top_logprobs`: not without `logprobs`, which is false", param="top_logprobs"
            )
        if self.logprobs is None or self.logprobs is False:
            return top or None
        return max(top, 0 if self.logprobs is True else self.logprobs)

    def check(self) -> None:
        """Check what the types cannot say.

        Raises:
            InvalidRequest: names the field at fault.
        """
        _biases(self.logit_bias or {})
        _ = self.wanted_logprobs, self.kept_alive

    def asking(
        self,
        prompts: list[Prompt],
        defaults: GenerationConfig,
        grammar: Grammar | None,
        draft: Draft | None,
    ) -> list[GenerateRequest]:
        """Give the engine's requests: for each prompt as many as it gets answers."""
        first = GenerateRequest(
            prompt=prompts[0],
            max_tokens=self.max_completion_tokens or self.max_tokens or defaults.max_tokens,
            sampling=self._sampling(defaults),
            stop=[self.stop] if isinstance(self.stop, str) else self.stop or [],
            seed=self.seed,
            penalties=self._penalties(),
            logit_bias=_biases(self.logit_bias or {}),
            logprobs=self.wanted_logprobs,
            grammar=grammar,
            draft=draft,
        )
        if len(prompts) == self.choices_per_prompt == 1:
            return [first]
        return [
            msgspec.structs.replace(first, prompt=prompt, seed=_derived(self.seed, number))
            for prompt in prompts
            for number in range(self.choices_per_prompt)
        ]

    def _sampling(self, defaults: GenerationConfig) -> Sampling:
        usual = Sampling()
        return Sampling(
            temperature=_first(self.temperature, defaults.temperature),
            top_p=_first(self.top_p, defaults.top_p) or 1.0,
            top_k=max(0, _first(self.top_k, defaults.top_k)),
            min_p=_first(self.min_p, defaults.min_p),
            xtc_probability=self.xtc_probability or 0.0,
            xtc_threshold=_first(self.xtc_threshold, usual.xtc_threshold),
        )

    def _penalties(self) -> Penalties:
        usual = Penalties()
        repetition = self.repetition_penalty or 0.0
        return Penalties(
            repetition_penalty=0.0 if repetition == 1 else repetition,
            repetition_context_size=_first(
                self.repetition_context_size, usual.repetition_context_size
            ),
            presence_penalty=self.presence_penalty or 0.0,
            presence_context_size=_first(self.presence_context_size, usual.presence_context_size),
            frequency_penalty=self.frequency_penalty or 0.0,
            frequency_context_size=_first(
                self.frequency_context_size, usual.frequency_context_size
            ),
        )


def _first(given: _Number | None, default: _Number) -> _Number:
    return default if given is None else given


def _derived(seed: int | None, number: int) -> int | None:
    """Give each answer to one prompt a seed of its own, and the first one the seed itself."""
    if seed is None or number == 0:
        return seed
    digest = hashlib.blake2b(f"{seed}:{number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def _biases(given: dict[str, Any]) -> dict[int, float]:
    biases = {}
    for key, value in given.items():
        param = f"logit_bias.{key}"
        if not re.fullmatch(_KEY_PATTERN, key, re.ASCII) or key.endswith("\n"):
            raise InvalidRequest(f"`{param}`: the key is not a token id", param=param)
        if (bias := _bias(value)) is None:
            raise InvalidRequest(
                f"`{param}`: expected a number from -1e9 to 1e9, or its text", param=param
            )
        biases[int(key)] = bias
    return biases


def _bias(value: Any) -> float | None:
    if isinstance(value, str):
        return float(value) if re.fullmatch(_BIAS_PATTERN, value) and value[-1] != "\n" else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if -_LARGEST_BIAS <= value <= _LARGEST_BIAS else None
