"""`mlxctl env`: the variables that a shell gets from it."""

import json
import subprocess
from pathlib import Path

import pytest

from mlxctl.api_access import KEY_WANTED
from mlxd import lock
from tests.mlxctl.conftest import Run
from tests.support.fake_daemon import FakeDaemon
from tests.support.statuses import RUNNING, STATUS


def evaluated(script: str) -> list[str]:
    program = f'{script}\nprintf "%s\\n" "$OPENAI_BASE_URL" "$OPENAI_API_KEY"'
    return subprocess.check_output(["sh", "-c", program], text=True).splitlines()


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://127.0.0.1:4711", "http://127.0.0.1:4711/v1"),
        ("http://0.0.0.0:4711", "http://127.0.0.1:4711/v1"),
        ("http://[::]:4711", "http://[::1]:4711/v1"),
    ],
)
def test_where_the_daemon_listens(
    home: Path, listener: FakeDaemon, mlxctl: Run, url: str, base: str
) -> None:
    listener.answers(STATUS, {**RUNNING, "url": url})
    with lock.hold(home / "run" / "mlxd.lock"):
        assert evaluated(mlxctl("env").stdout) == [base, "none"]
    # Without the daemon, launchd or systemd may listen: it is not started for this.
    assert mlxctl("env", MLXD_SERVER__PORT="9000").stdout.count(":9000") == 1


def test_where_it_will_listen(mlxctl: Run) -> None:
    done = mlxctl("env", MLXD_SERVER__PORT="9000")
    assert evaluated(done.stdout) == ["http://127.0.0.1:9000/v1", "none"]
    assert mlxctl("env").returncode == 3  # any free port, and no daemon to ask which


def test_a_key_of_any_characters(mlxctl: Run) -> None:
    key = "it's \\ $a`b".replace(" ", "_")
    keyed = {"MLXD_SERVER__PORT": "9000", "MLXD_SERVER__API_KEY": key}
    assert evaluated(mlxctl("env", **keyed).stdout)[1] == key
    assert json.loads(mlxctl("env", "--json", **keyed).stdout) == {
        "OPENAI_BASE_URL": "http://127.0.0.1:9000/v1",
        "OPENAI_API_KEY": key,
    }
    fish = mlxctl("env", "--shell", "fish", **keyed).stdout.splitlines()
    assert fish[1] == "set -gx OPENAI_API_KEY 'it\\'s_\\\\_$a`b'"


def test_a_key_that_only_its_owner_knows(mlxctl: Run) -> None:
    created = mlxctl("key", "create", "laptop").stdout.strip()
    done = mlxctl("env", MLXD_SERVER__PORT="9000")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"mlxctl: {KEY_WANTED}\n"
    given = mlxctl("env", MLXD_SERVER__PORT="9000", MLXD_API_KEY=created)
    assert evaluated(given.stdout)[1] == created
