import sys
from pathlib import Path

import pytest

from mlxctl.doctor.mlx import Mlx, again, ask, judged


def test_mlx_is_asked_for_real() -> None:
    found = ask(sys.executable)
    assert isinstance(found, Mlx)
    assert judged(found, on_mac=False).state == "good"


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo 'ModuleNotFoundError: No module named mlx' >&2; exit 1", "No module named mlx"),
        ("kill -ABRT $$", "signal 6"),
        ("echo hello", "it prints 'hello"),
        ("exit 3", "exit status 3"),
    ],
)
def test_a_python_without_mlx_is_bad(tmp_path: Path, script: str, says: str) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o700)
    finding = judged(ask(str(python)), on_mac=True)
    assert finding.state == "bad"
    assert says in finding.message
    assert "pip install" in finding.mend


def test_an_mlx_that_hangs_is_bad(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 60\n")
    python.chmod(0o700)
    assert ask(str(python), 0.1) == "it does not answer within 0.1 s"


def test_what_installs_it_again() -> None:
    assert again("/opt/homebrew/Cellar/mlxd/1.0/libexec/bin/python") == "brew reinstall mlxd"
    assert again("/a b/python").startswith("'/a b/python' -m pip install ")


def test_no_python_is_bad(tmp_path: Path) -> None:
    assert judged(ask(str(tmp_path / "none")), on_mac=True).state == "bad"


@pytest.mark.parametrize(
    ("device", "on_mac", "state"),
    [("DeviceType.gpu", True, "good"), ("DeviceType.cpu", True, "warning")],
)
def test_a_mac_computes_on_its_gpu(device: str, on_mac: bool, state: str) -> None:
    assert judged(Mlx("0.32", "0.32", device), on_mac=on_mac).state == state
