"""Prompts to tokens: conversations, plain text, token ids."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from jinja2 import TemplateSyntaxError
from jinja2.exceptions import SecurityError
from msgspec import structs

from mlxd.engine.control_tokens import ControlTokens
from mlxd.engine.conversation import Demands, find_demands, fitted, with_objects, words_of
from mlxd.engine.fill_in_the_middle import fill_in_the_middle
from mlxd.engine.prompt_cache import common_length
from mlxd.engine.sandbox import (
    SANDBOX_BYTES,
    Check,
    Sandbox,
    SandboxFailed,
    SandboxSession,
    unchecked,
)
from mlxd.engine.templates import (
    LONGEST_TEMPLATE,
    REFUSALS,
    Chat,
    check_arguments,
    is_foreign,
    render,
    template_sources,
    uses_template,
)
from mlxd.engine.tools import describe_tools
from mlxd.errors import ContextLengthExceeded, InvalidRequest
from mlxd.generate_request import ChatPrompt, Prompt, Template, TextPrompt, TokensPrompt

TEMPLATE_SECONDS = 5.0
"""How long a template that a request brings may take."""

_SYSTEM_ROLES = ("system", "developer")
_LONGEST_UNCHECKED = 65536
_SHRINKING = 4
"""By how much a tokenizer's normalization may shorten a text."""


@dataclass(frozen=True)
class RenderedChat:
    """A conversation as its template took it, its text, and its tokens.

    `controls` reads the marks in its text, None if there are none. `session` renders a template
    that came with the request.
    """

    messages: Chat
    tools: list[dict[str, Any]] | None
    template: Template
    text: str
    tokens: list[int]
    controls: ControlTokens | None
    session: SandboxSession | None = None


class PromptReader:
    """Turns prompts into tokens, for one model."""

    def __init__(
        self, tokenizer: Any, context_length: int = 0, sandbox: Sandbox | None = None
    ) -> None:
        """Take mlx_lm's TokenizerWrapper, and the context length in tokens; 0 is no limit.

        `sandbox` is where the templates of requests are rendered.
        """
        self._sandbox = sandbox or Sandbox()
        self._tokenizer = tokenizer
        self._context_length = context_length
        self._own = self._last = _TemplateFacts(tokenizer, Template())

    def read(self, prompt: Prompt) -> list[int]:
        """Return the token ids of `prompt`, at least one.

        Raises:
            InvalidRequest: the template rejects the messages, an id is outside the vocabulary, or
                the prompt is empty.
            ContextLengthExceeded: the context has no room for it and one token of the answer.
        """
        match prompt:
            case ChatPrompt():
                return self.read_chat(prompt).tokens
            case TextPrompt(text=text, suffix=suffix, special=special):
                self._check_text(text + suffix, "prompt")
                if suffix:
                    tokens = fill_in_the_middle(self._tokenizer, text, suffix)
                else:
                    tokens = self._tokenizer.encode(text, add_special_tokens=special)
                return self._checked(tokens, "prompt")
            case TokensPrompt(tokens=tokens):
                return self._checked(_check_ids(self._tokenizer, tokens), "prompt")

    def read_chat(
        self,
        prompt: ChatPrompt,
        tools: list[dict[str, Any]] | None = None,
        *,
        describe: bool = False,
        check: Check = unchecked,
    ) -> RenderedChat:
        """Return a conversation with its tokens; raises what `read` raises.

        `tools` go to the template, or with `describe` into the conversation, as text. `check` is
        called while a template of the request is rendered, and ends that by raising.
        """
        check_arguments(prompt.template.arguments)
        session = self._session(prompt.template, check)
        facts = self._facts(prompt.template)
        messages, template, controls = with_objects(prompt.messages), prompt.template, None
        documents = template.arguments.get("documents")
        if facts.controls.occur_in(messages, tools, documents):
            controls = facts.controls
            continued = bool(template.arguments.get("continue_final_message"))
            last = len(messages) - 1
            messages = [
                controls.mark_message(message, continued=continued and index == last)
                for index, message in enumerate(messages)
            ]
            tools = controls.mark(tools)
            if documents:
                arguments = {**template.arguments, "documents": controls.mark(documents)}
                template = structs.replace(template, arguments=arguments)
        if describe:
            messages, tools = describe_tools(messages, tools or []), None
        messages, text = _render(self._tokenizer, template, messages, tools, session, facts)
        self._check_text(text, "messages", controls)
        # A template adds special tokens itself; with role prefixes the tokenizer does.
        special = not uses_template(self._tokenizer, template)
        tokens = self._checked(self._encode(text, controls, special=special), "messages")
        return RenderedChat(messages, tools, template, text, tokens, controls, session)

    def _session(self, template: Template, check: Check) -> SandboxSession | None:
        """Return where the template of a request is rendered, None for others."""
        if not is_foreign(template):
            return None
        if len(template.source or "") > LONGEST_TEMPLATE:
            reason = f"`chat_template`: longer than {LONGEST_TEMPLATE} characters"
            raise InvalidRequest(reason, param="chat_template")
        return SandboxSession(self._sandbox, TEMPLATE_SECONDS, check)

    def boundaries(self, chat: RenderedChat) -> tuple[int, ...]:
        """Return after how many of its tokens another conversation may part from this one.

        That is after the system prompt and the tools, before the last turn of the user, and where
        the answer begins once it is history, when a template may leave out its thoughts; 0 where
        there is no such place.
        """
        messages, tools = chat.messages, chat.tools
        roles = [message.get("role") for message in messages]
        system = next((i for i, role in enumerate(roles) if role not in _SYSTEM_ROLES), 0)
        last_user = max((i for i, role in enumerate(roles) if role == "user"), default=0)
        question, answer = ({"role": role, "content": ""} for role in ("user", "assistant"))
        beginnings: list[Chat] = []
        if system or tools:
            beginnings.append([*messages[:system], question])
        if last_user > system:
            beginnings.append([*messages[:last_user], question])
        beginnings.append([*messages, answer, question])
        places = [self._parting(chat, beginning) for beginning in beginnings]
        shared = (0,) if not (system or tools) else ()
        return shared + tuple(self._tokens_before(place, chat) for place in places)

    def _parting(self, chat: RenderedChat, messages: Chat) -> int:
        """Return how many characters of a prompt's text come from its first messages."""
        arguments = {**chat.template.arguments, "add_generation_prompt": False}
        template = structs.replace(chat.template, arguments=arguments)
        try:
            beginning = _render(self._tokenizer, template, messages, chat.tools, chat.session)[1]
        except InvalidRequest:  # some templates want more than one empty message
            return 0
        return common_length(chat.text, beginning)

    def _tokens_before(self, position: int, chat: RenderedChat) -> int:
        """Return how many tokens the first `position` characters of a text are."""
        text, tokens = chat.text, chat.tokens
        if 2 * position > len(text):
            rest = self._encode(text[position:], chat.controls, special=False)
            if rest and tokens[-len(rest) :] == rest:
                return len(tokens) - len(rest)
        beginning = self._encode(text[:position], chat.controls, special=False)
        return common_length(tokens, beginning)

    def _encode(self, text: str, controls: ControlTokens | None, *, special: bool) -> list[int]:
        if controls is not None:
            return controls.encode(text, special=special)
        return list(self._tokenizer.encode(text, add_special_tokens=special))

    def _facts(self, template: Template) -> "_TemplateFacts":
        """Return what is known of a template; the model's own and the last one are remembered."""
        sources = template_sources(self._tokenizer, template)
        for facts in (self._own, self._last):
            if facts.sources == sources:
                return facts
        self._last = _TemplateFacts(self._tokenizer, template)
        return self._last

    def _checked(self, tokens: list[int], param: str) -> list[int]:
        if not tokens:
            raise InvalidRequest("the prompt is empty", param=param)
        if self._context_length and len(tokens) >= self._context_length:
            raise self._too_long(f"{len(tokens)} tokens", param)
        return tokens

    def _check_text(self, text: str, param: str, controls: ControlTokens | None = None) -> None:
        """Reject a text that cannot fit before the work of tokenizing it."""
        if not self._context_length or len(text) <= _LONGEST_UNCHECKED:
            return
        least = len(text) // (self._longest_token * _SHRINKING)
        least = max(least, controls.least(text) if controls else 0)
        if least > self._context_length:
            raise self._too_long(f"{len(text)} characters, at least {least} tokens", param)

    @cached_property
    def _longest_token(self) -> int:
        """The length in characters of the longest token, at least 1."""
        return max(map(len, self._tokenizer.get_vocab()), default=1)

    def _too_long(self, size: str, param: str) -> ContextLengthExceeded:
        return ContextLengthExceeded(
            f"the prompt has {size}; the model's context holds {self._context_length} "
            "with the answer",
            param=param,
        )


class _TemplateFacts:
    """What is known of one template, each as soon as it is needed."""

    def __init__(self, tokenizer: Any, template: Template) -> None:
        self.sources = template_sources(tokenizer, template)
        self._tokenizer = tokenizer
        self._demands: Demands | None = None

    @cached_property
    def controls(self) -> ControlTokens:
        own = template_sources(self._tokenizer, Template())
        return ControlTokens(self._tokenizer, own + self.sources)

    def demands(self, template: Template, session: SandboxSession | None) -> Demands:
        """Return what the template demands; its arguments are those of the first who asks."""
        if self._demands is None:
            arguments = {**template.arguments, "continue_final_message": False}
            asked = structs.replace(template, arguments=arguments)

            def takes(messages: Chat) -> bool:
                try:
                    text = render(self._tokenizer, asked, messages, None, session)
                except REFUSALS:
                    return False
                return all(word in text for word in words_of(messages))

            self._demands = find_demands(takes)
        if template.arguments.get("continue_final_message"):
            return replace(self._demands, answer_last=True)
        return self._demands


def begins_in_reasoning(tokenizer: Any, tokens: list[int]) -> bool:
    """Return whether the prompt ends inside a thought, which the answer then continues."""
    if tokenizer.response_initial_state:
        return bool(tokenizer.response_initial_state == "reasoning")
    if not tokenizer.has_thinking:
        return False
    start = tokenizer.rfind_think_start(tokens)
    if start <= tokenizer.rfind_think_end(tokens):
        return False
    # A thought before the end of a turn is not this answer's.
    return bool(tokenizer.eos_token_ids.isdisjoint(tokens[start:]))


def _render(
    tokenizer: Any,
    template: Template,
    messages: Chat,
    tools: list[dict[str, Any]] | None,
    session: SandboxSession | None = None,
    facts: _TemplateFacts | None = None,
) -> tuple[Chat, str]:
    """Return a conversation's text, and its messages as the template took them.

    With `facts` the messages are changed as the template demands if it refuses them as they are,
    or silently leaves out what must not be left out.
    """

    def work() -> tuple[Chat, str]:
        refusal, text = None, ""
        try:
            text = render(tokenizer, template, messages, tools, session)
            if facts is None or not _leaves_out(messages, text):
                return messages, text
        except (TemplateSyntaxError, SecurityError):
            raise
        except REFUSALS as error:
            if facts is None:
                raise
            refusal = error
        for changed in fitted(messages, facts.demands(template, session)):
            try:
                fitting = render(tokenizer, template, changed, tools, session)
            except REFUSALS:
                continue
            if refusal or not _leaves_out(messages, fitting):
                return changed, fitting
        if refusal:
            raise refusal  # the first one says the most
        return messages, text

    param = "chat_template" if template.source else "messages"
    try:
        return work()
    except SandboxFailed:
        reason = f"the chat template takes more than {SANDBOX_BYTES >> 20} MB, or writes too much"
        raise InvalidRequest(reason, param=param) from None
    except TimeoutError:
        reason = f"the chat template took more than {TEMPLATE_SECONDS:g} s"
        raise InvalidRequest(reason, param=param) from None
    except REFUSALS as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        reason = f"the chat template rejected the messages: {reason}"
        raise InvalidRequest(reason, param=param) from error


def _leaves_out(messages: Chat, text: str) -> bool:
    """Return whether a text lacks what a system says, or what the user says last."""
    place = 0
    for message in messages:
        if message["role"] in _SYSTEM_ROLES:
            place = text.find(message["content"].strip(), place)
            if place < 0:
                return True
    asked = (message["content"] for message in reversed(messages) if message["role"] == "user")
    return next(asked, "").strip() not in text


def _check_ids(tokenizer: Any, tokens: list[int]) -> list[int]:
    size = len(tokenizer)
    for index, token in enumerate(tokens):
        if not 0 <= token < size:
            reason = f"token ID {token} is outside the vocabulary of {size}"
            raise InvalidRequest(reason, param=f"prompt[{index}]")
    return tokens
