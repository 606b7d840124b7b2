"""The property list: what is in it, and that launchd would take it."""

import plistlib
import shutil
import subprocess

import pytest

from mlxctl.service import plist
from mlxctl.service.description import Description, Mode, describe
from mlxd.config import Config, ServerConfig
from scripts.service_templates import templates


def service(mode: Mode = Mode.AT_LOGIN, **changes: object) -> Description:
    fields: dict = {
        "mode": mode,
        "program": ("/opt/mlxd/bin/mlxd", "--log-file", "/h/logs/mlxd.log"),
        "environment": {"MLXD_HOME": "/h"},
        "host": "127.0.0.1",
        "port": 8080,
        "socket": "/h/run/mlxd.sock",
        "stderr": "/h/logs/mlxd.stderr.log",
        "stop_seconds": 45,
        "user": "ada",
    }
    return Description(**{**fields, **changes})


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("session", ["Aqua", "Background"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", ""])
def test_every_plist_survives_a_round_trip_and_the_key_table(
    mode: Mode, session: str, host: str
) -> None:
    made = plist.make(service(mode, host=host), "dev.mlxd", session)
    assert list(plist.complaints(made)) == []
    assert plistlib.loads(plist.render(made)) == made
    assert plist.mode_of(made) is mode
    assert plistlib.loads(plist.sealed(plist.render(made))) == made
    if plutil := shutil.which("plutil"):
        sealed = plist.sealed(plist.render(made))
        subprocess.run([plutil, "-lint", "-"], input=sealed, check=True, capture_output=True)


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


def test_the_machines_own_service_has_a_user() -> None:
    made = plist.make(service(Mode.SYSTEM, user_id=501), "dev.mlxd")
    assert made["UserName"] == "ada"
    assert made["Sockets"]["local"]["SockPathOwner"] == 501
    assert "LimitLoadToSessionType" not in made


def test_a_daemon_that_takes_any_port_binds_it_itself() -> None:
    assert list(plist.make(service(host=""), "dev.mlxd")["Sockets"]) == ["local"]


def test_the_exit_timeout_is_above_the_drain_timeout() -> None:
    config = Config(server=ServerConfig(drain_timeout=120.5))
    made = plist.make(describe(config, Mode.AT_LOGIN, {}), "dev.mlxd")
    assert made["ExitTimeOut"] > 120.5


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"Labell": "x"}, "Labell is unknown to launchd"),
        ({"RunAtLoad": 1}, "RunAtLoad is int and has to be bool"),
        ({"ExitTimeOut": True}, "ExitTimeOut is bool and has to be int"),
        ({"ExitTimeOut": 4.5}, "ExitTimeOut is float and has to be int"),
        ({"ProgramArguments": ["a", 1]}, "ProgramArguments[1] is int and has to be str"),
        ({"ProgramArguments": "a"}, "ProgramArguments is no list"),
        ({"EnvironmentVariables": {"A": 1}}, "EnvironmentVariables.A is int and has to be str"),
        ({"KeepAlive": {"Sucess": True}}, "KeepAlive.Sucess is unknown to launchd"),
        (
            {"Sockets": {"http": {"SockPathMode": "600"}}},
            "Sockets.http.SockPathMode is str and has to be int",
        ),
    ],
)
def test_what_launchd_would_ignore_or_refuse_is_named(change: dict, complaint: str) -> None:
    wrong = {**plist.make(service(), "dev.mlxd"), **change}
    assert list(plist.complaints(wrong)) == [complaint]
    with pytest.raises(ValueError, match=r"has to be|unknown|is no list"):
        plist.render(wrong)


def test_what_is_missing_is_named() -> None:
    assert list(plist.complaints({})) == ["Label is missing", "ProgramArguments is missing"]


@pytest.mark.parametrize("file", templates(), ids=lambda file: file.name)
def test_packaging_holds_what_the_code_makes(file) -> None:
    assert file.read_bytes() == templates()[file], "run: python -m scripts.service_templates"
