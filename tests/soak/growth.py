"""What the daemon and its processes hold, looked at every second, and whether that grows."""

import asyncio
import contextlib
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

_MEGABYTE = 1_000_000
_WARM_UP = 0.15  # the share of the run that is left out, while caches fill
_LEAST_SAMPLES = 100
_KERNELS = "mlx"  # where MLX keeps what it has compiled for this processor


@dataclass(frozen=True)
class Sample:
    """One look: bytes of memory, and counts."""

    memory: int
    descriptors: int
    threads: int
    processes: int
    largest_engine: int
    temporary_files: int


@dataclass(frozen=True)
class Growth:
    """The medians of one measure in the first and the second half, in its unit.

    Of the engines, which come and go, and need more while they read long prompts, it is the largest
    in each half.
    """

    name: str
    first: float
    second: float
    grown: bool


# What is watched: its name, its value in its unit, what of many values counts, and how much more
# of it is no growth: a share, and so much besides.
_Of = Callable[[Iterable[float]], float]
_MEASURES: tuple[tuple[str, Callable[[Sample], float], _Of, float, float], ...] = (
    ("daemon memory, MB", lambda each: each.memory / _MEGABYTE, statistics.median, 0.1, 5),
    ("descriptors", lambda each: each.descriptors, statistics.median, 0.1, 8),
    ("threads", lambda each: each.threads, statistics.median, 0, 3),
    ("processes", lambda each: each.processes, statistics.median, 0, 1),
    ("largest engine, MB", lambda each: each.largest_engine / _MEGABYTE, max, 0.5, 100),
    ("temporary files", lambda each: each.temporary_files, statistics.median, 0, 2),
)


class Watch:
    """Samples of one daemon, and of the folder `temporary` that is its TMPDIR."""

    def __init__(self, pid: int, home: Path, temporary: Path) -> None:
        self._daemon = psutil.Process(pid)
        self._home, self._temporary = home, temporary
        self.samples: list[Sample] = []

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            with contextlib.suppress(psutil.NoSuchProcess):  # one that ends just now
                self.samples.append(self.look())
            await asyncio.sleep(1)

    def look(self) -> Sample:
        """Return what is held now. Raises psutil.NoSuchProcess."""
        children = self._daemon.children(recursive=True)
        with self._daemon.oneshot():
            return Sample(
                memory=self._daemon.memory_info().rss,
                descriptors=self._daemon.num_fds(),
                threads=self._daemon.num_threads(),
                processes=len(children),
                largest_engine=max((each.memory_info().rss for each in children), default=0),
                temporary_files=len(self.temporary_files()),
            )

    def temporary_files(self) -> list[Path]:
        """Return what is in TMPDIR, and what was not written to its end in the home."""
        kept = self._home / "models"  # what a pull keeps for its next try
        temporary = [file for file in self._temporary.iterdir() if file.name != _KERNELS]
        return temporary + [file for file in self._home.rglob(".*") if kept not in file.parents]

    def growth(self) -> list[Growth]:
        """Return each measure; nothing has grown in a run of a few seconds."""
        samples = self.samples[int(len(self.samples) * _WARM_UP) :]
        half = len(samples) // 2
        found = []
        for name, value, of, share, besides in _MEASURES:
            first, second = (
                of(map(value, part)) if part else 0.0 for part in (samples[:half], samples[half:])
            )
            grown = len(samples) >= _LEAST_SAMPLES and second > first * (1 + share) + besides
            found.append(Growth(name, first, second, grown))
        return found
