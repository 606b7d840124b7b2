"""The manual pages match the commands and the configuration."""

import shutil
import subprocess
from pathlib import Path

import pytest

from scripts.man_pages import pages

PAGES = pages()


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
def test_a_page_is_up_to_date(file: Path) -> None:
    assert file.read_text() == PAGES[file], "run: python -m scripts.man_pages"


@pytest.mark.skipif(shutil.which("mandoc") is None, reason="there is no mandoc")
@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.name)
def test_mandoc_reports_nothing(file: Path) -> None:
    lint = subprocess.run(["mandoc", "-Tlint", str(file)], capture_output=True, text=True)
    faults = [
        line for line in lint.stdout.splitlines() if "referenced manual not found" not in line
    ]
    assert faults == []
