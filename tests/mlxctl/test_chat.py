"""`mlxctl chat`: a conversation on a terminal, and one that is piped in."""

import os
import pty
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mlxctl.conftest import DEADLINE, Run, command
from tests.support.fake_daemon import CHAT, DONE, FakeDaemon, chunk, finish
from tests.support.statuses import RUNNING, STATUS

SHOWN = {"path": "/m", "origin": "models directory", "size_bytes": 1, "created": 1}
ANSWER = (chunk("Par"), chunk("is."), finish(), DONE)


class Terminal:
    """A terminal with a chat in it."""

    def __init__(self, *arguments: str) -> None:
        self.pid, self.ours = pty.fork()
        if self.pid == 0:
            os.environ["TERM"] = "dumb"
            os.execv(sys.executable, command("chat", *arguments))
        self.shown = b""
        self.ended = False
        self.deadline = threading.Timer(DEADLINE, os.kill, (self.pid, signal.SIGKILL))
        self.deadline.start()

    def sees(self, text: str) -> None:
        """Wait for `text`, and forget all up to its end."""
        while text.encode() not in self.shown:
            try:
                data = os.read(self.ours, 65536)
            except OSError:
                data = b""
            assert data, f"{text!r} is not in {self.shown!r}"
            self.shown += data
        self.shown = self.shown.partition(text.encode())[2]

    def interrupts_until(self, text: str) -> None:
        """Press Ctrl-C: where that comes just as input begins, Python sees it with the next."""
        while text.encode() not in self.shown:
            self.types("\x03")
            if select.select([self.ours], [], [], 0.2)[0]:
                self.shown += os.read(self.ours, 65536)
        self.sees(text)

    def types(self, text: str) -> None:
        os.write(self.ours, text.encode())

    def ends(self) -> int:
        """Wait until the chat has ended, and give its exit status."""
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.deadline.cancel()
        os.close(self.ours)
        self.ended = True
        return status

    def close(self) -> None:
        if not self.ended:
            os.kill(self.pid, signal.SIGKILL)
            self.ends()


@pytest.fixture
def terminal(daemon: FakeDaemon) -> Iterator[Terminal]:
    daemon.answers(STATUS, RUNNING)
    daemon.streams(*ANSWER)
    terminal = Terminal()
    terminal.sees("model: tiny")
    terminal.sees("> ")
    yield terminal
    terminal.close()


def said(daemon: FakeDaemon) -> list[tuple[str, str]]:
    """The conversation as the daemon was sent it last."""
    return [(message["role"], message["content"]) for message in daemon.bodies[-1]["messages"]]


def test_a_conversation(daemon: FakeDaemon, terminal: Terminal) -> None:
    terminal.types("Where?\n")
    terminal.sees("Paris.")
    terminal.sees("> ")
    terminal.types("/system Be brief.\n")
    terminal.sees("> ")
    terminal.types("Why?\n")
    terminal.sees("Paris.")
    terminal.sees("> ")
    assert said(daemon) == [
        ("system", "Be brief."),
        ("user", "Where?"),
        ("assistant", "Paris."),
        ("user", "Why?"),
    ]
    terminal.types("/clear\n/system\nWho?\n")
    terminal.sees("Paris.")
    assert said(daemon) == [("user", "Who?")]
    terminal.types("/exit\n")
    assert terminal.ends() == 0


def test_another_model(daemon: FakeDaemon, terminal: Terminal) -> None:
    daemon.answers(("GET", "/control/v1/models/big"), {"id": "owner/big", **SHOWN})
    fault = {"error": {"message": "no model 'none'"}}
    daemon.answers(("GET", "/control/v1/models/none"), fault, status=404)
    terminal.types("/model none\n")
    terminal.sees("mlxctl: no model 'none'")
    terminal.types("/model big\n")
    terminal.sees("model: owner/big")
    terminal.types("Where?\n")
    terminal.sees("Paris.")
    assert daemon.bodies[-1]["model"] == "owner/big"


def test_tab_completes_commands_and_models(home: Path, terminal: Terminal) -> None:
    (home / "models" / "owner" / "big").mkdir(parents=True)
    (home / "models" / "owner" / "big" / "config.json").touch()
    terminal.types("/he\t\n")
    terminal.sees("/help")
    terminal.sees("Ctrl-C stops an answer.")
    terminal.sees("> ")
    terminal.types("/mod\tow\t")
    terminal.sees("/model owner/big")


def test_control_c_stops_the_answer_and_not_the_chat(
    daemon: FakeDaemon, terminal: Terminal
) -> None:
    stream = daemon.streams(chunk("Once upon"), *[chunk(" a time" * 5000)] * 100, waits=True)
    terminal.types("Tell a story.\n")
    terminal.sees("Once upon")
    terminal.types("\x03")
    terminal.sees("(stopped)")
    stream.go_on.set()
    assert daemon.gone.wait(DEADLINE)
    daemon.streams(*ANSWER)
    terminal.sees("> ")
    terminal.types("Where?\n")
    terminal.sees("Paris.")
    assert said(daemon)[1] == ("assistant", "Once upon")
    terminal.sees("> ")
    terminal.interrupts_until("(press Ctrl-D or type /exit to end the chat)")
    terminal.sees("> ")
    terminal.types("/exit\n")
    assert terminal.ends() == 0


def test_an_answer_that_was_cut_off_says_so(daemon: FakeDaemon, terminal: Terminal) -> None:
    daemon.streams(chunk("Once upon"), finish("length"), DONE)
    terminal.types("Tell a story.\n")
    terminal.sees("Once upon")
    terminal.sees("(cut off: generation.max_tokens, or the end of the model's context)")


def test_a_failure_does_not_end_the_chat(daemon: FakeDaemon, terminal: Terminal) -> None:
    daemon.answers(CHAT, {"error": {"message": "too long"}}, status=400)
    terminal.types("Where?\n")
    terminal.sees("mlxctl: too long")
    terminal.types("/nonsense\n")
    terminal.sees("unknown command /nonsense; type /help for commands")
    daemon.streams(*ANSWER)
    terminal.types("Why?\n")
    terminal.sees("Paris.")
    assert said(daemon) == [("user", "Why?")]


def test_what_was_typed_comes_back(home: Path, daemon: FakeDaemon, terminal: Terminal) -> None:
    terminal.types("Where?\n")
    terminal.sees("Paris.")
    terminal.sees("> ")
    terminal.types("\x04")
    assert terminal.ends() == 0
    assert (home / "chat_history").stat().st_mode & 0o777 == 0o600
    again = Terminal()
    again.sees("> ")
    again.types("\x10\n")  # Ctrl-P, the line before
    again.sees("Paris.")
    assert said(daemon) == [("user", "Where?")]
    again.sees("> ")
    again.types("\x04")
    assert again.ends() == 0


@pytest.mark.parametrize(
    ("piped", "asked"),
    [
        ("Where?\n", ["Where?"]),
        ("a\\\nb\nc", ["a\nb", "c"]),
        ('"""\na\n\nb\n"""\nc\n', ["a\n\nb", "c"]),
        ('"""a"""\n', ["a"]),
        ('"""a\nb', ["a\nb"]),
        ("\n  \na\n/exit\nb\n", ["a"]),
    ],
)
def test_messages_of_several_lines(
    daemon: FakeDaemon, mlxctl: Run, piped: str, asked: list[str]
) -> None:
    daemon.streams(*ANSWER)
    daemon.answers(("GET", "/control/v1/models/t"), {"id": "tiny", **SHOWN})
    done = mlxctl("chat", "--system", "Hm.", "-m", "t", piped=piped.encode())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Paris.\n" * len(asked)
    assert [text for role, text in said(daemon) if role == "user"] == asked
    assert daemon.bodies[-1]["model"] == "tiny"


def test_a_failure_in_a_pipe_ends_it(daemon: FakeDaemon, mlxctl: Run) -> None:
    daemon.answers(CHAT, {"error": {"message": "too long"}}, status=400)
    done = mlxctl("chat", piped=b"a\nb\n")
    assert (done.returncode, done.stderr) == (1, "mlxctl: too long\n")
    assert len(daemon.bodies) == 1


def test_an_unknown_model_is_refused(daemon: FakeDaemon, mlxctl: Run) -> None:
    fault = {"error": {"message": "no model 'none'"}}
    daemon.answers(("GET", "/control/v1/models/none"), fault, status=404)
    done = mlxctl("chat", "-m", "none", piped=b"a\n")
    assert (done.returncode, done.stderr) == (1, "mlxctl: no model 'none'\n")
    assert daemon.bodies == []


def test_without_a_daemon(mlxctl: Run) -> None:
    assert mlxctl("chat", piped=b"a\n").returncode == 3


def test_piped_text_that_is_not_utf_8(daemon: FakeDaemon) -> None:
    daemon.streams(*ANSWER)
    done = subprocess.run(command("chat"), input=b"caf\xe9\n", capture_output=True)
    assert b"Traceback" not in done.stderr
