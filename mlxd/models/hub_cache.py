"""The cache of Hugging Face's own programs, which is only read: who downloaded owns it.

    models--OWNER--NAME/refs/main          the newest revision that was asked for
    models--OWNER--NAME/snapshots/REVISION a folder of links to the files in blobs/

https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

import os
from pathlib import Path

_PREFIX = "models--"
_MAX_REF = 1000


def model_id(folder_name: str) -> str | None:
    """Give the id of the repository that is cached in a folder of that name; None for no model."""
    if not folder_name.startswith(_PREFIX):
        return None
    return folder_name.removeprefix(_PREFIX).replace("--", "/", 1) or None


def snapshots(repository: Path) -> list[Path]:
    """Give the folders of a repository's revisions, the one of `main` first, then the newest.

    A program that wanted only the tokenizer may have moved `main` on to a revision without weights.
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
