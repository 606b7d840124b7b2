"""How running sequences are computed: together in a batch, or each with a draft model.

Both have the same interface, `Strategy`, and share the prompt cache. A step computes the next token
of each sequence, or reads the next part of its prompt.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import mlx.core as mx
from mlx_lm.generate import StopSequences, generation_stream, make_stop_sequences
from mlx_lm.models.cache import make_prompt_cache

from mlxd.engine.batch import Batch, Start
from mlxd.engine.cache_layers import Cache, CacheSnapshot, can_be_cut
from mlxd.engine.draft_loading import DraftLoading
from mlxd.engine.loader import BATCH_FAULTS, LoadedModel, can_be_batched
from mlxd.engine.memory import Memory
from mlxd.engine.prefill import SHORT, Prefiller, Reading
from mlxd.engine.prompt_cache import Found, PromptCache
from mlxd.engine.reading_speed import ReadingSpeed
from mlxd.engine.sequence import Sequence
from mlxd.engine.speculation import Runner, Speculation
from mlxd.errors import LoadFailed
from mlxd.messages import Event, Failed, Load, PrefillProgress
from mlxd.rate import Rate

_LASTING = 2
"""How many of a sequence's boundaries are those at which other conversations part from it."""
_NEWEST = 0.2
"""The weight of the newest measurement in a running average."""


def _ends(usual: StopSequences, tokenizer: Any, sequence: Sequence) -> StopSequences:
    """Return the tokens that end a sequence."""
    if not sequence.ends:
        return usual
    return StopSequences([(token,) for token in {*tokenizer.eos_token_ids, *sequence.ends}])


class Strategy(Protocol):
    """One way to compute sequences."""

    def __len__(self) -> int:
        """Return how many sequences it computes."""

    def start(self, sequence: Sequence, cache: Cache | None) -> None:
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
    """Computes its sequences together, or in turns if the model cannot be batched."""

    def __init__(
        self,
        model: LoadedModel,
        load: Load,
        prompt_cache: PromptCache,
        speed: Rate,
        memory: Memory,
    ) -> None:
        """Take the model, how to run it, where to keep caches and count tokens, and a budget."""
        self._memory = memory
        together = can_be_batched(model.model)
        self._prefill = Prefiller(
            model.model,
            concurrency=load.prompt_concurrency,
            together=together,
            padded=can_be_cut(model.new_cache()),
        )
        self._batch = Batch(
            model.model, together=together, most_padding=memory.cache_size.most_padding()
        )
        self._model = model
        self._end_tokens: StopSequences = make_stop_sequences(model.tokenizer)
        self._prompt_cache = prompt_cache
        self._speed = speed
        self._sequences: dict[int, Sequence] = {}
        self._step_seconds = 0.0

    def __len__(self) -> int:
        return len(self._sequences)

    @property
    def reads(self) -> bool:
        """Whether prompts are being read."""
        return len(self._prefill) > 0

    @property
    def together(self) -> bool:
        """Whether sequences are computed together."""
        return self._batch.together

    def start(self, sequence: Sequence, cache: Cache | None) -> None:
        """Add a sequence."""
        self.resume(sequence, Found(cache, sequence.cached_tokens))

    def resume(self, sequence: Sequence, found: Found) -> None:
        """Add a sequence that may have a part of its answer; `found` is what is cached of it."""
        self._sequences[sequence.request_id] = sequence
        self._read(sequence, found)

    def pause(self, sequence: Sequence) -> None:
        """Remove a sequence, which `resume` adds again."""
        del self._sequences[sequence.request_id]
        if self._prefill.remove(sequence.request_id) is None:
            self._batch.take_out(sequence.request_id)

    def lengths(self) -> list[int]:
        """Return how many tokens each sequence has or will have after its prompt is read."""
        return [each.length for each in self._sequences.values()]

    def sharing(self, tokens: list[int], covered: int, salt: str) -> tuple[Reading, int] | None:
        """Return a prompt that is being read and will soon cover more of `tokens`, and how much.

        The prompt cache has that much once the prompt is read so far.
        """
        shared = self._prefill.sharing(tokens, covered, salt)
        if shared is not None:
            reading, common = shared
            reading.stop_at(common)
            reading.lasting.add(common)
        return shared

    def is_reading(self, reading: Reading) -> bool:
        """Return whether a prompt is still being read."""
        return self._prefill.is_reading(reading)

    def step(self, prefill_step_size: int) -> list[Event]:
        """Compute the next token of each sequence, then read a part of the prompts."""
        if not self._sequences:
            return []
        events: list[Event] = []
        # Those whose last tokens come now wait for the part that is read after them.
        step_seconds = self._step_seconds if len(self._batch) else None
        try:
            with mx.stream(generation_stream):
                # Generators, so that what comes before a fault is sent all the same.
                events.extend(self._generate())
                events.extend(self._read_part(prefill_step_size, step_seconds))
                self._start_generating()
        except BATCH_FAULTS as error:
            if not self.together or len(self._sequences) < 2:
                raise
            self._separate(error)
        return events

    def take_out(self, sequence: Sequence) -> None:
        """Remove a sequence; the prompt cache keeps what was computed."""
        del self._sequences[sequence.request_id]
        if (reading := self._prefill.remove(sequence.request_id)) is not None:
            self._prompt_cache.keep(
                reading.tokens[: reading.position], CacheSnapshot(reading.cache), salt=sequence.salt
            )
        elif (taken := self._batch.take_out(sequence.request_id)) is not None:
            self._prompt_cache.keep(*taken, salt=sequence.salt)

    def _read(self, sequence: Sequence, found: Found) -> None:
        tokens = list(sequence.tokens)
        if (top := sequence.scores_prompt) is not None:
            found = Found(None, 0)
        cache = found.cache or self._model.new_cache(len(tokens))
        reading = Reading(
            sequence.request_id, tokens, cache, found.covered, top=top, salt=sequence.salt
        )
        if self._prompt_cache.needs_checkpoints:
            for boundary in (*sequence.boundaries, reading.last):
                reading.stop_at(boundary)
        reading.lasting.update(sequence.boundaries[:_LASTING])
        self._prefill.add(reading)

    def _generate(self) -> Iterator[Event]:
        if not len(self._batch):
            return
        began = time.perf_counter()
        count = 0
        for response in self._batch.step():
            count += 1
            sequence = self._sequences[response.uid]
            scored = response.logprobs() if response.logprobs is not None else None
            yield from sequence.advance(response.token, response.finish_reason, scored)
            if response.finish_reason is not None:
                del self._sequences[response.uid]
                self._prompt_cache.keep(
                    response.all_tokens, response.prompt_cache, salt=sequence.salt
                )
            elif sequence.ended:
                self.take_out(sequence)
        if not len(self._prefill):  # otherwise the time of a step is in that of the part
            self._step_seconds += _NEWEST * (time.perf_counter() - began - self._step_seconds)
        self._speed.add(count)

    def _read_part(self, limit: int, step_seconds: float | None) -> Iterator[Event]:
        workspace = self._memory.workspace if self._memory.budget else None
        for part in self._prefill.step(limit, step_seconds, workspace):
            reading = part.reading
            if part.scored:
                first = reading.position + 1 - len(part.scored)
                yield from self._sequences[reading.request_id].read(first, part.scored)
            if part.snapshot is not None:
                position = reading.position
                lasting = position in reading.lasting
                self._prompt_cache.keep(
                    reading.tokens[:position], part.snapshot, lasting=lasting, salt=reading.salt
                )
            total = len(reading.tokens)
            if total > min(limit, SHORT) and not (reading.done and reading.parts == 1):
                yield PrefillProgress(reading.request_id, reading.position, total)

    def _start_generating(self) -> None:
        for group in self._prefill.take_ready():
            starts = [
                self._start(self._sequences[reading.request_id], reading.tokens)
                for reading in group.readings
            ]
            self._batch.start(starts, group.cache)

    def _start(self, sequence: Sequence, tokens: list[int]) -> Start:
        return Start(
            sequence.request_id,
            tokens,
            sequence.row,
            sequence.logits_processors,
            _ends(self._end_tokens, self._model.tokenizer, sequence),
            sequence.max_tokens - sequence.completion_tokens,
        )

    def _separate(self, error: Exception) -> None:
        """Compute each sequence by itself, now that computing them together has failed.

        All are read again: some layers may hold a token more than others by now.
        """
        reason = f"{type(error).__name__}: {error}"
        sys.stderr.write(f"this model is not batched, since that failed: {reason}\n")
        self._prefill.dissolve()
        self._batch.dissolve()
        for sequence in self._sequences.values():
            self._read(sequence, self._prompt_cache.fetch(sequence.tokens, sequence.salt))


@dataclass(frozen=True)
class _Draft:
    """A draft model from the folder `path`, and the caches of the prompts that it has read."""

    path: str
    model: Any
    prompt_cache: PromptCache


class SpeculationStrategy:
    """Computes its sequences one after another, with the guesses of their draft models."""

    def __init__(
        self,
        model: LoadedModel,
        prompt_cache: PromptCache,
        speed: Rate,
        memory: Memory | None = None,
    ) -> None:
        """Take the model that checks the guesses, where to keep caches, and a budget."""
        self._memory = memory or Memory.unlimited()
        self._model = model
        self._end_tokens: StopSequences = make_stop_sequences(model.tokenizer)
        self._prompt_cache = prompt_cache
        self._speed = speed
        self._draft: _Draft | None = None
        self._loading: DraftLoading | None = None
        self._waiting: dict[Sequence, Cache | None] = {}
        self._misfits: dict[str, str] = {}
        self._speculations: dict[Sequence, Speculation] = {}
        self._reading_speed = ReadingSpeed()
        self._round_seconds = 0.0

    def __len__(self) -> int:
        return len(self._speculations) + len(self._waiting)

    def start(self, sequence: Sequence, cache: Cache | None) -> None:
        """Add a sequence; it waits for its draft model unless that is the last one in use."""
        path = sequence.draft.path
        self._check(path)
        if self._draft is not None and self._draft.path == path:
            self._begin(sequence, cache, self._draft)
        else:
            self._waiting[sequence] = cache

    def _begin(self, sequence: Sequence, cache: Cache | None, draft: _Draft) -> None:
        found = draft.prompt_cache.fetch(sequence.prompt, sequence.salt)
        self._speculations[sequence] = Speculation(
            sequence,
            target=Runner(self._model.model, cache, sequence.cached_tokens, self._prompt_cache),
            draft=Runner(draft.model, found.cache, found.covered, draft.prompt_cache),
            end=_ends(self._end_tokens, self._model.tokenizer, sequence).matcher(),
        )

    def step(self, prefill_step_size: int) -> list[Event]:
        """Advance each answer by one round of guesses, and read a part of one prompt.

        A draft model that some wait for comes nearer by a part of its weights.
        """
        events = self._load_part() if self._waiting else []
        reading = [each for each in self._speculations.values() if each.reading]
        answering = [each for each in self._speculations.items() if not each[1].reading]
        for sequence, speculation in answering:
            began, before = time.perf_counter(), sequence.completion_tokens
            events += speculation.advance()
            self._round_seconds += _NEWEST * (time.perf_counter() - began - self._round_seconds)
            self._speed.add(sequence.completion_tokens - before)
            if sequence.ended:
                self.take_out(sequence)
        if reading:
            least = min(reading, key=lambda each: each.covered)
            events += self._read_part(least, prefill_step_size, len(answering))
        return events

    def _read_part(self, speculation: Speculation, limit: int, answers: int) -> list[Event]:
        step_seconds = answers * self._round_seconds if answers else None
        before, began = speculation.covered, time.perf_counter()
        length = self._reading_speed.part(limit, step_seconds, speculation.prompt_speed)
        events = speculation.read(length)
        tokens, seconds = speculation.covered - before, time.perf_counter() - began
        self._reading_speed.add(tokens, seconds, None, speculation.prompt_speed)
        return events

    def take_out(self, sequence: Sequence) -> None:
        """Remove a sequence; what both models computed is kept, even a part of the prompt."""
        if sequence in self._waiting:
            del self._waiting[sequence]
            self._loading = self._loading if self._waiting else None
            return
        speculation = self._speculations.pop(sequence)
        speculation.target.keep(speculation.tokens, sequence.salt)
        speculation.draft.keep(speculation.tokens, sequence.salt)

    def _check(self, path: str) -> None:
        """Raise LoadFailed if the draft model cannot be used, as far as that is known."""
        if not Speculation.possible(self._model.model):
            reason = "this model's cache cannot be rewound, so it cannot use a draft model"
            raise LoadFailed(reason)
        if path in self._misfits:
            raise LoadFailed(self._misfits[path])
        if self._draft is None or self._draft.path != path:
            weights = sum(file.stat().st_size for file in Path(path).glob("*.safetensors"))
            if self._memory.budget and weights > self._memory.room:
                raise LoadFailed(f"there is no memory for the draft model {Path(path).name}")

    def _load_part(self) -> list[Event]:
        """Go on loading what the first one waits for; it begins once that is there."""
        path = next(iter(self._waiting)).draft.path
        if self._draft is None or self._draft.path != path:
            self._draft = None  # two of them need not be in memory at once
            if self._loading is None or self._loading.path != path:
                self._loading = DraftLoading(path, self._model.folder, self._model.tokenizer)
            try:
                self._draft = self._loaded(self._loading)
            except LoadFailed as error:
                self._loading, self._misfits[path] = None, error.message
                waiting = self._take_waiting(path)
                reason = error.message
                return [
                    Failed(each.request_id, "invalid_request", reason, "draft_model")
                    for each in waiting
                ]
        if self._draft is not None:
            self._loading = None
            for sequence, cache in self._take_waiting(path).items():
                self._begin(sequence, cache, self._draft)
        return []

    def _loaded(self, loading: DraftLoading) -> _Draft | None:
        if (model := loading.step()) is None:
            return None
        if not Speculation.possible(model):
            raise LoadFailed("the draft model's cache cannot be rewound")
        prompt_cache = PromptCache(
            self._prompt_cache.max_bytes, lambda _tokens: make_prompt_cache(model)
        )
        return _Draft(loading.path, model, prompt_cache)

    def _take_waiting(self, path: str) -> dict[Sequence, Cache | None]:
        taken = {each: cache for each, cache in self._waiting.items() if each.draft.path == path}
        for each in taken:
            del self._waiting[each]
        return taken
