"""The section of the README that a run writes."""

import sys
from pathlib import Path

import pytest
import results

from mlxctl.errors import BenchmarkError


def test_write_replaces_what_is_between_the_markers(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"above\n{results.BEGIN}\nold\n{results.END}\nbelow\n")

    results.write("new", readme)

    assert readme.read_text() == f"above\n{results.BEGIN}\nnew\n{results.END}\nbelow\n"


def test_write_without_markers(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("above\n")

    with pytest.raises(BenchmarkError, match="results: begin"):
        results.write("new", readme)


def test_the_readme_has_the_markers() -> None:
    text = results.README.read_text()
    assert text.index(results.BEGIN) < text.index(results.END)


def test_section_names_machine_commands_and_tables() -> None:
    script = str(Path(results.__file__).with_name("serving.py"))
    section = results.section(
        {"kill": [{"engine": "mlxd", "load ms": 1234.5}]},
        {"python": "3.11.7"},
        [[sys.executable, script, "--write"], ["mlxd", "--model", "MODEL"]],
        ["kv-bits: why"],
    )

    assert ".venv/bin/python benchmarks/serving.py --write\n" in section
    assert "mlxd --model MODEL\n" in section
    assert "- python: 3.11.7\n- left out: kv-bits: why\n" in section
    assert section.endswith("### Kill\n\n| engine | load ms |\n| --- | ---: |\n| mlxd | 1234 |")
