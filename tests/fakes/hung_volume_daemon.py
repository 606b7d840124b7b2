"""`python -m tests.fakes.hung_volume_daemon VOLUME GATE`: mlxd, with a volume that hangs.

While the file GATE exists, whoever looks at VOLUME, or at something in it, waits.
"""

import os
import sys
import time
from collections.abc import Callable
from typing import Any

from mlxd.__main__ import main


def hang(volume: str, gate: str) -> None:
    """Replace the functions that ask the file system."""
    exists = os.path.lexists

    def patient(usual: Callable[..., Any]) -> Callable[..., Any]:
        def ask(path: Any = ".", *arguments: Any, **options: Any) -> Any:
            if not isinstance(path, int):
                named = os.path.join("/", os.fsdecode(path))
                while named.startswith(volume) and exists(gate):
                    time.sleep(0.02)
            return usual(path, *arguments, **options)

        return ask

    for name in ("stat", "lstat", "open", "access", "readlink", "scandir", "listdir"):
        setattr(os, name, patient(getattr(os, name)))


if __name__ == "__main__":
    hang(*sys.argv[1:3])
    del sys.argv[1:3]
    main()
