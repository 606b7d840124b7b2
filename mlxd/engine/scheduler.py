"""Continuous batching: admit, step, finish."""

from mlx_lm.generate import StopSequences, make_stop_sequences

from mlxd.engine.batch import Batch
from mlxd.engine.loader import LoadedModel
from mlxd.engine.output import TextOutput
from mlxd.engine.prompt_cache import PromptCache
from mlxd.engine.prompts import BadPrompt, tokenize
from mlxd.engine.sampling import make_row_sampler
from mlxd.engine.sequence import Sequence
from mlxd.messages import (
    ChatPrompt,
    Event,
    Failed,
    Finished,
    Generate,
    Load,
    PrefillProgress,
    Started,
)

_UNBOUNDED_TOKENS = 1 << 20


class Scheduler:
    """The sequences of one model, advanced together by `step`.

    A sequence is admitted between any two steps and leaves within one.
    """

    def __init__(self, model: LoadedModel, load: Load) -> None:
        self._tokenizer = model.tokenizer
        self._context_length = model.context_length
        self._prefill_step_size = load.prefill_step_size
        self._end_tokens: StopSequences = make_stop_sequences(model.tokenizer)
        self._batch = Batch(
            model.model,
            decode_concurrency=load.decode_concurrency,
            prompt_concurrency=load.prompt_concurrency,
            prefill_step_size=load.prefill_step_size,
        )
        self._prompt_cache = PromptCache(load.prompt_cache_bytes)
        self._sequences: dict[int, Sequence] = {}
        self._uid_of: dict[int, int] = {}

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return bool(self._sequences)

    def admit(self, message: Generate) -> list[Event]:
        """Put a request in line for the next step."""
        request = message.request
        try:
            prompt = tokenize(self._tokenizer, request.prompt)
        except BadPrompt as error:
            return [Failed(message.id, "invalid_request", str(error), error.param)]
        room = (self._context_length or _UNBOUNDED_TOKENS + len(prompt)) - len(prompt)
        if room <= 0:
            return [self._too_long(message, len(prompt))]
        cache, cached = self._prompt_cache.fetch(prompt)
        (uid,) = self._batch.insert_segments(
            [[prompt[cached:]]],
            max_tokens=[min(request.max_tokens or room, room)],
            caches=[cache],
            all_tokens=[prompt[:cached]],
            samplers=[make_row_sampler(request.sampling, request.seed)],
            stop_sequences=[self._end_tokens],
        )
        after = None if isinstance(request.prompt, ChatPrompt) else prompt[-1]
        self._sequences[uid] = Sequence(
            message.id,
            TextOutput(self._tokenizer, request.stop, after),
            prompt_tokens=len(prompt),
            cached_tokens=cached,
        )
        self._uid_of[message.id] = uid
        return [Started(message.id, len(prompt), cached)]

    def abort(self, request_id: int) -> list[Event]:
        """End a request; nothing happens when it has ended already."""
        if (uid := self._uid_of.pop(request_id, None)) is None:
            return []
        self._take_out(uid)
        return [self._sequences.pop(uid).finished("abort")]

    def step(self) -> list[Event]:
        """Advance every sequence by up to one token or one part of its prompt."""
        if not self._sequences:
            return []
        prompt_responses, responses = self._batch.next()
        events: list[Event] = []
        for part in prompt_responses:
            done, total = part.progress
            if total > self._prefill_step_size and not part.end_of_prompt:
                events.append(PrefillProgress(self._sequences[part.uid].request_id, done, total))
        for response in responses:
            sequence = self._sequences[response.uid]
            happened = sequence.advance(response.token, response.finish_reason)
            if response.finish_reason is not None:
                self._prompt_cache.keep(response.all_tokens, response.prompt_cache)
            if happened and isinstance(happened[-1], Finished):
                if response.finish_reason is None:
                    self._take_out(response.uid)
                del self._sequences[response.uid], self._uid_of[sequence.request_id]
            events.extend(happened)
        return events

    def _take_out(self, uid: int) -> None:
        """Remove a sequence from the batch before its end, and keep what it computed."""
        if (computed := self._batch.take_out(uid)) is not None:
            cache, tokens = computed
            self._prompt_cache.keep(tokens, cache)

    def _too_long(self, message: Generate, prompt_tokens: int) -> Failed:
        param = "messages" if isinstance(message.request.prompt, ChatPrompt) else "prompt"
        return Failed(
            message.id,
            "context_length_exceeded",
            f"the prompt has {prompt_tokens} tokens, the model's context holds "
            f"{self._context_length} with the answer",
            param,
        )
