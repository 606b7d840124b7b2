"""The layout of the Hugging Face cache, which mlxd only reads.

    models--OWNER--NAME/refs/main          the latest revision that was downloaded
    models--OWNER--NAME/snapshots/REVISION links to the files in blobs/

https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

import os
from pathlib import Path

_PREFIX = "models--"
_MAX_REF = 1000


def model_id(folder_name: str) -> str | None:
    """Return the id of the model repository that a folder of that name caches, if any."""
    if not folder_name.startswith(_PREFIX):
        return None
    return folder_name.removeprefix(_PREFIX).replace("--", "/", 1) or None


def snapshots(repository: Path) -> list[Path]:
    """Return the folders of a repository's revisions, `main` first, then the newest.

    `main` may lack weights, if a program downloaded only the tokenizer of a newer revision.
    """
    try:
        with os.scandir(repository / "snapshots") as found:
            ages = {entry.name: entry.stat().st_mtime_ns for entry in found if entry.is_dir()}
    except OSError:
        return []
    main = _main(repository)
    newest_first = sorted(ages, key=lambda name: (name == main, ages[name]), reverse=True)
    return [repository / "snapshots" / name for name in newest_first]


def _main(repository: Path) -> str | None:
    try:
        with open(repository / "refs" / "main", encoding="ascii") as file:
            return file.read(_MAX_REF).strip()
    except (OSError, ValueError):
        return None
