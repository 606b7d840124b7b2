"""The sequences that generate, with cheaper sampling than mlx-lm's and with settings for each row.

The stock generation batch normalizes the logits and evaluates a log-probability row for every
sequence at every step, which costs 5 to 23 % of the throughput, and calls one sampler a row unless
all rows share the same object. This one samples straight from the logits in one call per group of
equal parameters; log-probabilities, penalties and grammars cost only the rows that have them.
Everything else (caches, stop tokens) is mlx-lm's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
from mlx_lm.generate import GenerationBatch, StopSequences

from mlxd.engine.cache_layers import Cache, CacheSnapshot, arrays_of, kinds
from mlxd.engine.logprobs import RowLogprobs, row_logprobs
from mlxd.engine.masks import mask
from mlxd.engine.sampling import Row, RowGroups

Logits = Any
"""An mlx array (rows, vocabulary); mlx's own stubs leave its item assignment untyped."""


_STEPS_BETWEEN_CLEARING = 512
"""As in mlx-lm's own loop."""


@dataclass(frozen=True)
class Start:
    """A sequence whose prompt is read, but for the last of `tokens`."""

    request_id: int
    tokens: list[int]
    row: Row
    logits_processors: list[Any]
    stop_sequences: StopSequences
    max_tokens: int


class LeanGenerationBatch(GenerationBatch):  # type: ignore[misc]
    """A generation batch whose samplers are the `Row` of each sequence."""

    uids: list[int]
    tokens: list[list[int]]
    samplers: list[Row]
    prompt_cache: Cache
    logits_processors: list[list[Any]]
    batched = True
    _next_tokens: mx.array
    _next_logprobs: list[RowLogprobs | None]
    _groups: RowGroups | None = None

    def extract_cache(self, index: int) -> CacheSnapshot:
        """Return the cache of one row."""
        return CacheSnapshot(self.prompt_cache, index if self.batched else None)

    def extend(self, batch: GenerationBatch) -> None:
        """Take over the rows of `batch`."""
        super().extend(batch)
        self._groups = None

    def filter(self, keep: list[int]) -> None:
        """Keep only the rows `keep`."""
        super().filter(keep)
        self._groups = None

    def _step(self) -> tuple[list[int], list[RowLogprobs | None]]:
        """Compute the next tokens, and return the ones that were computed before."""
        inputs = self._current_tokens = self._next_tokens
        self._current_logprobs = self._next_logprobs
        logits = self.model(inputs[:, None], cache=self.prompt_cache)[:, -1, :]
        logits, contexts = self._process(logits, inputs)
        logits = self._constrain(logits, inputs)
        if self._groups is None:
            self._groups = RowGroups(self.samplers)
        self._next_tokens = self._groups.sample(logits, [len(row) for row in self.tokens])
        self._next_logprobs, scored = row_logprobs(self.samplers, logits, self._next_tokens)
        mx.async_eval(self._next_tokens, scored, contexts)  # type: ignore[no-untyped-call]
        tokens: list[int] = inputs.tolist()  # type: ignore[assignment]
        for row, token in zip(self.tokens, tokens, strict=True):
            row.append(token)
        return tokens, self._current_logprobs

    def _process(self, logits: Logits, inputs: mx.array) -> tuple[Logits, list[mx.array]]:
        """Apply the bias and the penalties of the rows that have any."""
        if not any(self.logits_processors):
            return logits, []
        contexts: list[mx.array] = []
        rows = []
        for index, processors in enumerate(self.logits_processors):
            row = logits[index : index + 1]
            if processors:
                context = self._token_context[index].update_and_fetch(inputs[index : index + 1])
                contexts.append(context)
                for processor in processors:
                    row = processor(context, row)
            rows.append(row)
        return mx.concatenate(rows), contexts

    def _constrain(self, logits: Logits, inputs: mx.array) -> Logits:
        """Mask what the grammars do not allow, in the rows that have one.

        The model computes meanwhile: a grammar needs the last token, not the new logits.
        """
        constrained = [
            index for index, row in enumerate(self.samplers) if row.constraint is not None
        ]
        if not constrained:
            return logits
        mx.async_eval(logits)  # type: ignore[no-untyped-call]
        tokens: list[int] = inputs.tolist()  # type: ignore[assignment]
        for index in constrained:
            row = self.samplers[index]
            place = len(self.tokens[index]) - row.prompt_tokens
            # A sequence that was paused goes on from a token that was accepted before.
            if row.constraint is not None and place == row.constraint.accepted:
                row.constraint.accept(tokens[index])
        return constrain(logits, self.samplers, constrained)


def constrain(logits: Logits, rows: Sequence[Row], indices: list[int]) -> Logits:
    """Mask in the rows `indices` of the logits (rows, vocabulary) what their grammars forbid."""
    constraints = [
        row.constraint for index in indices if (row := rows[index]).constraint is not None
    ]
    allowed = mask(constraints, logits.shape[-1])
    never = mx.array(-mx.inf, logits.dtype)
    if len(indices) == len(rows):
        return mx.where(allowed, logits, never)
    where = mx.array(indices)
    return logits.at[where].add(mx.where(allowed, mx.array(0, logits.dtype), never))


class Batch:
    """The sequences that generate: those whose caches are alike in one batch, or each in its own.

    They are known by the ids of their requests.
    """

    def __init__(self, model: Any, *, together: bool, most_padding: int) -> None:
        """Take a model, and whether it can compute several sequences `together`.

        A batch is padded to its longest sequence. With more than `most_padding` tokens of padding,
        another batch costs less.
        """
        self.together = together
        self._most_padding = most_padding
        self._model = model
        self._batches: list[LeanGenerationBatch] = []
        self._steps = 0

    def __len__(self) -> int:
        return sum(map(len, self._batches))

    def start(self, starts: Sequence[Start], cache: Cache) -> None:
        """Start generating sequences; `cache` is theirs, merged if they are computed together."""
        batch = LeanGenerationBatch(
            self._model,
            [start.request_id for start in starts],
            mx.array([start.tokens[-1] for start in starts]),
            cache,
            [list(start.tokens[:-1]) for start in starts],
            [start.row for start in starts],
            None,
            [start.logits_processors for start in starts],
            [start.stop_sequences for start in starts],
            [start.max_tokens for start in starts],
        )
        batch.batched = self.together
        self._batches.append(batch)
        if self.together:
            self._join(batch)

    def _join(self, batch: LeanGenerationBatch) -> None:
        """Make a new batch part of another one, if one is alike."""
        for other in self._batches[:-1]:
            lengths = [len(row) for row in (*other.tokens, *batch.tokens)]
            padding = len(lengths) * max(lengths) - sum(lengths)
            alike = kinds(other.prompt_cache) == kinds(batch.prompt_cache)
            if alike and padding <= self._most_padding:
                other.extend(batch)
                self._batches.remove(batch)
                return

    def step(self) -> Iterator[GenerationBatch.Response]:
        """Compute the next token of every sequence; one that ends leaves with its cache."""
        self._steps += 1
        if self._steps % _STEPS_BETWEEN_CLEARING == 0:
            self._clear()
        for batch in self._batches:
            yield from batch.next()
        self._batches = [batch for batch in self._batches if len(batch)]

    def _clear(self) -> None:
        """Release the buffers that have added up.

        Some are free, and of sizes that no longer occur. Others belong to what no step needs, so
        that each adds to its graph: the offset of a layer without position embeddings, for one.
        Metal allows a process 499,000 buffers.
        """
        mx.eval([list(arrays_of(batch.prompt_cache)) for batch in self._batches])
        mx.clear_cache()

    def take_out(self, request_id: int) -> tuple[list[int], CacheSnapshot] | None:
        """Remove a sequence, if it is here; return its tokens and their cache."""
        for batch in self._batches:
            if request_id in batch.uids:
                index = batch.uids.index(request_id)
                taken = batch.tokens[index], batch.extract_cache(index)
                batch.filter([each for each in range(len(batch)) if each != index])
                self._batches = [each for each in self._batches if len(each)]
                return taken
        return None

    def dissolve(self) -> None:
        """Forget all sequences, and compute no two together from now on."""
        self._batches = []
        self.together = False
