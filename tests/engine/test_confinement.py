"""What an engine may not do: reach the network, and write files other than its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mlxd.engine.confinement import confine, profile
from mlxd.pool.engine_process import ENGINE_COMMAND, engine_command

TRY = """
import errno, os, socket, subprocess, sys
from pathlib import Path
from mlxd.engine.confinement import confine

own, other, port = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
print(confine([own]))

def attempt(what, do):
    try:
        do()
    except OSError as error:
        print(what, errno.errorcode[error.errno])
    else:
        print(what, "done")

attempt("own", lambda: (own / "a").write_text("x"))
attempt("renamed", lambda: (own / "a").rename(own / "b"))
attempt("removed", lambda: (own / "b").unlink())
attempt("null", lambda: Path("/dev/null").write_text("x"))
attempt("read", lambda: (other / "there").read_text())
attempt("write", lambda: (other / "there").write_text("x"))
attempt("make", lambda: (other / "new").write_text("x"))
attempt("remove", lambda: (other / "there").unlink())
attempt("connect", lambda: socket.create_connection(("127.0.0.1", port)))
ours, theirs = socket.socketpair()
attempt("inherited", lambda: ours.sendall(b"x"))
touch = [sys.executable, "-c", f"open({str(other / 'new')!r}, 'w')"]
print("child", subprocess.run(touch, stderr=subprocess.DEVNULL).returncode)
"""


def test_a_confined_process_and_its_children_are_kept_to_their_folders(
    tmp_path: Path, unused_tcp_port: int
) -> None:
    own, other, temporary = (tmp_path / name for name in ("own", "other", "temporary"))
    other.mkdir()
    (other / "there").write_text("x")
    program = [sys.executable, "-c", TRY, str(own), str(other), str(unused_tcp_port)]
    environ = {**os.environ, "TMPDIR": str(temporary)}
    temporary.mkdir()
    done = subprocess.run(program, env=environ, capture_output=True, text=True, check=True)
    fault, *tried = done.stdout.splitlines()
    if fault != "None":
        pytest.skip(fault)
    assert tried[-3:-2] in (["connect EACCES"], ["connect ECONNREFUSED"])  # before Linux 6.7
    del tried[-3]
    assert tried == [
        *("own done", "renamed done", "removed done", "null done", "read done"),
        *("write EACCES", "make EACCES", "remove EACCES", "inherited done", "child 1"),
    ]


def test_where_it_cannot_be_done_it_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    class Kernel:
        def syscall(self, *_arguments: object) -> int:
            return -1

    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("ctypes.CDLL", lambda *_arguments, **_options: Kernel())
    assert confine([]) == "this kernel has no Landlock"


def test_the_profile_for_a_mac_names_the_folders_and_nothing_of_the_network() -> None:
    """Only a Mac can apply it; what can be told here is its form."""
    text = profile([Path("/Users/me/Library/Caches/mlxd"), Path('/tmp/a "b"')])
    rules = [line for line in text.splitlines() if line.startswith("(")]
    assert rules[:4] == ["(version 1)", "(allow default)", "(deny network*)", "(deny file-write*)"]
    assert '(subpath "/Users/me/Library/Caches/mlxd")' in text
    assert '(subpath "/tmp/a \\"b\\"")' in text
    unquoted = text.replace('\\"', "")
    assert unquoted.count("(") == unquoted.count(")")
    assert "(allow network" not in text


def test_engine_sandbox_switches_it_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLXD_HOME", str(tmp_path))
    monkeypatch.delenv("HF_MODULES_CACHE", raising=False)
    assert engine_command(confined=False) == ENGINE_COMMAND
    caches = (str(tmp_path / "cache" / "prompts"), str(tmp_path / "cache" / "modules"))
    assert engine_command(confined=True) == (*ENGINE_COMMAND, *caches)
