"""The numbers in a config.json, in it or in its section about the text model."""

from collections.abc import Iterator, Sequence
from typing import Any

_TEXT_SECTIONS = ("text_config", "llm_config", "language_config")
_MAX_COUNT = 2**53


def first(config: dict[str, Any], keys: Sequence[str]) -> int | None:
    """Return the first valid count under one of `keys`."""
    counts = (count(section.get(key)) for section in sections(config) for key in keys)
    return next((found for found in counts if found is not None), None)


def first_list(config: dict[str, Any], keys: Sequence[str]) -> list[Any]:
    """Return the first list, or text as a list of its letters, under one of `keys`; [] if none."""
    values = (section.get(key) for section in sections(config) for key in keys)
    return next((list(value) for value in values if value and isinstance(value, list | str)), [])


def sections(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a configuration, and those of its sections that are about the text model."""
    yield config
    for name in _TEXT_SECTIONS:
        if isinstance(section := config.get(name), dict):
            yield section


def count(value: object) -> int | None:
    """Return a number that may be a count; of one number per layer, the largest."""
    if isinstance(value, list):
        return max(filter(None, map(count, value)), default=None)
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < _MAX_COUNT:
        return int(value)
    return None
