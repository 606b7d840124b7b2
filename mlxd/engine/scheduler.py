"""Which requests of a model are computed, and when: announce, admit, step, abort."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from mlxd.engine.cache_layers import can_be_cut
from mlxd.engine.disk_reader import DiskReader, Restored
from mlxd.engine.loader import LoadedModel
from mlxd.engine.memory import Memory
from mlxd.engine.output import Output
from mlxd.engine.prefill import Reading
from mlxd.engine.preprocessing import Prepared
from mlxd.engine.prompt_cache import Found, PromptCache
from mlxd.engine.sampling import Row, seed_word
from mlxd.engine.sequence import Sequence
from mlxd.engine.stats import give_memory_back, memory_bytes
from mlxd.engine.strategies import BatchStrategy, SpeculationStrategy, Strategy
from mlxd.engine.thought_limit import ThoughtLimit
from mlxd.errors import LoadFailed
from mlxd.generate_request import ChatPrompt
from mlxd.messages import Event, Failed, Finished, Load, Pong, Queued, Started, Usage
from mlxd.rate import Rate

_TERMINAL = (Finished, Failed)
_UNBOUNDED_TOKENS = 1 << 20
_SPEED_SECONDS = 5.0
_STEPS_BETWEEN_MEASURES = 16
_LARGE_SHARE = 4


def needs_boundaries(model: LoadedModel, load: Load) -> bool:
    """Return whether the prompt cache is of use only with the boundaries of conversations."""
    return load.prompt_cache_bytes > 0 and not can_be_cut(model.new_cache())


@dataclass(frozen=True)
class _Paused:
    """A sequence that waits for memory."""

    sequence: Sequence

    @property
    def request_id(self) -> int:
        return self.sequence.request_id

    @property
    def tokens(self) -> list[int]:
        return self.sequence.tokens


class Scheduler:
    """The requests of one model, from `expect` to the terminal event of each.

    `expect` announces a request, which is being prepared then. `admit` puts it in line, and
    `_schedule` starts it when one of the `decode_concurrency` places is free. `step` advances all
    that run.
    """

    def __init__(
        self,
        model: LoadedModel,
        load: Load,
        token_bytes: Callable[[int], bytes],
        memory: Memory | None = None,
        reader: DiskReader | None = None,
    ) -> None:
        """Take a model, how to run it, a function that returns the bytes of a token, and a budget.

        `reader` reads what the prompt cache has on disk.
        """
        self.speed = Rate(_SPEED_SECONDS)
        self._memory = memory or Memory.unlimited()
        self._prompt_cache_bytes = load.prompt_cache_bytes
        self._model = model
        self._token_bytes = token_bytes
        self._places = load.decode_concurrency
        self._prefill_step_size = load.prefill_step_size
        self._prompt_cache = PromptCache(
            load.prompt_cache_bytes,
            model.new_cache,
            model.convert,
            reader.disk if reader else None,
        )
        self._reader = reader
        self._restoring: set[int] = set()
        self._batch = BatchStrategy(model, load, self._prompt_cache, self.speed, self._memory)
        self._speculation = SpeculationStrategy(model, self._prompt_cache, self.speed, self._memory)
        self._strategies: tuple[Strategy, ...] = (self._batch, self._speculation)
        self._kept_by_xtc = (*model.tokenizer.encode("\n"), *model.tokenizer.eos_token_ids)
        # Those that run, wait and (None) are being prepared, in order of admission.
        self._requests: dict[int, Sequence | _Paused | Prepared | None] = {}
        self._places_told: dict[int, int] = {}
        self._steps = -1
        # Those that wait for another prompt to be read so far.
        self._behind: dict[int, tuple[Reading, int]] = {}

    @property
    def busy(self) -> bool:
        """Whether a step would do anything."""
        return any(
            request is not None and request_id not in self._restoring
            for request_id, request in self._requests.items()
        )

    @property
    def idle(self) -> bool:
        """Whether there is no request, not even one that is being prepared."""
        return not self._requests

    def expect(self, request_id: int) -> None:
        """Announce a request that is being prepared."""
        self._requests[request_id] = None

    def admit(self, prepared: Prepared | Failed) -> list[Event]:
        """Put an announced request in line, unless it was aborted meanwhile."""
        request_id = prepared.id if isinstance(prepared, Failed) else prepared.request_id
        if request_id not in self._requests:
            return []
        del self._requests[request_id]  # it waits behind those that were admitted before it
        if isinstance(prepared, Failed):
            return [prepared]
        if prepared.message.request.count_only:
            counted = len(prepared.tokens)
            return [
                Started(request_id, counted, 0),
                Finished(request_id, "length", Usage(counted, 0, 0)),
            ]
        self._requests[request_id] = prepared
        if self._reader is not None and (
            keys := self._prompt_cache.on_disk(prepared.tokens, prepared.salt)
        ):
            self._restoring.add(request_id)
            self._reader.read(request_id, keys, self._prompt_cache.max_bytes)
        return self._schedule()

    def restored(self, restored: Restored) -> list[Event]:
        """Take what was read from disk for a request, which goes on now."""
        self._restoring.discard(restored.request_id)
        waiting = self._requests.get(restored.request_id)
        before = self._covered(waiting) if isinstance(waiting, Prepared) else 0
        self._prompt_cache.restore(restored.nodes)
        if isinstance(waiting, Prepared):
            gained = max(0, self._covered(waiting) - before)
            self._requests[restored.request_id] = replace(waiting, disk_tokens=gained)
        return self._schedule()

    def abort(self, request_id: int) -> list[Event]:
        """End a request, unless it has ended already."""
        if request_id not in self._requests:
            return []
        match self._requests.pop(request_id):
            case None:
                return [Finished(request_id, "abort", Usage(0, 0, 0))]
            case Prepared(tokens=prompt):
                self._behind.pop(request_id, None)
                self._restoring.discard(request_id)
                return [Finished(request_id, "abort", Usage(len(prompt), 0, 0))]
            case _Paused(sequence=sequence):
                return [sequence.finished("abort")]
            case Sequence() as sequence:
                self._strategy(sequence).take_out(sequence)
                return [sequence.finished("abort")]

    def step(self) -> list[Event]:
        """Advance every running request by up to one token or one part of its prompt."""
        self._make_room()
        events = self._schedule()
        for strategy in self._strategies:
            stepped = strategy.step(self._prefill_step_size)
            for request_id in [event.id for event in stepped if isinstance(event, _TERMINAL)]:
                del self._requests[request_id]
            events += stepped
        # Their `Started` is sent before the next step, in which a prompt may take long.
        events += self._schedule()
        if not self.busy:
            give_memory_back()
        return events

    @property
    def wants_rest(self) -> bool:
        """Whether memory could be given back once there has been nothing to do for a while.

        That is a prompt cache which is on disk too, and large for what the engine may take.
        """
        large = self._prompt_cache.nbytes > self._memory.room // _LARGE_SHARE
        return large and self._reader is not None and self._memory.budget > 0

    def rest(self) -> None:
        """Release the memory that the next request can do without."""
        self._prompt_cache.leave_to_disk()
        give_memory_back()

    def figures(self) -> Pong:
        """Return the figures that the daemon shows."""
        lengths = self._batch.lengths()
        cache_bytes = self._memory.cache_size.of_batch(lengths)
        return Pong(
            memory_bytes(),
            self.speed.per_second(),
            cache_bytes,
            self._prompt_cache.nbytes,
            self._batch.together,
            self._memory.longest(self._model.context_length or _UNBOUNDED_TOKENS),
        )

    def _schedule(self) -> list[Event]:
        """Start waiting requests in their order while there are places.

        A request whose prompt begins like one that is being read waits until the prompt cache has
        what they have in common.
        """
        events: list[Event] = []
        for waiting in self._waiting():
            if not self._has_place():
                break
            if isinstance(waiting, Prepared) and self._is_behind(waiting):
                continue
            if not self._memory.fits([*self._batch.lengths(), len(waiting.tokens) + 1]):
                events += self._refuse_if_too_large(waiting)
                break
            if isinstance(waiting, Prepared):
                events.append(self._start(waiting))
            else:
                self._resume(waiting)
        return events + self._tell_positions()

    def _tell_positions(self) -> list[Event]:
        """Return the new place in line of each request whose place has changed."""
        events: list[Event] = []
        waiting = [each.request_id for each in self._waiting() if isinstance(each, Prepared)]
        places = {request_id: place for place, request_id in enumerate(waiting, 1)}
        for request_id, place in places.items():
            if self._places_told.get(request_id) != place:
                events.append(Queued(request_id, place))
        self._places_told = places
        return events

    def _refuse_if_too_large(self, waiting: "Prepared | _Paused") -> list[Event]:
        """Fail a request for which there will never be memory."""
        length = len(waiting.tokens) + 1
        if self._memory.fits([length]):
            return []
        request_id = waiting.request_id
        del self._requests[request_id]
        reason = self._memory.why_not(length)
        return [Failed(request_id, "insufficient_memory", reason)]

    def _make_room(self) -> None:
        """Keep to the budget: the prompt cache shrinks first, then the newest sequences wait.

        To read prompts takes memory at every step. Otherwise sequences grow by less between two
        looks than what their caches grow by.
        """
        self._steps += 1
        soon = self._steps % _STEPS_BETWEEN_MEASURES and not self._batch.reads
        if not self._memory.budget or soon:
            return
        self._memory.refresh()
        running = [each for each in self._requests.values() if isinstance(each, Sequence)]
        batched = [each for each in running if self._strategy(each) is self._batch]
        while len(batched) > 1 and not self._memory.fits(each.length for each in batched):
            newest = batched.pop()
            self._batch.pause(newest)
            self._requests[newest.request_id] = _Paused(newest)
        self._limit_prompt_cache()

    def _limit_prompt_cache(self) -> None:
        most = self._memory.left(self._batch.lengths(), self._prompt_cache_bytes)
        self._prompt_cache.limit_to(most)

    def _resume(self, paused: "_Paused") -> None:
        sequence = paused.sequence
        found = self._prompt_cache.fetch(paused.tokens, sequence.salt)
        self._batch.resume(sequence, found)
        self._requests[sequence.request_id] = sequence
        self._limit_prompt_cache()

    def _is_behind(self, prepared: Prepared) -> bool:
        """Return whether a request should wait for the prompt of another one."""
        if not self._prompt_cache.enabled:
            return False
        request_id = prepared.request_id
        if request_id in self._behind:
            reading, position = self._behind.pop(request_id)
            if self._batch.is_reading(reading) and reading.position < position:
                self._behind[request_id] = reading, position
                return True
        covered = self._covered(prepared)
        if (behind := self._batch.sharing(prepared.tokens, covered, prepared.salt)) is not None:
            self._behind[request_id] = behind
        return behind is not None

    def _covered(self, prepared: Prepared) -> int:
        """Return how much of a prompt the prompt cache has in memory."""
        return self._prompt_cache.covered(prepared.tokens, prepared.salt)

    def _has_place(self) -> bool:
        return sum(map(len, self._strategies)) < self._places

    def _waiting(self) -> "list[Prepared | _Paused]":
        return [
            request
            for request in self._requests.values()
            if isinstance(request, Prepared | _Paused) and request.request_id not in self._restoring
        ]

    def _start(self, prepared: Prepared) -> Event:
        request_id = prepared.request_id
        message = prepared.message.request
        scores = message.echo and message.logprobs is not None
        # What is in the prompt cache has no log-probabilities.
        found = (
            Found(None, 0) if scores else self._prompt_cache.fetch(prepared.tokens, prepared.salt)
        )
        sequence = self._sequence(prepared, found)
        try:
            self._strategy(sequence).start(sequence, found.cache)
        except LoadFailed as error:
            del self._requests[request_id]
            return Failed(request_id, "invalid_request", error.message, "draft_model")
        self._requests[request_id] = sequence
        self._limit_prompt_cache()
        return sequence.started()

    def _strategy(self, sequence: Sequence) -> Strategy:
        return self._speculation if sequence.draft.tokens else self._batch

    def _sequence(self, prepared: Prepared, found: Found) -> Sequence:
        request, prompt = prepared.message.request, prepared.tokens
        context = self._model.context_length
        room = context - len(prompt) if context else _UNBOUNDED_TOKENS
        row = Row(
            sampling=request.sampling,
            seed=seed_word(request.seed),
            prompt_tokens=len(prompt),
            logprobs=request.logprobs,
            constraint=prepared.constraint,
            kept_by_xtc=self._kept_by_xtc,
        )
        output = Output(
            prepared.request_id,
            self._model.tokenizer,
            request.stop,
            after=None if isinstance(request.prompt, ChatPrompt) else prompt[-1],
            in_reasoning=prepared.in_reasoning,
            calls=prepared.calls,
            stops=prepared.stops,
        )
        processors = []
        if (budget := request.thought_tokens) is not None:
            thought_limit = ThoughtLimit(
                self._model.tokenizer, len(prompt), budget, in_reasoning=prepared.in_reasoning
            )
            processors.append(thought_limit)
        return Sequence(
            prepared,
            row,
            output,
            self._token_bytes,
            cached_tokens=found.covered,
            common_tokens=found.common,
            max_tokens=room if request.max_tokens is None else min(request.max_tokens, room),
            end_tokens=tuple(self._model.tokenizer.eos_token_ids),
            processors=processors,
        )
