"""How many prompt tokens an engine has still to process, and how long that may take."""

from mlxd.messages import Event, PrefillProgress, Started

_SLOWEST = 10.0  # tokens a second, on the slowest machine that is of any use
_MARGIN = 4.0  # the longer the context, the slower


class Prefill:
    """The prompts of one engine; one step processes at most `step_tokens` of them."""

    def __init__(self, step_tokens: int) -> None:
        self._step_tokens = step_tokens
        self._left: dict[int, int] = {}
        self._per_second = _SLOWEST

    def note(self, event: Event, seconds: float) -> None:
        """Take an event that came `seconds` after the one before it."""
        match event:
            case Started():
                self._left[event.id] = event.prompt_tokens - event.cached_tokens
            case PrefillProgress():
                left = event.total - event.done
                done = self._left.get(event.id, left) - left
                if done > 0 and seconds > 0:
                    self._per_second = max(_SLOWEST, done / seconds / _MARGIN)
                self._left[event.id] = left
            case _:
                self._left.pop(event.id, None)

    def step_seconds(self) -> float:
        """Give how many seconds the next step may take for its share of the prompts."""
        return min(sum(self._left.values()), self._step_tokens) / self._per_second
