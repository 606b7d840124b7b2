"""Split an answer at the marks around its thoughts and its calls."""

from collections.abc import Iterator
from typing import Any

from mlx_lm.generate import TextStateMachine

from mlxd.engine.tools import AllowedCalls

NORMAL, REASONING, TOOL = "normal", "reasoning", "tool"

Segment = tuple[str, str, bool]
"""A state, text in it, and whether an end mark follows. That of a call is always all of it."""


class Marks:
    """The marks of one answer, found wherever they lie in its pieces.

    A mark counts only where it can: one of a call inside a thought is thought, and any mark inside
    an argument of a call is part of the argument. `state` is the state after what was split.
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
        self.state = state
        self._call: list[str] = []
        self._doubtful: list[int] = []  # where end marks are that may be part of an argument
        self._certain = False

    def split(self, text: str, *, last: bool) -> Iterator[Segment]:
        """Yield what is certain of the text; `last` includes what is held back."""
        for piece in self._pieces(text):
            self._now, segments = TextStateMachine.split(self._now, piece)
            for state, part in segments:
                yield from self._take(state, part)
        if last:
            self._now, part, state = TextStateMachine.flush(self._now)
            yield from self._take(state, part)
            if self.state == TOOL:
                yield from self._resolve("".join(self._call), ended=False)

    def written(self, text: str, *, ended: bool) -> str:
        """Return the text of a call with its marks; `ended`: with the end mark."""
        return self._start + text + (self._end if ended else "")

    def _pieces(self, text: str) -> Iterator[str]:
        """Yield pieces of a text of which none goes on after the end of a call."""
        while text:
            place = text.find(self._end[-1]) if self._end else -1
            cut = place + 1 if place >= 0 else len(text)
            yield text[:cut]
            text = text[cut:]

    def _take(self, state: str, text: str) -> Iterator[Segment]:
        before, self.state = self.state, state
        if state == TOOL:
            self._call.append(text)
        elif before != TOOL:
            yield state, text, False
        else:
            yield from self._end_call(state, text)

    def _end_call(self, state: str, text: str) -> Iterator[Segment]:
        call = "".join(self._call)
        if self._calls is not None and not self._certain and self._calls.is_open(call):
            # The mark is part of an argument, unless the argument never ends.
            self._doubtful.append(len(call))
            self._call = [call, self._end, text]
            self.state = TOOL
            self._now = self._machine.make_state(TOOL)
            return
        yield from self._resolve(call, ended=True)
        yield state, text, False

    def _resolve(self, call: str, *, ended: bool) -> Iterator[Segment]:
        """Yield a call; one that is not valid ends at the first end mark, and what follows too."""
        doubtful, self._doubtful = self._doubtful, []
        self._call = []
        if not doubtful or self._calls is None or self._calls.can_read(call):
            yield TOOL, call, ended
            return
        yield TOOL, call[: doubtful[0]], True
        self._certain, self.state = True, NORMAL
        self._now = self._machine.make_state(NORMAL)
        rest = call[doubtful[0] + len(self._end) :] + (self._end if ended else "")
        yield from self.split(rest, last=not ended)


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
    if calls is not None and TOOL not in {to for more in edges.values() for _, to in more}:
        edges[NORMAL].append((calls.form.start, TOOL))
    edges[NORMAL] += [(mark, NORMAL) for mark in tokenizer.structural_markers]
    return edges
