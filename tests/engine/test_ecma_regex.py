"""Patterns of ECMA 262 for the grammar's engine."""

import pytest

from mlxd.engine.ecma_regex import UntranslatableRegex, translate

ZOD_EMAIL = (
    r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]"
    r"@([A-Za-z0-9][A-Za-z0-9\-]*\.)+[A-Za-z]{2,}$"
)
PYDANTIC_DECIMAL = r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"


@pytest.mark.parametrize(
    ("source", "translated"),
    [
        (r"^[a-z]{2,3}\d+$", r"^[a-z]{2,3}\d+$"),
        (r"^{{name}}$", r"^\{\{name}}$"),
        (r"[[a&&b]", r"[\[a\&\&b]"),
        (r"(?<year>\d)-(?P<day>\d)", r"(?:\d)-(?:\d)"),
        (r"\Aa\Z", "^a$"),
        (r"\cJ\0[\b]", r"\x0a\x00[\x08]"),
        (r"\uD83D\uDE00", r"\u{1f600}"),
        (r"\p{L}\/\-\_", r"\p{L}\/\-\_"),
        ("[^]", r"[\s\S]"),
        ("(?s).", "(?s)."),
        ("a.", r"a[^\n\r\u{2028}\u{2029}]"),
    ],
)
def test_an_expression_keeps_its_meaning(source: str, translated: str) -> None:
    assert translate(source) == (translated, [])


@pytest.mark.parametrize(
    ("source", "translated", "left_out"),
    [
        (PYDANTIC_DECIMAL, r"^[+-]?0*\d*\.?\d*$", ["look-around"]),
        (r"\bword\b", "word", ["word boundaries"]),
        (r"^(a|b)\1$", r"^(a|b)[\s\S]*$", ["back-references"]),
        (r"(?<=[)(])+x(?=(?:y)\))?", "x", ["look-around"]),
    ],
)
def test_what_the_engine_lacks_is_left_out_and_told(
    source: str, translated: str, left_out: list[str]
) -> None:
    assert translate(source) == (translated, left_out)


def test_an_address_of_zod_keeps_all_but_its_look_ahead() -> None:  # email-mcp#58
    translated, left_out = translate(ZOD_EMAIL)
    assert translated.startswith("^([A-Za-z0-9_'+")
    assert left_out == ["look-around"]


@pytest.mark.parametrize("source", ["(?=a", "[a", "\\", r"[\uD83D]"])
def test_what_has_no_meaning_for_the_engine_is_an_error(source: str) -> None:
    with pytest.raises(UntranslatableRegex):
        translate(source)
