"""Tell while it is written whether an answer may be calls without marks around them.

Llama's models write a call as one JSON object, several with `;` between them or as a list. Other
models put it into a fence, or forget the start mark. An ordinary answer should not wait: it is
clear at its first character, and one that is JSON at its first key or at the name in it.
"""

from collections.abc import Generator, Iterable

_ARGUMENTS = ("arguments", "parameters")
_KEYS = ("name", *_ARGUMENTS, "type", "function", "id")
_LANGUAGES = ("", "json", "tool_call", "tool_code")
_FENCE = "```"

Scan = Generator[None, str, str]
"""Takes one character after another; returns the last one or what they make, or raises."""


class BareCalls:
    """The text of an answer that may still be calls of the functions with these names.

    `end` is the mark after a call, which may stand there without the one before it.
    """

    def __init__(self, names: Iterable[str], end: str = "") -> None:
        self._pieces: list[str] = []
        self._scan = _answer(list(names), end)
        next(self._scan)

    @property
    def text(self) -> str:
        """All of the text so far."""
        return "".join(self._pieces)

    def take(self, text: str) -> bool:
        """Take the next text; return whether all of it may be calls."""
        self._pieces.append(text)
        try:
            for character in text:
                self._scan.send(character)
        except _NoCallError:
            return False
        return True


class _NoCallError(Exception):
    pass


def _answer(names: list[str], end: str) -> Scan:
    character = yield from _visible()
    if character == "<":
        yield from _one_of([f"function={name}" for name in names], end=">")
        while True:
            yield
    fenced = character == "`"
    if fenced:
        yield from _one_of([_FENCE[1:]], end="")
        yield from _one_of(_LANGUAGES, end="\n")
        character = yield from _visible()
    while True:
        character = yield from _calls(character, names)
        while character in (";", ","):
            character = yield from _visible()
        if fenced and character == "`":
            yield from _one_of([_FENCE[1:]], end="")
            break
        if end and character == end[0]:
            yield from _one_of([end[1:]], end="")
            break
    yield from _visible()
    raise _NoCallError


def _calls(character: str, names: list[str]) -> Scan:
    """Take an object or a list of objects; return the first visible character after it."""
    if character == "[":
        while True:
            character = yield from _visible()
            _check(character == "{")
            yield from _object(names)
            character = yield from _visible()
            if character != ",":
                break
        _check(character == "]")
    else:
        _check(character == "{")
        yield from _object(names)
    return (yield from _visible())


def _object(names: list[str]) -> Scan:
    """Take the rest of a call: an object with a name and arguments."""
    keys: set[str] = set()
    while True:
        character = yield from _visible()
        _check(character == '"')
        key = yield from _one_of(_KEYS)
        keys.add(key)
        character = yield from _visible()
        _check(character == ":")
        character = yield from _visible()
        if key in ("name", "type"):
            _check(character == '"')
            yield from _one_of(names if key == "name" else ["function"])
            character = yield from _visible()
        else:
            character = yield from _value(character)
        if character == "}":
            _check("function" in keys or ("name" in keys and not keys.isdisjoint(_ARGUMENTS)))
            return character
        _check(character == ",")


def _value(character: str) -> Scan:
    """Take a value of any kind; return the first visible character after it."""
    if character == '"':
        yield from _string()
    elif character in "{[":
        depth = 1
        while depth:
            character = yield
            if character == '"':
                yield from _string()
            depth += (character in "{[") - (character in "}]")
    else:
        _check(character.isalnum() or character == "-")
        while character.isalnum() or character in "+-.":
            character = yield
        if not character.isspace():
            return character
    return (yield from _visible())


def _string() -> Scan:
    while True:
        character = yield
        if character == "\\":
            yield
        elif character == '"':
            return character


def _one_of(texts: Iterable[str], end: str = '"') -> Scan:
    """Take one of the texts and `end` after it; return the text."""
    left, so_far = list(texts), ""
    while True:
        if end == "" and so_far in left:
            return so_far
        character = yield
        if character == end and so_far in left:
            return so_far
        so_far += character
        left = [text for text in left if text.startswith(so_far)]
        _check(bool(left))


def _visible() -> Scan:
    while (character := (yield)).isspace():
        pass
    return character


def _check(holds: bool) -> None:
    if not holds:
        raise _NoCallError
