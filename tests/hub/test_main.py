"""The process that the daemon runs: its last line, and how it exits."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import tokenizers

import mlxd
from mlxd.hub.download_process import Report
from mlxd.hub.reference import parse
from mlxd.hub.staging import Pending
from tests.fakes.hub import Break, FakeHub, Hold
from tests.hub.conftest import TINY, WEIGHTS, Puller, contents
from tests.support.daemon_process import DEADLINE, wait_until

MAIN_FILES = {
    **TINY,
    "tokenizer.json": tokenizers.Tokenizer(tokenizers.models.BPE()).to_str().encode(),
}


@pytest.fixture(autouse=True)
def _hub_has_a_tokenizer(hub: FakeHub) -> None:
    hub.repos["acme/tiny"].commit(MAIN_FILES)


@contextmanager
def running(pull: Puller) -> Iterator[subprocess.Popen[bytes]]:
    pull.staging().write(Pending(parse("acme/tiny")))  # as the daemon does
    options = ("--into", str(pull.models_dir), "--memory-limit", "1000000000", "--connections", "8")
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "mlxd.hub", "acme/tiny", "main", *options],
        env={**os.environ, "HF_ENDPOINT": pull.hub.url, "HF_HUB_DISABLE_TELEMETRY": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        yield process


def last_report(process: subprocess.Popen[bytes]) -> Report:
    assert process.stdout is not None
    return msgspec.json.decode(process.stdout.readlines()[-1], type=Report)


def test_the_last_line_is_the_result(pull: Puller) -> None:
    with running(pull) as process:
        done = last_report(process).done
    assert done is not None
    assert contents(Path(done.path)) == MAIN_FILES


def test_it_exits_with_the_daemon_and_loses_nothing(pull: Puller, hub: FakeHub) -> None:
    hub.fails("model.safetensors", Hold(after=100_000))
    with running(pull) as process:
        assert process.stdin is not None
        wait_until(lambda: pull.staging().size_bytes() > 100_000, "100,000 bytes have come")
        process.stdin.close()
        assert process.wait(DEADLINE) == 0
    assert pull().bytes_fetched == len(WEIGHTS) - 100_000


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_is_reported_in_one_line(pull: Puller, hub: FakeHub) -> None:
    hub.fails("tokenizer.json", Break(1))
    with running(pull) as process:
        wait_until(lambda: any(pull.staging().folder.glob("*.part")), "a part has begun")
        process.kill()
    (part,) = pull.staging().folder.glob("*.part")
    part.unlink()
    part.symlink_to("/dev/full")
    with running(pull) as process:
        failed = last_report(process)
    assert failed == Report(error=f"{pull.models_dir}: No space left on device", code="pull_failed")


def test_only_this_room_imports_huggingface_hub() -> None:
    root = Path(mlxd.__file__).parent
    importers = {
        str(file.relative_to(root).parts[0])
        for file in root.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        for name in _imported(node)
        if name.partition(".")[0] == "huggingface_hub"
    }
    assert importers == {"hub"}


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []
