"""Control tokens: what is one in a prompt, and what is only the text of one.

A template writes tokens that end a turn or begin another. The same characters in a message, in the
result of a tool or in a description are text, and must not become these tokens. So they are marked
before the template sees them, with characters that Unicode keeps for uses inside a program; the
template copies, looks for or cuts the text as ever. Then what is marked is encoded as text.
"""

import re
from collections.abc import Collection
from functools import cached_property
from itertools import chain, groupby
from typing import Any

import msgspec
from jinja2 import Environment, TemplateError
from transformers import PreTrainedTokenizerFast

_BEGIN, _END = "\ufdd0", "\ufdd1"
_BEGINS, _ENDS = (f"(?:{mark}|\\\\u{ord(mark):x})" for mark in (_BEGIN, _END))
"""The marks, also as they are in JSON that a template writes in ASCII."""
_ANCHORS = ("\n", "a")


class ControlTokens:
    """The control tokens that one template may write with one tokenizer.

    These are the tokenizer's special tokens, the other added tokens that the template's own text
    has, and the marks of thoughts.
    """

    def __init__(self, tokenizer: Any, sources: list[str]) -> None:
        """Take mlx_lm's TokenizerWrapper, and the template's sources."""
        self._tokenizer = tokenizer
        self._calls = {tokenizer.tool_call_start, tokenizer.tool_call_end}
        self._thought = (tokenizer.think_start, tokenizer.think_end)
        literals = "\0".join(map(_literals, sources))
        texts = {token.content for token in _added(tokenizer) if token.special}
        texts |= set(tokenizer.all_special_tokens)
        texts |= {token.content for token in _added(tokenizer) if token.content in literals}
        texts |= {mark for mark in self._thought if mark}
        self._texts = sorted(filter(str.strip, texts))
        found = _one_of(self._texts) if self._texts else "(?!)"
        self._pattern = re.compile(found)
        self._marked = re.compile(f"{_BEGINS}({found}){_ENDS}|{_BEGINS}|{_ENDS}")
        self._as_text: dict[str, list[int]] = {}

    def occur_in(self, *values: Any) -> bool:
        """Return whether the text of a control token is anywhere in JSON values."""
        return bool(self._pattern.search(msgspec.json.encode(values).decode()))

    def mark(self, value: Any) -> Any:
        """Return a JSON value in which the text of each control token is marked as text."""
        match value:
            case str():
                return self._mark_text(value)
            case dict():
                return {self.mark(key): self.mark(inner) for key, inner in value.items()}
            case list():
                return [self.mark(inner) for inner in value]
            case _:
                return value

    def mark_message(self, message: dict[str, Any], *, continued: bool) -> dict[str, Any]:
        """Return a message in which control tokens are marked as text.

        In an answer of the assistant the marks of calls, and of a thought that it begins with, stay
        what they are: a model wrote them. The thought may be open in an answer that is to be
        `continued`.
        """
        marked = {key: self.mark(value) for key, value in message.items()}
        content = message.get("content")
        if message["role"] == "assistant" and isinstance(content, str):
            marked["content"] = self._mark_answer(content, continued=continued)
        return {**marked, "role": message["role"]}

    def least(self, text: str) -> int:
        """Return a lower bound for the number of tokens of a text with marks."""
        return text.count(_BEGIN)

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Return the tokens of a text with marks.

        With `special`, it begins with the tokens that the tokenizer begins every text with.
        """
        first, *rest = self._marked.split(text)
        tokens = list(self._tokenizer.encode(first, add_special_tokens=special))
        # The text of a control token, and then what the template wrote; both may be empty.
        marked, written = rest[::2], rest[1::2]
        later = iter(self._encode_later(list(filter(None, written))))
        for token, text in zip(marked, written, strict=True):
            tokens += self._encode_as_text(token) if token else []
            tokens += next(later) if text else []
        return tokens

    def _mark_text(self, text: str, keep: Collection[str | None] = ()) -> str:
        text = text.replace(_BEGIN, "").replace(_END, "")
        return self._pattern.sub(
            lambda found: found[0] if found[0] in keep else f"{_BEGIN}{found[0]}{_END}", text
        )

    def _mark_answer(self, text: str, *, continued: bool) -> str:
        start, end = self._thought
        if not start or not text.lstrip().startswith(start):
            return self._mark_text(text, self._calls)
        space, opened, rest = text.partition(start)
        thought, closed, said = rest.partition(end)
        if not (closed or continued):
            return self._mark_text(text, self._calls)
        return (
            f"{space}{opened}{self._mark_text(thought)}{closed}{self._mark_text(said, self._calls)}"
        )

    def _encode_as_text(self, token: str) -> list[int]:
        """Return other tokens for the text of a control token."""
        if token not in self._as_text:
            cuts = [[token[:cut], token[cut:]] for cut in range(1, len(token))]
            ways = [self._encode_all(pieces) for pieces in [*cuts, list(token)]]
            self._as_text[token] = next(filter(self._ids.isdisjoint, ways), ways[-1])
        return self._as_text[token]

    def _encode_all(self, pieces: list[str]) -> list[int]:
        return list(chain.from_iterable(self._encode_later(pieces)))

    def _encode_later(self, texts: list[str]) -> list[list[int]]:
        """Return the tokens of each of several texts that do not begin the prompt."""
        if self._adds_no_space:
            return self._encode(texts)
        found: dict[int, list[int]] = {}
        for anchor in _ANCHORS:
            left = [index for index in range(len(texts)) if index not in found]
            before, *encoded = self._encode([anchor, *(anchor + texts[index] for index in left)])
            for index, tokens in zip(left, encoded, strict=True):
                if tokens[: len(before)] == before:
                    found[index] = tokens[len(before) :]
        left = [index for index in range(len(texts)) if index not in found]
        found |= zip(left, self._encode([texts[index] for index in left]), strict=True)
        return [found[index] for index in range(len(texts))]

    def _encode(self, texts: list[str]) -> list[list[int]]:
        """Return the tokens of each of several texts, which in one call takes far less time."""
        inner = self._tokenizer._tokenizer
        if texts and getattr(type(inner), "encode", None) is PreTrainedTokenizerFast.encode:
            encoded: list[list[int]] = inner(texts, add_special_tokens=False)["input_ids"]
            return encoded
        return [list(self._tokenizer.encode(text, add_special_tokens=False)) for text in texts]

    @cached_property
    def _adds_no_space(self) -> bool:
        """Whether the tokenizer encodes the beginning of a text as it does any other place."""
        both, first, second = self._encode(["\na", "\n", "a"])
        return both == first + second

    @cached_property
    def _ids(self) -> set[int]:
        return set(self._tokenizer.convert_tokens_to_ids(self._texts))


def _added(tokenizer: Any) -> list[Any]:
    try:
        return list(tokenizer.added_tokens_decoder.values())
    except NotImplementedError:  # mistral-common's, which makes no control tokens of text
        return []


def _one_of(texts: list[str]) -> str:
    """Return a pattern for the longest of some texts, which looks once at what they share."""
    if len(texts) == 1:
        return re.escape(texts[0])
    ends = "?" if "" in texts else ""
    rests = groupby(sorted(filter(None, texts)), lambda text: text[0])
    ways = [re.escape(first) + _one_of([text[1:] for text in group]) for first, group in rests]
    return f"(?:{'|'.join(ways)}){ends}"


def _literals(source: str) -> str:
    """Return what a template writes itself: its text, and the strings in its code."""
    try:
        parts = list(Environment(autoescape=True).lex(source))
    except TemplateError:
        return source
    return "\0".join(text for _, kind, text in parts if kind in ("data", "string"))
