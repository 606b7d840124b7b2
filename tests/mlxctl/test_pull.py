"""`mlxctl pull`: what it shows of a download, and how it ends."""

import json
import os
import signal
import subprocess

import pytest

from mlxd.network import variables
from tests.mlxctl.conftest import Run, command
from tests.support.fake_daemon import FakeDaemon, event
from tests.support.statuses import RUNNING
from tests.support.statuses import STATUS as STATUS_ROUTE

PULL = ("POST", "/control/v1/pull")
PULLS = ("GET", "/control/v1/pulls")
CANCEL = ("POST", "/control/v1/pull/cancel")
REPLY = {
    "model": "acme/tiny",
    "revision": "main",
    "commit": "c0ffee",
    "path": "/m/acme/tiny",
    "size_bytes": 4_000_000_000,
    "bytes_fetched": 4_000_000_000,
    "up_to_date": False,
}
STATUS = {
    "model": "acme/tiny",
    "revision": "main",
    "state": "downloading",
    "bytes_done": 1_000_000_000,
    "bytes_total": 4_000_000_000,
    "bytes_per_second": 25e6,
    "file": "model.safetensors",
}
ASKING = {"model": "acme/tiny", "revision": "main", "state": "asking"}
RETRYING = STATUS | {"state": "retrying", "cause": "the connection broke; the next try is in 1 s"}


def progress(**status: object) -> bytes:
    return event({"progress": status})


def done(**reply: object) -> bytes:
    return event({"done": reply})


def test_pull_prints_where_the_model_is(daemon: FakeDaemon, mlxctl: Run) -> None:
    daemon.streams(progress(**ASKING), done(**REPLY), route=PULL)
    said = mlxctl("pull", "acme/tiny@v1")
    assert (said.stdout, said.stderr) == ("downloaded acme/tiny: 4.0 GB in /m/acme/tiny\n", "")
    assert daemon.bodies == [{"model": "acme/tiny@v1", "stream": True}]
    daemon.streams(done(**REPLY | {"up_to_date": True}), route=PULL)
    assert mlxctl("pull", "acme/tiny").stdout == "acme/tiny is up to date (/m/acme/tiny)\n"
    daemon.streams(done(**REPLY), route=PULL)
    assert json.loads(mlxctl("pull", "acme/tiny", "--json").stdout) == REPLY


def test_a_pipe_gets_a_line_for_each_tenth_and_each_problem(
    daemon: FakeDaemon, mlxctl: Run
) -> None:
    steps = [STATUS | {"bytes_done": share * 10**7} for share in (0, 1, 99, 100, 101, 399, 400)]
    daemon.streams(
        *(progress(**step) for step in (ASKING, *steps, RETRYING, RETRYING)),
        done(**REPLY),
        route=PULL,
    )
    assert mlxctl("pull", "acme/tiny").stderr.splitlines() == [
        "mlxctl: acme/tiny: 20 % of 4.0 GB",
        "mlxctl: acme/tiny: 90 % of 4.0 GB",
        "mlxctl: acme/tiny: 100 % of 4.0 GB",
        "mlxctl: acme/tiny: the connection broke; the next try is in 1 s",
    ]


def test_a_failure_is_told_once(daemon: FakeDaemon, mlxctl: Run) -> None:
    failed = STATUS | {"state": "failed", "cause": "the pull of acme/tiny was cancelled"}
    error = event({"error": {"message": failed["cause"]}})
    daemon.streams(progress(**failed), error, route=PULL)
    assert mlxctl("pull", "acme/tiny").stderr == f"mlxctl: {failed['cause']}\n"


def test_a_terminal_gets_a_bar_with_size_speed_and_time_left(daemon: FakeDaemon) -> None:
    daemon.streams(progress(**STATUS), progress(**RETRYING), done(**REPLY), route=PULL)
    ours, terminal = os.openpty()
    with subprocess.Popen(
        command("pull", "acme/tiny"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=terminal,
        env={**os.environ, "COLUMNS": "200"},
    ) as process:
        assert process.wait(30) == 0
    os.close(terminal)
    shown = os.read(ours, 65536).decode().split("\r\x1b[K")
    os.close(ours)
    assert shown == [
        "",
        "acme/tiny [#####---------------]  25%  1.0 GB of 4.0 GB  25 MB/s  2 min 0 s left",
        "acme/tiny [#####---------------]  25%  1.0 GB of 4.0 GB  "
        "the connection broke; the next try is in 1 s",
        "",
    ]


def test_after_control_c_the_download_continues(daemon: FakeDaemon) -> None:
    stream = daemon.streams(progress(**STATUS), waits=True, route=PULL)
    with subprocess.Popen(
        command("pull", "acme/tiny"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        daemon.asked.wait(30)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    stream.go_on.set()
    assert process.returncode == -signal.SIGINT
    assert said.splitlines()[-1] == (
        "mlxctl: the download continues in the daemon; to see it: mlxctl pull acme/tiny; "
        "to cancel it: mlxctl pull acme/tiny --cancel"
    )


def test_a_failure_prints_its_reason(daemon: FakeDaemon, mlxctl: Run) -> None:
    error = event({"error": {"message": "acme/tiny is gated"}})
    daemon.streams(progress(**ASKING), error, route=PULL)
    said = mlxctl("pull", "acme/tiny")
    assert (said.returncode, said.stderr) == (1, "mlxctl: acme/tiny is gated\n")


def test_a_failure_says_what_the_daemon_lacks_of_this_shell(
    daemon: FakeDaemon, mlxctl: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in filter(lambda name: variables({name: "x"}), list(os.environ)):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("HF_TOKEN", "hf_12345678")
    daemon.answers(STATUS_ROUTE, RUNNING | {"network": {"HTTPS_PROXY": "http://proxy:3128"}})
    daemon.streams(event({"error": {"message": "acme/tiny is gated"}}), route=PULL)
    assert mlxctl("pull", "acme/tiny").stderr.splitlines() == [
        "mlxctl: the daemon does not have HF_TOKEN as set in this shell; "
        "to give it that, write hub.token into config.toml and restart it",
        "mlxctl: acme/tiny is gated",
    ]


def test_cancel_prints_what_was_deleted(daemon: FakeDaemon, mlxctl: Run) -> None:
    daemon.answers(CANCEL, {"model": "acme/tiny", "bytes_removed": 1_500_000})
    said = mlxctl("pull", "acme/tiny", "--cancel")
    assert said.stdout == "cancelled the download of acme/tiny; deleted 1.5 MB\n"
    assert mlxctl("pull", "--cancel").returncode == 2


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_without_a_name_it_lists_the_downloads(
    daemon: FakeDaemon, mlxctl: Run, arguments: tuple[str, ...]
) -> None:
    daemon.answers(PULLS, {"pulls": [STATUS, RETRYING]})
    said = mlxctl("pull", *arguments).stdout
    if arguments:
        assert [pull["state"] for pull in json.loads(said)["pulls"]] == ["downloading", "retrying"]
    else:
        assert said.splitlines() == [
            "MODEL      STATE        DONE    TOTAL   SPEED",
            "acme/tiny  downloading  1.0 GB  4.0 GB  25 MB/s",
            "acme/tiny  retrying     1.0 GB  4.0 GB  25 MB/s",
            "  the connection broke; the next try is in 1 s",
        ]
