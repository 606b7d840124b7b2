"""Turn a request into tokens and a constraint, without delaying the sequences that run.

Short requests are prepared at once: those that arrive together should start together. A long text
or a schema can take any time, so a thread prepares such requests. A second thread prepares those
that come with a template or with a grammar that may be slow; a `Sandbox` does the risky part. While
others wait for it, a request that takes long is stopped, and begun again in a third thread.
"""

import contextlib
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import msgspec
from mlx_lm.generate import TextStateMachine
from transformers import PreTrainedTokenizerFast

from mlxd.engine.fill_in_the_middle import gap_ends
from mlxd.engine.grammar_limits import is_plain
from mlxd.engine.mask_time import may_be_slow
from mlxd.engine.output import stop_machine
from mlxd.engine.prompts import PromptReader, RenderedChat, begins_in_reasoning
from mlxd.engine.sandbox import Check, Sandbox, unchecked
from mlxd.engine.structured_output import ANSWER, Constraint, Grammars, Part, Thought
from mlxd.engine.templates import is_foreign
from mlxd.engine.tools import AllowedCalls, past_ids, supports_tools, tool_format
from mlxd.engine.truncation import read_shortened
from mlxd.errors import ContextLengthExceeded, InvalidRequest
from mlxd.generate_request import (
    ChatPrompt,
    GenerateRequest,
    Grammar,
    Prompt,
    Template,
    TextPrompt,
    TokensPrompt,
)
from mlxd.messages import Failed, Generate

_FIRST_SECONDS = 0.3
"""How long a request may keep others waiting before it is postponed."""
_QUICK_LENGTH = 8192
"""Characters that are tokenized in a few milliseconds."""
_QUICK_TOKENS = 65536
_QUICK_STOPS = 1024


@dataclass(frozen=True)
class Prepared:
    """A request that is ready to be computed.

    `boundaries` are as `PromptReader.boundaries` returns them. `in_reasoning` says that the prompt
    ends inside a thought. `end_tokens` end this answer, besides those that end every one. `calls`
    is None if the answer cannot have any. `stops` finds the stop texts, if there are any. For
    `disk_tokens` of the prompt the prompt cache was read from disk.
    """

    message: Generate
    tokens: list[int]
    boundaries: tuple[int, ...] = ()
    in_reasoning: bool = False
    calls: AllowedCalls | None = None
    constraint: Constraint | None = None
    end_tokens: tuple[int, ...] = ()
    stops: TextStateMachine | None = None
    disk_tokens: int = 0

    @property
    def request_id(self) -> int:
        """The id of the request."""
        return self.message.id

    @property
    def salt(self) -> str:
        """What its prompt cache begins with."""
        return self.message.request.salt


@dataclass(frozen=True)
class _Read:
    """What is the same for all choices of a request, whose prompt is therefore read once."""

    prompt: Prompt
    stop: list[str]
    tokens: list[int]
    boundaries: tuple[int, ...]
    stops: TextStateMachine | None


class _Lane:
    """Requests that one thread prepares, one after another; `last` is what it read last.

    While others wait, a request that takes long is `postponed` to another lane, if there is one.
    """

    def __init__(self, postponed: "_Lane | None" = None) -> None:
        self.line: SimpleQueue[_Waiting] = SimpleQueue()
        self.last: _Read | None = None
        self.postponed = postponed


class _Withdrawn(Exception):
    """Nobody waits for the request any more."""


class _Postponed(Exception):
    """The request takes long while others wait: it is to be prepared later."""


class _Waiting:
    """A request that waits for its lane, or is being prepared there."""

    def __init__(self, message: Generate) -> None:
        self.message = message
        self.withdrawn = False
        self._lane: _Lane | None = None
        self._began = 0.0

    def begin(self, lane: _Lane) -> None:
        """Note that the request is being prepared from now on."""
        self._lane, self._began = lane, time.monotonic()

    def check(self) -> None:
        """Raise _Withdrawn or _Postponed if preparing the request is to end now."""
        if self.withdrawn:
            raise _Withdrawn
        lane, took = self._lane, time.monotonic() - self._began
        may_postpone = lane is not None and lane.postponed is not None and not lane.line.empty()
        if may_postpone and took > _FIRST_SECONDS:
            raise _Postponed


class Preprocessor:
    """Prepares requests: short ones at once, others in the lane of their kind."""

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
        sandbox = Sandbox()
        self.grammars = Grammars(tokenizer, vocabulary, sandbox)
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._context_length = context_length
        self._find_boundaries = find_boundaries
        self._reader = PromptReader(tokenizer, context_length, sandbox)
        self._sandbox = sandbox
        self._long, self._slow = _Lane(), _Lane()
        self._foreign = _Lane(postponed=self._slow)
        self._waiting: dict[int, _Waiting] = {}
        # Several threads may use a tokenizer of the Rust library, if none of them changes it. Its
        # first use may change it: the settings for padding are those of the last one.
        self._parallel = isinstance(tokenizer._tokenizer, PreTrainedTokenizerFast)
        tokenizer.encode("a")

    def start(self, deliver: Callable[[Prepared | Failed], None]) -> None:
        """Start the threads for requests that take long, which call `deliver` with each."""

        def work(lane: _Lane) -> None:
            while True:
                waiting = lane.line.get()
                if not waiting.withdrawn and _needs_sandbox(waiting.message.request):
                    with contextlib.suppress(OSError):  # which preparing it tells
                        self._sandbox.start()
                waiting.begin(lane)
                try:
                    prepared = self.prepare(waiting.message, lane, waiting.check)
                except _Postponed:
                    self._slow.line.put(waiting)
                    continue
                self._waiting.pop(waiting.message.id, None)
                if lane.line.empty():
                    lane.last = None
                if prepared is not None:
                    deliver(prepared)

        for lane in (self._long, self._foreign, self._slow):
            threading.Thread(target=work, args=[lane], name="preparer", daemon=True).start()

    def take(self, message: Generate) -> Prepared | Failed | None:
        """Prepare a request and return it, or return None and deliver it later."""
        if _is_quick(message.request) and (self._parallel or not self._waiting):
            return self.prepare(message)
        foreign = self._parallel and _is_foreign(message.request)
        waiting = self._waiting[message.id] = _Waiting(message)
        (self._foreign if foreign else self._long).line.put(waiting)
        return None

    def withdraw(self, request_id: int) -> None:
        """Stop preparing a request for which nobody waits any more; it is not delivered."""
        if (waiting := self._waiting.get(request_id)) is not None:
            waiting.withdrawn = True

    def prepare(
        self, message: Generate, lane: _Lane | None = None, check: Check = unchecked
    ) -> Prepared | Failed | None:
        """Prepare one request, or return why it fails; None if `check` says it was withdrawn."""
        try:
            return self._prepare(message, lane or _Lane(), check)
        except _Withdrawn:
            return None
        except _Postponed:
            raise
        except ContextLengthExceeded as error:
            return Failed(message.id, "context_length_exceeded", error.message, error.param)
        except InvalidRequest as error:
            return Failed(message.id, "invalid_request", error.message, error.param)
        except Exception as error:  # noqa: BLE001  it must not end this thread or other requests
            # Without the error's text, which may contain the user's.
            traceback.print_tb(error.__traceback__, file=sys.stderr)
            reason = f"the request could not be prepared: {type(error).__name__}"
            return Failed(message.id, "generation_failed", reason)

    def _prepare(self, message: Generate, lane: _Lane, check: Check) -> Prepared:
        request = message.request
        check()
        self._check_bias(request.logit_bias)
        if request.logprobs is not None or request.echo:
            self.grammars.token_bytes(0)  # slow the first time, so not in the thread that steps
        prompt, tokenizer = request.prompt, self._tokenizer
        calls = self._calls(request)
        read = lane.last
        if read is None or (read.prompt, read.stop) != (prompt, request.stop):
            read = lane.last = self._read(request, calls, check)
        check()
        tokens, boundaries, stops = list(read.tokens), read.boundaries, read.stops
        if not isinstance(prompt, ChatPrompt):
            fills = isinstance(prompt, TextPrompt) and prompt.suffix
            ends = gap_ends(tokenizer) if fills else ()
            constraint = self._constraint(request, check)
            return Prepared(message, tokens, constraint=constraint, end_tokens=ends, stops=stops)
        in_reasoning = begins_in_reasoning(tokenizer, tokens)
        thought = self._thought(prompt.template, in_reasoning)
        constraint = self._constraint(request, check, calls, thought)
        return Prepared(message, tokens, boundaries, in_reasoning, calls, constraint, stops=stops)

    def _calls(self, request: GenerateRequest) -> AllowedCalls | None:
        """Return the calls that an answer may have, None if it cannot have any."""
        prompt = request.prompt
        if not isinstance(prompt, ChatPrompt) or not prompt.tools:
            return None
        form = tool_format(self._tokenizer, prompt.template)
        bare, taken = request.grammar is None, past_ids(prompt.messages)
        return AllowedCalls(form, prompt.tools, bare=bare, taken=taken)

    def _read(self, request: GenerateRequest, calls: AllowedCalls | None, check: Check) -> _Read:
        """Return a prompt's tokens and, where they are needed, a conversation's boundaries."""
        prompt = request.prompt
        boundaries: tuple[int, ...] = ()
        stops = stop_machine(request.stop)
        if not isinstance(prompt, ChatPrompt):
            return _Read(prompt, request.stop, self._reader.read(prompt), boundaries, stops)
        native = calls.form.native if calls else supports_tools(self._tokenizer, prompt.template)
        functions = prompt.tools.functions if prompt.tools else None

        def read(prompt: ChatPrompt) -> RenderedChat:
            check()
            return self._reader.read_chat(prompt, functions, describe=not native, check=check)

        if prompt.truncate and self._context_length:
            chat = read_shortened(prompt, read, self._context_length, request.max_tokens)
        else:
            chat = read(prompt)
        if self._find_boundaries:
            check()
            boundaries = self._reader.boundaries(chat)
        return _Read(prompt, request.stop, chat.tokens, boundaries, stops)

    def _constraint(
        self,
        request: GenerateRequest,
        check: Check,
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
        return self.grammars.compile(rule, parts, thought, check) if parts else None

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


def _is_foreign(request: GenerateRequest) -> bool:
    """Return whether a request may take seconds, because of a template or a grammar of its own."""
    return _needs_sandbox(request) or may_be_slow(_grammars(request))


def _needs_sandbox(request: GenerateRequest) -> bool:
    prompt = request.prompt
    if isinstance(prompt, ChatPrompt) and is_foreign(prompt.template):
        return True
    return not is_plain(_grammars(request))


def _grammars(request: GenerateRequest) -> list[Grammar]:
    """Return what constrains a request's answer, its tools as one schema."""
    prompt, grammars = request.prompt, [request.grammar] if request.grammar else []
    tools = prompt.tools if isinstance(prompt, ChatPrompt) else None
    if tools is not None and (tools.choice == "required" or tools.name or grammars):
        functions = msgspec.json.encode(tools.functions).decode()
        grammars.append(Grammar("json_schema", functions, "tools"))
    return grammars


def _is_quick(request: GenerateRequest) -> bool:
    """Return whether a request is prepared in no more time than a step takes."""
    if request.grammar is not None or request.logprobs is not None or request.echo:
        return False
    if sum(map(len, request.stop)) > _QUICK_STOPS:
        return False
    match request.prompt:
        case ChatPrompt(messages=messages, template=template, tools=tools, truncate=truncate):
            if is_foreign(template) or tools is not None or truncate:
                return False
            if sum(len(message["content"]) for message in messages) > _QUICK_LENGTH:
                return False
            # Calls, thoughts and arguments of the template count, too.
            size = len(msgspec.msgpack.encode((messages, template.arguments)))
            return size <= 4 * _QUICK_LENGTH
        case TextPrompt(text=text, suffix=suffix):
            return len(text) + len(suffix) <= _QUICK_LENGTH
        case TokensPrompt(tokens=tokens):
            return len(tokens) <= _QUICK_TOKENS
