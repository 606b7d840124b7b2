"""Split an answer at the marks around its thoughts and its calls."""

from collections.abc import Iterator
from typing import Any

from mlx_lm.generate import TextStateMachine

from mlxd.engine.tools import AllowedCalls

NORMAL, REASONING, TOOL = "normal", "reasoning", "tool"
_CALL_IN_THOUGHT, _AFTER_IT = "call in thought", "after it"
_HELD = (_CALL_IN_THOUGHT, _AFTER_IT)
_LONGEST_BEGINNING = 200

Segment = tuple[str, str, bool]
"""A state, text in it, and whether an end mark follows. That of a call is always all of it."""


class Marks:
    """The marks of one answer, found wherever they lie in its pieces.

    A mark counts only where it can: one of a call inside a thought is thought, and any mark inside
    an argument of a call is part of the argument. Only if the model ends a thought with a call, and
    its answer with it, has it forgotten to close the thought.
    """

    def __init__(self, tokenizer: Any, calls: AllowedCalls | None, state: str) -> None:
        """Take mlx_lm's TokenizerWrapper, which calls the answer may have, and the first state."""
        self._calls = calls
        self._start, self._end = tokenizer.tool_call_start or "", tokenizer.tool_call_end or ""
        if calls is not None:
            self._start, self._end = calls.form.start, calls.form.end
        edges = _edges(tokenizer, calls)
        self.any = any(edges.values())
        self._machine = TextStateMachine(edges)
        self._now = self._machine.make_state(state)
        self._state = state
        self._call: list[str] = []
        self._doubtful: list[int] = []  # where end marks are that may be part of an argument
        self._certain = False
        self._held: list[str] = []  # the end of a thought, from the mark of a call
        self._beginning = ""

    @property
    def state(self) -> str:
        """The state after what was split."""
        return REASONING if self._state in _HELD else self._state

    def split(self, text: str, *, last: bool, ended: bool = False) -> Iterator[Segment]:
        """Yield what is certain of the text.

        Args:
            text: the next piece of the answer.
            last: whether to include what is held back.
            ended: whether the model itself ended its answer.
        """
        for piece in self._pieces(text):
            self._now, segments = TextStateMachine.split(self._now, piece)
            for state, part in segments:
                yield from self._take(state, part)
            if not self._may_be_call():
                yield from self._release()
        if last:
            self._now, part, state = TextStateMachine.flush(self._now)
            yield from self._take(state, part)
            if self._state == TOOL:
                yield from self._resolve("".join(self._call), closed=False)
            elif self._state in _HELD:
                yield from self._end_thought(ended=ended)

    def written(self, text: str, *, closed: bool) -> str:
        """Return the text of a call with its marks; `closed`: with the end mark."""
        return self._start + text + (self._end if closed else "")

    def _pieces(self, text: str) -> Iterator[str]:
        """Yield pieces of a text of which none goes on after the end of a call."""
        while text:
            place = text.find(self._end[-1]) if self._end else -1
            cut = place + 1 if place >= 0 else len(text)
            yield text[:cut]
            text = text[cut:]

    def _take(self, state: str, text: str) -> Iterator[Segment]:
        before, self._state = self._state, state
        if state in _HELD:
            self._hold(before, text)
        elif before in _HELD:
            yield REASONING, self._let_go(), False
            yield state, text, False
        elif state == TOOL:
            self._call.append(text)
            self._beginning = (self._beginning + text)[:_LONGEST_BEGINNING]
        elif before != TOOL:
            self._beginning = ""
            yield state, text, False
        else:
            yield from self._end_call(state, text)

    def _hold(self, before: str, text: str) -> None:
        if self._state != before:
            self._held.append(self._end if self._state == _AFTER_IT else self._start)
            self._beginning = ""
        self._held.append(text)
        known = "" if self._state == _AFTER_IT else self._beginning
        self._beginning = (known + text)[:_LONGEST_BEGINNING]

    def _may_be_call(self) -> bool:
        if self._state == _AFTER_IT:
            return not self._beginning.strip()
        if self._state not in (TOOL, _CALL_IN_THOUGHT):
            return True
        return self._calls is None or self._calls.may_begin(self._beginning)

    def _let_go(self) -> str:
        text = "".join(self._held)
        self._held.clear()
        return text

    def _release(self) -> Iterator[Segment]:
        """Yield a mark as text, and what follows it, as it turned out not to be a call."""
        text = self._let_go().removeprefix(self._start) + "".join(self._call)
        text += self._now[3]  # what may be the beginning of a mark
        self._call.clear()
        self._state = NORMAL if self._state == TOOL else REASONING
        self._now = self._machine.make_state(self._state)
        self._beginning = ""
        yield self._state, self._start, False
        yield from self.split(text, last=False)

    def _end_thought(self, *, ended: bool) -> Iterator[Segment]:
        text = self._let_go()
        parts = [part.rstrip() for part in text.split(self._start)[1:]]
        calls = [part.removesuffix(self._end) for part in parts]
        if not ended or self._calls is None or not all(map(self._calls.can_read, calls)):
            yield REASONING, text, False
            return
        for part, call in zip(parts, calls, strict=True):
            yield TOOL, call, part != call

    def _end_call(self, state: str, text: str) -> Iterator[Segment]:
        call = "".join(self._call)
        if self._calls is not None and not self._certain and self._calls.is_open(call):
            # The mark is part of an argument, unless the argument never ends.
            self._doubtful.append(len(call))
            self._call = [call, self._end, text]
            self._state = TOOL
            self._now = self._machine.make_state(TOOL)
            return
        yield from self._resolve(call, closed=True)
        yield state, text, False

    def _resolve(self, call: str, *, closed: bool) -> Iterator[Segment]:
        """Yield a call; one that is not valid ends at the first end mark, and what follows too."""
        doubtful, self._doubtful = self._doubtful, []
        self._call = []
        if not doubtful or self._calls is None or self._calls.can_read(call):
            yield TOOL, call, closed
            return
        yield TOOL, call[: doubtful[0]], True
        self._certain, self._state = True, NORMAL
        self._now = self._machine.make_state(NORMAL)
        rest = call[doubtful[0] + len(self._end) :] + (self._end if closed else "")
        yield from self.split(rest, last=not closed)


def _edges(tokenizer: Any, calls: AllowedCalls | None) -> dict[str, list[tuple[str, str]]]:
    """Return which marks count in each state, and the state that begins there."""
    edges: dict[str, list[tuple[str, str]]] = {NORMAL: []}
    if tokenizer.has_thinking:
        edges[NORMAL].append((tokenizer.think_start, REASONING))
        edges[REASONING] = [(tokenizer.think_end, NORMAL)]
    if calls is not None:
        edges[TOOL] = [(calls.form.end, NORMAL)] if calls.form.end else []
    for state, more in tokenizer.response_transitions.items():
        edges.setdefault(state, []).extend(more)
    if tokenizer.has_thinking and calls is not None and calls.form.end:
        edges[REASONING].append((calls.form.start, _CALL_IN_THOUGHT))
        edges[_CALL_IN_THOUGHT] = [(calls.form.end, _AFTER_IT), (tokenizer.think_end, NORMAL)]
        edges[_AFTER_IT] = [(calls.form.start, _CALL_IN_THOUGHT), (tokenizer.think_end, NORMAL)]
    if calls is not None and TOOL not in {to for more in edges.values() for _, to in more}:
        edges[NORMAL].append((calls.form.start, TOOL))
    edges[NORMAL] += [(mark, NORMAL) for mark in tokenizer.structural_markers]
    return edges
