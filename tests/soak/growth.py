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


@dataclass(frozen=True)
class Measure:
    """What is watched: `of` combines the values of each half of a run.

    The result of the second half may be larger by `share` of the first, and by `more`.
    """

    name: str
    value: Callable[[Sample], float]
    more: float
    share: float = 0.0
    of: Callable[[Iterable[float]], float] = statistics.median


_MEASURES = (
    Measure("daemon memory, MB", lambda each: each.memory / _MEGABYTE, 5, share=0.1),
    Measure("descriptors", lambda each: each.descriptors, 8, share=0.1),
    Measure("threads", lambda each: each.threads, 3),
    Measure("processes", lambda each: each.processes, 1),
    Measure(
        "largest engine, MB", lambda each: each.largest_engine / _MEGABYTE, 100, share=0.5, of=max
    ),
    Measure("temporary files", lambda each: each.temporary_files, 2),
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
        for measure in _MEASURES:
            first, second = (
                measure.of(map(measure.value, part)) if part else 0.0
                for part in (samples[:half], samples[half:])
            )
            grown = second > first * (1 + measure.share) + measure.more
            grown = grown and len(samples) >= _LEAST_SAMPLES
            found.append(Growth(measure.name, first, second, grown))
        return found
