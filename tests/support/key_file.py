"""Keys of `mlxctl key` in a file, and how a client sends one."""

from pathlib import Path

from mlxd import keys
from mlxd.keys import KeyLimits, KeyRing


class KeyFile:
    """A file of keys, and the ring that reads it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "keys.json"
        self.uses_file = folder / "run" / "uses.json"
        self.ring = KeyRing(self.file, self.uses_file)

    def add(self, name: str = "key", rights=("ask",), models=(), expires=None, **limits) -> str:
        return keys.create(
            self.file,
            name,
            rights=list(rights),
            models=list(models),
            expires=expires,
            limits=KeyLimits(**limits),
        )


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}
