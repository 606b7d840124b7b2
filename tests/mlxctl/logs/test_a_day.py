"""A day of requests, one a second, in the log: it stays within its limits, and can be read back."""

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from tests.mlxctl.conftest import Run
from tests.support.busy_daemon import KEEP, MAX_SIZE, MIDNIGHT, fails, prints, request_id

pytestmark = pytest.mark.slow

DAY = 86_400
NOON = DAY // 2


@pytest.fixture
def log(home: Path) -> Path:
    (home / "logs").mkdir()
    return home / "logs" / "mlxd.log"


def test_a_day(log: Path, mlxctl: Run) -> None:
    # The first daemon ends at noon; the second one is configured to log JSON.
    for form, first, last in (("text", 0, NOON), ("json", NOON, DAY)):
        work = [sys.executable, "-m", "tests.support.busy_daemon", log, form]
        subprocess.run([*work, str(first), str(last)], check=True)
    sizes = [file.stat().st_size for file in log.parent.iterdir()]
    assert len(sizes) == KEEP + 1
    assert max(sizes) <= MAX_SIZE

    an_hour_before = datetime.fromtimestamp(MIDNIGHT + DAY - 3600).isoformat()
    shown = mlxctl("logs", "--json", "--since", an_hour_before).stdout.splitlines()
    expected = []
    for number in range(DAY - 3600, DAY):
        if prints(number):
            expected.append((None, "owner/some-model-4bit"))
        expected += [(request_id(number), None)] * (1 + fails(number))
    entries = [json.loads(line) for line in shown]
    assert [(entry.get("request"), entry.get("engine")) for entry in entries] == expected

    noon = json.loads(mlxctl("logs", "--json", "--request", request_id(NOON - 1)).stdout)
    assert (noon["logger"], noon["level"]) == ("mlxd.http", "info")
    failed = mlxctl("logs", "--request", request_id(DAY - 150)).stdout
    assert failed.count("\nKeyError: ") == 1
