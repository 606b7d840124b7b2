"""mlxd on a disk that can be full: SIGUSR1 fills it, SIGUSR2 makes room again.

No file of the daemon, nor of the processes that it starts meanwhile, then grows over a few bytes:
a limit on the size of files (RLIMIT_FSIZE) needs no root and no volume, on Linux and macOS alike.
A process keeps the limit that it was started with.
"""

import resource
import signal
import sys

from mlxd.__main__ import main

FILL, FREE = signal.SIGUSR1, signal.SIGUSR2
_FEW_BYTES = 64


def _limit(size: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))


if __name__ == "__main__":
    signal.signal(FILL, lambda *_: _limit(_FEW_BYTES))
    signal.signal(FREE, lambda *_: _limit(resource.RLIM_INFINITY))
    sys.exit(main())
