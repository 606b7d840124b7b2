"""Items of a response that are being written."""

from msgspec import UNSET

from mlxd.api.response_items import sealed
from mlxd.api.response_resource import (
    ItemStatus,
    OutputMessage,
    OutputReasoning,
    OutputText,
    OutputTokenLogprob,
    ReasoningText,
    SummaryText,
)


class OpenText:
    """An answer that is being written."""

    def __init__(self, item_id: str, index: int) -> None:
        """Begin the item with this id, number `index` of the output."""
        self.id, self.index = item_id, index
        self.logprobs: list[OutputTokenLogprob] = []
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        """What there is of it."""
        return "".join(self._pieces)

    def add(self, text: str, logprobs: list[OutputTokenLogprob]) -> None:
        """Add a piece, and the log-probabilities of its tokens."""
        self._pieces.append(text)
        self.logprobs += logprobs

    def whole(self, status: ItemStatus) -> OutputMessage:
        """Return the item; while it is in progress it has no content."""
        content = [OutputText(self.text, [], self.logprobs)]
        return OutputMessage(self.id, status, [] if status == "in_progress" else content)


class OpenThought:
    """A thought that is being written."""

    def __init__(self, item_id: str, index: int, summarized: bool, seal: bool) -> None:
        """Begin the item as `OpenText` does; the builder of the reply explains the rest."""
        self.id, self.index = item_id, index
        self._summarized, self._seal = summarized, seal
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        """What there is of it."""
        return "".join(self._pieces)

    def add(self, text: str) -> None:
        """Add a piece."""
        self._pieces.append(text)

    def whole(self, status: ItemStatus) -> OutputReasoning:
        """Return the item."""
        text = self.text
        return OutputReasoning(
            self.id,
            status,
            [ReasoningText(text)] if text and not self._summarized else [],
            [SummaryText(text)] if text and self._summarized else [],
            sealed(text) if text and self._seal else UNSET,
        )
