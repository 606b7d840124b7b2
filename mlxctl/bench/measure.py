"""The course of a benchmark: what is measured, in which order, and what there is no time for."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from mlxctl.bench.forecast import Deadline, Forecast
from mlxctl.bench.prompts import RandomPrompts
from mlxctl.bench.runs import Run
from mlxctl.bench.session import Session, try_out_all
from mlxctl.bench.watch import Watch
from mlxctl.errors import BenchmarkError, CommandFailed

_SAMPLE_CHARACTERS, _TRIED_TOKENS = 400, 8
_FOLLOW_UP_CHARACTERS, _FOLLOW_UP_TOKENS = 60, 8
_MOST_TOKENS, _FEWEST_TOKENS, _TOKEN_STEP = 128, 16, 16
_SHARE_OF_ANSWERS = 1 / 3
_SHORTEST_SECONDS = 1.0  # that a run gets, also at the end
COLD, WARM, DISK = "cold", "warm", "disk"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to measure: lengths of prompts and numbers of streams, `rounds` times in `seconds`.

    `tokens` is the length of the answers; None lets the time decide. A prompt with its answer must
    fit into `context` tokens; None if the context is not known.
    """

    prompts: Sequence[int]
    streams: Sequence[int]
    tokens: int | None
    rounds: int
    seconds: float
    context: int | None


@dataclass
class Samples:
    """What was measured: runs by server, prompt length and streams, one for each round.

    `reuse` has those by server, prompt length and state of the prompt cache. `tokens` is the length
    of the answers; `left_out` says what was not measured, and why.
    """

    tokens: int = 0
    api: str = ""
    runs: dict[tuple[str, int, int], dict[int, Run]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    reuse: dict[tuple[str, int, str], dict[int, Run]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Reload:
    """How the first server's model is unloaded and loaded again, and about how long it takes."""

    run: Callable[[], None]
    seconds: float


class Measurement:
    """Measures servers side by side; the first of `sessions` is the daemon that `watch` watches.

    Every server gets the same prompts. The servers take turns at every step, in the reverse order
    every other round. `show` is called with what is being done, how many steps are done, and how
    many there are in all.
    """

    def __init__(
        self,
        sessions: Sequence[Session],
        plan: Plan,
        watch: Watch,
        show: Callable[[str, int, int], None],
    ) -> None:
        self.samples = Samples()
        self._sessions = sessions
        self._plan = plan
        self._watch = watch
        self._show = show
        self._prompts = RandomPrompts(seed=None)
        self._forecasts = {session.name: Forecast() for session in sessions}
        self._deadline = Deadline(plan.seconds)
        self._first_texts: dict[int, str] = {}
        self._faults: dict[tuple[int, int], str] = {}

    def run(self, reload: Reload | None) -> Samples:
        """Measure all that the time allows; the prompt cache on disk only with a `reload`.

        Raises:
            BenchmarkError: a server does not answer as OpenAI's would, or nothing was measured.
        """
        self._try_out()
        steps = self._steps()
        total = len(steps) * self._plan.rounds + (reload is not None)
        done = itertools.count()
        reserve = reload.seconds if reload else 0.0
        for number in range(self._plan.rounds):
            for prompt, streams in steps:
                self._show(_named(prompt, streams), next(done), total)
                self._step(number, prompt, streams, reserve)
            if number == 0 and reload is not None:
                self._show("unloading and loading the model", next(done), total)
                self._from_disk(reload)
                reserve = 0.0
        self._say_what_is_missing(steps)
        if not self.samples.runs:
            raise BenchmarkError(f"nothing was measured: {'; '.join(self.samples.left_out)}")
        return self.samples

    def _try_out(self) -> None:
        """Ask every server once, to load its model and to learn its speed and length of tokens."""
        text = f"Hello. {self._prompts.words(_SAMPLE_CHARACTERS)}"
        with self._watch.expecting(1):
            runs = try_out_all(self._sessions, text, _TRIED_TOKENS, self._deadline.left)
        own, *_ = runs.values()
        self._prompts.characters_per_token = len(text) / own.prompt_tokens[0]
        for name, run in runs.items():
            self._forecasts[name].learn(0, run)
        self.samples.api = self._sessions[0].path
        self.samples.tokens = self._plan.tokens or self._tokens_for_the_time(list(runs.values()))

    def _tokens_for_the_time(self, tried: Sequence[Run]) -> int:
        """Return how long answers may be to leave time for prompts and for more rounds."""
        steps = len(self._plan.prompts) * len(self._plan.streams)
        for_one_token = sum(1 / (run.stream_rate or run.rate) for run in tried)
        tokens = int(self._plan.seconds * _SHARE_OF_ANSWERS / (steps * for_one_token))
        return max(_FEWEST_TOKENS, min(_MOST_TOKENS, tokens // _TOKEN_STEP * _TOKEN_STEP))

    def _steps(self) -> list[tuple[int, int]]:
        """Return the prompt lengths and numbers of streams, those with the fewest tokens first.

        Raises:
            BenchmarkError: no prompt fits into the context.
        """
        context = self._plan.context
        room = None if context is None else context - self.samples.tokens - _FOLLOW_UP_CHARACTERS
        fitting = [prompt for prompt in self._plan.prompts if room is None or prompt <= room]
        for prompt in self._plan.prompts:
            if prompt not in fitting:
                line = f"prompts of {prompt:,} tokens: the context has {context:,}"
                self.samples.left_out.append(line)
        if not fitting:
            raise BenchmarkError(f"no prompt fits: the context has {context:,} tokens")
        if 1 not in self._plan.streams:
            self.samples.left_out.append("the prompt cache: it is measured with one stream")
        steps = itertools.product(fitting, self._plan.streams)
        return sorted(steps, key=lambda step: (step[0] * step[1], step[1]))

    def _step(self, number: int, prompt: int, streams: int, reserve: float) -> None:
        """Measure one step of round `number` with every server, if there is time for it."""
        needed = sum(
            forecast.seconds(prompt, streams, self.samples.tokens)
            for forecast in self._forecasts.values()
        )
        left = self._deadline.left - reserve
        first = not self.samples.runs and not self._faults
        if not first and needed > left:
            self._faults.setdefault((prompt, streams), "no time for them")
            return
        texts = [self._prompts.take(prompt) for _ in range(streams)]
        for session in self._in_turn(number):
            try:
                self._measure(session, number, prompt, texts, reserve)
            except BenchmarkError as error:
                self._faults[prompt, streams] = f"{session.name}: {error}"
        if streams == 1:
            self._first_texts.setdefault(prompt, texts[0])

    def _measure(
        self, session: Session, number: int, prompt: int, texts: list[str], reserve: float
    ) -> None:
        run = self._run(session, texts, self.samples.tokens, reserve)
        self._forecasts[session.name].learn(prompt, run)
        self.samples.runs[session.name, prompt, len(texts)][number] = run
        if len(texts) == 1:
            self.samples.reuse[session.name, prompt, COLD][number] = run
            self._follow_up(session, number, prompt, texts[0], WARM)

    def _follow_up(self, session: Session, number: int, prompt: int, text: str, state: str) -> None:
        """Measure a prompt that continues one that the server has read before."""
        text = f"{text} {self._prompts.words(_FOLLOW_UP_CHARACTERS)}"
        run = self._run(session, [text], _FOLLOW_UP_TOKENS)
        self.samples.reuse[session.name, prompt, state][number] = run

    def _run(self, session: Session, texts: list[str], tokens: int, reserve: float = 0.0) -> Run:
        own = len(texts) if session is self._sessions[0] else 0
        seconds = max(_SHORTEST_SECONDS, self._deadline.left - reserve)
        with self._watch.expecting(own):
            return session.run(texts, tokens, seconds)

    def _from_disk(self, reload: Reload) -> None:
        """Unload and load the model, and measure continuations of the first prompts again."""
        own = self._sessions[0]
        if reload.seconds > self._deadline.left:
            self.samples.left_out.append("the prompt cache on disk: no time for it")
        elif self._watch.look() is None or self._watch.others:
            self.samples.left_out.append("the prompt cache on disk: others use the daemon")
        elif self._first_texts:
            try:
                with self._watch.expecting(1):
                    reload.run()
                self._run(own, [self._prompts.take(_FOLLOW_UP_CHARACTERS)], _FOLLOW_UP_TOKENS)
                for prompt, text in self._first_texts.items():
                    self._follow_up(own, 0, prompt, text, DISK)
            except CommandFailed as error:
                self.samples.left_out.append(f"the prompt cache on disk: {error}")

    def _in_turn(self, number: int) -> Iterator[Session]:
        yield from self._sessions if number % 2 == 0 else reversed(self._sessions)

    def _say_what_is_missing(self, steps: Sequence[tuple[int, int]]) -> None:
        for step in steps:
            if any((session.name, *step) not in self.samples.runs for session in self._sessions):
                fault = self._faults.get(step, "no time for them")
                self.samples.left_out.append(f"{_named(*step)}: {fault}")


def _named(prompt: int, streams: int) -> str:
    many = "1 stream" if streams == 1 else f"{streams} streams"
    return f"{many} with prompts of {prompt:,} tokens"
