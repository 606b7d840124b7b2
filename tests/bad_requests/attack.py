"""A daemon with good streams, bad requests beside them, and the summary of both."""

import asyncio
import itertools
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from scripts.tiny_model import make_tiny_model
from tests.bad_requests.case import Case
from tests.bad_requests.good_streams import Report
from tests.bad_requests.leftovers import Held, grown, held
from tests.bad_requests.sending import Outcome, send, shown
from tests.support.daemon_process import DaemonProcess, running_daemon, wait_until

MOST_SILENT = 1.0
"""Seconds that a good stream may be silent beyond its longest silence without bad requests."""
_AT_ONCE = 16
_SLOWEST = 8
_SHARE, _MORE_BYTES = 0.1, 25_000_000
_CONFIG = """\
[server]
head_timeout = "4s"
body_timeout = "4s"
read_timeout = "2s"
[generation]
max_tokens = 32
[engine]
prompt_cache = "20MB"
prompt_cache_disk = "20MB"
[responses]
max_bytes = "20MB"
"""

Say = Callable[[str], None]


@dataclass
class Summary:
    """What was sent and what came back; `results` counts statuses by kind of case.

    `faults` are lines about what went wrong. `alone` and `beside` are the longest silences of good
    streams in seconds, without and with bad requests.
    """

    sent: int = 0
    results: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    slowest: list[tuple[float, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    answers: int = 0
    alone: float = 0.0
    beside: float = 0.0
    held: list[Held] = field(default_factory=list)

    def table(self) -> str:
        """Return the summary as text."""
        results = sorted({result for counts in self.results.values() for result in counts})
        rows = [["kind", "sent", *results]]
        for kind, counts in sorted(self.results.items()):
            cells = [str(counts[result] or "") for result in results]
            rows.append([kind, str(counts.total()), *cells])
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            for row in rows
        ]
        lines += [
            "",
            f"{self.sent} requests; {len(self.faults)} faults; those that took longest:",
            *(f"  {seconds:.1f} s: {what}" for seconds, what in self.slowest),
            f"{self.answers} answers of good streams; longest silence {self.beside:.2f} s, "
            f"{self.alone:.2f} s without bad requests",
            *map(str, self.held[:1] + self.held[1:][-1:]),
        ]
        return "\n".join(line.rstrip() for line in lines)


class Attack:
    """Bad requests to one daemon, in rounds, with good streams beside each round."""

    def __init__(
        self, daemon: DaemonProcess, temporary: Path, faults: Path, say: Say = print
    ) -> None:
        """Take a daemon, its temporary folder, and the folder for cases that show a fault."""
        self.summary = Summary()
        self._daemon = daemon
        self.port = int(daemon.url.rpartition(":")[2])
        self._temporary = temporary
        self._faults = faults
        self._say = say
        self._read_lines = 0
        self._load()
        self._times: list[tuple[float, float, str]] = []

    @property
    def socket(self) -> Path:
        """The Unix socket."""
        return self._daemon.socket

    @property
    def pid(self) -> int:
        """The daemon's process id."""
        return self._daemon.process.pid

    def log(self) -> str:
        """Return the log so far."""
        return self._daemon.log()

    def _load(self) -> None:
        body = {"prompt": "x", "max_tokens": 1}
        assert self._daemon.local.post("/v1/completions", json=body).status_code == 200

    def _loaded(self) -> dict:
        return next(m for m in self._daemon.status()["models"] if m["id"] == "tiny")

    def begin(self, streams: "GoodStreams", seconds: float) -> None:
        """Let the good streams run alone for a while, to know their silences."""
        report = streams.during(lambda: time.sleep(seconds))
        self._note_streams(report)
        self.summary.alone, self.summary.beside = report.worst, 0.0

    def round(self, streams: "GoodStreams", cases: Sequence[Case]) -> None:
        """Send the cases, several at a time, and look at what they leave behind."""
        self._times.clear()
        report = streams.during(lambda: asyncio.run(self._send(cases)))
        self._note_streams(report)
        self.summary.beside = max(self.summary.beside, report.worst)
        if report.worst > self.summary.alone + MOST_SILENT:
            self._fault(self._silence(*report.gaps[0]))
        self._look()

    def _silence(self, seconds: float, end: float) -> str:
        """Describe a silence of the good streams, with the cases that ran meanwhile."""
        beside = [
            f"  {name} ({began - end + seconds:+.2f} to {ended - end + seconds:+.2f} s)"
            for began, ended, name in self._times
            if began < end and ended > end - seconds
        ]
        when = time.strftime("%H:%M:%S", time.localtime(end - seconds))
        return "\n".join(
            [f"good streams were silent for {seconds:.2f} s from {when}; beside:", *beside]
        )

    def _note_streams(self, report: Report) -> None:
        self.summary.answers += report.answers
        for wrong in report.wrong:
            self._fault(f"good stream {wrong}")

    async def _send(self, cases: Sequence[Case]) -> None:
        waiting = iter(cases)

        async def work() -> None:
            for case in waiting:
                began = time.time()
                self._note(case, await send(case, self.port, self.socket), began)

        await asyncio.gather(*(work() for _ in range(_AT_ONCE)))

    def _note(self, case: Case, outcome: Outcome, began: float) -> None:
        summary = self.summary
        summary.sent += 1
        summary.results[case.kind][outcome.result] += 1
        line = f"{case.kind} ({case.name}): {outcome.result}"
        self._times.append((began, time.time(), line))
        slowest = [*summary.slowest, (outcome.seconds, line)]
        summary.slowest = sorted(slowest, reverse=True)[:_SLOWEST]
        if outcome.fault is not None:
            file = case.save(self._faults, summary.sent)
            self._fault(
                f"{shown(case, outcome)}\n  again: python -m tests.bad_requests --again {file}"
            )

    def _look(self) -> None:
        wait_until(lambda: not self._busy(), "the daemon has no requests")
        loaded = self._loaded()
        # A bad request may unload the model, which is no fault.
        if loaded["state"] == "failed" or loaded["crashes"]:
            state, crashes = loaded["state"], loaded["crashes"]
            self._fault(f"the engine: {state}, {crashes} crashes, {loaded['last_crash']}")
        self._load()
        lines = self._daemon.log().splitlines()
        for number, line in enumerate(lines[self._read_lines :], self._read_lines):
            if "unexpected " in line or "Traceback" in line:
                trace = itertools.takewhile(str.strip, lines[number:])  # its end says what
                self._fault("\n  ".join(["the log:", *trace]))
        self._read_lines = len(lines)
        self.summary.held.append(held(self.pid, self._temporary))

    def _busy(self) -> bool:
        return any(model["requests"] for model in self._daemon.status()["models"])

    def end(self) -> Summary:
        """Compare what was held after the rounds of the first half with those of the second."""
        self.summary.faults += grown(self.summary.held, _SHARE, _MORE_BYTES)
        return self.summary

    def _fault(self, line: str) -> None:
        self.summary.faults.append(line)
        self._say(line)


class GoodStreams:
    """The process of the good streams."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def during(self, work: Callable[[], object]) -> Report:
        """Run the streams while `work` is done, and return what they got."""
        self._order("go")
        work()
        self._order("stop")
        assert self._process.stdout is not None
        return msgspec.json.decode(self._process.stdout.readline(), type=Report)

    def _order(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()


@contextmanager
def good_streams(port: int) -> Iterator[GoodStreams]:
    """Start the process of the good streams, and end it after the block."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bad_requests.good_streams", str(port), "tiny"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield GoodStreams(process)
        finally:
            process.kill()


@contextmanager
def attacked(faults: Path, say: Say = print) -> Iterator[tuple[Attack, GoodStreams]]:
    """Start a daemon with a tiny model that is to be attacked, and its good streams."""
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        home, temporary = Path(folder), Path(folder) / "tmp"
        make_tiny_model(home / "models" / "tiny", context_length=16384, marked=True)
        temporary.mkdir()
        (home / "config.toml").write_text(_CONFIG)
        # On Linux, MLX else calls a C++ compiler at the first use of a function, for seconds.
        environ = {"TMPDIR": str(temporary), "MLX_DISABLE_COMPILE": "1"}
        with (
            running_daemon(home, "--model", "tiny", **environ) as daemon,
            good_streams(int(daemon.url.rpartition(":")[2])) as streams,
        ):
            yield Attack(daemon, temporary, faults, say), streams
