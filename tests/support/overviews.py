"""What `mlxctl top` may find: a daemon with two models, a download and a few requests."""

import msgspec

from mlxctl.top.overview import Overview
from mlxd.activity import Activity, History, ServedRequest
from mlxd.control_api import ModelStatus, PullStatus, Status
from tests.support.fake_daemon import FakeDaemon
from tests.support.statuses import RUNNING, STATUS

NOW = 1_795_392_003.0  # the last step goes on for two more seconds
STEPS = 24
NOT_RUNNING = "mlxd is not running; start it with: mlxctl start"


def answer_top(daemon: FakeDaemon) -> None:
    """Have a daemon answer what `mlxctl top` asks."""
    hour = msgspec.structs.replace(activity(), history=history(steps=720))
    daemon.answers(STATUS, msgspec.to_builtins(status()))
    daemon.answers(("GET", "/control/v1/activity"), msgspec.to_builtins(activity()))
    daemon.answers(("GET", "/control/v1/activity?hour=true"), msgspec.to_builtins(hour))
    daemon.answers(("GET", "/control/v1/pulls"), {"pulls": [msgspec.to_builtins(PULL)]})


def overview() -> Overview:
    return Overview(status=status(), activity=activity(), pulls=[PULL])


def status() -> Status:
    running = msgspec.convert(RUNNING, Status)
    return msgspec.structs.replace(running, uptime_s=11_520.0, models=[QWEN, BROKEN])


def activity() -> Activity:
    return Activity(
        now=NOW,
        running=3,
        waiting=1,
        generated_per_second=184.2,
        prompt_per_second=0.0,
        requests_total=1204,
        failed_total=3,
        generated_total=1_234_567,
        prompt_total=80_000,
        cached_total=640_000,
        history=history(),
        requests=REQUESTS,
    )


def history(steps: int = STEPS) -> History:
    """Half of the time nothing, then more and more, and a step without a first token."""
    busy = steps // 2
    idle = steps - busy
    risen = range(1, busy + 1)
    return History(
        step_s=5.0,
        end=NOW + 2,
        generated_tokens=[0] * idle + [80 * level for level in risen],
        prompt_tokens=[0] * idle + [4000, *[0] * (busy - 1)],
        cached_tokens=[0] * idle + [0, *[3000] * (busy - 1)],
        requests=[0] * idle + [1] * busy,
        failed=[0] * steps,
        running=[0] * idle + [min(level, 3) for level in risen],
        waiting=[0] * idle + [level % 2 for level in risen],
        first_token_s=[None] * idle + [2.4, *[0.18] * (busy - 2), None],
        inter_token_s=[None] * idle + [0.012] * busy,
        memory_bytes=[0] * idle + [9_000_000_000] * busy,
        prompt_cache_bytes=[0] * idle + [1_200_000_000] * busy,
    )


QWEN = ModelStatus(
    id="mlx-community/Qwen3-8B-4bit",
    state="ready",
    pid=4712,
    memory_bytes=9_000_000_000,
    memory_limit_bytes=18_000_000_000,
    prompt_cache_bytes=1_200_000_000,
    requests=4,
    queued=1,
    tokens_per_second=184.2,
    expires_in_s=None,
)
BROKEN = ModelStatus(id="b", state="failed", cause="no weights:\n\x1b[31mmodel.safetensors")
PULL = PullStatus(
    model="acme/smol",
    revision="main",
    state="downloading",
    bytes_done=52_000_000,
    bytes_total=117_000_000,
    bytes_per_second=7_700_000.0,
)


def _request(number: int, state: str, **facts: object) -> ServedRequest:
    known = {
        "id": f"req-{number}",
        "at": NOW - number,
        "dialect": "chat",
        "caller": "anyone",
        "model": QWEN.id,
        "stream": True,
        "state": state,
        **facts,
    }
    return msgspec.convert(known, ServedRequest)


REQUESTS = [
    _request(
        1,
        "writing",
        dialect="messages",
        caller="laptop",
        prompt_tokens=20_482,
        cached_tokens=20_224,
        completion_tokens=312,
        queue_s=0.01,
        first_token_s=0.18,
        total_s=5.2,
        tokens_per_second=61.4,
    ),
    _request(2, "reading", prompt_tokens=4000, cached_tokens=0, total_s=0.4),
    _request(3, "queued", total_s=0.0),
    _request(
        4,
        "done",
        status=200,
        prompt_tokens=1131,
        cached_tokens=964,
        completion_tokens=36,
        first_token_s=2.41,
        total_s=72.0,
        tokens_per_second=102.6,
    ),
    _request(5, "failed", status=429, error="queue_full", total_s=0.0),
    *(_request(number, "aborted", total_s=4000.0) for number in range(6, 20)),
]
