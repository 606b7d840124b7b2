"""`mlxctl run`: the request, and how its answer is printed."""

import json
import os
import subprocess

import pytest

from tests.mlxctl.conftest import DEADLINE, Run, command
from tests.support.fake_daemon import CHAT, DONE, FakeDaemon, chunk, finish, usage

ANSWER = (chunk(""), chunk("Par"), chunk("is."), finish(), usage(24, 2), DONE)


def asked(daemon: FakeDaemon) -> object:
    return [message["content"] for message in daemon.bodies[-1]["messages"]]


def test_the_answer_is_printed_and_ends_its_line(daemon: FakeDaemon, mlxctl: Run) -> None:
    daemon.streams(*ANSWER)
    done = mlxctl("run", "What", "is it?")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Paris.\n", "")
    assert daemon.bodies == [
        {
            "messages": [{"role": "user", "content": "What is it?"}],
            "model": None,
            "max_tokens": None,
            "temperature": None,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ]


def test_the_answer_is_shown_as_it_comes(
    daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    stream = daemon.streams(chunk("first"), chunk(" second"), DONE, waits=True)
    with subprocess.Popen(
        command("run", "hi"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.read(5) == b"first"
        stream.go_on.set()
        assert process.stdout.read() == b" second\n"
        assert process.wait(DEADLINE) == 0


def test_options_become_fields(daemon: FakeDaemon, mlxctl: Run) -> None:
    daemon.streams(*ANSWER)
    options = ["--system", "Be brief.", "--max-tokens", "7", "--temperature", "0.5", "-m", "tiny"]
    mlxctl("run", *options, "Why?")
    body = daemon.bodies[-1]
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (body["max_tokens"], body["temperature"], body["model"]) == (7, 0.5, "tiny")


@pytest.mark.parametrize(
    ("arguments", "piped", "question"),
    [
        (["Sum up."], "The text.\n", "Sum up.\n\nThe text.\n"),
        ([], "The text.", "The text."),
        (["-"], "The text.", "The text."),
        (["-", "Sum up."], "The text.", "Sum up.\n\nThe text."),
        (["Sum up."], "", "Sum up."),
    ],
)
def test_piped_input_is_appended_to_the_prompt(
    daemon: FakeDaemon, mlxctl: Run, arguments: list[str], piped: str, question: str
) -> None:
    daemon.streams(*ANSWER)
    assert mlxctl("run", *arguments, piped=piped.encode()).returncode == 0
    assert asked(daemon) == [question]


@pytest.mark.parametrize(("arguments", "piped"), [([], b""), (["-", "Sum up."], b"  \n")])
def test_no_prompt_is_invalid_usage(
    daemon: FakeDaemon, mlxctl: Run, arguments: list[str], piped: bytes
) -> None:
    done = mlxctl("run", *arguments, piped=piped)
    assert done.returncode == 2
    assert "Usage: mlxctl run" in done.stderr


def test_a_terminal_is_not_read(daemon: FakeDaemon) -> None:
    daemon.streams(*ANSWER)
    ours, terminal = os.openpty()
    try:
        process = subprocess.run(
            command("run", "hi"), stdin=terminal, capture_output=True, timeout=DEADLINE
        )
        nothing = subprocess.run(
            command("run"), stdin=terminal, capture_output=True, timeout=DEADLINE
        )
    finally:
        os.close(ours)
        os.close(terminal)
    assert process.stdout == b"Paris.\n"
    assert nothing.returncode == 2
    assert b"no prompt" in nothing.stderr


def test_bytes_that_are_not_utf_8_are_refused(daemon: FakeDaemon, mlxctl: Run) -> None:
    done = mlxctl("run", piped=b"ok \xff")
    assert (done.returncode, done.stderr) == (
        1,
        "mlxctl: standard input is not UTF-8 at byte 3\n",
    )
    argument = subprocess.run(
        [*command("run"), b"\xff"], stdin=subprocess.DEVNULL, capture_output=True
    )
    assert argument.returncode == 2
    assert b"not UTF-8" in argument.stderr
    assert mlxctl("run", "--temperature", "nan", "hi").returncode == 2


def test_json_is_one_object(daemon: FakeDaemon, mlxctl: Run) -> None:
    daemon.streams(b": queued\n\n", *ANSWER)
    answer = json.loads(mlxctl("run", "--json", "hi").stdout)
    assert answer.pop("seconds") >= 0
    assert answer == {
        "model": "tiny",
        "content": "Paris.",
        "finish_reason": "stop",
        "usage": {"prompt_tokens": 24, "completion_tokens": 2, "total_tokens": 26},
    }


def test_progress_is_shown_on_a_terminal_and_erased_by_the_answer(daemon: FakeDaemon) -> None:
    daemon.streams(b": loading 41%\n\n", *ANSWER)
    ours, terminal = os.openpty()
    try:
        done = subprocess.run(
            command("run", "hi"),
            stdin=subprocess.DEVNULL,
            stdout=terminal,
            stderr=terminal,
            timeout=DEADLINE,
        )
        shown = os.read(ours, 1000)
    finally:
        os.close(ours)
        os.close(terminal)
    assert done.returncode == 0
    assert shown == b"\r\x1b[Kloading 41%\r\x1b[KParis.\r\n"


def test_an_error_of_the_daemon_is_one_line(daemon: FakeDaemon, mlxctl: Run) -> None:
    daemon.answers(CHAT, {"error": {"message": "`max_tokens`: too small"}}, status=400)
    done = mlxctl("run", "hi")
    assert (done.returncode, done.stderr) == (1, "mlxctl: `max_tokens`: too small\n")


def test_an_error_in_the_stream_follows_what_came_before_it(
    daemon: FakeDaemon, mlxctl: Run
) -> None:
    daemon.streams(chunk("Par"), b'data: {"error": {"message": "the engine died"}}\n\n')
    done = mlxctl("run", "hi")
    assert (done.returncode, done.stdout) == (1, "Par\n")
    assert done.stderr == "mlxctl: the engine died\n"


@pytest.mark.parametrize("ends", [True, False])
def test_a_stream_that_ends_early_is_an_error(daemon: FakeDaemon, mlxctl: Run, ends: bool) -> None:
    daemon.streams(chunk("Par"), ends=ends)
    done = mlxctl("run", "hi")
    assert (done.returncode, done.stdout) == (1, "Par\n")
    assert "ended early" in done.stderr
    assert done.stderr.count("\n") == 1


def test_control_sequences_of_the_answer_are_left_alone(daemon: FakeDaemon, mlxctl: Run) -> None:
    daemon.streams(chunk("\x1b[1mbold"), DONE)
    assert mlxctl("run", "hi").stdout == "\x1b[1mbold\n"
