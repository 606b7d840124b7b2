"""The fields that chat and text completions share, and the engine's requests made of them."""

import hashlib
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from mlxd.api.decode import doc
from mlxd.api.dialect import SSE, StreamForm
from mlxd.api.field_types import (
    INT32_MAX,
    MAX_STOP_TOKENS,
    MAX_STOPS,
    MAX_TOP_LOGPROBS,
    MOST_BIASES,
    Choices,
    ContextSize,
    FactorValue,
    LastTokens,
    OllamaOptions,
    PenaltyValue,
    SeedValue,
    Share,
    StopTexts,
    TemperatureValue,
    ThoughtTokens,
    TokenCount,
    TopKValue,
    TopLogprobs,
    another,
)
from mlxd.api.keep_alive import KEEP_ALIVE_KINDS, keep_alive_seconds
from mlxd.api.other_servers import check_refused
from mlxd.api.reply_builder import ChoiceBuilder, OpenAIReplyBuilder
from mlxd.api.response_format import GuidedFields
from mlxd.config import GenerationConfig
from mlxd.errors import InvalidRequest
from mlxd.generate_request import Draft, GenerateRequest, Grammar, Penalties, Prompt, Sampling

NAMES: dict[str, tuple[str, ...]] = {
    "keep_alive": ("keep_alive", "ttl"),
    "max_tokens": ("max_completion_tokens", "max_tokens", "n_predict", "num_predict"),
    "n": ("n", "n_cmpl"),
    "repetition_penalty": ("repetition_penalty", "repeat_penalty"),
    "thinking_token_budget": (
        "thinking_token_budget",
        "thinking_budget_tokens",
        "reasoning_budget_tokens",
        "reasoning_budget",
    ),
    "top_logprobs": ("top_logprobs", "n_probs"),
}
"""The names of a field that has several; the first one that is set counts."""

_TokenId = Annotated[str, Meta(pattern=r"^[0-9]{1,9}$")]
_Bias = (
    Annotated[float, Meta(ge=-1e9, le=1e9)]
    | Annotated[str, Meta(pattern=r"^[+-]?[0-9]{1,9}([.][0-9]{1,20})?$")]
)


def _context_of(penalty: str) -> Meta:
    return doc(f"How many of the last tokens `{penalty}` considers. Default: 20. 0: all.")


class StreamOptions(msgspec.Struct, frozen=True):
    """Options for streaming."""

    include_usage: Annotated[
        bool | None, doc("Send one more chunk at the end, with the token counts.")
    ] = None


class CommonFields(GuidedFields, frozen=True, kw_only=True):
    """The fields of chat and text completions. Null is the same as leaving a field out."""

    model: Annotated[
        str | None,
        doc("The model's ID or an alias. Left out, empty or `default_model`: the default."),
    ] = None
    max_tokens: Annotated[
        TokenCount,
        doc(
            "Maximum number of tokens in the answer. -1, or more than the prompt leaves in "
            "the model's context: up to the end of the context. 0: only read the prompt."
        ),
    ] = None
    max_completion_tokens: Annotated[
        TokenCount, doc("Newer name for `max_tokens`. Takes precedence over it.")
    ] = None
    n_predict: Annotated[TokenCount, another("max_tokens")] = None
    min_tokens: Annotated[
        ContextSize,
        doc(
            "The model cannot end its answer before so many tokens; what `stop` and a grammar "
            "say does."
        ),
    ] = None
    ignore_eos: Annotated[
        bool | None, doc("The model cannot end its answer; `max_tokens`, `stop` and a grammar do.")
    ] = None
    temperature: Annotated[
        TemperatureValue,
        doc("Randomness of the answer. 0: always the most likely token."),
    ] = None
    top_p: Annotated[
        Share,
        doc("Sample from the most likely tokens up to this total probability. 0: off."),
    ] = None
    top_k: Annotated[
        TopKValue,
        doc("Sample from this many of the most likely tokens. 0 or -1: off."),
    ] = None
    min_p: Annotated[
        Share,
        doc("Drop tokens below this fraction of the most likely one's probability."),
    ] = None
    xtc_probability: Annotated[
        Share, doc("How often to exclude the most likely tokens (XTC sampling). 0: off.")
    ] = None
    xtc_threshold: Annotated[
        Annotated[float, Meta(ge=0, le=0.5)] | None,
        doc(
            "XTC excludes the tokens above this probability, except the least likely "
            "of them (default: 0.1)."
        ),
    ] = None
    repetition_penalty: Annotated[
        FactorValue,
        doc("Divides the logits of tokens that have occurred. 0 or 1: off."),
    ] = None
    repeat_penalty: Annotated[FactorValue, another("repetition_penalty")] = None
    repeat_last_n: Annotated[
        LastTokens,
        doc(
            "How many of the last tokens all penalties consider that have no `…_context_size`. "
            "-1: all. 0: no penalties."
        ),
    ] = None
    repetition_context_size: Annotated[ContextSize, _context_of("repetition_penalty")] = None
    presence_penalty: Annotated[
        PenaltyValue, doc("Subtracted from the logits of tokens that have occurred.")
    ] = None
    presence_context_size: Annotated[ContextSize, _context_of("presence_penalty")] = None
    frequency_penalty: Annotated[
        PenaltyValue, doc("Subtracted from a token's logit once for each time it has occurred.")
    ] = None
    frequency_context_size: Annotated[ContextSize, _context_of("frequency_penalty")] = None
    logit_bias: Annotated[
        dict[str, Any] | None,
        doc(
            "Token IDs, each with the number to add to its logit. The number may be a string.",
            dict[_TokenId, _Bias],
            None,
        ),
    ] = None
    logprobs: Annotated[
        bool | Annotated[int, Meta(ge=0, le=MAX_TOP_LOGPROBS)] | None,
        doc(
            "Return the log-probability of each token. A number also returns that many "
            "of the most likely tokens at each position."
        ),
    ] = None
    top_logprobs: Annotated[
        TopLogprobs,
        doc(
            "How many of the most likely tokens to return at each position. Implies "
            "`logprobs`. 0 or -1: none."
        ),
    ] = None
    n_probs: Annotated[TopLogprobs, another("top_logprobs")] = None
    n: Annotated[Choices, doc("How many answers to generate for each prompt (default: 1).")] = None
    n_cmpl: Annotated[Choices, another("n")] = None
    stop: Annotated[
        StopTexts,
        doc(
            f"Strings that end the answer, up to {MAX_STOPS}. They are not part of it. Empty "
            "ones do not count."
        ),
    ] = None
    stop_token_ids: Annotated[
        Annotated[list[Annotated[int, Meta(ge=0, le=INT32_MAX)]], Meta(max_length=MAX_STOP_TOKENS)]
        | None,
        doc(
            f"IDs of tokens that end the answer, up to {MAX_STOP_TOKENS}. They are not part of it."
        ),
    ] = None
    seed: Annotated[SeedValue, doc("Makes random answers reproducible. -1: random.")] = None
    stream: Annotated[bool | None, doc("Send the answer in pieces, as server-sent events.")] = None
    stream_options: Annotated[StreamOptions | None, doc("Options for streaming.")] = None
    draft_model: Annotated[
        str | None,
        doc(
            "A smaller model with the same tokens, for speculative decoding. Left out, "
            "empty or `default_model`: the configured one."
        ),
    ] = None
    num_draft_tokens: Annotated[
        Annotated[int, Meta(ge=0, le=64)] | None,
        doc("How many tokens the draft model proposes at a time (default: 3). 0: do not use it."),
    ] = None
    adapters: Annotated[
        str | None,
        doc(
            "Name of the adapter to apply to the model. Left out or `default_model`: the "
            "configured one. Empty: none."
        ),
    ] = None
    keep_alive: Annotated[
        float | str | None,
        doc(
            "How long the model stays in memory afterwards: seconds, or a duration "
            'such as `"10m"`. Negative: forever. 0: unload it at once.',
            *KEEP_ALIVE_KINDS,
        ),
    ] = None
    thinking_token_budget: Annotated[
        ThoughtTokens,
        doc(
            "After so many tokens the model has to end its thought and answer. -1: no limit. "
            "A text completion has no thought."
        ),
    ] = None
    thinking_budget_tokens: Annotated[
        ThoughtTokens, doc("Another name for `thinking_token_budget`.")
    ] = None
    reasoning_budget_tokens: Annotated[
        ThoughtTokens, doc("Another name for `thinking_token_budget`.")
    ] = None
    reasoning_budget: Annotated[ThoughtTokens, doc("Another name for `thinking_token_budget`.")] = (
        None
    )
    ttl: Annotated[float | str | None, doc("Another name for `keep_alive`.", *KEEP_ALIVE_KINDS)] = (
        None
    )
    options: Annotated[OllamaOptions | None, doc("Sampling as Ollama's own API has it.")] = None

    @property
    def stream_form(self) -> StreamForm:
        """How the pieces look."""
        return SSE

    @property
    def kept_alive(self) -> float | None:
        """How many seconds the model stays in memory, -1 forever; None as configured."""
        param = "keep_alive" if self.keep_alive is not None else "ttl"
        return keep_alive_seconds(self._value("keep_alive"), param)

    @property
    def choices_per_prompt(self) -> int:
        """How many answers each prompt gets."""
        return self._value("n") or 1

    @property
    def wanted_logprobs(self) -> int | None:
        """How many tokens to return at each position; None if no log-probabilities are wanted."""
        top = max(0, self._value("top_logprobs") or 0)
        if self.logprobs is False and top:
            raise InvalidRequest(
                "`top_logprobs`: requires `logprobs`, which is false", param="top_logprobs"
            )
        if self.logprobs is None or self.logprobs is False:
            return top or None
        return max(top, 0 if self.logprobs is True else self.logprobs)

    def __post_init__(self) -> None:
        """Check what the types cannot say."""
        check_refused(self)
        if self.options is not None:
            check_refused(self.options, "options.")
        _biases(self.logit_bias or {})
        _ = self.wanted_logprobs, self.kept_alive

    def engine_requests(
        self,
        prompts: list[Prompt],
        defaults: GenerationConfig,
        grammar: Grammar | None,
        draft: Draft | None,
        thought_tokens: int | None = None,
    ) -> list[GenerateRequest]:
        """Return the engine's requests: for each prompt one for each answer."""
        seed = self._value("seed")
        seed = None if seed == -1 else seed
        stop = self._value("stop") or []
        first = GenerateRequest(
            prompt=prompts[0],
            max_tokens=self._max_tokens(defaults),
            min_tokens=INT32_MAX if self.ignore_eos else self.min_tokens or 0,
            sampling=self._sampling(defaults),
            stop=list(filter(None, [stop] if isinstance(stop, str) else stop)),
            stop_tokens=self.stop_token_ids or [],
            seed=seed,
            penalties=self._penalties(defaults),
            logit_bias=_biases(self.logit_bias or {}),
            logprobs=self.wanted_logprobs,
            grammar=grammar,
            draft=draft,
            thought_tokens=thought_tokens,
        )
        return [
            msgspec.structs.replace(first, prompt=prompt, seed=_derived(seed, number))
            for prompt in prompts
            for number in range(self.choices_per_prompt)
        ]

    def openai_reply_builder(
        self, choice: type[ChoiceBuilder], model: str, created: int, *, prompts: int = 1
    ) -> OpenAIReplyBuilder:
        """Return the builder of the reply to `prompts`, each with its choices."""
        return OpenAIReplyBuilder(
            choice,
            model,
            created,
            prompts=prompts,
            choices_per_prompt=self.choices_per_prompt,
            logprobs=self.wanted_logprobs is not None,
            include_usage=bool(self.stream_options and self.stream_options.include_usage),
        )

    def _max_tokens(self, defaults: GenerationConfig) -> int | None:
        wanted = self._value("max_tokens")
        if wanted is None:
            return defaults.max_tokens or None
        return min(wanted, INT32_MAX) if wanted >= 0 else None

    def _sampling(self, defaults: GenerationConfig) -> Sampling:
        fields = _set(defaults, Sampling) | self._given(Sampling)
        fields["top_p"] = fields.get("top_p") or 1.0
        fields["top_k"] = max(0, fields.get("top_k", 0))
        return Sampling(**fields)

    def _penalties(self, defaults: GenerationConfig) -> Penalties:
        last = self._value("repeat_last_n")
        if last == 0:
            return Penalties()
        fields = _set(defaults, Penalties)
        if self._value("repetition_penalty") is not None:
            fields = {}  # its context belongs to the default
        if last is not None:
            fields |= {name: max(0, last) for name in _CONTEXT_SIZES}
        fields |= self._given(Penalties)
        if fields.get("repetition_penalty") == 1:
            del fields["repetition_penalty"]
        return Penalties(**fields)

    def _given(self, kind: type[msgspec.Struct]) -> dict[str, Any]:
        """Return the fields of `kind` that the request sets."""
        found = {}
        for name in kind.__struct_fields__:
            value = getattr(self, name)
            if value is None and (name in NAMES or self.options is not None):
                value = self._value(name)
            if value is not None:
                found[name] = value
        return found

    def _value(self, name: str) -> Any:
        """Return what the request says under any name of a field; None if it says nothing."""
        names = NAMES.get(name, (name,))
        for holder in (self, self.options) if self.options else (self,):
            for each in names:
                if (value := getattr(holder, each, None)) is not None:
                    return value
        return None


_CONTEXT_SIZES = [name for name in Penalties.__struct_fields__ if name.endswith("_context_size")]


def _set(defaults: GenerationConfig, kind: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the fields of `kind` that the configuration or the model sets."""
    values = {name: getattr(defaults, name, None) for name in kind.__struct_fields__}
    return {name: value for name, value in values.items() if value is not None}


def _derived(seed: int | None, number: int) -> int | None:
    """Return a seed of its own for each answer to one prompt; the first has the seed itself."""
    if seed is None or number == 0:
        return seed
    digest = hashlib.blake2b(f"{seed}:{number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def _biases(given: dict[str, Any]) -> dict[int, float]:
    if len(given) > MOST_BIASES:
        raise InvalidRequest(f"`logit_bias`: more than {MOST_BIASES} tokens", param="logit_bias")
    for key, value in given.items():
        try:
            msgspec.convert({key: value}, dict[_TokenId, _Bias])
        except msgspec.ValidationError:
            param = f"logit_bias.{key}"
            raise InvalidRequest(
                f"`{param}`: expected a token ID and a number from -1e9 to 1e9", param=param
            ) from None
    return {int(key): float(value) for key, value in given.items()}
