"""What programs are told: where the API is and which model to use."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from string import Template
from typing import Any

_UNKNOWN_CONTEXT = 32_768
_MAX_ANSWER = 32_000  # as many as agents reserve in a long context
_ANSWERS_PART = 4


@dataclass(frozen=True)
class Target:
    """The daemon at `url`, its `key`, and a model; `context` in tokens, None if it is unknown."""

    url: str
    key: str
    model: str
    context: int | None

    def facts(self) -> dict[str, str | int]:
        """Return what a table can name as `$url` and so on.

        `answer` is how many tokens of the context to leave for one answer.
        """
        context = self.context or _UNKNOWN_CONTEXT
        answer = min(_MAX_ANSWER, context // _ANSWERS_PART)
        return {
            "url": self.url,
            "key": self.key,
            "model": self.model,
            "context": context,
            "prompt": context - answer,
            "answer": answer,
        }

    def fill(self, value: Any) -> Any:
        """Return `value` with every `$name` in its texts replaced.

        A text that is nothing but a name becomes the fact itself, which may be a number.
        """
        match value:
            case str() if value.startswith("$") and value[1:] in self.facts():
                return self.facts()[value[1:]]
            case str():
                return Template(value).substitute(self.facts())
            case Mapping():
                return {self.fill(name): self.fill(inner) for name, inner in value.items()}
        return value

    def fill_text(self, text: str, quote: Callable[[str], str] = json.dumps) -> str:
        """Return `text` with every `$name` replaced: the model and the key as `quote` has them."""
        quoted = {"model": quote(self.model), "key": quote(self.key)}
        return Template(text).substitute({**self.facts(), **quoted})


def as_text(value: Any) -> str:
    """Return a text as it is, and everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
