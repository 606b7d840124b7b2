"""The options of the benchmark."""

import options
import pytest


def test_everything_is_all_scenarios_and_the_peers() -> None:
    chosen = options.parse("", ["--everything"])
    assert chosen.only == [*options.USUAL, *options.LONG]
    assert chosen.peers


def test_without_options_the_long_scenarios_and_the_peers_are_left_out() -> None:
    chosen = options.parse("", [])
    assert chosen.only == list(options.USUAL)
    assert not chosen.peers


def test_architectures_by_name_or_all() -> None:
    assert options.parse("", ["--architectures", "llama,gpt_oss"]).architectures == [
        "gpt_oss",
        "llama",
    ]
    assert "qwen3_5" in options.parse("", ["--architectures", "all"]).architectures


def test_unknown_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        options.parse("", ["--only", "speed"])
    assert "'speed' is none of throughput, join" in capsys.readouterr().err
