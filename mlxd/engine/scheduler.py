"""Continuous batching: admit, step, finish."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
from mlx_lm.generate import StopSequences, make_stop_sequences
from mlx_lm.sample_utils import make_logits_processors

from mlxd.engine.batch import Batch
from mlxd.engine.loader import LoadedModel, ModelUnusable, load_draft
from mlxd.engine.output import FinishReason, Markup, Output
from mlxd.engine.preprocessing import Prepared
from mlxd.engine.prompt_cache import MODEL, PromptCache
from mlxd.engine.sampling import Row, seed_word
from mlxd.engine.sequence import Sequence
from mlxd.engine.speculation import Runner, Speculation
from mlxd.engine.speed import Speed
from mlxd.engine.tools import ToolFormat
from mlxd.messages import (
    ChatPrompt,
    Event,
    Failed,
    Finished,
    GenerateRequest,
    Load,
    PrefillProgress,
    Started,
    Usage,
)

_UNBOUNDED_TOKENS = 1 << 20


@dataclass
class _Speculating:
    """A sequence that a draft model runs ahead of."""

    sequence: Sequence
    speculation: Speculation
    end: StopSequences.Matcher


class Scheduler:
    """The sequences of one model, advanced together by `step`.

    A request is announced by `expect`, and computed once its preparation is given to `admit`: at
    once, or when one of the `decode_concurrency` places is free. It leaves within a step.
    """

    def __init__(self, model: LoadedModel, load: Load, token_bytes: Callable[[int], bytes]) -> None:
        """Take a model, how to run it, and what gives the bytes of a token."""
        self.speed = Speed()
        self._model = model
        self._tokenizer = model.tokenizer
        self._token_bytes = token_bytes
        self._places = load.decode_concurrency
        self._prefill_step_size = load.prefill_step_size
        self._end_tokens: StopSequences = make_stop_sequences(model.tokenizer)
        self._batch = Batch(
            model.model,
            decode_concurrency=load.decode_concurrency,
            prompt_concurrency=load.prompt_concurrency,
            prefill_step_size=load.prefill_step_size,
        )
        self._prompt_cache = PromptCache(load.prompt_cache_bytes)
        self._kept_by_xtc = (*model.tokenizer.encode("\n"), *model.tokenizer.eos_token_ids)
        self._markups: dict[ToolFormat | None, Markup] = {}
        self._draft: tuple[str, Any] | None = None
        self._expected: set[int] = set()
        self._line: deque[Prepared] = deque()
        self._sequences: dict[int, Sequence] = {}
        self._uid_of: dict[int, int] = {}
        self._reading: dict[int, list[int]] = {}
        self._speculating: dict[int, _Speculating] = {}

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._sequences or self._speculating or self._line)

    def expect(self, request_id: int) -> None:
        """Take note of a request that is being prepared."""
        self._expected.add(request_id)

    def admit(self, prepared: Prepared | Failed) -> list[Event]:
        """Put an expected request in line; nothing happens when it was aborted meanwhile."""
        request_id = prepared.id if isinstance(prepared, Failed) else prepared.message.id
        if request_id not in self._expected:
            return []
        self._expected.remove(request_id)
        if isinstance(prepared, Failed):
            return [prepared]
        self._line.append(prepared)
        return self._start_waiting()

    def abort(self, request_id: int) -> list[Event]:
        """End a request; nothing happens when it has ended already."""
        if request_id in self._expected:
            self._expected.remove(request_id)
            return [Finished(request_id, "abort", Usage(0, 0, 0))]
        for prepared in self._line:
            if prepared.message.id == request_id:
                self._line.remove(prepared)
                return [Finished(request_id, "abort", Usage(len(prepared.tokens), 0, 0))]
        if (speculating := self._speculating.pop(request_id, None)) is not None:
            self._keep_speculated(speculating.speculation)
            return [speculating.sequence.finished("abort")]
        if (uid := self._uid_of.pop(request_id, None)) is None:
            return []
        self._take_out(uid)
        return [self._sequences.pop(uid).finished("abort")]

    def step(self) -> list[Event]:
        """Advance every sequence by up to one token or one part of its prompt."""
        events = self._start_waiting()
        if self._sequences:
            events += self._step_batch()
        for request_id in list(self._speculating):
            events += self._step_speculation(request_id)
        # Who starts is told before the next step, whose part of a prompt may take long.
        events += self._start_waiting()
        if not self.busy:
            mx.clear_cache()  # else the machine lacks what the last sequences took, for nothing
        return events

    def _start_waiting(self) -> list[Event]:
        """Start those in line for whom there is a place, but no prompt a second time at once."""
        events: list[Event] = []
        for prepared in list(self._line):
            if len(self._sequences) + len(self._speculating) >= self._places:
                break
            if not self._is_being_read(prepared.tokens):
                self._line.remove(prepared)
                events += self._start(prepared)
        return events

    def _is_being_read(self, prompt: list[int]) -> bool:
        """Whether the prompt cache will have this prompt soon."""
        return self._prompt_cache.enabled and prompt in self._reading.values()

    def _start(self, prepared: Prepared) -> list[Event]:
        request = prepared.message.request
        row = Row(
            sampling=request.sampling,
            seed=seed_word(request.seed),
            prompt_tokens=len(prepared.tokens),
            logprobs=request.logprobs,
            constraint=prepared.constraint,
            kept_by_xtc=self._kept_by_xtc,
        )
        if request.draft is None or request.draft.tokens == 0:
            return self._start_in_batch(prepared, row)
        return self._start_speculation(prepared, row, request.draft.path, request.draft.tokens)

    def _start_in_batch(self, prepared: Prepared, row: Row) -> list[Event]:
        prompt = prepared.tokens
        cache, cached = self._prompt_cache.fetch(prompt)
        (uid,) = self._batch.insert_segments(
            [[prompt[cached:]]],
            max_tokens=[self._room(prepared)],
            caches=[cache],
            all_tokens=[prompt[:cached]],
            samplers=[row],
            logits_processors=[_processors(prepared.message.request)],
            stop_sequences=[self._end_tokens],
        )
        self._sequences[uid] = self._sequence(prepared, cached)
        self._uid_of[prepared.message.id] = uid
        self._reading[uid] = prompt
        return [Started(prepared.message.id, len(prompt), cached)]

    def _start_speculation(
        self, prepared: Prepared, row: Row, name: str, guesses: int
    ) -> list[Event]:
        request, prompt = prepared.message.request, prepared.tokens
        try:
            draft = self._load_draft(name)
        except ModelUnusable as error:
            return [Failed(prepared.message.id, "invalid_request", str(error), "draft_model")]
        cache, cached = self._prompt_cache.fetch(prompt)
        speculation = Speculation(
            prompt,
            row,
            _processors(request),
            target=Runner(MODEL, self._model.model, cache, cached),
            draft=Runner(name, draft, *self._prompt_cache.fetch(prompt, of=name)),
            guesses=guesses,
            max_tokens=self._room(prepared),
        )
        self._speculating[prepared.message.id] = _Speculating(
            self._sequence(prepared, cached), speculation, self._end_tokens.matcher()
        )
        return [Started(prepared.message.id, len(prompt), cached)]

    def _sequence(self, prepared: Prepared, cached: int) -> Sequence:
        request = prepared.message.request
        is_chat = isinstance(request.prompt, ChatPrompt)
        output = Output(
            prepared.message.id,
            self._tokenizer,
            request.stop,
            after=None if is_chat else prepared.tokens[-1],
            markup=self._markup(prepared.tools) if is_chat else None,
            in_reasoning=prepared.in_reasoning,
            calls=prepared.calls,
        )
        return Sequence(
            prepared.message.id,
            output,
            self._token_bytes,
            prompt_tokens=len(prepared.tokens),
            cached_tokens=cached,
            constraint=prepared.constraint,
        )

    def _room(self, prepared: Prepared) -> int:
        """How many tokens the answer may have: what is asked for, within the context."""
        context = self._model.context_length
        room = context - len(prepared.tokens) if context else _UNBOUNDED_TOKENS
        return min(prepared.message.request.max_tokens or room, room)

    def _markup(self, tools: ToolFormat | None) -> Markup:
        if tools not in self._markups:
            self._markups[tools] = Markup(self._tokenizer, tools)
        return self._markups[tools]

    def _load_draft(self, path: str) -> Any:
        """Give the draft model, loading it where it is not the last one that was used.

        Raises:
            ModelUnusable: it cannot be a draft for this model.
        """
        if not Speculation.possible(self._model.model):
            raise ModelUnusable("the model's cache cannot go back, so it cannot have a draft model")
        if self._draft is None or self._draft[0] != path:
            self._draft = None  # two of them need not be in memory at once
            draft = load_draft(Path(path), self._tokenizer)
            if not Speculation.possible(draft):
                raise ModelUnusable("the draft model's cache cannot go back")
            self._draft = path, draft
        return self._draft[1]

    def _step_batch(self) -> list[Event]:
        prompt_responses, responses = self._batch.next()
        if responses:
            self.speed.add(len(responses))
        events: list[Event] = []
        for part in prompt_responses:
            done, total = part.progress
            if total > self._prefill_step_size and not part.end_of_prompt:
                events.append(PrefillProgress(self._sequences[part.uid].request_id, done, total))
        for response in responses:
            sequence = self._sequences[response.uid]
            scored = response.logprobs.read() if response.logprobs is not None else None
            happened = sequence.advance(response.token, response.finish_reason, scored)
            if response.finish_reason is not None:
                self._prompt_cache.keep(response.all_tokens, response.prompt_cache)
            if sequence.ended:
                if response.finish_reason is None:
                    self._take_out(response.uid)
                del self._sequences[response.uid], self._uid_of[sequence.request_id]
                self._reading.pop(response.uid, None)
            events.extend(happened)
        self._share_what_was_read()
        return events

    def _share_what_was_read(self) -> None:
        """Keep the caches of prompts that somebody in line waits for."""
        for uid in [uid for uid in self._reading if self._batch.has_read(uid)]:
            prompt = self._reading.pop(uid)
            if any(prepared.tokens == prompt for prepared in self._line):
                cache, tokens = self._batch.extract_cache([uid])[uid]
                self._prompt_cache.keep(list(tokens), cache)

    def _step_speculation(self, request_id: int) -> list[Event]:
        speculating = self._speculating[request_id]
        sequence, speculation = speculating.sequence, speculating.speculation
        if (progress := speculation.prefill(self._prefill_step_size)) is not None:
            done, total = progress
            return [PrefillProgress(request_id, done, total)] if done < total - 1 else []
        events: list[Event] = []
        for token, scored in speculation.round():
            reason: FinishReason | None = None
            if speculating.end.advance(token):
                reason = "stop"
            elif sequence.completion_tokens + 1 >= speculation.max_tokens:
                reason = "length"
            self.speed.add(1)
            events += sequence.advance(token, reason, scored)
            if sequence.ended:
                del self._speculating[request_id]
                self._keep_speculated(speculation)
                break
        return events

    def _keep_speculated(self, speculation: Speculation) -> None:
        for runner in (speculation.target, speculation.draft):
            if runner.covered:
                computed = speculation.tokens[: runner.covered]
                self._prompt_cache.keep(computed, runner.cache, of=runner.name)

    def _take_out(self, uid: int) -> None:
        """Remove a sequence from the batch before its end, and keep what it computed."""
        self._reading.pop(uid, None)
        if (computed := self._batch.take_out(uid)) is not None:
            cache, tokens = computed
            self._prompt_cache.keep(tokens, cache)


def _processors(request: GenerateRequest) -> list[Any]:
    """Give mlx_lm's logits processors for what the request asks."""
    penalties = request.penalties
    repetition = penalties.repetition_penalty
    processors: list[Any] = make_logits_processors(
        request.logit_bias,
        None if repetition == 1 else repetition,
        penalties.repetition_context_size,
        penalties.presence_penalty,
        penalties.presence_context_size,
        penalties.frequency_penalty,
        penalties.frequency_context_size,
    )
    return processors
