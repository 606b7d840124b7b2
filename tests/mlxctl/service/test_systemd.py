"""systemd's units, judged by systemd-analyze; tests/mlxctl/test_systemd.py has them started."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from mlxctl.service.description import Mode
from mlxctl.service.systemd import units
from tests.support.service_world import service


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("mode", Mode)
def test_systemd_takes_them(mode: Mode, tmp_path: Path) -> None:
    made = units(service(mode, program=("/bin/true", "a b%"), user="root"))
    for name, text in made.items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *(tmp_path / name for name in made)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path), "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True,
        text=True,
    )
    ours = [line for line in done.stderr.splitlines() if "mlxd" in line]
    assert ours == []


@pytest.mark.parametrize("mode", Mode)
def test_the_daemon_can_gain_no_rights(mode: Mode) -> None:
    unit = units(service(mode))["mlxd.service"]
    assert "NoNewPrivileges=yes" in unit
    assert "UMask=0077" in unit
    assert ("CapabilityBoundingSet=\n" in unit) == (mode is Mode.SYSTEM)


def test_both_sockets_have_the_names_that_the_daemon_knows() -> None:
    made = units(service())
    assert "FileDescriptorName=local" in made["mlxd.socket"]
    assert "FileDescriptorName=http" in made["mlxd-http.socket"]
    assert "Sockets=mlxd.socket mlxd-http.socket" in made["mlxd.service"]
    both = units(service(addresses=("127.0.0.1", "::1")))["mlxd-http.socket"]
    assert "ListenStream=127.0.0.1:8080\nListenStream=[::1]:8080\n" in both


def test_a_daemon_that_takes_any_port_binds_it_itself() -> None:
    made = units(service(host=""))
    assert sorted(made) == ["mlxd.service", "mlxd.socket"]
    assert "http" not in made["mlxd.service"]


def test_on_demand_only_the_sockets_start_it() -> None:
    assert "[Install]" in units(service())["mlxd.service"]
    assert "[Install]" not in units(service(Mode.ON_DEMAND))["mlxd.service"]


def test_a_broken_configuration_is_not_tried_again() -> None:
    assert "RestartPreventExitStatus=78" in units(service())["mlxd.service"]


def test_special_characters_mean_themselves() -> None:
    made = units(service(environment={"A": 'b c%"'}))["mlxd.service"]
    assert 'Environment="A=b c%%\\""' in made
