"""`mlxctl use`, `load`, `unload` and `ps`."""

import json
import signal
import subprocess

import pytest

from tests.mlxctl.conftest import Run, command
from tests.support.fake_daemon import FakeDaemon, event
from tests.support.statuses import FAILED, READY, RUNNING, STATUS

USE = ("POST", "/control/v1/use")
LOAD = ("POST", "/control/v1/load")
UNLOAD = ("POST", "/control/v1/unload")
LOADING = event({"progress": {"status": "loading", "model": "tiny", "fraction": 0.4}})


def done(**reply: object) -> bytes:
    return event({"done": reply})


def test_use_says_what_the_default_is(daemon: FakeDaemon, mlxctl: Run) -> None:
    daemon.streams(LOADING, done(model="tiny", state="ready"), route=USE)
    said = mlxctl("use", "alias")
    assert (said.stdout, said.stderr) == ("tiny is now the default model\n", "")
    daemon.streams(done(model="tiny", state="ready", overridden_by="--model"), route=USE)
    assert mlxctl("use", "tiny", "--wait").stderr == (
        "mlxctl: --model overrides it at the next start\n"
    )
    assert [body["wait"] for body in daemon.bodies] == [False, True]


@pytest.mark.parametrize(("name", "fault"), [(b"", b"empty"), (b"caf\xe9", b"not UTF-8")])
def test_use_refuses_an_invalid_name(daemon: FakeDaemon, name: bytes, fault: bytes) -> None:
    done = subprocess.run([*command("use"), name], capture_output=True)
    assert done.returncode == 2
    assert fault in done.stderr


def test_after_control_c_the_daemon_continues(daemon: FakeDaemon) -> None:
    stream = daemon.streams(LOADING, waits=True, route=LOAD)
    with subprocess.Popen(
        command("load", "tiny"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as loading:
        daemon.asked.wait(30)
        loading.send_signal(signal.SIGINT)
        _, said = loading.communicate(timeout=30)
    stream.go_on.set()
    assert loading.returncode == -signal.SIGINT
    assert said == "mlxctl: the daemon continues; see: mlxctl ps\n"


def test_the_results_as_json(daemon: FakeDaemon, mlxctl: Run) -> None:
    daemon.streams(LOADING, done(model="tiny", state="ready"), route=USE)
    daemon.streams(LOADING, done(**READY), route=LOAD)
    daemon.streams(done(models=["tiny"]), route=UNLOAD)
    assert json.loads(mlxctl("use", "tiny", "--json").stdout)["model"] == "tiny"
    assert json.loads(mlxctl("load", "tiny", "--json").stdout)["state"] == "ready"
    assert json.loads(mlxctl("unload", "tiny", "--json").stdout) == {"models": ["tiny"]}


def test_load_says_how_long_it_stays(daemon: FakeDaemon, mlxctl: Run) -> None:
    daemon.streams(done(**READY | {"requests": 0, "expires_in_s": 1800.0}), route=LOAD)
    said = mlxctl("load", "tiny", "--keep-alive", "30m")
    assert said.stdout == "tiny is loaded (98 MB, for 30 min 0 s)\n"
    daemon.streams(done(**READY | {"requests": 0}), route=LOAD)
    assert mlxctl("load").stdout == "tiny is loaded (98 MB, forever)\n"
    assert daemon.bodies == [
        {"model": "tiny", "keep_alive": "30m", "stream": True},
        {"model": None, "keep_alive": None, "stream": True},
    ]


@pytest.mark.parametrize("time", ["foo", "5x", "", "1m 2"])
def test_an_invalid_time_is_wrong_usage(daemon: FakeDaemon, mlxctl: Run, time: str) -> None:
    done = mlxctl("load", "tiny", "--keep-alive", time)
    assert done.returncode == 2
    assert f"{time!r} is neither a number of seconds nor a duration" in done.stderr
    assert daemon.bodies == []


def test_unload_names_the_models(daemon: FakeDaemon, mlxctl: Run) -> None:
    daemon.streams(done(models=["tiny"]), route=UNLOAD)
    assert mlxctl("unload", "tiny").stdout == "tiny is unloaded\n"
    daemon.streams(done(models=[]), route=UNLOAD)
    assert mlxctl("unload", "tiny").stdout == "tiny was not loaded\n"
    assert mlxctl("unload", "--all").stdout == "no model was loaded\n"
    assert [body["model"] for body in daemon.bodies] == ["tiny", "tiny", None]
    for wrong in ([], ["tiny", "--all"]):
        refused = mlxctl("unload", *wrong)
        assert refused.returncode == 2
        assert "Pass either MODEL or --all" in refused.stderr


def test_ps_lists_loaded_and_failed_models(daemon: FakeDaemon, mlxctl: Run) -> None:
    models = [
        {**READY, "tokens_per_second": 41.5, "memory_limit_bytes": 6_000_000_000},
        {"id": "big", "state": "loading", "load_progress": 0.41, "requests": 1},
        {**FAILED, "cause": "the engine process was killed by SIGABRT"},
        {"id": "gone", "state": "unloaded"},
        {**READY, "id": "kept", "requests": 0, "pinned": True},
        {**READY, "id": "idle", "requests": 0, "expires_in_s": 299.2},
    ]
    daemon.answers(STATUS, {**RUNNING, "models": models})
    assert mlxctl("ps").stdout.splitlines() == [
        "MODEL  STATE        MEMORY  LIMIT   REQUESTS  TOKENS/S  UNTIL           PID",
        "tiny   ready        98 MB   6.0 GB  2         42        in use          4712",
        "big    loading 41%  -       -       1         -         -               -",
        "b      failed       -       -       0         -         -               -",
        "  the engine process was killed by SIGABRT",
        "kept   ready        98 MB   -       0         -         pinned          4712",
        "idle   ready        98 MB   -       0         -         for 4 min 59 s  4712",
    ]
    assert [each["id"] for each in json.loads(mlxctl("ps", "--json").stdout)] == [
        "tiny",
        "big",
        "b",
        "kept",
        "idle",
    ]
    daemon.answers(STATUS, {**RUNNING, "models": []})
    assert mlxctl("ps").stdout == "no model in memory\n"


def test_ps_says_what_caches_take_and_what_is_special(daemon: FakeDaemon, mlxctl: Run) -> None:
    caches = {"cache_bytes": 24_000_000, "prompt_cache_bytes": 1_200_000_000}
    special = {"queued": 12, "batched": False, "kv_bits": 8}
    models = [
        {**READY, **caches, **special},
        {**READY, "id": "plain", "cache_bytes": 0, "prompt_cache_bytes": 5, "batched": True},
        {"id": "next", "state": "unloaded", "requests": 3, "queued": 3},
    ]
    daemon.answers(STATUS, {**RUNNING, "models": models})
    lines = mlxctl("ps").stdout.splitlines()
    assert lines[2:] == [
        "  running sequences 24 MB, prompt cache 1.2 GB, 12 queued, one request at a",
        "  time, 8-bit cache",
        "plain  ready    98 MB   -      2         -         in use  4712",
        "  prompt cache 5 B",
        "next   waiting  -       -      3         -         -       -",
        "  3 queued",
    ]
