"""Homebrew's service of the whole machine; the user's own is in tests/mlxctl/test_homebrew.py."""

from pathlib import Path

import pytest

from mlxctl.service import homebrew
from mlxctl.service.homebrew_launchd import HomebrewJob
from mlxctl.service.launchctl import Launchctl
from mlxctl.service.launchd import DAEMONS
from mlxd.config import Config


def test_one_that_sudo_started_is_told(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launchctl = tmp_path / "launchctl"
    launchctl.write_text(
        '#!/bin/sh\ntest "$*" = "print system/homebrew.mxcl.mlxd" || exit 113\n'
        'printf "x = {\\n\\tstate = running\\n\\tpid = 1\\n}\\n"\n'
    )
    launchctl.chmod(0o755)
    job = HomebrewJob(Config(), Launchctl(str(launchctl)), homebrew.LABEL, DAEMONS)
    found = job.describe()
    assert (found.manager, found.label) == ("Homebrew's service", "system/homebrew.mxcl.mlxd")
    assert found.faults == ["it is root's, with a home of its own: sudo brew services stop mlxd"]
