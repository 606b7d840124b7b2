"""What the daemon and its processes hold: memory, threads, descriptors, files."""

import statistics
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import psutil

_MEGABYTE = 1e6


@dataclass(frozen=True)
class Held:
    """What there is at one time; memory is in bytes.

    Sandboxes, which end by themselves, are not in it.
    """

    daemon: int
    engine: int
    threads: int
    descriptors: int
    processes: int
    files: int

    def __str__(self) -> str:
        """Return a row of the summary."""
        return (
            f"daemon {self.daemon / _MEGABYTE:.0f} MB, engine {self.engine / _MEGABYTE:.0f} MB, "
            f"{self.threads} threads, {self.descriptors} descriptors, {self.processes} processes, "
            f"{self.files} temporary files"
        )


def held(daemon: int, temporary: Path) -> Held:
    """Return what the daemon with that process id holds, and what is in its temporary folder."""
    process = psutil.Process(daemon)
    children = process.children(recursive=True)
    engines = [each for each in children if _runs(each, "mlxd.engine")]
    sandboxes = [each for each in children if _runs(each, "mlxd.engine.sandbox_worker")]
    return Held(
        daemon=process.memory_info().rss,
        engine=sum(each.memory_info().rss for each in engines),
        threads=sum(each.num_threads() for each in (process, *engines)),
        descriptors=sum(each.num_fds() for each in (process, *engines)),
        processes=len(children) - len(sandboxes),
        files=sum(1 for _ in temporary.rglob("*")),
    )


def grown(samples: Sequence[Held], share: float, bytes_more: int) -> list[str]:
    """Return what is usually more in the second half of the samples, beyond what varies."""
    half = len(samples) // 2
    if not half:
        return []
    first, last = _usual(samples[:half]), _usual(samples[half:])
    found = []
    for name in ("daemon", "engine"):
        before, now = getattr(first, name), getattr(last, name)
        if now > before * (1 + share) + bytes_more:
            found.append(f"{name}: {before / _MEGABYTE:.0f} to {now / _MEGABYTE:.0f} MB")
    for name, more in (("threads", 4), ("descriptors", 8), ("processes", 0), ("files", 0)):
        before, now = getattr(first, name), getattr(last, name)
        if now > before + more:
            found.append(f"{name}: {before} to {now}")
    return found


def _usual(samples: Sequence[Held]) -> Held:
    return Held(*map(statistics.median_low, zip(*map(astuple, samples), strict=True)))


def _runs(process: psutil.Process, module: str) -> bool:
    """Return whether a process runs a Python module; False for one that has just ended."""
    try:
        return module in process.cmdline()
    except psutil.Error:
        return False
