"""The text dialect: POST /v1/completions."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from mlxd.api.completion_reply import CompletionChoiceBuilder
from mlxd.api.decode import decode, doc
from mlxd.api.field_types import INT32_MAX, MAX_CHOICES
from mlxd.api.fields import CommonFields
from mlxd.api.reply_builder import OpenAIReplyBuilder
from mlxd.api.response_format import only_one
from mlxd.config import ModelSettings
from mlxd.errors import InvalidRequest, UnsupportedParameter
from mlxd.messages import Draft, GenerateRequest, Prompt, TextPrompt, TokensPrompt

_Tokens = Annotated[list[Annotated[int, Meta(ge=0, le=INT32_MAX)]], Meta(min_length=1)]
_Several = Meta(min_length=1, max_length=MAX_CHOICES)


class CompletionBody(CommonFields, frozen=True, kw_only=True):
    """The body of a text completion request."""

    prompt: Annotated[
        str | list[int | str | list[int]],
        doc(
            "The text to continue, its token IDs, or a list of either. All prompts "
            f"together get at most {MAX_CHOICES} answers.",
            str,
            Annotated[list[str], _Several],
            _Tokens,
            Annotated[list[_Tokens], _Several],
        ),
    ]
    best_of: Annotated[
        Annotated[int, Meta(ge=1, le=MAX_CHOICES)] | None,
        doc("Has no effect, and must be 1 or the same as `n`."),
    ] = None
    echo: Annotated[
        bool | None,
        doc("Return the prompt before the answer, with `logprobs` those of its tokens too."),
    ] = None
    suffix: Annotated[
        str | None,
        doc(
            "The text after the answer, which fills the gap. For one or several texts as "
            "`prompt`, and models with tokens for it."
        ),
    ] = None
    add_special_tokens: Annotated[
        bool | None,
        doc("Whether the tokenizer adds special tokens to a text (default: true)."),
    ] = None

    def __post_init__(self) -> None:
        """Check what the types cannot say."""
        super().__post_init__()
        if self.best_of not in (None, 1, self.choices_per_prompt):
            reason = "`best_of`: must be 1 or the same as `n`"
            raise UnsupportedParameter(reason, param="best_of")
        if self.suffix and self.echo:
            raise InvalidRequest("`suffix`: cannot be combined with `echo`", param="suffix")
        only_one(self.grammars())
        if (choices := len(self._prompts()) * self.choices_per_prompt) > MAX_CHOICES:
            raise InvalidRequest(
                f"`prompt`: {choices} answers requested (prompts times `n`); "
                f"at most {MAX_CHOICES} are allowed",
                param="prompt",
            )

    def to_requests(self, settings: ModelSettings, draft: Draft | None) -> list[GenerateRequest]:
        """Return the engine's request for each choice; `settings` has the defaults."""
        requests = self.engine_requests(
            self._prompts(), settings.generation, only_one(self.grammars()), draft
        )
        if not self.echo:
            return requests
        return [msgspec.structs.replace(request, echo=True) for request in requests]

    def reply_builder(self, model: str, created: int) -> OpenAIReplyBuilder:
        """Return the builder of the reply; `model` answers, `created` is in Unix seconds."""
        prompts = len(self._prompts())
        return self.openai_reply_builder(CompletionChoiceBuilder, model, created, prompts=prompts)

    def _prompts(self) -> list[Prompt]:
        prompts = _prompts(self.prompt)
        special = self.add_special_tokens is not False
        if not self.suffix and special:
            return prompts
        if self.suffix and not all(isinstance(prompt, TextPrompt) for prompt in prompts):
            raise InvalidRequest("`suffix`: requires a text as `prompt`", param="suffix")
        return [
            TextPrompt(prompt.text, self.suffix or "", special)
            if isinstance(prompt, TextPrompt)
            else prompt
            for prompt in prompts
        ]


def decode_body(data: bytes) -> CompletionBody:
    """Decode and check a text completion request; raises what `decode` raises."""
    return decode(data, CompletionBody)


def _prompts(prompt: str | list[Any]) -> list[Prompt]:
    if isinstance(prompt, str):
        return [TextPrompt(prompt)]
    kinds = {type(item) for item in prompt}
    if len(kinds) > 1:
        raise InvalidRequest(
            "`prompt`: a list must contain only strings, only token IDs or only lists of token IDs",
            param="prompt",
        )
    if kinds <= {int}:
        return [_tokens(prompt, "prompt")]
    return [
        TextPrompt(item) if isinstance(item, str) else _tokens(item, f"prompt[{index}]")
        for index, item in enumerate(prompt)
    ]


def _tokens(ids: list[int], path: str) -> TokensPrompt:
    if not ids:
        raise InvalidRequest(f"`{path}`: must not be an empty list", param=path)
    if min(ids) < 0 or max(ids) > INT32_MAX:
        index = next(i for i, token in enumerate(ids) if not 0 <= token <= INT32_MAX)
        raise InvalidRequest(f"`{path}[{index}]`: not a token ID", param=f"{path}[{index}]")
    return TokensPrompt(ids)
