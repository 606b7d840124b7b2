"""What the folders of models have, each as it was when it last answered.

Each is read in a thread of its own, so that one on a disk or a network volume that hangs keeps
nobody from the models of the others.
"""

import asyncio
import functools
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mlxd.errors import LoadFailed
from mlxd.models.entry import BrokenEntry, Candidate, CatalogEntry, Origin
from mlxd.models.folder import FolderReader
from mlxd.models.scanning import Scanner
from mlxd.models.search_path import Root, roots, snapshots

_FRESH_SECONDS = 0.05
_SHORT_WAIT, _LONG_WAIT = 0.02, 5.0


class View(NamedTuple):
    """What was found at one time; `paths` are the real ones of the models' folders."""

    models: dict[Candidate, CatalogEntry | BrokenEntry | None]
    paths: dict[Path, str]

    def read(self, found: Iterable[Candidate]) -> list[CatalogEntry | BrokenEntry]:
        """Return the models of candidates, without empty folders."""
        return [model for each in found if (model := self.models[each]) is not None]


class Roots:
    """The folders in `dirs`, the models directory and the cache of Hugging Face's programs.

    `in_threads` is whether there was a `refresh`, after which nothing else reads the disk.
    """

    def __init__(self, dirs: list[str]) -> None:
        self._dirs = dirs
        self._readers: dict[Root, FolderReader] = {}
        self._scanners: dict[Root, Scanner[View]] = {}
        self._views: dict[Root, View] = {}
        self.in_threads = False
        self._scanned_at = -math.inf

    def configure(self, dirs: list[str]) -> None:
        """Take other folders; the next `refresh` looks there."""
        self._dirs = dirs
        self._scanned_at = -math.inf

    async def refresh(self, *, known: bool) -> None:
        """Look at every root; from now on, `view` is what each had when it last answered.

        What is `known` to be there already is worth a short wait, and what is not a longer one.
        Raises LoadFailed if no root has answered yet.
        """
        loop = asyncio.get_running_loop()
        self.in_threads = True
        if known and loop.time() - self._scanned_at < _FRESH_SECONDS:
            return
        wait = _SHORT_WAIT if known else _LONG_WAIT
        scanners = [self._scanner(root) for root in self._all()]
        if all(await asyncio.gather(*(scanner.run(wait) for scanner in scanners))):
            self._scanned_at = loop.time()
        if not self._views:
            raise LoadFailed("the folders of models do not answer (models.dirs)")

    def view(self) -> View:
        """Return what was last found, or before the first `refresh` what is there now."""
        if self.in_threads:
            views = [self._views[root] for root in self._all() if root in self._views]
        else:
            views = [self._scan(root) for root in self._all()]
        models = {each: model for view in views for each, model in view.models.items()}
        paths = {path: real for view in views for path, real in view.paths.items()}
        return View(models, paths)

    @property
    def silent(self) -> list[str]:
        """The folders that have not answered for a while."""
        return [str(each.folder) for each in self._all() if self._scanner(each).silent]

    @property
    def unread(self) -> list[str]:
        """The folders that have not answered yet since the daemon began to look."""
        missing = [root for root in self._all() if root not in self._views]
        return [str(root.folder) for root in missing] if self.in_threads else []

    def _all(self) -> list[Root]:
        return roots(self._dirs)

    def _scanner(self, root: Root) -> Scanner[View]:
        if root not in self._scanners:

            def take(view: View) -> None:
                self._views[root] = view

            scan = functools.partial(self._scan, root)
            self._scanners[root] = Scanner(scan, take, str(root.folder))
        return self._scanners[root]

    def _scan(self, root: Root) -> View:
        reader = self._readers.setdefault(root, FolderReader())
        models = {each: _read(reader, each) for each in root.candidates()}
        paths = {model.path: os.path.realpath(model.path) for model in models.values() if model}
        return View(models, paths)


def _read(reader: FolderReader, candidate: Candidate) -> CatalogEntry | BrokenEntry | None:
    if candidate.origin is not Origin.HUB_CACHE:
        return reader.read(candidate)
    # The first usable revision; if there is none, the one most likely meant to be.
    broken: list[BrokenEntry] = []
    for folder in snapshots(candidate.folder):
        model = reader.read(Candidate(candidate.id, folder, candidate.origin))
        if isinstance(model, CatalogEntry):
            return model
        broken += [model] if model else []
    return min(broken, key=lambda model: model.stray, default=None)
