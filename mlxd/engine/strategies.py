"""How running sequences are computed: together in a batch, or each with a draft model.

Both have the same interface, `Strategy`, and share the prompt cache. A step computes the next token
of each sequence, or reads the next part of its prompt.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from mlx_lm.generate import StopSequences, make_stop_sequences

from mlxd.engine.batch import Batch
from mlxd.engine.loader import LoadedModel, load_draft
from mlxd.engine.prompt_cache import MODEL, PromptCache
from mlxd.engine.sequence import Sequence
from mlxd.engine.speculation import Runner, Speculation
from mlxd.errors import LoadFailed
from mlxd.messages import Event, Load, PrefillProgress
from mlxd.rate import Rate


class Strategy(Protocol):
    """One way to compute sequences."""

    def __len__(self) -> int:
        """Return how many sequences it computes."""

    def start(self, sequence: Sequence, cache: list[Any] | None) -> None:
        """Add a sequence; `cache` holds its first `cached_tokens` tokens.

        Raises:
            LoadFailed: the draft model it asks for cannot be used.
        """

    def step(self, prefill_step_size: int) -> list[Event]:
        """Advance each sequence, reading up to `prefill_step_size` tokens of its prompt.

        A sequence leaves with its terminal event.
        """

    def take_out(self, sequence: Sequence) -> None:
        """Remove a sequence before its end; the prompt cache keeps what was computed."""


class BatchStrategy:
    """Computes all its sequences in one batch."""

    def __init__(
        self,
        model: LoadedModel,
        load: Load,
        prompt_cache: PromptCache,
        speed: Rate,
        is_awaited: Callable[[list[int]], bool],
    ) -> None:
        """Take the model and how to run it; `is_awaited` says if a request waits for a prompt."""
        self._batch = Batch(
            model.model,
            decode_concurrency=load.decode_concurrency,
            prompt_concurrency=load.prompt_concurrency,
            prefill_step_size=load.prefill_step_size,
        )
        self._end_tokens: StopSequences = make_stop_sequences(model.tokenizer)
        self._prompt_cache = prompt_cache
        self._speed = speed
        self._is_awaited = is_awaited
        self._sequences: dict[int, Sequence] = {}  # by the batch's own numbers

    def __len__(self) -> int:
        return len(self._sequences)

    def start(self, sequence: Sequence, cache: list[Any] | None) -> None:
        """Add a sequence to the batch."""
        prompt, cached = sequence.prompt, sequence.cached_tokens
        (uid,) = self._batch.insert_segments(
            [[prompt[cached:]]],
            max_tokens=[sequence.max_tokens],
            caches=[cache],
            all_tokens=[prompt[:cached]],
            samplers=[sequence.row],
            logits_processors=[sequence.logits_processors],
            stop_sequences=[self._end_tokens],
        )
        self._sequences[uid] = sequence

    def is_reading(self, prompt: list[int]) -> bool:
        """Return whether a sequence has this prompt and has not read all of it."""
        return any(
            sequence.prompt == prompt and not self._batch.has_read(uid)
            for uid, sequence in self._sequences.items()
        )

    def step(self, prefill_step_size: int) -> list[Event]:
        """Advance the batch by one step."""
        if not self._sequences:
            return []
        self._batch.prefill_step_size = prefill_step_size
        parts, responses = self._batch.next()
        events: list[Event] = []
        for part in parts:
            done, total = part.progress
            if total > prefill_step_size and not part.end_of_prompt:
                events.append(PrefillProgress(self._sequences[part.uid].request_id, done, total))
            if self._batch.has_read(part.uid):
                self._share(part.uid)
        if responses:
            self._speed.add(len(responses))
        for response in responses:
            sequence = self._sequences[response.uid]
            scored = response.logprobs() if response.logprobs is not None else None
            events += sequence.advance(response.token, response.finish_reason, scored)
            if response.finish_reason is not None:
                del self._sequences[response.uid]
                self._prompt_cache.keep(response.all_tokens, response.prompt_cache)
            elif sequence.ended:
                self.take_out(sequence)
        return events

    def take_out(self, sequence: Sequence) -> None:
        """Remove a sequence; nothing is kept of a prompt that is being read."""
        uid = next(uid for uid, other in self._sequences.items() if other is sequence)
        del self._sequences[uid]
        if (computed := self._batch.take_out(uid)) is not None:
            cache, tokens = computed
            self._prompt_cache.keep(tokens, cache)

    def _share(self, uid: int) -> None:
        """Keep the cache of a prompt that has just been read, if a request waits for it."""
        if self._is_awaited(self._sequences[uid].prompt):
            cache, tokens = self._batch.extract_cache([uid])[uid]
            self._prompt_cache.keep(list(tokens), cache)


class SpeculationStrategy:
    """Computes its sequences one after another, with the guesses of their draft models."""

    def __init__(self, model: LoadedModel, prompt_cache: PromptCache, speed: Rate) -> None:
        """Take the model that checks the guesses, and where to keep caches and count tokens."""
        self._model = model
        self._end_tokens: StopSequences = make_stop_sequences(model.tokenizer)
        self._prompt_cache = prompt_cache
        self._speed = speed
        self._draft: tuple[str, Any] | None = None
        self._speculations: dict[Sequence, Speculation] = {}

    def __len__(self) -> int:
        return len(self._speculations)

    def start(self, sequence: Sequence, cache: list[Any] | None) -> None:
        """Add a sequence, loading its draft model unless it is the last one that was used."""
        path = sequence.draft.path
        draft = self._load_draft(path)
        self._speculations[sequence] = Speculation(
            sequence,
            target=Runner(MODEL, self._model.model, cache, sequence.cached_tokens),
            draft=Runner(path, draft, *self._prompt_cache.fetch(sequence.prompt, of=path)),
            end=self._end_tokens.matcher(),
        )

    def step(self, prefill_step_size: int) -> list[Event]:
        """Advance each sequence by a part of its prompt, or by one round of guesses."""
        events: list[Event] = []
        for sequence, speculation in list(self._speculations.items()):
            before = sequence.completion_tokens
            events += speculation.step(prefill_step_size)
            if sequence.completion_tokens > before:
                self._speed.add(sequence.completion_tokens - before)
            if sequence.ended:
                self.take_out(sequence)
        return events

    def take_out(self, sequence: Sequence) -> None:
        """Remove a sequence; what both models computed is kept, even a part of the prompt."""
        speculation = self._speculations.pop(sequence)
        for runner in (speculation.target, speculation.draft):
            if runner.covered:
                computed = speculation.tokens[: runner.covered]
                self._prompt_cache.keep(computed, runner.cache, of=runner.name)

    def _load_draft(self, path: str) -> Any:
        if not Speculation.possible(self._model.model):
            reason = "this model's cache cannot be rewound, so it cannot use a draft model"
            raise LoadFailed(reason)
        if self._draft is None or self._draft[0] != path:
            self._draft = None  # two of them need not be in memory at once
            draft = load_draft(Path(path), self._model.tokenizer)
            if not Speculation.possible(draft):
                raise LoadFailed("the draft model's cache cannot be rewound")
            self._draft = path, draft
        return self._draft[1]
