"""Reading a model's weights before they are asked for, while there is something else to do."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PART_BYTES = 32 * 1024 * 1024


@contextmanager
def reading_ahead(folder: Path | None) -> Iterator[None]:
    """Read the weights in `folder`, if there is one, while the block runs.

    They are read into the system's cache of files, where loading the model finds them. What cannot
    be read is left to loading, which says why.
    """
    enough = threading.Event()
    if folder is not None:
        threading.Thread(target=_read, args=(folder, enough), name="reader", daemon=True).start()
    try:
        yield
    finally:
        enough.set()


def _read(folder: Path, enough: threading.Event) -> None:
    buffer = bytearray(_PART_BYTES)
    try:
        for path in sorted(folder.glob("*.safetensors")):
            with path.open("rb", buffering=0) as file:
                while not enough.is_set() and file.readinto(buffer):
                    pass
    except OSError:
        return
