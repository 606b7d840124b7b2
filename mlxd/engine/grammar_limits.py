"""How large the grammars of requests may be, which are tried first, and how many are kept."""

import re
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Generic, TypeVar

from mlxd.generate_request import Grammar

LONGEST_GRAMMAR = 1024**2
"""How many characters the grammars of a request may have in all."""

_SMALL = 32 * 1024
"""Characters of a grammar that cannot overflow the stack."""
_FEW_PATTERNS = 4
_PATTERNS = re.compile(r'"(?:pattern|format|multipleOf)"')
_MEETING = re.compile(r'"(?:allOf|anyOf|oneOf|not|if|dependentSchemas|\$ref|propertyNames)"')
_MANY_MEET = re.compile(r'"(?:patternProperties|unevaluatedProperties)"')
_LARK_MEETING = re.compile(r"[&~]|%(?!ignore)")
_KEPT, _KEPT_SIZE = 64, 1024**2
"""How many compiled grammars are kept, and how many characters their sources have in all."""


Matcher = TypeVar("Matcher")


def is_plain(grammars: Sequence[Grammar]) -> bool:
    """Return whether grammars are compiled in milliseconds, as nearly all are.

    Those that are long may overflow a stack, and those in which a text must match several patterns
    at once may take minutes.
    """
    if sum(len(grammar.source) for grammar in grammars) > _SMALL:
        return False
    return all(_has_few_meetings(grammar) for grammar in grammars)


def _has_few_meetings(grammar: Grammar) -> bool:
    source = grammar.source
    if grammar.kind == "regex":
        return True
    if grammar.kind != "json_schema":
        return not _LARK_MEETING.search(source)
    few = len(_PATTERNS.findall(source)) <= _FEW_PATTERNS or not _MEETING.search(source)
    return few and not _MANY_MEET.search(source)


class CompiledGrammars(Generic[Matcher]):
    """Grammars that were compiled lately, each under the hash of its source."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, tuple[Matcher, int]] = OrderedDict()

    def get(self, key: bytes) -> Matcher | None:
        """Return a grammar, None if it is not kept."""
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][0]

    def keep(self, key: bytes, matcher: Matcher, size: int) -> None:
        """Keep a grammar whose source has `size` characters, and forget the oldest ones."""
        with self._lock:
            self._kept[key] = matcher, size
            while (
                len(self._kept) > _KEPT or sum(each for _, each in self._kept.values()) > _KEPT_SIZE
            ):
                self._kept.popitem(last=False)
