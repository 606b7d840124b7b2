"""The words of the code and the documentation: plain English, and the same everywhere."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CODE = sorted([*ROOT.glob("mlxd/**/*.py"), *ROOT.glob("mlxctl/**/*.py")])
PROSE = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")), *CODE]
JARGON = re.compile(r"\bmend|refuses nobody|that of nothing", re.IGNORECASE)


def docstrings(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


@pytest.mark.parametrize("file", CODE, ids=lambda file: str(file.relative_to(ROOT)))
def test_docstrings_begin_with_the_words_of_the_field(file: Path) -> None:
    assert not [text for text in docstrings(file) if re.match(r"Gives?\b", text)]


@pytest.mark.parametrize("file", PROSE, ids=lambda file: str(file.relative_to(ROOT)))
def test_the_texts_are_free_of_jargon(file: Path) -> None:
    assert not JARGON.findall(file.read_text())


def test_there_is_a_glossary() -> None:
    assert "## Glossary" in (ROOT / "CONTRIBUTING.md").read_text()
