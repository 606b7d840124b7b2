"""The prompts that are being read: whose turn it is, and how much of one is read between tokens.

A long prompt is read in parts, between the steps of the running answers. While nobody generates, a
part may be large; otherwise it takes about as long as the answers can wait, whatever the model and
the machine. Prompts take turns, so that a huge one neither delays small ones nor waits for all of
them.
"""

import time
from bisect import insort
from dataclasses import dataclass, field, replace
from typing import Any

import mlx.core as mx
from mlx_lm.generate import PromptProcessingBatch

from mlxd.engine.cache_layers import Cache, CacheSnapshot, kinds, merge
from mlxd.engine.echo import ScoredToken
from mlxd.engine.logprobs import StepLogprobs
from mlxd.engine.prompt_cache import common_length
from mlxd.engine.reading_speed import SMALLEST_PART, PromptSpeed, ReadingSpeed

SHORT = 256
"""Tokens up to which prompts are read together: one of them does not fill the processor."""
_WORTH_WAITING = 64
_FIRST_PART = 128
_MOST_FREE_BYTES = 64_000_000
_SCORED_PART = 64  # its logits take memory for each token


@dataclass(eq=False)
class Reading:
    """A prompt that is being read: its first `position` tokens are in `cache`.

    All tokens but the last are read; generation starts with that one. Reading pauses at each of
    `stops`, in ascending order. Other conversations part from this one at those in `lasting`.
    The prompt with the least `service` has the next turn: how many tokens of it were read, beyond
    the least of the others when it arrived. `top` asks for the log-probabilities of the tokens and
    of so many alternatives, None for none.
    """

    request_id: int
    tokens: list[int]
    cache: Cache
    position: int
    stops: list[int] = field(default_factory=list)
    lasting: set[int] = field(default_factory=set)
    service: int = 0
    parts: int = 0
    top: int | None = None
    salt: str = ""
    speed: PromptSpeed = field(default_factory=PromptSpeed)

    @property
    def last(self) -> int:
        """Where reading ends."""
        return len(self.tokens) - 1

    @property
    def left(self) -> int:
        """How many tokens are still to be read."""
        return self.last - self.position

    @property
    def done(self) -> bool:
        """Whether everything is read."""
        return self.position == self.last

    def stop_at(self, position: int) -> None:
        """Pause at a position too, if it lies ahead."""
        if self.position < position <= self.last and position not in self.stops:
            insort(self.stops, position)

    def length(self, limit: int) -> int:
        """Return how many tokens the next part has, `limit` at most."""
        stop = self.stops[0] if self.stops else self.last
        if self.top is not None:
            limit = min(limit, _SCORED_PART)
        return min(limit, stop - self.position)


@dataclass(frozen=True)
class PromptPart:
    """A part of a prompt that was just read; `snapshot` is its cache if reading pauses here.

    `scored` has the log-probabilities of the tokens after each one of the part, if asked for.
    """

    reading: Reading
    snapshot: CacheSnapshot | None
    scored: list[ScoredToken] = field(default_factory=list)


@dataclass(frozen=True)
class Group:
    """Prompts that are read, and their caches in one, for a batch to go on with."""

    readings: list[Reading]
    cache: Cache


class Prefiller:
    """The prompts that are being read, up to `concurrency` of them in turns."""

    def __init__(self, model: Any, *, concurrency: int, together: bool, padded: bool) -> None:
        """Take a model, and whether it can read several prompts `together`.

        Unless they may be `padded`, only parts of the same length are read together: mlx-lm's
        recurrent layers would take padding for tokens.
        """
        self.together = together
        self._padded = padded
        self._model = model
        self._concurrency = concurrency
        self._readings: dict[int, Reading] = {}
        self._ready: list[Group] = []
        self._speed = ReadingSpeed()
        self._group_speed = ReadingSpeed()  # several are read faster than one is
        self._each_group = PromptSpeed()
        self._workspace = _Workspace()

    def __len__(self) -> int:
        return len(self._readings)

    def add(self, reading: Reading) -> None:
        """Read a prompt, beside the others."""
        if reading.done:  # all of it was in the prompt cache
            self._ready.append(Group([reading], reading.cache))
            return
        reading.service = min((each.service for each in self._readings.values()), default=0)
        self._readings[reading.request_id] = reading

    def remove(self, request_id: int) -> Reading | None:
        """Stop reading a prompt, and return it if it was being read or is ready."""
        for group in self._ready:
            if [reading.request_id for reading in group.readings] == [request_id]:
                self._ready.remove(group)
                return group.readings[0]
        return self._readings.pop(request_id, None)

    def dissolve(self) -> None:
        """Forget all prompts, and read no two together from now on."""
        self._readings = {}
        self._ready = []
        self.together = False

    def is_reading(self, reading: Reading) -> bool:
        """Return whether a prompt is still being read."""
        return self._readings.get(reading.request_id) is reading

    def sharing(
        self, tokens: list[int], covered: int, salt: str = ""
    ) -> tuple[Reading, int] | None:
        """Return a prompt that will soon cover more of `tokens` than `covered`, and how much.

        A few tokens more are not worth waiting for, unless they are the whole prompt.
        """
        best: tuple[Reading, int] | None = None
        last = len(tokens) - 1
        most = max(covered, min(covered + _WORTH_WAITING, last) - 1)
        for reading in self._readings.values():
            if reading.salt != salt:
                continue
            common = min(common_length(reading.tokens, tokens), reading.last, last)
            if common > max(most, reading.position):
                best, most = (reading, common), common
        return best

    def step(
        self, limit: int, step_seconds: float | None, workspace: int | None = None
    ) -> list[PromptPart]:
        """Read the next part of one prompt, or of several short ones.

        Args:
            limit: the most tokens a part may have.
            step_seconds: how long a step of the running answers takes, None without any.
            workspace: how many bytes of temporary memory a part may take, None for any number.
        """
        if not self._readings:
            return []
        turn = self._next_turn(limit, step_seconds, workspace)
        tokens = sum(length for _, length in turn)
        context = max(reading.position + length for reading, length in turn)
        began, active = time.perf_counter(), mx.get_active_memory()
        mx.reset_peak_memory()
        parts = self._read_one(*turn[0]) if len(turn) == 1 else self._read_several(turn)
        if turn[0][0].top is not None:
            return parts  # their speed and memory say little about other parts
        first, seconds = turn[0][0], time.perf_counter() - began
        speed, own = self._speed_of(first)
        speed.add(tokens, seconds, step_seconds, own)
        self._workspace.add(tokens, context, mx.get_peak_memory() - active)
        return parts

    def take_ready(self) -> list[Group]:
        """Return the prompts that are read, each once."""
        ready, self._ready = self._ready, []
        if not self.together:
            return ready
        groups = [group for group in ready if len(group.readings) > 1]
        alone = [group for group in ready if len(group.readings) == 1]
        while alone:
            alike = [each for each in alone if kinds(each.cache) == kinds(alone[0].cache)]
            alone = [each for each in alone if each not in alike]
            readings = [group.readings[0] for group in alike]
            groups.append(Group(readings, merge([group.cache for group in alike])))
        return groups

    def _next_turn(
        self, limit: int, step_seconds: float | None, workspace: int | None
    ) -> list[tuple[Reading, int]]:
        """Return whose turn it is, and how many tokens of each to read."""
        readings = list(self._readings.values())
        short = list(filter(_is_short, readings))
        first = min(
            (*readings[: self._concurrency], *short),
            key=lambda reading: (reading.service, reading.left),
        )
        speed, own = self._speed_of(first)
        limit = speed.part(limit, step_seconds, own)
        if workspace is not None:
            limit = self._workspace.part(limit, first.position, workspace)
        turn = [(first, first.length(limit))]
        longest = turn[0][1]
        for other in short if self.together and first in short else ():
            length = other.length(limit)
            if other is first or not (self._padded or length == longest):
                continue
            if kinds(other.cache) != kinds(first.cache):
                continue
            longest = max(longest, length)
            if len(turn) == self._concurrency or (len(turn) + 1) * longest > limit:
                break
            turn.append((other, length))
        return turn

    def _speed_of(self, reading: Reading) -> tuple[ReadingSpeed, PromptSpeed]:
        """Return how fast prompts like this one are read, and this one; short ones share both."""
        if self.together and _is_short(reading):
            return self._group_speed, self._each_group
        return self._speed, reading.speed

    def _read_one(self, reading: Reading, length: int) -> list[PromptPart]:
        begin, end = reading.position, reading.position + length
        logits = self._model(mx.array([reading.tokens[begin:end]]), cache=reading.cache)
        scored: list[ScoredToken] = []
        if reading.top is not None:
            following = mx.array(reading.tokens[begin + 1 : end + 1])
            step = StepLogprobs(logits[0], following, reading.top)
            scored = [step.read(place, reading.top) for place in range(length)]
        del logits
        mx.eval([layer.state for layer in reading.cache])
        part = replace(self._advance(reading, length, reading.cache, None), scored=scored)
        if reading.done or mx.get_cache_memory() > _MOST_FREE_BYTES:
            mx.clear_cache()  # not after each part: on a GPU that takes longer than a small one
        if reading.done:
            self._ready.append(Group([reading], reading.cache))
        return [part]

    def _read_several(self, turn: list[tuple[Reading, int]]) -> list[PromptPart]:
        readings = [reading for reading, _ in turn]
        batch = PromptProcessingBatch(
            self._model,
            [reading.request_id for reading in readings],
            [reading.cache for reading in readings],
        )
        batch.prompt([each.tokens[each.position : each.position + length] for each, length in turn])
        cache: Cache = batch.prompt_cache
        parts = [
            self._advance(reading, length, cache, row) for row, (reading, length) in enumerate(turn)
        ]
        if all(reading.done for reading in readings):
            self._ready.append(Group(readings, cache))
            return parts
        for row, reading in enumerate(readings):
            reading.cache = [layer.extract(row) for layer in cache]
            if reading.done:
                self._ready.append(Group([reading], reading.cache))
        return parts

    def _advance(self, reading: Reading, length: int, cache: Cache, row: int | None) -> PromptPart:
        reading.position += length
        reading.service += length
        reading.parts += 1
        paused = bool(reading.stops) and reading.stops[0] == reading.position
        if paused:
            del reading.stops[0]
        if reading.done:
            del self._readings[reading.request_id]
        return PromptPart(reading, CacheSnapshot(cache, row) if paused else None)


def _is_short(reading: Reading) -> bool:
    """Return whether a prompt may be read with others."""
    return reading.last <= SHORT and reading.top is None


class _Workspace:
    """How many tokens a part may have, from the temporary memory that earlier parts took."""

    def __init__(self) -> None:
        self._bytes_per_token = 0.0
        self._context = 1

    def part(self, limit: int, position: int, workspace: int) -> int:
        """Return the tokens of a part that begins at `position` and may take `workspace` bytes."""
        if not self._bytes_per_token:
            return min(limit, _FIRST_PART)
        # Unless attention is fused, a token takes more the further into the text it is.
        longer = max(1.0, (position + _FIRST_PART) / self._context)
        tokens = int(workspace / (self._bytes_per_token * longer))
        return min(limit, max(SMALLEST_PART, tokens - tokens % SMALLEST_PART))

    def add(self, tokens: int, context: int, taken: int) -> None:
        """Learn from a part that ended after `context` tokens and took `taken` bytes."""
        if tokens >= SMALLEST_PART:
            self._bytes_per_token, self._context = taken / tokens, context
