"""Turn a request into tokens and a constraint, without delaying the sequences that run.

A template, a long text or a schema can take any time, so a thread prepares such a request, without
MLX. Other requests are prepared at once: those that arrive together should start together.
"""

import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from mlxd.engine.fill_in_the_middle import gap_ends
from mlxd.engine.prompts import PromptReader, RenderedChat, begins_in_reasoning
from mlxd.engine.structured_output import ANSWER, Constraint, Grammars, Part, Thought
from mlxd.engine.tools import AllowedCalls, past_ids, supports_tools, tool_format
from mlxd.engine.truncation import read_shortened
from mlxd.errors import ContextLengthExceeded, InvalidRequest
from mlxd.messages import (
    ChatPrompt,
    Failed,
    Generate,
    GenerateRequest,
    Template,
    TextPrompt,
    TokensPrompt,
)

_QUICK_LENGTH = 8192
"""Characters that are tokenized in a few milliseconds."""


@dataclass(frozen=True)
class Prepared:
    """A request that is ready to be computed.

    `boundaries` are as `PromptReader.boundaries` returns them. `in_reasoning` says that the prompt
    ends inside a thought. `end_tokens` end this answer, besides those that end every one. `calls`
    is None if the answer cannot have any.
    """

    message: Generate
    tokens: list[int]
    boundaries: tuple[int, ...] = ()
    in_reasoning: bool = False
    calls: AllowedCalls | None = None
    constraint: Constraint | None = None
    end_tokens: tuple[int, ...] = ()

    @property
    def request_id(self) -> int:
        """The id of the request."""
        return self.message.id


class Preprocessor:
    """Prepares requests one after another."""

    def __init__(
        self,
        tokenizer: Any,
        vocabulary: int,
        context_length: int,
        *,
        find_boundaries: bool = False,
    ) -> None:
        """Take mlx_lm's TokenizerWrapper, the width of the logits, and the context length.

        `find_boundaries` asks for the boundaries of each conversation.
        """
        self.grammars = Grammars(tokenizer, vocabulary)
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._context_length = context_length
        self._find_boundaries = find_boundaries
        self._reader = PromptReader(tokenizer, context_length)
        self._line: SimpleQueue[Generate] = SimpleQueue()
        self._submitted = self._delivered = 0  # each written by one thread

    def start(self, deliver: Callable[[Prepared | Failed], None]) -> None:
        """Start the thread for requests that take long, which calls `deliver` with each."""

        def work() -> None:
            while True:
                prepared = self.prepare(self._line.get())
                self._delivered += 1
                deliver(prepared)

        threading.Thread(target=work, name="preparer", daemon=True).start()

    def take(self, message: Generate) -> Prepared | Failed | None:
        """Prepare a request and return it, or return None and deliver it later."""
        # Only one thread at a time may use the tokenizer.
        if self._submitted == self._delivered and _is_quick(message.request):
            return self.prepare(message)
        self._submitted += 1
        self._line.put(message)
        return None

    def prepare(self, message: Generate) -> Prepared | Failed:
        """Prepare one request, or return why it fails."""
        try:
            return self._prepare(message)
        except ContextLengthExceeded as error:
            return Failed(message.id, "context_length_exceeded", error.message, error.param)
        except InvalidRequest as error:
            return Failed(message.id, "invalid_request", error.message, error.param)
        except Exception as error:  # noqa: BLE001  it must not end this thread or other requests
            # Without the error's text, which may contain the user's.
            traceback.print_tb(error.__traceback__, file=sys.stderr)
            reason = f"the request could not be prepared: {type(error).__name__}"
            return Failed(message.id, "generation_failed", reason)

    def _prepare(self, message: Generate) -> Prepared:
        request = message.request
        self._check_bias(request.logit_bias)
        if request.logprobs is not None or request.echo:
            self.grammars.token_bytes(0)  # slow the first time, so not in the thread that steps
        prompt, tokenizer = request.prompt, self._tokenizer
        if not isinstance(prompt, ChatPrompt):
            tokens = self._reader.read(prompt)
            fills = isinstance(prompt, TextPrompt) and prompt.suffix
            ends = gap_ends(tokenizer) if fills else ()
            constraint = self._constraint(request)
            return Prepared(message, tokens, constraint=constraint, end_tokens=ends)
        calls = None
        if prompt.tools:
            form = tool_format(tokenizer, prompt.template)
            bare, taken = request.grammar is None, past_ids(prompt.messages)
            calls = AllowedCalls(form, prompt.tools, bare=bare, taken=taken)
        tokens, boundaries = self._read_chat(prompt, calls, request.max_tokens)
        in_reasoning = begins_in_reasoning(tokenizer, tokens)
        thought = self._thought(prompt.template, in_reasoning)
        constraint = self._constraint(request, calls, thought)
        return Prepared(message, tokens, boundaries, in_reasoning, calls, constraint)

    def _read_chat(
        self, prompt: ChatPrompt, calls: AllowedCalls | None, max_tokens: int | None
    ) -> tuple[list[int], tuple[int, ...]]:
        """Return the tokens of a conversation, and its boundaries where they are needed."""
        native = calls.form.native if calls else supports_tools(self._tokenizer, prompt.template)
        functions = prompt.tools.functions if prompt.tools else None

        def read(prompt: ChatPrompt) -> RenderedChat:
            return self._reader.read_chat(prompt, functions, describe=not native)

        if prompt.truncate and self._context_length:
            chat = read_shortened(prompt, read, self._context_length, max_tokens)
        else:
            chat = read(prompt)
        return chat.tokens, self._reader.boundaries(chat) if self._find_boundaries else ()

    def _constraint(
        self,
        request: GenerateRequest,
        calls: AllowedCalls | None = None,
        thought: Thought | None = None,
    ) -> Constraint | None:
        """Return what constrains the answer: the request's grammar, and the calls it requires."""
        rule = ANSWER
        parts = [Part("answer", request.grammar)] if request.grammar else []
        if calls and calls.required:
            rule, parts = calls.rule(self._encode)
            rule = f"start: calls\n{rule}"
        elif calls and parts:
            call_rule, arguments = calls.rule(self._encode)
            rule, parts = f"{ANSWER} | calls\n{call_rule}", parts + arguments
        return self.grammars.compile(rule, parts, thought) if parts else None

    def _thought(self, template: Template, in_reasoning: bool) -> Thought | None:
        """Return how the model may think before it answers."""
        tokenizer = self._tokenizer
        if not tokenizer.has_thinking:
            return None
        start, end = tokenizer.think_start_tokens, tuple(tokenizer.think_end_tokens)
        may_begin = len(start) == 1 and template.arguments.get("enable_thinking") is not False
        return Thought(start[0] if may_begin else None, end, in_reasoning)

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def _check_bias(self, bias: dict[int, float]) -> None:
        for token in bias:
            if not 0 <= token < self._vocabulary:
                reason = f"token ID {token} is outside the vocabulary of {self._vocabulary}"
                raise InvalidRequest(reason, param=f"logit_bias.{token}")


def _is_quick(request: GenerateRequest) -> bool:
    """Return whether a request is prepared in no more time than a step takes."""
    if request.grammar is not None or request.logprobs is not None or request.echo:
        return False
    match request.prompt:
        case ChatPrompt(messages=messages, template=template, tools=tools):
            length = sum(len(message["content"]) for message in messages)
            plain = template.source is None and tools is None
            return length <= _QUICK_LENGTH and plain and not request.prompt.truncate
        case TextPrompt(text=text, suffix=suffix):
            return len(text) + len(suffix) <= _QUICK_LENGTH
        case TokensPrompt():
            return True
