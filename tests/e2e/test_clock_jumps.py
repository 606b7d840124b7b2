"""The clock of a running daemon jumps a day forward and back, and nothing that counts time minds.

libfaketime gives the daemon the time that a file says; Debian has it as `libfaketime`. Its engine
has the time of this machine.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from scripts.tiny_model import make_tiny_model
from tests.support.daemon_process import DEADLINE, DaemonProcess, running_daemon, wait_until
from tests.support.mlxctl_process import printed

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(LIBRARY is None, reason="needs Debian's libfaketime"),
]

DAY = 86400
JUMPS = ("+1d", "-1d", "+0")
LOG_LINE = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\S{6}) [A-Z]+ +mlxd")


class Machine:
    """A daemon, whose clock `jump` sets, and a client with a key."""

    def __init__(self, daemon: DaemonProcess, keys: dict[str, str]) -> None:
        self.daemon = daemon
        self._keys = keys

    def jump(self, to: str) -> None:
        """Set the daemon's clock so far from this machine's."""
        set_clock(self.daemon.home, to)

    def client(self, key: str) -> httpx.Client:
        headers = {"authorization": f"Bearer {self._keys[key]}"}
        return httpx.Client(base_url=self.daemon.url, headers=headers, timeout=DEADLINE)

    def ask(self, key: str, tokens: int = 3) -> httpx.Response:
        with self.client(key) as client:
            return client.post("/v1/completions", json=body(tokens))

    @property
    def models(self) -> list[dict]:
        return self.daemon.status()["models"]


def set_clock(home: Path, to: str) -> None:
    new = home / "clock.new"
    new.write_text(f"{to}\n")
    new.replace(home / "clock")


def body(tokens: int, **fields: object) -> dict[str, object]:
    return {"prompt": "Once", "max_tokens": tokens, "ignore_eos": True} | fields


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        home = Path(folder)
        make_tiny_model(home / "models" / "tiny", context_length=4096)
        (home / "config.toml").write_text("log.max_size = '1KB'\nlog.keep = 50\n")
        keys = {
            "steady": (),
            "short": ("--expires", "12h"),
            "limited": ("--tokens-per-minute", "600"),
        }
        made = {name: printed(home, "key", "create", name, *flags) for name, flags in keys.items()}
        keys = {name: text.splitlines()[0] for name, text in made.items()}
        set_clock(home, "+0")
        environ = {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(home / "clock"),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",  # what is on the disk does not jump
        }
        flags = ("--log-file", str(home / "logs" / "mlxd.log"))
        with running_daemon(home, *flags, **environ) as daemon:
            yield Machine(daemon, keys)


@pytest.fixture(autouse=True)
def _the_right_time(machine: Machine) -> Iterator[None]:
    yield
    machine.jump("+0")


@pytest.mark.parametrize("way", ["/v1/completions", "/v1/responses"])
def test_a_stream_goes_on(machine: Machine, way: str) -> None:
    asked = body(300, stream=True)
    if way == "/v1/responses":
        asked = {"input": "Once", "max_output_tokens": 300, "ignore_eos": True, "stream": True}
    pieces, last, jumps = 0, "", iter(JUMPS)
    with machine.client("steady") as client, client.stream("POST", way, json=asked) as stream:
        for line in stream.iter_lines():
            if '"text":"' in line or "output_text.delta" in line:
                pieces += 1
                if pieces % 20 == 5 and (to := next(jumps, None)):
                    machine.jump(to)
            if line.startswith("data: {"):
                last = line
    assert next(jumps, None) is None  # it was long enough
    end = json.loads(last.removeprefix("data: "))
    if way == "/v1/responses":
        assert end["response"]["usage"]["output_tokens"] == 300
    else:
        assert end["choices"][0]["finish_reason"] == "length"


def test_times_in_replies_and_in_the_log_are_those_of_the_clock(machine: Machine) -> None:
    for to, days in (("+1d", 1), ("-1d", -1), ("+0", 0)):
        machine.jump(to)
        reply = machine.ask("steady").json()
        assert reply["created"] == pytest.approx(time.time() + days * DAY, abs=DEADLINE)
        machine.daemon.status()  # which it answers once it has logged that, and logs nothing of
    logs = machine.daemon.home / "logs"
    assert len(list(logs.iterdir())) > 1  # they were rotated
    lines = [line for file in logs.iterdir() for line in file.read_text().splitlines()]
    times = [datetime.fromisoformat(LOG_LINE.match(line)[1]) for line in lines]
    assert {round((each - datetime.now(UTC)).total_seconds() / DAY) for each in times} == {-1, 0, 1}


def test_a_model_stays_as_long_as_it_should(machine: Machine) -> None:
    machine.daemon.local.post("/control/v1/load", json={"model": "tiny", "keep_alive": "1h"})
    for to in JUMPS:
        machine.jump(to)
        (model,) = machine.models
        assert 3500 < model["expires_in_s"] <= 3600
    with machine.client("steady") as client:
        shown = client.get("/api/ps").json()["models"][0]["expires_at"]
    left = datetime.fromisoformat(shown.replace("Z", "+00:00")) - datetime.now(UTC)
    assert 3400 < left.total_seconds() < 3700

    machine.daemon.local.post("/control/v1/load", json={"model": "tiny", "keep_alive": "1s"})
    machine.jump("-1d")
    wait_until(lambda: machine.models[0]["state"] == "unloaded", "it is unloaded")


def test_limits_in_a_minute_neither_last_a_day_nor_end_at_once(machine: Machine) -> None:
    assert machine.ask("limited", tokens=640).status_code == 200
    for to in JUMPS:
        refused = machine.ask("limited")
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        machine.jump(to)
    wait_until(lambda: machine.ask("limited").status_code == 200, "it may ask again")


def test_a_key_expires_by_the_clock_and_comes_back_with_it(machine: Machine) -> None:
    assert machine.ask("short").status_code == 200
    machine.jump("+1d")
    assert machine.ask("short").json()["error"]["code"] == "invalid_api_key"
    machine.jump("-1d")
    assert machine.ask("short").status_code == 200
    assert machine.ask("steady").status_code == 200


def test_metrics_stay_sane(machine: Machine) -> None:
    for to in JUMPS:
        machine.ask("steady")
        machine.jump(to)
        activity = machine.daemon.local.get("/control/v1/activity?hour=true").json()
        history = activity["history"]
        assert len(history["requests"]) == 720
        assert min(history["requests"]) >= 0
        assert sum(history["requests"]) <= activity["requests_total"]
        assert abs(history["end"] - activity["now"]) <= 5
        for request in activity["requests"]:
            assert 0 <= request["total_s"] < DEADLINE
        assert 0 < machine.daemon.status()["uptime_s"] < 600
    families = text_string_to_metric_families(machine.daemon.local.get("/metrics").text)
    for sample in (each for family in families for each in family.samples):
        assert sample.value >= 0, sample
        if sample.name.endswith("_seconds_sum"):
            assert sample.value < 600, sample


def test_the_tools_of_a_machine_with_another_day_still_work(machine: Machine) -> None:
    for to in ("+1d", "-1d"):
        machine.jump(to)
        for command in ("status", "logs", "top --once"):
            done = subprocess.run(
                [sys.executable, "-m", "mlxctl", *command.split()],
                env={"MLXD_HOME": str(machine.daemon.home), "PATH": ""},
                capture_output=True,
                text=True,
                timeout=DEADLINE,
            )
            assert done.returncode == 0, (command, done.stderr)
