"""What a daemon counts while it is used in every way, as Prometheus and `mlxctl top` see it."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.sync.client import connect

from mlxd.activity import Activity, History
from mlxd.control_api import ACTIVITY
from scripts.grafana_dashboard import DASHBOARD, WINDOW, text
from scripts.tiny_model import make_tiny_model
from tests.support.daemon_process import DaemonProcess, running_daemon, wait_until

pytestmark = pytest.mark.slow

KEY = "s3cret-s3cret"
BEARER = {"authorization": f"Bearer {KEY}"}
LONG = "Tell me about the capital of France. " * 10
CHAT = {"model": "tiny", "messages": [{"role": "user", "content": LONG}], "max_tokens": 8}
PACKAGING = DASHBOARD.parent.parent / "prometheus"
SCRAPES = int(os.environ.get("MLXD_SCRAPES", "3"))

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(scope="module")
def daemon() -> Iterator[DaemonProcess]:
    """A daemon with room for one model at a time, which has been used for all that it counts."""
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        home = Path(folder)
        for name in ("tiny", "second"):
            make_tiny_model(home / "models" / name)
        flags = {"MLXD_SERVER__API_KEY": KEY, "MLXD_SERVER__MAX_BODY": "100000"}
        with running_daemon(
            home, MLXD_MODELS__MAX_LOADED="1", MLXD_LIMITS__QUEUED="4", **flags
        ) as daemon:
            use(daemon)
            yield daemon


def use(daemon: DaemonProcess) -> None:
    with httpx.Client(base_url=daemon.url, headers=BEARER, timeout=60) as client:
        for _ in range(2):
            assert client.post("/v1/chat/completions", json=CHAT).status_code == 200
        daemon.local.post("/control/v1/unload", json={"model": "tiny"})
        assert client.post("/v1/chat/completions", json=CHAT).status_code == 200  # from disk
        answer(client, "/v1/completions", prompt=LONG, max_tokens=4)
        answer(client, "/v1/messages", messages=CHAT["messages"], max_tokens=4)
        answer(client, "/v1/messages/count_tokens", messages=CHAT["messages"])
        answer(client, "/api/chat", messages=CHAT["messages"], options={"num_predict": 4})
        later = answer(client, "/v1/responses", input="hi", max_output_tokens=4, background=True)
        path = f"/v1/responses/{later['id']}"
        wait_until(lambda: client.get(path).json()["status"] != "in_progress", "it is done")
        turn_over_a_websocket(daemon)
        leave_early(client)
        refusals = (
            client.post("/v1/chat/completions", json=CHAT | {"model": "prompt/of/mine"}),
            client.post("/v1/chat/completions", json=CHAT | {"temperature": "hot"}),
            client.post("/v1/chat/completions", json=CHAT, headers={"authorization": "Bearer x"}),
            client.post("/v1/chat/completions", content=b" " * 100_001),
            client.get("/v1/nowhere-that-is-secret"),
        )
        assert [reply.status_code for reply in refusals] == [404, 400, 401, 413, 404]
        (model,) = (each for each in daemon.status()["models"] if each["state"] == "ready")
        os.kill(model["pid"], signal.SIGKILL)
        wait_until(lambda: crashes(daemon) == 1, "the crash is seen")
        answer(client, "/v1/completions", prompt=LONG, max_tokens=4)
        answer(client, "/v1/completions", prompt=LONG, max_tokens=4, model="second")


def answer(client: httpx.Client, path: str, **body: object) -> Any:
    reply = client.post(path, json={"model": "tiny", "stream": False, **body})
    assert reply.status_code == 200, reply.text
    return reply.json()


def turn_over_a_websocket(daemon: DaemonProcess) -> None:
    url, few = daemon.url.replace("http", "ws"), {"max_output_tokens": 4}
    with connect(f"{url}/v1/responses", additional_headers=BEARER) as it:
        it.send(json.dumps({"type": "response.create", "model": "tiny", "input": "hi"} | few))
        while "response.incomplete" not in (event := it.recv()):
            assert "error" not in json.loads(event)


def leave_early(client: httpx.Client) -> None:
    body = CHAT | {"stream": True, "max_tokens": 4000, "logit_bias": {"258": -100}}
    with client.stream("POST", "/v1/chat/completions", json=body) as reply:
        next(reply.iter_lines())


def crashes(daemon: DaemonProcess) -> float:
    return scrape(daemon)["mlxd_engine_crashes_total", frozenset({("model", "tiny")})]


def scrape(daemon: DaemonProcess) -> Samples:
    found = {}
    for family in text_string_to_metric_families(daemon.local.get("/metrics").text):
        for sample in family.samples:
            found[sample.name, frozenset(sample.labels.items())] = sample.value
    return found


@pytest.fixture(scope="module")
def samples(daemon: DaemonProcess) -> Samples:
    wait_until(lambda: sum(of(scrape(daemon), "mlxd_requests_running").values()) == 0, "all ended")
    return scrape(daemon)


def of(samples: Samples, name: str, **labels: str) -> dict[tuple[str, ...], float]:
    """The values of a metric with those labels, by the values of its other labels."""
    return {
        tuple(value for label, value in sorted(found) if label not in labels): number
        for (metric, found), number in samples.items()
        if metric == name and labels.items() <= set(found)
    }


def test_requests_count_by_dialect_status_and_outcome(samples: Samples) -> None:
    assert of(samples, "mlxd_requests_total") == {
        ("chat", "done", "200"): 3,
        ("chat", "aborted", "200"): 1,
        ("chat", "failed", "400"): 1,
        ("chat", "failed", "401"): 1,
        ("chat", "failed", "404"): 1,
        ("chat", "failed", "413"): 1,
        ("completions", "done", "200"): 3,
        ("messages", "done", "200"): 2,
        ("ollama", "done", "200"): 1,
        ("responses", "done", "200"): 2,
    }
    assert of(samples, "mlxd_other_requests_total", status="404") == {(): 1}


def test_tokens_count_by_where_they_came_from(samples: Samples) -> None:
    prompts = of(samples, "mlxd_prompt_tokens_total", model="tiny")
    assert all(prompts[tier,] > 0 for tier in ("memory", "disk", "none"))
    assert of(samples, "mlxd_generation_tokens_total", model="second") == {(): 4}


def test_models_count_loads_crashes_and_evictions(samples: Samples) -> None:
    assert of(samples, "mlxd_model_loads_total", model="tiny") == {
        ("ready",): 3,
        ("failed",): 0,
        ("cancelled",): 0,
    }
    assert of(samples, "mlxd_engine_crashes_total") == {("tiny",): 1, ("second",): 0}
    assert of(samples, "mlxd_model_evictions_total") == {("tiny",): 1, ("second",): 0}
    assert of(samples, "mlxd_models") == {("ready",): 1, ("unloaded",): 1}
    assert of(samples, "mlxd_model_memory_bytes", kind="other")["second",] > 10**7


def test_times_are_measured(samples: Samples) -> None:
    for name in ("time_to_first_token_seconds", "e2e_request_latency_seconds"):
        assert of(samples, f"mlxd_{name}_count", model="second") == {(): 1}
    # Tokens that come together with the first one, from a quick engine, took no time of their own.
    between = of(samples, "mlxd_inter_token_latency_seconds_count", model="tiny")[()]
    assert 0 < between < of(samples, "mlxd_generation_tokens_total", model="tiny")[()]
    assert of(samples, "mlxd_model_load_seconds_count") == {("tiny",): 3, ("second",): 1}


def test_nothing_that_a_client_made_up_is_a_label(samples: Samples) -> None:
    values = {value for _, labels in samples for label, value in labels if label != "le"}
    known = {"tiny", "second", "chat", "completions", "messages", "ollama", "responses"}
    known |= {"done", "failed", "aborted", "ready", "cancelled", "unloaded"}
    known |= {"memory", "disk", "none", "sequences", "prompt_cache", "other"}
    assert {value for value in values if not re.fullmatch(r"\d{3}|\d+\.\d+\.\d+", value)} <= known


def test_the_activity_tells_the_same(daemon: DaemonProcess, samples: Samples) -> None:
    reply = daemon.local.get(ACTIVITY.path, params={"hour": "true"})
    activity = msgspec.json.decode(reply.content, type=Activity)
    assert activity.requests_total == sum(of(samples, "mlxd_requests_total").values()) == 16
    assert activity.failed_total == 4
    assert activity.generated_total == sum(of(samples, "mlxd_generation_tokens_total").values())
    history: History = activity.history
    assert sum(history.requests) == 16
    assert sum(history.prompt_tokens) == activity.prompt_total
    assert sum(history.cached_tokens) == activity.cached_total > 0
    assert max(history.memory_bytes) > 10**7
    newest = activity.requests[0]
    assert (newest.model, newest.dialect, newest.caller) == (
        "second",
        "completions",
        "server.api_key",
    )
    assert newest.first_token_s is not None
    assert newest.queue_s is not None
    assert newest.total_s is not None
    assert 0 < newest.queue_s <= newest.first_token_s <= newest.total_s
    (aborted,) = (each for each in activity.requests if each.state == "aborted")
    assert aborted.prompt_tokens
    assert aborted.completion_tokens
    refused = {each.error for each in activity.requests if each.state == "failed"}
    assert refused == {"model_not_found", "InvalidRequest", "invalid_api_key", "body_too_large"}
    assert "capital" not in reply.text


def test_a_key_needs_the_right(daemon: DaemonProcess) -> None:
    assert httpx.get(f"{daemon.url}/metrics").status_code == 401
    assert httpx.get(f"{daemon.url}/metrics", headers=BEARER).status_code == 200


def test_the_daemon_imports_the_client_with_the_first_scrape() -> None:
    program = "import mlxd.daemon, sys; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_each_metric_is_documented(samples: Samples) -> None:
    page = (DASHBOARD.parent.parent.parent / "docs" / "metrics.md").read_text()
    names = {re.sub("_(bucket|sum|count)$", "", name) for name, _ in samples}
    assert {name for name in names if f"`{name}" not in page} == set()


def test_the_dashboard_is_up_to_date() -> None:
    assert DASHBOARD.read_text() == text(), "run: python -m scripts.grafana_dashboard"


needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="needs promtool")


@needs_promtool
def test_promtool_finds_nothing(daemon: DaemonProcess) -> None:
    shown = daemon.local.get("/metrics").text
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=shown, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_promtool
def test_the_alerts_are_valid_and_see_what_happens(tmp_path: Path) -> None:
    checked = subprocess.run(["promtool", "check", "config", PACKAGING / "prometheus.yml"])
    assert checked.returncode == 0
    test = tmp_path / "alerts.yml"
    test.write_text(ALERTS.replace("RULES", str(PACKAGING / "mlxd.rules.yml")))
    done = subprocess.run(["promtool", "test", "rules", test], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


ALERTS = """
rule_files: [RULES]
tests:
  - interval: 1m
    input_series:
      - series: 'mlxd_engine_crashes_total{instance="mac", model="tiny"}'
        values: "0 0 0 1x10"
      - series: 'mlxd_requests_total{instance="mac", status="200", outcome="done"}'
        values: "0+60x20"
      - series: 'mlxd_requests_total{instance="mac", status="429", outcome="failed"}'
        values: "0+60x20"
      - series: 'mlxd_requests_total{instance="mac", status="200", outcome="failed"}'
        values: "0+30x20"
    alert_rule_test:
      - eval_time: 2m
        alertname: MlxdEngineCrashed
      - eval_time: 5m
        alertname: MlxdEngineCrashed
        exp_alerts:
          - exp_labels: {severity: warning, instance: mac, model: tiny}
            exp_annotations:
              summary: the engine of tiny on mac crashed
              description: "`mlxctl ps` and `mlxctl logs --engine tiny` show why."
      - eval_time: 15m
        alertname: MlxdRequestsFail
        exp_alerts:
          - exp_labels: {severity: warning, instance: mac}
            exp_annotations:
              summary: of the requests to mlxd on mac, more than 5 % fail
              description: "`mlxctl logs --level warning` shows which."
"""


@contextlib.contextmanager
def prometheus(folder: Path, target: str) -> Iterator[httpx.Client]:
    """Run Prometheus, which scrapes a daemon each second."""
    config = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [
            {
                "job_name": "mlxd",
                "static_configs": [{"targets": [target]}],
                "authorization": {"credentials": KEY},
            }
        ],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))
    with subprocess.Popen(
        [
            "prometheus",
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            "--web.listen-address=127.0.0.1:0",
        ],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        try:
            lines = (re.search(r"address=(127\.0\.0\.1:[1-9]\d*)", line) for line in process.stderr)
            address = next(found[1] for found in lines if found)
            with httpx.Client(base_url=f"http://{address}", timeout=30) as client:
                yield client
        finally:
            process.kill()


@pytest.mark.skipif(not shutil.which("prometheus"), reason="needs Prometheus")
def test_every_query_of_the_dashboard_has_data(daemon: DaemonProcess, tmp_path: Path) -> None:
    with prometheus(tmp_path, daemon.url.removeprefix("http://")) as client:

        def ask(query: str) -> list[dict[str, Any]]:
            reply = client.get("/api/v1/query", params={"query": query})
            return reply.json()["data"]["result"] if reply.status_code == 200 else []

        def scraped(times: int) -> bool:
            return any(int(each["value"][1]) >= times for each in ask("count_over_time(up[10m])"))

        for times in range(1, SCRAPES + 1):
            wait_until(lambda times=times: scraped(times), f"it is scraped {times} times")
        assert [each["value"][1] for each in ask("min_over_time(up[10m])")] == ["1"]
        queries = [
            target["expr"].replace(WINDOW, "10m").replace("$instance", ".*")
            for panel in json.loads(DASHBOARD.read_text())["panels"]
            for target in panel["targets"]
        ]
        assert len(queries) > 30
        assert [query for query in queries if not ask(query)] == []
