"""What the daemon and its processes hold: memory, threads, descriptors, files. On Linux only."""

import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

_MEGABYTE = 1e6
_PAGE = 4096
MEASURED = sys.platform == "linux"


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
    everyone = [daemon, *_descendants(daemon)]
    engines = [pid for pid in everyone if b"mlxd.engine\0" in _command(pid)]
    settled = [daemon, *engines]
    return Held(
        daemon=resident(daemon),
        engine=sum(map(resident, engines)),
        threads=sum(len(_entries(pid, "task")) for pid in settled),
        descriptors=sum(len(_entries(pid, "fd")) for pid in settled),
        processes=len(everyone) - sum(b"sandbox_worker" in _command(pid) for pid in everyone),
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


def _descendants(pid: int) -> Iterator[int]:
    for task in _entries(pid, "task"):
        try:
            children = Path(f"/proc/{pid}/task/{task}/children").read_text().split()
        except OSError:
            continue
        for child in map(int, children):
            yield child
            yield from _descendants(child)


def _entries(pid: int, folder: str) -> list[str]:
    try:
        return [entry.name for entry in Path(f"/proc/{pid}/{folder}").iterdir()]
    except OSError:
        return []


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def resident(pid: int) -> int:
    """Return the bytes of memory that a process takes."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0
