"""The property list: what it says, and that launchd would take it."""

import plistlib
import shutil
import subprocess
from pathlib import Path

import pytest

from mlxctl.service import plist
from mlxctl.service.description import Mode, describe
from scripts.service_templates import templates
from tests.support.launchd_plist import complaints
from tests.support.service_world import service

PLIST = {"Label": "x", "ProgramArguments": ["x"]}


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("session", ["Aqua", "Background"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", ""])
def test_launchd_takes_every_plist(mode: Mode, session: str, host: str) -> None:
    made = plist.make(service(mode, host=host), "dev.mlxd", session)
    assert list(complaints(made)) == []
    assert plistlib.loads(plist.render(made)) == made
    assert plist.mode_of(made) is mode
    if plutil := shutil.which("plutil"):
        content = plist.render(made)
        subprocess.run([plutil, "-lint", "-"], input=content, check=True, capture_output=True)


def test_what_every_plist_says() -> None:
    made = plist.make(service(), "dev.mlxd")
    assert made["ProcessType"] == "Interactive"
    assert made["ExitTimeOut"] == 45
    assert made["Umask"] == 63
    assert made["ThrottleInterval"] == 5
    assert made["SoftResourceLimits"] == {"NumberOfFiles": 8192}
    assert made["Sockets"]["local"]["SockPathMode"] == 384
    assert made["Sockets"]["http"]["SockServiceName"] == "8080"
    assert made["StandardErrorPath"] == "/h/logs/mlxd.stderr.log"
    assert "StandardOutPath" not in made


def test_only_what_starts_by_itself_is_kept_alive() -> None:
    assert plist.make(service(), "dev.mlxd")["KeepAlive"] == {"SuccessfulExit": False}
    # A condition on the exit would have launchd start it at once.
    on_demand = plist.make(service(Mode.ON_DEMAND), "dev.mlxd")
    assert not {"KeepAlive", "RunAtLoad"} & set(on_demand)


def test_a_system_service_runs_as_a_user() -> None:
    made = plist.make(service(Mode.SYSTEM, user_id=501), "dev.mlxd")
    assert made["UserName"] == "ada"
    assert made["Sockets"]["local"]["SockPathOwner"] == 501
    assert "LimitLoadToSessionType" not in made


def test_a_daemon_that_takes_any_port_binds_it_itself() -> None:
    assert list(plist.make(service(host=""), "dev.mlxd")["Sockets"]) == ["local"]


def test_the_exit_timeout_is_above_the_drain_timeout(home: Path) -> None:
    environ = {"MLXD_SERVER__DRAIN_TIMEOUT": "120.5s"}
    made = plist.make(describe(Mode.AT_LOGIN, environ), "dev.mlxd")
    assert made["ExitTimeOut"] > 120.5


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"Labell": "x"}, "Labell is unknown to launchd"),
        ({"ExitTimeOut": True}, "ExitTimeOut is bool and has to be int"),
        ({"ProgramArguments": ["a", 1]}, "ProgramArguments[1] is int and has to be str"),
        ({"KeepAlive": {"Sucess": True}}, "KeepAlive.Sucess is unknown to launchd"),
        (
            {"Sockets": {"http": {"SockPathMode": "600"}}},
            "Sockets.http.SockPathMode is str and has to be int",
        ),
    ],
)
def test_the_table_of_launchds_keys_finds_mistakes(change: dict, complaint: str) -> None:
    assert complaint in list(complaints({**plist.make(service(), "dev.mlxd"), **change}))


@pytest.mark.parametrize("file", templates(), ids=lambda file: file.name)
def test_packaging_holds_what_the_code_makes(file) -> None:
    assert file.read_bytes() == templates()[file], "run: python -m scripts.service_templates"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"precious",
        b"<plist>",
        b"<plist><date>today</date></plist>",
        b"<plist><integer>x</integer></plist>",
        b"<plist><array/></plist>",
        b"bplist00" + b"\xff" * 40,
        plistlib.dumps(PLIST)[:-20],
    ],
)
def test_a_broken_file_is_no_plist(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.plist"
    assert plist.read(file) is None
    file.write_bytes(content)
    assert plist.read(file) is None
    file.write_bytes(plist.render(PLIST))
    assert plist.read(file) == PLIST
