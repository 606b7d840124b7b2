"""Regular expressions as JSON Schema writes them (ECMA 262), for the grammar's engine.

That engine has Rust's syntax, and matches without looking around or back. Where an expression does,
the assertion is left out: the result matches everything that the expression matches, and more.
"""

import re

_SPACES = r"\t-\r \u{a0}\u{1680}\u{2000}-\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}\u{feff}"
_ANYTHING = r"[\s\S]*"
_LINE = r"[^\n\r\u{2028}\u{2029}]"

_QUANTIFIER = re.compile(r"(?:[*+?]|\{\d+(?:,\d*)?\})[?+]?")
_LOOK_AROUND = re.compile(r"\(\?<?[=!]")
_NAMED = re.compile(r"\(\?P?<[^>]*>|\(\?>")
_PYTHON_BACKREFERENCE = re.compile(r"\(\?P=\w+\)")
_COMMENT = re.compile(r"\(\?#[^)]*\)")
_FLAGS = re.compile(r"\(\?([a-z-]+)[:)]")
_REPEATED = re.compile(r"\{\d+(?:,\d*)?\}")
_SURROGATES = re.compile(r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_LONE_SURROGATE = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_BACKREFERENCE = re.compile(r"\\(?:[1-9]\d*|k<[^>]*>)")
_CONTROL = re.compile(r"\\c([a-zA-Z])")
_CODE = re.compile(r"\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|u\{[0-9a-fA-F]+\}|[pP]\{[^}]*\})")
_SAME = frozenset("dDwWtnrfv")
"""Letters that mean the same after a backslash in both syntaxes."""


class UntranslatableRegex(ValueError):
    """The grammar's engine cannot have this expression, nor one that matches a little more."""


def translate(source: str) -> tuple[str, list[str]]:
    """Return an expression in Rust's syntax, and what it leaves out, in words.

    Raises:
        UntranslatableRegex: there is none.
    """
    translation = _Translation(source)
    return translation.run(), list(dict.fromkeys(translation.left_out))


class _Translation:
    def __init__(self, source: str) -> None:
        self.left_out: list[str] = []
        self._source = source
        self._at = 0
        self._plain_dots = True

    def run(self) -> str:
        pieces = []
        while self._at < len(self._source):
            pieces.append(self._next())
        return "".join(pieces)

    def _next(self) -> str:
        char = self._source[self._at]
        if char == "\\":
            return self._escape()
        if char == "[":
            return self._class()
        if char == "(":
            return self._group()
        if char == "{" and not _REPEATED.match(self._source, self._at):
            return self._take(1, r"\{")
        if char == "." and self._plain_dots:
            return self._take(1, _LINE)
        return self._take(1, char)

    def _take(self, length: int, translated: str) -> str:
        self._at += length
        return translated

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        return pattern.match(self._source, self._at)

    def _leave_out(self, what: str, end: int, instead: str = "") -> str:
        self.left_out.append(what)
        self._at = end
        if not instead and (quantifier := self._match(_QUANTIFIER)):
            self._at = quantifier.end()
        return instead

    def _group(self) -> str:
        if self._match(_LOOK_AROUND):
            return self._leave_out("look-around", self._end_of_group())
        if found := self._match(_PYTHON_BACKREFERENCE):
            return self._leave_out("back-references", found.end(), _ANYTHING)
        if found := self._match(_COMMENT):
            return self._take(len(found[0]), "")
        if found := self._match(_NAMED):
            return self._take(len(found[0]), "(?:")
        if found := self._match(_FLAGS):
            self._plain_dots = self._plain_dots and "s" not in found[1]
        return self._take(1, "(")

    def _end_of_group(self) -> int:
        depth, at, in_class = 0, self._at, False
        while at < len(self._source):
            char = self._source[at]
            at += 2 if char == "\\" else 1
            if in_class:
                in_class = char != "]"
            elif char == "[":
                in_class = True
            elif char in "()":
                depth += 1 if char == "(" else -1
                if depth == 0:
                    return at
        raise UntranslatableRegex("unclosed group")

    def _escape(self) -> str:
        if (found := self._match(_BACKREFERENCE)) is not None:
            return self._leave_out("back-references", found.end(), _ANYTHING)
        letter = self._source[self._at + 1 : self._at + 2]
        match letter:
            case "b" | "B":
                return self._leave_out("word boundaries", self._at + 2)
            case "A":
                return self._take(2, "^")
            case "z" | "Z":
                return self._take(2, "$")
            case "s" | "S":
                return self._take(2, f"[{'^' if letter == 'S' else ''}{_SPACES}]")
        return self._character()

    def _character(self) -> str:
        """Translate an escape that means the same in a class and outside."""
        if (pair := self._match(_SURROGATES)) is not None:
            high, low = (int(half, 16) for half in pair.groups())
            code = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)
            return self._take(len(pair[0]), f"\\u{{{code:x}}}")
        if self._match(_LONE_SURROGATE):
            raise UntranslatableRegex("half of a surrogate pair")
        if (code_point := self._match(_CODE)) is not None:
            return self._take(len(code_point[0]), code_point[0])
        if (control := self._match(_CONTROL)) is not None:
            return self._take(len(control[0]), f"\\x{ord(control[1]) % 32:02x}")
        letter = self._source[self._at + 1 : self._at + 2]
        if not letter:
            raise UntranslatableRegex("it ends with a backslash")
        if letter == "0":
            return self._take(2, r"\x00")
        if letter in _SAME or not letter.isalnum():
            escaped = letter in _SAME or (letter.isascii() and letter.isprintable())
            return self._take(2, f"\\{letter}" if escaped else letter)
        return self._take(2, letter)

    def _class(self) -> str:
        for empty, translated in (("[^]", r"[\s\S]"), ("[]", r"[^\s\S]")):
            if self._source.startswith(empty, self._at):
                return self._take(len(empty), translated)
        pieces = [self._take(1, "[")]
        while self._at < len(self._source):
            char = self._source[self._at]
            if char == "]":
                return "".join([*pieces, self._take(1, "]")])
            pieces.append(self._in_class(char))
        raise UntranslatableRegex("unclosed character class")

    def _in_class(self, char: str) -> str:
        if char != "\\":
            return self._take(1, f"\\{char}" if char in "[&~" else char)
        match self._source[self._at + 1 : self._at + 2]:
            case "b":
                return self._take(2, r"\x08")
            case "s":
                return self._take(2, _SPACES)
            case "S":
                return self._take(2, f"[^{_SPACES}]")
        return self._character()
