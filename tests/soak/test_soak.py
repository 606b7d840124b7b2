"""The soak itself, for a few seconds: that it runs, and finds what is wrong."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.soak.client import ANSWERED, LEFT, WRONG, Outcome
from tests.soak.growth import Growth
from tests.soak.mix import Ask
from tests.soak.sigterms import one_round
from tests.soak.summary import faults

ASK = Ask("chat", "/v1/chat/completions", {"stream": False})


@pytest.mark.slow
def test_a_short_soak_finds_nothing_wrong() -> None:
    command = [sys.executable, "-m", "tests.soak", "--minutes", "0.07", "--sigterms", "0"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing was wrong" in done.stdout


@pytest.mark.slow
def test_a_signal_under_load_ends_every_request_and_cuts_no_stream() -> None:
    with tempfile.TemporaryDirectory(prefix="mlxd") as home:
        assert one_round(Path(home), "suite", clients=4) == []


def test_a_lost_request_and_growth_are_wrong() -> None:
    outcomes = [Outcome(ASK, ANSWERED), Outcome(ASK, LEFT), Outcome(ASK, WRONG, "no end")]
    growth = [Growth("threads", 3, 9, grown=True), Growth("descriptors", 20, 20, grown=False)]
    assert faults(outcomes, growth) == ["1 × chat: no end", "threads: from 3.0 to 9.0"]


def test_no_answer_at_all_is_wrong() -> None:
    assert faults([], []) == ["no request was answered"]
