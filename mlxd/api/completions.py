"""The text dialect: POST /v1/completions."""

import msgspec

from mlxd import messages
from mlxd.api import unsupported
from mlxd.api.decode import decode
from mlxd.api.dialect import CommonFields, Prompt
from mlxd.api.reply import Envelope
from mlxd.config import Generation
from mlxd.errors import InvalidRequest
from mlxd.messages import Event, Finished, GenerateRequest, TextPrompt, TokensPrompt

_KIND = "text_completion"
_LARGEST_TOKEN = 2**31 - 1


class CompletionBody(CommonFields, frozen=True, kw_only=True):
    """The body of a text completion request: `prompt` is a text, or the token ids of one."""

    prompt: str | list[int | str]

    def to_request(self, defaults: Generation) -> GenerateRequest:
        """Give the request for the engine; `defaults` stand in for what was left out."""
        return self.continuing(_one_prompt(self.prompt), defaults)

    def fold(self, model: str, created: int) -> "CompletionFold":
        """Give the fold of the answer: `model` is the one that answers, `created` unix time."""
        return CompletionFold(model, created, include_usage=self.include_usage)


def decode_body(data: bytes) -> CompletionBody:
    """Decode and check a text completion request.

    Raises:
        InvalidRequest: a malformed body, or a bad value.
        UnsupportedParameter: a field we know and cannot honour.
    """
    body = decode(data, CompletionBody)
    unsupported.refuse_unsupported(data, unsupported.COMPLETION)
    _one_prompt(body.prompt)
    return body


def _one_prompt(prompt: str | list[int | str]) -> Prompt:
    if isinstance(prompt, str):
        return TextPrompt(prompt)
    texts = [item for item in prompt if isinstance(item, str)]
    tokens = [item for item in prompt if isinstance(item, int)]
    if texts and tokens:
        raise InvalidRequest("`prompt`: a list holds either texts or token ids", param="prompt")
    if len(texts) > 1:
        raise InvalidRequest(
            "`prompt`: several prompts in one request are not supported: send one", param="prompt"
        )
    if texts:
        return TextPrompt(texts[0])
    if not tokens:
        raise InvalidRequest("`prompt`: an empty list", param="prompt")
    for index, token in enumerate(tokens):
        if not 0 <= token <= _LARGEST_TOKEN:
            path = f"prompt[{index}]"
            raise InvalidRequest(f"`{path}`: not a token id", param=path)
    return TokensPrompt(tokens)


class Choice(msgspec.Struct, frozen=True):
    """The only choice, of a chunk as of a whole reply."""

    text: str
    index: int
    logprobs: None = None
    finish_reason: str | None = None


class CompletionFold:
    """Turns the events of one answer into a text completion, in chunks or whole."""

    def __init__(self, model: str, created: int, *, include_usage: bool) -> None:
        self.usage: messages.Usage | None = None
        self._envelope = Envelope("cmpl", model, created, include_usage=include_usage)
        self._texts: list[str] = []
        self._finish_reason: str | None = None

    def stream(self, events: list[Event]) -> bytes:
        """Give the SSE events that `events` make, `[DONE]` included after `Finished`."""
        pieces = [self._envelope.chunk(_KIND, choice) for choice in self._choices(events)]
        if self.usage is not None:
            pieces.append(self._envelope.end(_KIND, self.usage))
        return b"".join(pieces)

    def collect(self, events: list[Event]) -> None:
        """Keep what `events` add to the reply."""
        for choice in self._choices(events):
            self._texts.append(choice.text)
            self._finish_reason = choice.finish_reason

    def reply(self) -> bytes:
        """Give the whole reply as JSON, once `Finished` has been collected."""
        choice = Choice("".join(self._texts), 0, finish_reason=self._finish_reason)
        return self._envelope.whole(_KIND, choice, self.usage)

    def _choices(self, events: list[Event]) -> list[Choice]:
        choices: list[Choice] = []
        for event in events:
            if isinstance(event, messages.Delta):
                choices.append(Choice(event.text, 0))
            elif isinstance(event, Finished):
                choices.append(Choice("", 0, finish_reason=event.reason))
                self.usage = event.usage
        return choices
