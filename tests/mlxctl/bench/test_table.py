"""What `mlxctl bench` prints, and the plot that it writes."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from mlxctl.bench.plot import save
from mlxctl.bench.table import seconds, tables
from tests.mlxctl.bench.reports import report

ALONE = """\
qwen3-8b on mlxd 0.1.0
Apple M4 Max, 16 cores, 64 GB
answers of 128 tokens, 3 rounds in 41 s

PROMPT  STREAMS  FIRST TOKEN  SLOWEST  PROMPT TOK/S  STREAM TOK/S  TOK/S
 1,024        1       500 ms   1.00 s         2,048          50.0   50.0
 1,024        8       1.25 s   2.50 s         2,048          25.0    200

PROMPT  STREAMS  TOK/S
 1,024        1  ██████████
 1,024        8  ████████████████████████████████████████

time to first token by where the beginning of the prompt was
PROMPT    COLD     WARM          CACHED     DISK          CACHED
 1,024  500 ms  4.20 ms  1,024 of 1,040  80.1 ms  1,024 of 1,040

memory: 5.0 GB when ready, at most 6.0 GB of 48 GB, prompt cache 500 MB

not measured: 8 streams with prompts of 4,096 tokens: no time for them"""

RATIOS = """\
mlxd / localhost:8000: how many times as soon, and as fast
PROMPT  STREAMS  FIRST TOKEN  TOK/S
 1,024        1         1.20   0.91
 1,024        8         2.00   2.00
"""


def test_one_server() -> None:
    assert tables(report(against=False)) == ALONE


def test_two_servers() -> None:
    text = tables(report())
    assert RATIOS in text
    assert "qwen3-8b on mlxd 0.1.0, beside q8 on http://localhost:8000\n" in text
    assert " 1,024        1  mlxd                 500 ms" in text
    assert "                 localhost:8000       600 ms" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.00831, "8.31 ms"), (0.0421, "42.1 ms"), (0.142, "142 ms"), (0.9996, "1.00 s")],
)
def test_times_have_three_digits(value: float, text: str) -> None:
    assert seconds(value) == text


@pytest.mark.parametrize("against", [False, True])
def test_plot_as_svg(tmp_path: Path, against: bool) -> None:
    save(report(against=against), tmp_path / "bench.svg")

    texts = {
        "".join(element.itertext()).strip()
        for element in ElementTree.parse(tmp_path / "bench.svg").iter()
        if element.tag.endswith("text")
    }
    own = "mlxd, on disk" if against else "on disk"
    assert {"time to first token, one stream", "tokens a second, all streams together"} <= texts
    assert {own, "1,024", "tokens/s"} <= texts
    assert ("localhost:8000, prompts of 1,024" in texts) is against


def test_equal_figures_make_an_equal_svg(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        save(report(), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_plot_as_png(tmp_path: Path) -> None:
    save(report(), tmp_path / "bench.PNG")
    assert (tmp_path / "bench.PNG").read_bytes().startswith(b"\x89PNG")
