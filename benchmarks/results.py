"""The section of benchmarks/README.md that a run writes, between two markers."""

import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import report

from mlxctl.errors import BenchmarkError

README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
_ROOT = README.parent.parent


def section(
    tables: report.Tables,
    facts: dict[str, str],
    commands: Sequence[Sequence[str]],
    left_out: list[str],
) -> str:
    """Return the section: what it was made on, the commands, and a table below each title.

    The first of `commands` is the benchmark's own, the others are those of the servers.
    """
    lines = [f"Written by this command on {time.strftime('%Y-%m-%d')}:", "", "```"]
    lines += [_shown(commands[0]), "```", ""]
    lines += [f"- {name}: {fact}" for name, fact in facts.items()]
    lines += [f"- left out: {line}" for line in left_out]
    lines += ["", "The servers were started as", "", "```"]
    lines += [*map(_shown, commands[1:]), "```"]
    for title, rows in tables.items():
        lines += ["", f"### {title[0].upper()}{title[1:]}", "", report.markdown(rows)]
    return "\n".join(lines)


def write(text: str, readme: Path = README) -> None:
    """Replace what is between the markers of `readme`.

    Raises:
        BenchmarkError: the markers are missing.
    """
    whole = readme.read_text(encoding="utf-8")
    before, begin, rest = whole.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise BenchmarkError(f"{readme} has no lines {BEGIN!r} and {END!r}")
    readme.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")


def _shown(command: Sequence[str]) -> str:
    """A command as one would type it in the repository's folder."""
    line = shlex.join(command).replace(f"{_ROOT}/", "")
    return line.replace(sys.executable, ".venv/bin/python")
