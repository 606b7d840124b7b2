"""What every API dialect parses its body into: a prompt, and how to continue it.

These are parts of the messages between daemon and engine, in `messages.py`.
"""

from typing import Any, Literal

import msgspec


class RequestPart(msgspec.Struct, frozen=True, array_like=True):
    """Base of all parts: frozen, and encoded as an array without field names."""


class ToolUse(RequestPart, frozen=True):
    """The functions the model may call, as OpenAI's `tools` has them; if some are `allowed`, these.

    With `choice` "required" it must call at least one; with `name` it must call that one.
    """

    functions: list[dict[str, Any]]
    choice: Literal["auto", "required"] = "auto"
    name: str | None = None
    parallel: bool = True
    allowed: list[str] | None = None


class Template(RequestPart, frozen=True):
    """How a conversation becomes text, if not by the model's own template alone.

    `source` is a Jinja template to use instead of the model's, `trusted` unless a request brought
    it. `default` allows a standard template if the model has none. `role_mapping` replaces both
    with a prefix for each role. `arguments` are passed to the template.
    """

    source: str | None = None
    default: bool = False
    role_mapping: dict[str, str] | None = None
    arguments: dict[str, Any] = {}
    trusted: bool = False


class ChatPrompt(RequestPart, frozen=True, tag="chat"):
    """A conversation for a chat template; with `truncate`, without the oldest turns if it is long.

    The arguments of calls in it are objects, or JSON text.
    """

    messages: list[dict[str, Any]]
    template: Template = Template()
    tools: ToolUse | None = None
    truncate: bool = False


class TextPrompt(RequestPart, frozen=True, tag="text"):
    """Text for the tokenizer, without a template.

    With a `suffix`, the answer is what belongs between both. Without `special`, the tokenizer adds
    no special tokens such as that of the beginning.
    """

    text: str
    suffix: str = ""
    special: bool = True


class TokensPrompt(RequestPart, frozen=True, tag="tokens"):
    """Token ids for the model."""

    tokens: list[int]


Prompt = ChatPrompt | TextPrompt | TokensPrompt


class Sampling(RequestPart, frozen=True):
    """How the next token is chosen; `temperature` 0 is greedy, the other zeros mean off."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1


class Penalties(RequestPart, frozen=True):
    """What makes tokens less likely that have already appeared; 0 means off.

    The context sizes count the last tokens of prompt and answer together, as in mlx_lm; 0: all.
    """

    repetition_penalty: float = 0.0
    repetition_context_size: int = 20
    presence_penalty: float = 0.0
    presence_context_size: int = 20
    frequency_penalty: float = 0.0
    frequency_context_size: int = 20


class Grammar(RequestPart, frozen=True):
    """What the answer must match; `param` is the request's field that says so.

    `source` is a JSON schema as JSON text, a regular expression, a Lark grammar, or a grammar in
    llama.cpp's GBNF or Lark. With `strict`, a schema that cannot be held as a whole fails the
    request.
    """

    kind: Literal["json_schema", "regex", "lark", "gbnf"]
    source: str
    param: str
    strict: bool = False


class Draft(RequestPart, frozen=True):
    """Speculative decoding: the model in the folder `path` proposes `tokens` tokens at a time."""

    path: str
    tokens: int


class GenerateRequest(RequestPart, frozen=True):
    """What every API dialect parses its body into.

    `stop` holds texts that end the sequence and are not part of it, `stop_tokens` ids of such
    tokens. `seed` None means a random one, `max_tokens` None as many as the context has room for, 0
    only to read the prompt. With `count_only` its tokens are counted, and nothing is computed.
    Before `min_tokens` the model cannot end the sequence. `logit_bias` is added to the logits of
    its token ids. `logprobs` asks for the log-probability of each token, and of that many of the
    likeliest ones, `echo` for the prompt. After `thought_tokens` the model has to end its thought.
    Only requests of the same `salt` share the prompt cache.
    """

    prompt: Prompt
    max_tokens: int | None
    sampling: Sampling
    stop: list[str] = []
    seed: int | None = None
    penalties: Penalties = Penalties()
    logit_bias: dict[int, float] = {}
    logprobs: int | None = None
    grammar: Grammar | None = None
    draft: Draft | None = None
    min_tokens: int = 0
    stop_tokens: list[int] = []
    echo: bool = False
    count_only: bool = False
    thought_tokens: int | None = None
    salt: str = ""
