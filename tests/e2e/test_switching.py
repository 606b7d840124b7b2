"""Models that come, go and crash while clients go on asking: nothing is lost."""

import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from scripts.tiny_model import make_tiny_model
from tests.support.daemon_process import DaemonProcess, running_daemon, wait_until

pytestmark = pytest.mark.slow

FLIPS = 4
REQUESTS = 80
KILLS = int(os.environ.get("MLXD_KILLS", "3"))
BODY = {
    "messages": [{"role": "user", "content": "hello"}],
    "max_tokens": 24,
    "logit_bias": {"256": -100, "257": -100, "258": -100},  # so that there always is a text
}
LONG = {**BODY, "max_tokens": 400, "stream": True}


@pytest.fixture
def two_models(tiny_model: Path) -> Iterator[Path]:
    """A home with the models `tiny` and `other`."""
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        home = Path(folder)
        (home / "models").mkdir()
        (home / "models" / "tiny").symlink_to(tiny_model)
        make_tiny_model(home / "models" / "other", seed=1)
        yield home


@dataclass
class Answer:
    """What became of a request; `error` is an explained one."""

    model: str | None = None
    text: str = ""
    error: str | None = None
    seconds: float = 0.0
    comments: list[str] = field(default_factory=list)


def ask(client: httpx.Client, body: dict) -> Answer:
    began = time.monotonic()
    answer = _stream(client, body) if body.get("stream") else _whole(client, body)
    answer.seconds = time.monotonic() - began
    return answer


def _whole(client: httpx.Client, body: dict) -> Answer:
    reply = client.post("/v1/chat/completions", json=body)
    data = reply.json()
    if reply.status_code != 200:
        return Answer(error=data["error"]["message"])
    return Answer(data["model"], data["choices"][0]["message"]["content"])


def _stream(client: httpx.Client, body: dict) -> Answer:
    answer, done = Answer(), False
    with client.stream("POST", "/v1/chat/completions", json=body) as reply:
        if reply.status_code != 200:
            reply.read()
            return Answer(error=reply.json()["error"]["message"])
        for line in reply.iter_lines():
            if line.startswith(":"):
                answer.comments.append(line)
            if not line.startswith("data: "):
                continue
            assert not done, "an event after the end"
            if line == "data: [DONE]":
                done = True
                continue
            event = json.loads(line.removeprefix("data: "))
            if "error" in event:
                answer.error = event["error"]["message"]
                continue
            answer.model = event["model"]
            for choice in event["choices"]:
                answer.text += choice["delta"].get("content") or ""
    assert done or answer.error, "the stream has no end"
    return answer


@contextmanager
def clients(daemon: DaemonProcess, count: int) -> Iterator[list[httpx.Client]]:
    made = [httpx.Client(base_url=daemon.url, timeout=60) for _ in range(count)]
    try:
        yield made
    finally:
        for client in made:
            client.close()


def keep_asking(
    daemon: DaemonProcess, bodies: list[dict], enough: Callable[[int], bool]
) -> list[Answer]:
    """Ask with one client for each of `bodies`, again and again until `enough` have answered."""
    answers: list[Answer] = []

    def work(client: httpx.Client, body: dict) -> None:
        while not enough(len(answers)):
            answers.append(ask(client, body))

    with clients(daemon, len(bodies)) as made, ThreadPoolExecutor(len(bodies)) as pool:
        for task in [pool.submit(work, *each) for each in zip(made, bodies, strict=True)]:
            task.result()
    return answers


def mlxctl(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "mlxctl", *arguments]
    environ = {**os.environ, "MLXD_HOME": str(home)}
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120)


def children(pid: int) -> list[int]:
    """The processes that `pid` has started and that have not ended."""
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def resident(daemon: DaemonProcess) -> list[str]:
    states = {"loading", "ready", "draining"}
    return [model["id"] for model in daemon.status()["models"] if model["state"] in states]


@pytest.mark.parametrize("max_loaded", ["2", "1"])
def test_no_request_fails_while_the_default_model_changes(
    two_models: Path, max_loaded: str
) -> None:
    flips: list[subprocess.CompletedProcess[str]] = []

    def flip() -> None:
        flips.extend(mlxctl(two_models, "use", ["other", "tiny"][i % 2]) for i in range(FLIPS))

    bodies = [{**BODY, "stream": i % 2 == 0} for i in range(8)]
    environ = {"MLXD_MODELS__MAX_LOADED": max_loaded, "MLXD_MODELS__DEFAULT": "tiny"}
    with running_daemon(two_models, **environ) as daemon:
        ask(daemon.local, BODY)
        flipping = threading.Thread(target=flip)
        flipping.start()
        answers = keep_asking(
            daemon, bodies, lambda count: count >= REQUESTS and len(flips) == FLIPS
        )
        flipping.join()
    assert [flip.returncode for flip in flips] == [0] * FLIPS
    assert [flip.stdout.split()[0] for flip in flips] == ["other", "tiny"] * (FLIPS // 2)
    assert [answer.error for answer in answers if answer.error] == []
    assert all(answer.text for answer in answers)
    # Whoever waits for a model to load gets the one that is the default by then.
    assert {answer.model for answer in answers} <= {"tiny", "other"}
    assert len(answers) >= REQUESTS
    assert 'default = "tiny"' in (two_models / "settings.toml").read_text()


def test_requests_for_a_default_that_cannot_be_loaded_get_the_old_one(
    two_models: Path, tiny_model: Path
) -> None:
    broken = two_models / "models" / "broken"
    shutil.copytree(tiny_model, broken)
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps({**config, "intermediate_size": 8}))
    uses: list[subprocess.CompletedProcess[str]] = []

    def use() -> None:
        uses.extend(mlxctl(two_models, "use", "broken") for _ in range(2))

    bodies = [{**BODY, "stream": i % 2 == 0} for i in range(8)]
    environ = {"MLXD_MODELS__MAX_LOADED": "1", "MLXD_MODELS__DEFAULT": "tiny"}
    with running_daemon(two_models, **environ) as daemon:
        both = [threading.Thread(target=use) for _ in range(2)]
        for using in both:
            using.start()
        answers = keep_asking(daemon, bodies, lambda count: count >= 50 and len(uses) == 4)
        for using in both:
            using.join()
        assert daemon.status()["default_model"] == "tiny"
    assert [use.returncode for use in uses] == [1, 1, 1, 1]
    assert "broken cannot be loaded" in uses[0].stderr
    assert {(answer.model, answer.error) for answer in answers} == {("tiny", None)}
    assert all(answer.text for answer in answers)
    assert not (two_models / "settings.toml").exists()


def test_requests_for_a_default_whose_load_crashes_get_the_old_one(two_models: Path) -> None:
    bodies = [{**BODY, "stream": i % 2 == 0} for i in range(8)]
    environ = {"MLXD_MODELS__MAX_LOADED": "1", "MLXD_MODELS__DEFAULT": "tiny"}
    uses: list[subprocess.CompletedProcess[str]] = []
    done = threading.Event()
    with running_daemon(two_models, MLXD_ENGINE__MAX_CRASHES="0", **environ) as daemon:

        def kill_every_load() -> None:
            while not done.is_set():
                for model in daemon.status()["models"]:
                    if (model["id"], model["state"]) == ("other", "loading"):
                        for pid in children(daemon.process.pid):
                            with suppress(ProcessLookupError):
                                os.kill(pid, signal.SIGKILL)

        def use() -> None:
            uses.extend(mlxctl(two_models, "use", "other") for _ in range(2))

        ask(daemon.local, BODY)
        threads = [threading.Thread(target=each) for each in (kill_every_load, use)]
        for thread in threads:
            thread.start()
        answers = keep_asking(daemon, bodies, lambda count: count >= 50 and len(uses) == 2)
        done.set()
        for thread in threads:
            thread.join()
    for each in uses:
        assert "other cannot be loaded: the engine process was killed by SIGKILL" in each.stderr
    assert {(answer.model, answer.error) for answer in answers} == {("tiny", None)}


def test_two_models_that_do_not_fit_together_take_turns(two_models: Path) -> None:
    bodies = [{**BODY, "model": ["tiny", "other"][i % 2]} for i in range(8)]
    together: list[list[str]] = []
    done = threading.Event()
    with running_daemon(two_models, MLXD_MODELS__MEMORY_LIMIT="150MB") as daemon:

        def watch() -> None:
            while not done.is_set():
                together.append(resident(daemon))

        watching = threading.Thread(target=watch)
        watching.start()
        answers = keep_asking(daemon, bodies, lambda count: count >= 60)
        done.set()
        watching.join()
    assert [answer.error for answer in answers if answer.error] == []
    assert Counter(answer.model for answer in answers).keys() == {"tiny", "other"}
    assert max(map(len, together)) == 1
    assert {name for names in together for name in names} == {"tiny", "other"}


def test_a_model_that_can_never_fit_is_refused_with_the_arithmetic(two_models: Path) -> None:
    with running_daemon(two_models, MLXD_MODELS__MEMORY_LIMIT="100kB") as daemon:
        refused = ask(daemon.local, {**BODY, "model": "tiny"})
        assert refused.error is not None
        assert "tiny needs " in refused.error
        assert "and models.memory_limit is 100 kB" in refused.error
        loading = mlxctl(two_models, "load", "tiny")
        assert (loading.returncode, loading.stderr) == (1, f"mlxctl: {refused.error}\n")
        assert daemon.local.get("/health").status_code == 200


def test_engines_killed_at_any_moment_cost_no_request_its_end(two_models: Path) -> None:
    random.seed(4)
    recoveries: list[float] = []
    stopped = threading.Event()
    environ = {"MLXD_ENGINE__MAX_CRASHES": "0", "MLXD_MODELS__DEFAULT": "tiny"}
    with running_daemon(two_models, **environ) as daemon:
        loads = []
        for _ in range(3):
            daemon.local.post("/control/v1/unload", json={})
            loads.append(ask(daemon.local, {**BODY, "max_tokens": 1}).seconds)

        def engine() -> int | None:
            (model,) = daemon.status()["models"]
            return model["pid"]

        def kill() -> None:
            with httpx.Client(base_url=daemon.url, timeout=60) as client:
                for _ in range(KILLS):
                    time.sleep(random.uniform(0, 0.5))
                    wait_until(lambda: engine() is not None, "there is an engine")
                    os.kill(engine(), signal.SIGKILL)
                    began = time.monotonic()
                    while ask(client, {**BODY, "max_tokens": 1}).error:
                        pass
                    recoveries.append(time.monotonic() - began)
            stopped.set()

        def cost() -> tuple[int, int]:
            pid = daemon.process.pid
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            return pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir(f"/proc/{pid}/fd"))

        keep_asking(daemon, [LONG] * 16, lambda count: count >= 16)
        before = cost()
        killing = threading.Thread(target=kill)
        killing.start()
        answers = keep_asking(daemon, [LONG] * 16, lambda _: stopped.is_set())
        killing.join()
        wait_until(lambda: cost()[1] <= before[1], "the descriptors are closed")
        after = cost()
    print(f"{len(answers)} answers, {sum(bool(a.error) for a in answers)} explained errors")
    print(f"load {statistics.mean(loads):.2f} s, recovery {statistics.mean(recoveries):.2f} s")
    print(f"daemon: {before[0] / 1e6:.1f} MB before, {after[0] / 1e6:.1f} MB after")
    assert len(recoveries) == KILLS
    assert all(answer.text or answer.error for answer in answers)
    assert {answer.error for answer in answers if answer.error} <= {
        "the engine process was killed by SIGKILL"
    }
    assert max(answer.seconds for answer in answers) < 60
    assert after[0] - before[0] < 4_000_000


def test_an_unloaded_model_leaves_no_memory_behind(two_models: Path) -> None:
    def tree(daemon: DaemonProcess) -> int:
        """Resident bytes of the daemon and of all below it."""
        pid = daemon.process.pid
        tree = (pid, *children(pid))
        pages = [int(Path(f"/proc/{p}/statm").read_text().split()[1]) for p in tree]
        return sum(pages) * os.sysconf("SC_PAGE_SIZE")

    with running_daemon(two_models, MLXD_MODELS__DEFAULT="tiny") as daemon:
        before = tree(daemon)
        answers = keep_asking(
            daemon, [{**BODY, "stream": i % 2 == 0} for i in range(8)], lambda count: count >= 100
        )
        assert all(answer.text for answer in answers)
        loaded = tree(daemon)
        assert mlxctl(two_models, "unload", "tiny").stdout == "tiny is unloaded\n"
        after = tree(daemon)
    print(f"{before / 1e6:.1f} MB before, {loaded / 1e6:.1f} MB loaded, {after / 1e6:.1f} MB after")
    assert after - before < 5_000_000
