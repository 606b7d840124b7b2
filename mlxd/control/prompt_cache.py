"""The prompt cache on disk: shown and cleared."""

import asyncio
from pathlib import Path

from mlxd import control_api, prompt_files
from mlxd.errors import NotRemovable
from mlxd.models.catalog import Catalog

_FEWEST_DIGITS = 8


class PromptCacheControl:
    """Shows and clears what is in `folder`, which may have `limit_bytes` in all.

    Engines go on while the cache is cleared, and fill it again.
    """

    def __init__(self, catalog: Catalog, folder: Path, limit_bytes: int) -> None:
        self._catalog = catalog
        self._folder = folder
        self._limit_bytes = limit_bytes

    async def show(self) -> control_api.PromptCacheListing:
        """Return what each model has."""
        models = [each for each in await asyncio.to_thread(self._read) if each.files]
        return control_api.PromptCacheListing(
            folder=str(self._folder),
            limit_bytes=self._limit_bytes,
            size_bytes=sum(each.size_bytes for each in models),
            models=models,
        )

    async def clear(self, model: str | None = None) -> control_api.PromptCacheRemoval:
        """Remove what a model has, with all its adapters, or what every model has.

        `model` may be gone from the disk, or be the first eight or more digits of a fingerprint.

        Raises:
            NotRemovable: the file system refuses.
        """
        found = await asyncio.to_thread(self._read)
        if model is not None:
            found = self._named(model, found)
        await asyncio.to_thread(self._remove, found)
        return control_api.PromptCacheRemoval(
            files=sum(each.files for each in found),
            size_bytes=sum(each.size_bytes for each in found),
        )

    def _named(
        self, name: str, cached: list[control_api.CachedPrompts]
    ) -> list[control_api.CachedPrompts]:
        if found := [each for each in cached if each.model == name]:
            return found
        found = [each for each in cached if each.fingerprint.startswith(name)]
        if found and len(name) >= _FEWEST_DIGITS:
            return found
        wanted = self._catalog.find(name).id
        return [each for each in cached if each.model == wanted]

    def _read(self) -> list[control_api.CachedPrompts]:
        read = map(_read_folder, prompt_files.folders(self._folder))
        return sorted(read, key=lambda each: -each.last_used)

    def _remove(self, found: list[control_api.CachedPrompts]) -> None:
        for each in found:
            try:
                prompt_files.remove(self._folder / each.fingerprint)
            except OSError as error:
                raise NotRemovable(
                    f"{error.filename} cannot be removed: {error.strerror}"
                ) from error


def _read_folder(folder: Path) -> control_api.CachedPrompts:
    info, files = prompt_files.read_info(folder), prompt_files.usage(folder)
    return control_api.CachedPrompts(
        fingerprint=folder.name,
        model=info.model if info else None,
        adapter=info.adapter if info else None,
        files=len(files),
        tokens=sum(node.length for node in files),
        size_bytes=sum(each.size for each in files.values()),
        last_used=max((each.used_ns for each in files.values()), default=0) / 1e9,
    )
