"""A day's requests, one a second, in the log: within its limits, and followed line by line."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.mlxctl.conftest import DEADLINE, Run, command
from tests.support.busy_daemon import KEEP, MAX_SIZE, MIDNIGHT, fails, prints, request_id

DAY = 86_400
NOON = DAY // 2
SECONDS = 3.0  # that each half takes


class Follower:
    """`mlxctl logs -f ARGUMENTS`, and every line that it prints."""

    def __init__(self, *arguments: str) -> None:
        self._process = subprocess.Popen(
            command("logs", "-f", *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._deadline = threading.Timer(DEADLINE, self._process.kill)
        self._thread = threading.Thread(target=self._read)
        self.lines: list[str] = []

    def __enter__(self) -> "Follower":
        self._deadline.start()
        self.lines.append(self._process.stdout.readline().decode())
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._thread.join()
        self._deadline.cancel()
        self._process.communicate()

    def _read(self) -> None:
        for line in self._process.stdout:
            self.lines.append(line.decode())
            if request_id(DAY - 1) in self.lines[-1]:
                return

    def ends(self) -> str:
        """Wait for the day's last request, press Ctrl-C, and give what was said beside."""
        self._thread.join()
        self._process.send_signal(signal.SIGINT)
        return self._process.stderr.read().decode().strip()


class Scales:
    """Weighs the log all the while."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.largest = self.weighed = 0

    def __enter__(self) -> "Scales":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            before = self._newest()
            sizes = {}
            for entry in os.scandir(self._folder):
                try:
                    status = os.stat(entry.path)
                except FileNotFoundError:
                    continue
                sizes[status.st_ino] = status.st_size
            # What was put aside meanwhile would be weighed twice.
            if before is not None and before == self._newest():
                self.weighed += 1
                self.largest = max(self.largest, sum(sizes.values()))

    def _newest(self) -> int | None:
        try:
            return (self._folder / "mlxd.log").stat().st_ino
        except FileNotFoundError:
            return None


def first_words() -> Iterator[str]:
    """What the day's messages begin with."""
    for number in range(DAY):
        if prints(number):
            yield "owner/some-model-4bit[4711]:"
        if fails(number):
            yield f"{request_id(number)}:"
        yield request_id(number)


@pytest.fixture
def log(home: Path) -> Path:
    (home / "logs").mkdir()
    return home / "logs" / "mlxd.log"


def test_a_day(log: Path, mlxctl: Run) -> None:
    log.write_text("it follows\n")
    with Scales(log.parent) as scales, Follower() as people, Follower("--json") as program:
        # The first daemon ends at noon; the second one is configured to log JSON.
        for form, first, last in (("text", 0, NOON), ("json", NOON, DAY)):
            work = [sys.executable, "-m", "tests.support.busy_daemon", log, form]
            subprocess.run([*work, str(first), str(last), str(SECONDS)], check=True)
        assert (people.ends(), program.ends()) == ("", "")

    assert MAX_SIZE * KEEP * 0.9 < scales.largest <= MAX_SIZE * (KEEP + 1)
    assert scales.weighed > 100
    messages = [json.loads(line)["message"] for line in program.lines]
    assert [message.split()[0] for message in messages[1:]] == list(first_words())
    heads = [line for line in people.lines if line.startswith("20")]
    assert [head.split(": ", 1)[1].rstrip("\n") for head in heads] == messages[1:]
    assert sum("KeyError: " in line for line in people.lines) == sum(map(fails, range(DAY)))

    an_hour_before = datetime.fromtimestamp(MIDNIGHT + DAY - 3600).isoformat()
    last = mlxctl("logs", "--json", "--since", an_hour_before).stdout.splitlines()
    hour = range(DAY - 3600, DAY)
    assert len(last) == len(hour) + sum(map(prints, hour)) + sum(map(fails, hour))
    assert json.loads(last[1])["request"] == request_id(DAY - 3600)
