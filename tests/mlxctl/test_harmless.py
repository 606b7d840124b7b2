"""What models and others say does not control the terminal, and is not taken for mlxd's word."""

import os
from pathlib import Path

import pytest

from mlxctl.client import Client
from mlxctl.errors import CommandFailed
from mlxctl.terminal import harmless
from mlxd.control_api import STATUS


def test_control_characters_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a\tb\n\x1b]52;c;aGk=\x07\r\x9bc é 😀"
    assert harmless(text) == text  # a pipe gets it as it is
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert harmless(text) == "a\tb\n\\x1b]52;c;aGk=\\x07\\x0d\\x9bc é 😀"


def test_a_socket_of_another_user_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "d.sock").touch()
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    if (tmp_path / "d.sock").stat().st_uid == 0:
        os.chown(tmp_path / "d.sock", 54321, -1)
    with pytest.raises(CommandFailed, match="another user"):
        Client(tmp_path / "d.sock").call(STATUS)
