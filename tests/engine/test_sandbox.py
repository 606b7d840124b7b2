"""Jobs that take too much end alone; the process that runs them goes on."""

import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from mlxd.engine.sandbox import Check, Sandbox, SandboxFailed, SandboxSession, unchecked

SECONDS = 20.0
FOR_EVER = "{{ 10 ** (10 ** 9) }}"


def template(source: str) -> dict[str, Any]:
    message = {"role": "user", "content": "Hi"}
    job: dict[str, Any] = {"source": source, "messages": [message], "tools": None}
    return job | {"arguments": {}, "special_tokens": {}}


def render(
    sandbox: Sandbox, source: str, seconds: float = SECONDS, check: Check = unchecked
) -> Any:
    answer, _ = sandbox.run("template", template(source), seconds, check)
    return answer


def pid(sandbox: Sandbox) -> int:
    (worker,) = sandbox._free
    return worker._process.pid


def test_a_job_is_answered(sandbox: Sandbox) -> None:
    assert render(sandbox, "{{ messages[0].content }}!") == {"text": "Hi!"}
    assert render(sandbox, "{{ raise_exception('no') }}")["message"] == "no"


class Withdrawn(Exception):
    pass


def withdraw() -> None:
    raise Withdrawn


@pytest.mark.parametrize(
    ("source", "seconds", "check", "error"),
    [
        (FOR_EVER, 0.3, unchecked, TimeoutError),
        (FOR_EVER, SECONDS, withdraw, Withdrawn),
        ("{{ 'a' * 4000000000 }}", SECONDS, unchecked, SandboxFailed),
        ("{{ 'a' * 40000000 }}", SECONDS, unchecked, SandboxFailed),
    ],
    ids=["too long", "withdrawn", "too large", "writes too much"],
)
def test_only_the_job_ends(
    sandbox: Sandbox, source: str, seconds: float, check: Check, error: type[Exception]
) -> None:
    sandbox.start()
    before = pid(sandbox)
    with pytest.raises(error):
        render(sandbox, source, seconds, check)
    assert render(sandbox, "next") == {"text": "next"}
    assert pid(sandbox) == before
    if sys.platform == "linux":
        assert Path(f"/proc/{before}/task/{before}/children").read_text() == ""


def test_a_crash_is_the_jobs_alone(sandbox: Sandbox) -> None:
    chain = "start: r0\n" + "".join(f"r{i}: r{i + 1}\n" for i in range(60_000)) + 'r60000: "x"\n'
    part = {"name": "answer", "grammar": {"kind": "lark", "source": chain, "param": "grammar"}}
    with pytest.raises(SandboxFailed):
        sandbox.run("grammar", {"rule": "start: @answer", "parts": [part]}, SECONDS)
    assert render(sandbox, "next") == {"text": "next"}


def test_a_process_that_has_ended_is_replaced(sandbox: Sandbox) -> None:
    sandbox.start()
    before = pid(sandbox)
    (worker,) = sandbox._free
    worker._process.kill()
    assert render(sandbox, "next") == {"text": "next"}
    assert pid(sandbox) != before


def test_a_job_does_not_wait_for_that_of_another_thread() -> None:
    sandbox, begun, done = Sandbox(), threading.Event(), threading.Event()

    def check() -> None:
        begun.set()
        if done.is_set():
            raise Withdrawn

    def take_long() -> None:
        with pytest.raises(Withdrawn):
            render(sandbox, FOR_EVER, check=check)

    other = threading.Thread(target=take_long)
    other.start()
    assert begun.wait(SECONDS)
    assert render(sandbox, "quick") == {"text": "quick"}
    done.set()
    other.join(SECONDS)
    sandbox.close()


def test_the_jobs_of_a_session_share_its_time(sandbox: Sandbox) -> None:
    session = SandboxSession(sandbox, 0.5)
    loop = template("{% for a in range(90000) %}{% endfor %}")
    with pytest.raises(TimeoutError):
        [session.run("template", loop) for _ in range(2000)]
