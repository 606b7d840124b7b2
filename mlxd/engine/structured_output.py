"""Constrained decoding: grammars compiled by llguidance mask the tokens that may come next."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import llguidance.hf
import msgspec
import numpy as np
from llguidance import LLMatcher, LLTokenizer, regex_to_lark
from llguidance.gbnf_to_lark import GbnfToLarkError, any_to_lark
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from mlxd.engine.enforced_schema import ANY_OBJECT, EnforcedSchema, enforce
from mlxd.engine.grammar_limits import LONGEST_GRAMMAR, CompiledGrammars, is_plain
from mlxd.engine.mask_time import TOO_SLOW, TimedMatcher, is_slow, may_be_slow, parser_limits
from mlxd.engine.sandbox import (
    SANDBOX_BYTES,
    Check,
    Sandbox,
    SandboxFailed,
    SandboxSession,
    unchecked,
)
from mlxd.engine.schema_context import Schema
from mlxd.engine.time_limit import within
from mlxd.errors import InvalidRequest
from mlxd.generate_request import Grammar
from mlxd.messages import Overlooked

ANSWER = "start: @answer"
"""The rule for an answer that matches the part named `answer`."""

_BITS = 32
_COMPILE_SECONDS = 5.0
_COMPILE_STACK_BYTES = 512 * 1024**2  # llguidance follows references by recursion
_SPACE = r"(\x20|\x0A[\x20\x09]{0,24})"  # unbounded, a weak model writes spaces for ever


@dataclass(frozen=True)
class Part:
    """A grammar that a rule refers to as `@name`.

    A `lenient` schema never refuses a request: what cannot be enforced of it is overlooked.
    """

    name: str
    grammar: Grammar
    lenient: bool = False


@dataclass(frozen=True)
class Thought:
    """The tokens around a thought, which the grammar does not constrain.

    `begun` says that the prompt ends inside a thought; with `start` None, none can begin.
    """

    start: int | None
    end: tuple[int, ...]
    begun: bool


class Constraint:
    """The tokens that may come next in one answer, after `accepted` tokens.

    `failure` says why it stopped working, and `too_complex` that this is because of the grammar.
    `overlooked` lists what it does not enforce of the schemas.
    """

    def __init__(
        self,
        matcher: TimedMatcher,
        tokenizer: LLTokenizer,
        thought: Thought | None,
        overlooked: Sequence[Overlooked],
        refuse: Callable[[], None],
    ) -> None:
        """Take a matcher that no other answer uses, and `refuse`, which bans its grammar."""
        self.overlooked = overlooked
        self._refuse = refuse
        self.failure: str | None = None
        self.too_complex = False
        self.accepted = 0
        self._timed = matcher
        self._end_bits = np.zeros(_words(tokenizer.vocab_size), np.uint32)
        _allow(self._end_bits, tokenizer.eos_tokens)
        self._thought_end = thought.end if thought else ()
        self._thinking = thought is not None and thought.begun
        self._thought_start = thought.start if thought and not thought.begun else None
        self._recent: list[int] = []
        self._last = np.zeros_like(self._end_bits)

    def accept(self, token: int) -> None:
        """Take the token that was chosen."""
        self.accepted += 1
        if self._thinking:
            self._recent = [*self._recent, token][-len(self._thought_end) :]
            self._thinking = tuple(self._recent) != self._thought_end
            return
        self._thinking = token == self._thought_start
        self._thought_start = None
        if not self._thinking and not self._over and not self._timed.matcher.consume_token(token):
            self._fail()
            # The token was allowed, so a limit of llguidance was reached.
            self.too_complex = _is_allowed(self._last, token)

    def allowed(self) -> NDArray[np.uint32]:
        """Return one bit for each token of the vocabulary, the lowest bit of each word first."""
        if self._thinking:
            return ~self._end_bits
        bits = np.zeros_like(self._end_bits)
        if not self._over:
            if not self._timed.fill(bits):
                self.failure, self.too_complex = TOO_SLOW, True
                self._refuse()
                bits[:] = 0
            elif self._timed.matcher.is_error():  # a limit of llguidance, as for the items of a row
                self._fail()
                self.too_complex = True
                bits[:] = 0
        if self._over:
            bits |= self._end_bits
        if self._thought_start is not None:
            _allow(bits, [self._thought_start])
        self._last = bits
        return bits

    @property
    def _over(self) -> bool:
        return self.failure is not None or self._timed.matcher.is_stopped()

    def _fail(self) -> None:
        self.failure = _reason(self._timed.matcher.get_error())


class Grammars:
    """Compiles grammars for one model."""

    def __init__(self, tokenizer: Any, vocabulary: int, sandbox: Sandbox | None = None) -> None:
        """Take mlx_lm's TokenizerWrapper, the width of the logits, and where to try large grammars.

        Without a sandbox, nothing is tried before it is compiled here.
        """
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._sandbox = sandbox
        self._kept: CompiledGrammars[_Compiled | _TooSlow] = CompiledGrammars()

    def compile(
        self,
        rule: str,
        parts: Sequence[Part],
        thought: Thought | None = None,
        check: Check = unchecked,
    ) -> Constraint:
        """Return the constraint of one answer.

        Args:
            rule: a Lark grammar that refers to the parts.
            parts: the grammars it refers to.
            thought: how the model may think first, None if it does not.
            check: is called while a large grammar is tried, and ends that by raising.

        Raises:
            InvalidRequest: a part is not valid, too large, too deep or too slow, or has a keyword
                that cannot be enforced.
        """
        parts = tuple(parts)
        key = hashlib.sha256(repr((rule, parts)).encode(errors="surrogatepass")).digest()
        if (compiled := self._kept.get(key)) is None:
            size = len(rule) + sum(len(part.grammar.source) for part in parts)
            if size > LONGEST_GRAMMAR:
                raise _invalid(_param(parts), f"it has more than {LONGEST_GRAMMAR} characters")
            compiled = self._compile(rule, parts, check)
            self._kept.keep(key, compiled, size)
        if isinstance(compiled, _TooSlow):
            compiled = self._without_schemas(rule, parts, TOO_SLOW)
        matcher, overlooked = compiled
        timed = TimedMatcher(
            matcher.deep_copy(), may_be_slow=may_be_slow([part.grammar for part in parts])
        )
        refuse = partial(self._kept.keep, key, _TooSlow(), 0)
        return Constraint(timed, self._tokens, thought, overlooked, refuse)

    def token_bytes(self, token: int) -> bytes:
        """Return the bytes of a token, b"" if it is outside the vocabulary."""
        if self._fast is None:
            text: str = self._tokenizer.decode([token])
            return text.encode()
        return self._tokens.decode_bytes([token]) if token < self._tokens.vocab_size else b""

    @property
    def _fast(self) -> PreTrainedTokenizerFast | None:
        inner = self._tokenizer._tokenizer
        return inner if isinstance(inner, PreTrainedTokenizerFast) else None

    @cached_property
    def _tokens(self) -> LLTokenizer:
        size = max(self._vocabulary, len(self._tokenizer))
        ends = sorted(token for token in self._tokenizer.eos_token_ids if token < size)
        if self._fast is None or not ends:
            reason = "the model's tokenizer does not support constrained decoding"
            raise InvalidRequest(reason, param="model")
        return llguidance.hf.from_tokenizer(self._fast, n_vocab=size, eos_token=ends)

    def _compile(self, rule: str, parts: tuple[Part, ...], check: Check) -> "_Compiled | _TooSlow":
        """Compile a grammar, and try its first masks."""
        _ = self._tokens  # made before the clock runs
        try:
            if self._sandbox is not None and not is_plain([part.grammar for part in parts]):
                _try(SandboxSession(self._sandbox, _COMPILE_SECONDS, check), rule, parts)
            compiled = within(
                _COMPILE_SECONDS,
                lambda: self._compile_parts(rule, parts),
                stack_bytes=_COMPILE_STACK_BYTES,
            )
        except TimeoutError:
            reason = f"it takes more than {_COMPILE_SECONDS:g} s"
        except SandboxFailed:
            reason = f"it refers too deeply, or takes more than {SANDBOX_BYTES >> 20} MB"
        else:
            words = _words(self._tokens.vocab_size)
            return _TooSlow() if is_slow(compiled[0], words, check) else compiled
        return self._without_schemas(rule, parts, reason)

    def _without_schemas(self, rule: str, parts: tuple[Part, ...], reason: str) -> "_Compiled":
        """Compile a grammar without its schemas, or raise if that is not allowed."""
        if not all(part.lenient for part in parts):
            raise _invalid(_param(parts), reason)
        enforced = [
            EnforcedSchema(ANY_OBJECT, [Overlooked(p.grammar.param, "", reason)]) for p in parts
        ]
        return self._compiled(rule, parts, enforced)

    def _compile_parts(self, rule: str, parts: tuple[Part, ...]) -> "_Compiled":
        enforced = [self._enforced(part) for part in parts]
        matcher, overlooked = self._compiled(rule, parts, enforced)
        if matcher.is_error():
            enforced = [self._enforced(part, checked=True) for part in parts]
            matcher, overlooked = self._compiled(rule, parts, enforced)
        if matcher.is_error():
            raise _invalid(_param(parts), _reason(matcher.get_error()))
        return matcher, overlooked

    def _matcher(self, source: str) -> LLMatcher:
        return LLMatcher(self._tokens, source, log_level=0, limits=parser_limits())

    def _compiled(
        self, rule: str, parts: tuple[Part, ...], enforced: Sequence[EnforcedSchema | None]
    ) -> "_Compiled":
        grammars = [{"name": "rule", "lark_grammar": rule}, *map(_grammar, parts, enforced)]
        overlooked = [found for each in enforced if each for found in each.overlooked]
        source = json.dumps({"grammars": grammars})
        return self._matcher(source), tuple(overlooked)

    def _enforced(self, part: Part, *, checked: bool = False) -> EnforcedSchema | None:
        """Return what a grammar can enforce of a part's schema, None for a part without one.

        Raises InvalidRequest if that is not enough or, with `checked`, if the part is not valid.
        """

        def error_of(schema: Schema | None) -> str | None:
            enforced = None if schema is None else EnforcedSchema(schema, [])
            grammar = json.dumps({"grammars": [_grammar(part, enforced)]})
            is_error, messages = LLMatcher.validate_grammar_with_warnings(grammar, self._tokens)
            return _reason(messages[0]) if is_error else None

        if part.grammar.kind == "json_schema":
            return enforce(part.grammar, error_of, lenient=part.lenient, checked=checked)
        if checked and (error := error_of(None)) is not None:
            raise _invalid(part.grammar.param, error)
        return None


_Compiled = tuple[LLMatcher, tuple[Overlooked, ...]]
"""A grammar, and what of its schemas it does not enforce."""


class _TooSlow:
    """A grammar that took too long for a mask."""


class _Untokenized(Grammars):
    """Compiles grammars for no model: tokens that they name are not looked up."""

    def __init__(self) -> None:
        super().__init__(None, 0)

    @cached_property
    def _tokens(self) -> None:
        return None

    def _matcher(self, source: str) -> "_Verdict":
        is_error, messages = LLMatcher.validate_grammar_with_warnings(source, None)
        return _Verdict(messages[0] if is_error else None)


@dataclass(frozen=True)
class _Verdict:
    """What a matcher says of its grammar, without the matcher."""

    error: str | None

    def is_error(self) -> bool:
        """Return whether the grammar cannot be compiled."""
        return self.error is not None

    def get_error(self) -> str:
        """Return why."""
        return self.error or ""


def compile_alone(rule: str, parts: list[Any]) -> dict[str, Any] | None:
    """Compile a grammar as the process of a `Sandbox` does; return why not, None if it can be.

    Its stack is smaller than the one on which it is compiled for a model.
    """
    converted = msgspec.convert(parts, tuple[Part, ...])
    try:
        within(
            2 * _COMPILE_SECONDS,
            lambda: _Untokenized()._compile_parts(rule, converted),
            stack_bytes=_COMPILE_STACK_BYTES // 8,
        )
    except InvalidRequest as error:
        return {"message": error.message, "param": error.param}
    return None


def _try(session: SandboxSession, rule: str, parts: tuple[Part, ...]) -> None:
    """Compile a grammar where that harms nobody.

    Raises InvalidRequest if it cannot be compiled, and what `SandboxSession.run` raises.
    """
    refused = session.run("grammar", {"rule": rule, "parts": msgspec.to_builtins(parts)})
    if refused is not None:
        raise InvalidRequest(refused["message"], param=refused["param"])


def _param(parts: tuple[Part, ...]) -> str:
    return parts[0].grammar.param if len(parts) == 1 else "tools"


def _grammar(part: Part, enforced: EnforcedSchema | None) -> dict[str, Any]:
    """Return a part in llguidance's form."""
    source = part.grammar.source
    if enforced is not None:
        options = {"whitespace_pattern": _SPACE}
        return {"name": part.name, "json_schema": {**enforced.schema, "x-guidance": options}}
    if part.grammar.kind == "regex":
        source = f"start: /{regex_to_lark(source)}/"
    elif part.grammar.kind == "gbnf":
        source = _lark(source, part.grammar.param)
    return {"name": part.name, "lark_grammar": source}


def _lark(source: str, param: str) -> str:
    """Return a grammar in GBNF or Lark as Lark."""
    try:
        return str(any_to_lark(source))
    except (GbnfToLarkError, RecursionError) as error:
        raise _invalid(param, _reason(str(error))) from None


def _invalid(param: str, reason: str) -> InvalidRequest:
    return InvalidRequest(f"`{param}` cannot be compiled: {reason}", param=param)


def _words(vocabulary: int) -> int:
    return (vocabulary + _BITS - 1) // _BITS


def _allow(bits: NDArray[np.uint32], tokens: list[int]) -> None:
    for token in tokens:
        bits[token // _BITS] |= np.uint32(1 << token % _BITS)


def _is_allowed(bits: NDArray[np.uint32], token: int) -> bool:
    word, bit = divmod(token, _BITS)
    return word < bits.size and bool(bits[word] >> bit & 1)


def _reason(error: str) -> str:
    """Return an error in one line, without llguidance's pictures of the place and its state."""
    error = error.partition("<state>")[0]
    lines = [line.strip() for line in error.splitlines()]
    first = lines[0].removesuffix(" regex parse error:") if lines else "unknown"
    details = [line for line in lines[1:] if line.startswith("error: ")]
    return " ".join([first, *details])[:300]
