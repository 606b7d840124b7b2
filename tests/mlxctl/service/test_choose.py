"""Which service manager is in charge."""

from pathlib import Path

import pytest

from mlxctl.errors import CommandFailed
from mlxctl.service import choose
from mlxctl.service.description import Mode
from mlxctl.service.launchd import LaunchdManager
from mlxctl.service.process import ProcessManager
from mlxctl.service.systemd import SystemdManager
from mlxd.config import Config


@pytest.fixture
def bare(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A system without a service manager; its programs are in the folder."""
    folder = home / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    return folder


def test_a_second_home_has_a_service_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLXD_HOME", raising=False)
    assert (choose.label(), choose.unit_name()) == ("dev.mlxd", "mlxd")
    monkeypatch.setenv("MLXD_HOME", str(tmp_path))
    assert choose.label().startswith("dev.mlxd.")
    assert choose.unit_name().startswith("mlxd-")


def test_without_a_service_manager_mlxctl_is_in_charge(bare: Path) -> None:
    assert isinstance(choose.in_charge(Config()), ProcessManager)
    with pytest.raises(CommandFailed, match="neither launchd nor systemd"):
        choose.to_install(Config(), None, Mode.AT_LOGIN)


def test_the_service_can_be_printed_for_another_system(bare: Path) -> None:
    for name, kind in (("launchd", LaunchdManager), ("systemd", SystemdManager)):
        assert isinstance(choose.to_install(Config(), name, Mode.AT_LOGIN), kind)


def test_a_system_with_launchctl_has_launchd(bare: Path) -> None:
    (bare / "launchctl").touch(mode=0o755)
    assert choose.usual() == "launchd"
    assert isinstance(choose.to_install(Config(), None, Mode.AT_LOGIN), LaunchdManager)
