"""Tokens to events: text, reasoning and calls, piece by piece, up to the first stop text."""

from codecs import getincrementaldecoder
from collections import deque
from collections.abc import Iterator
from typing import Any, Literal

from mlx_lm.generate import TextStateMachine

from mlxd.engine.call_reader import Call
from mlxd.engine.marks import NORMAL, REASONING, TOOL, Marks, Segment
from mlxd.engine.tools import AllowedCalls
from mlxd.messages import Delta, Event, Reasoning, TokenLogprob, ToolCall

FinishReason = Literal["stop", "length", "tool_calls", "abort"]


class Output:
    """The output of one sequence.

    Text that might be the beginning of a stop text or of a mark is held back until it is known not
    to be; a stop text and what follows it are never shown. `stopped` says that the output ended,
    `stop_text` which stop text ended it.
    """

    def __init__(
        self,
        request_id: int,
        tokenizer: Any,
        stop: list[str],
        *,
        after: int | None = None,
        in_reasoning: bool = False,
        calls: AllowedCalls | None = None,
    ) -> None:
        """Begin an output.

        Args:
            request_id: the id in the events.
            tokenizer: mlx_lm's TokenizerWrapper.
            stop: the texts that end it.
            after: the token of a text that the output continues. Without it, the output is the
                answer in a chat, with marks for thoughts and calls, and loses the space that its
                first token may begin with.
            in_reasoning: whether the output begins inside a thought.
            calls: which calls it may have, None if it cannot have any.
        """
        self.stopped = False
        self.stop_text: str | None = None
        self.reasoning_tokens = 0
        self._id = request_id
        self._detokenizer = tokenizer.detokenizer
        if after is not None:
            self._detokenizer.add_token(after)
            _ = self._detokenizer.last_segment  # read, so that it is not shown
        self._stops = stop
        self._stop = None
        if stop:
            # A transition to None ends the text.
            self._stop = TextStateMachine({NORMAL: [(text, None) for text in stop]}).make_state()
        self._state = REASONING if in_reasoning else NORMAL
        self._marks = Marks(tokenizer, calls, self._state) if after is None else None
        if self._marks is not None and not self._marks.any:
            self._marks = None
        self._calls = calls
        self._bare = calls.bare_calls() if calls else None
        self._plain = self._marks is None and calls is None  # fast, for nearly every answer
        self._called = False
        self._space = _Space(held=calls is not None, dropped=in_reasoning)
        self._logprobs = _LogprobQueue()

    def add(self, token: int, logprob: TokenLogprob | None = None) -> list[Event]:
        """Take the next token; return the events that are certain now, perhaps none."""
        self._detokenizer.add_token(token)
        text = self._detokenizer.last_segment
        if self._plain and logprob is None:
            text = self._cut(text)
            return [Delta(self._id, text)] if text else []
        self._logprobs.add(logprob)
        before = self._state
        events = self._emit(self._cut(text), last=False)
        if REASONING in (before, self._state):
            self.reasoning_tokens += 1
        return events

    def finish(self, *, ended: bool = False) -> list[Event]:
        """Return what is still held back; `ended` says that the model itself ended its answer."""
        self._detokenizer.finalize()
        text = self._cut(self._detokenizer.last_segment)
        if self._stop is not None and not self.stopped:
            self._stop, rest, _ = TextStateMachine.flush(self._stop)
            text += rest
        return self._emit(text, last=True, ended=ended)

    def finish_reason(self, given: FinishReason) -> FinishReason:
        """Return why the sequence ended, when its computation ended for the reason `given`."""
        if self._called and given in ("stop", "tool_calls"):
            return "tool_calls"
        return given

    def _cut(self, text: str) -> str:
        """Return the text that is certainly not part of a stop text."""
        if self._stop is None or not text:
            return text
        *_, held = self._stop
        self._stop, certain, state = TextStateMachine.step(self._stop, text)
        self.stopped = state is None
        if self.stopped:
            ended = (held + text)[len(certain) :]
            self.stop_text = min((each for each in self._stops if ended.startswith(each)), key=len)
        return str(certain)

    def _emit(self, text: str, *, last: bool, ended: bool = False) -> list[Event]:
        """Turn text that is certain into events; `last` includes what is held back."""
        entries = self._logprobs.take(text, stopped=self.stopped, last=last)
        last = last or self.stopped
        before = self._state
        events: list[Event] = []
        for state, piece, closed in self._split(text, last=last, ended=ended):
            self._enter(state, events)
            if state == TOOL:
                self._call(piece, events, closed=closed)
            elif state == REASONING:
                self._think(piece, events)
            elif state == NORMAL:
                self._say(piece, events)
            if self._called and self._calls is not None and self._calls.only_one:
                self.stopped = True  # nothing follows the only call that is allowed
                break
        if self._marks is not None and not self.stopped:
            self._enter(self._marks.state, events)
        if last and self._end_bare(events):
            return events
        if last and not self._called and (rest := self._space.waiting):
            events.append(Delta(self._id, rest))
        if before == self._state == NORMAL:
            self._attach(entries, events, last=last)
        return events

    def _split(self, text: str, *, last: bool, ended: bool) -> Iterator[Segment]:
        if self._marks is not None:
            yield from self._marks.split(text, last=last, ended=ended)
        elif text:
            yield self._state, text, False

    def _enter(self, state: str, events: list[Event]) -> None:
        """Change the state, because of a mark."""
        if state == self._state:
            return
        if state in (TOOL, REASONING) and self._bare is not None:
            held = self._bare.text
            self._bare = None
            self._say(held, events)
            if state == REASONING and not held.strip() and self._calls is not None:
                self._bare = self._calls.bare_calls()
        if REASONING in (state, self._state):
            self._space.dropped = True  # models leave blank lines between thought and answer
        self._state = state

    def _say(self, text: str, events: list[Event]) -> None:
        if self._bare is not None:
            if self._bare.take(text):
                return
            text, self._bare = self._bare.text, None
        if text := self._space.take(text):
            events.append(Delta(self._id, text))

    def _think(self, text: str, events: list[Event]) -> None:
        if self._space.dropped:
            text = text.lstrip()
        if text:
            self._space.dropped = False
            events.append(Reasoning(self._id, text))

    def _call(self, text: str, events: list[Event], *, closed: bool) -> None:
        """Take the whole text after a start mark; `closed`: before an end mark."""
        if self._marks is None:
            return
        calls, rest = self._calls.read_part(text) if self._calls else ([], text)
        if not calls:
            self._say(self._marks.written(text, closed=closed), events)
            return
        self._make(calls, events)
        if rest and not (self._calls and self._calls.only_one):
            self._say(rest, events)

    def _end_bare(self, events: list[Event]) -> bool:
        """End an answer that may be calls without marks; return whether it is."""
        if self._bare is None or self._calls is None:
            return False
        text, self._bare = self._bare.text, None
        if calls := self._calls.read_answer(text):
            self._make(calls, events)
        else:
            self._say(text, events)
        return bool(calls)

    def _make(self, calls: list[Call], events: list[Event]) -> None:
        self._called = True
        self._space.waiting = ""
        events.extend(ToolCall(self._id, call.name, call.arguments, call.call_id) for call in calls)

    def _attach(self, entries: list[TokenLogprob], events: list[Event], *, last: bool) -> None:
        """Attach log-probabilities to the text that they belong to."""
        if not entries:
            return
        for place in reversed(range(len(events))):
            if isinstance(event := events[place], Delta):
                events[place] = Delta(self._id, event.text, entries)
                return
        if last:
            events.append(Delta(self._id, "", entries))
        else:
            self._logprobs.back = entries


class _Space:
    """White space that is not shown: around thoughts, and before and between calls.

    `dropped` says that what comes next is not shown, `waiting` is what may yet be shown.
    """

    def __init__(self, *, held: bool, dropped: bool) -> None:
        self.dropped = dropped
        self._held = held
        self.waiting = ""

    def take(self, text: str) -> str:
        """Take the next text; return what is certainly shown of it and of what waited."""
        if self.dropped:
            text = text.lstrip()
            self.dropped = not text
        if not self._held:
            return text
        text = self.waiting + text
        seen = text.rstrip()
        self.waiting = text[len(seen) :]
        return seen


class _LogprobQueue:
    """Log-probabilities of tokens whose text is not certain yet; `back` are first in line."""

    def __init__(self) -> None:
        # The detokenizer returns a token's text late, or together with the next one's.
        self._decoder = getincrementaldecoder("utf-8")("replace")
        self._begins_with_space = False
        self._written = 0
        self._shown = 0
        self._waiting: deque[tuple[int, int, TokenLogprob]] = deque()
        self.back: list[TokenLogprob] = []

    def add(self, logprob: TokenLogprob | None) -> None:
        """Take the entry of the next token, None if the request does not ask for it."""
        if logprob is None:
            return
        text = self._decoder.decode(logprob.token.bytes)
        start = self._written
        self._begins_with_space |= start == 0 and text.startswith(" ")
        self._written += len(text)
        self._waiting.append((start, self._written, logprob))

    def take(self, text: str, *, stopped: bool, last: bool) -> list[TokenLogprob]:
        """Return the entries of the next text, which is certain now."""
        if text and self._shown == 0 and self._begins_with_space and not text.startswith(" "):
            self._shown = 1  # the detokenizer drops a space there
        self._shown += len(text)
        entries, self.back = self.back, []
        while self._waiting:
            start, end, entry = self._waiting[0]
            if stopped and start >= self._shown:
                self._waiting.clear()
                break
            if not (last or stopped or end <= self._shown):
                break
            self._waiting.popleft()
            entries.append(entry)
        return entries
