"""One pull, top-down: ask, judge, fetch, verify, install."""

from collections.abc import Sequence
from pathlib import Path

from mlxd.errors import PullFailed
from mlxd.hub.compatibility import CONFIG, check_config, check_disk, check_memory, needed
from mlxd.hub.fetch import fetch, is_intact
from mlxd.hub.meter import Meter
from mlxd.hub.protocol import Downloaded
from mlxd.hub.repository import Repository, Snapshot
from mlxd.hub.retry import Interrupted, Retries, RetryPolicy
from mlxd.hub.staging import Pending, PullRecord, RepoFile, Staging, link, present_in

_USUAL = RetryPolicy()


class Download:
    """The download of `repository` into `models_dir`.

    A model whose weights are over `memory_limit` bytes is refused.
    """

    def __init__(
        self,
        repository: Repository,
        models_dir: Path,
        memory_limit: int,
        meter: Meter,
        patience: RetryPolicy = _USUAL,
    ) -> None:
        self._repository = repository
        self._reference = repository.reference
        self._models_dir = models_dir
        self._memory_limit = memory_limit
        self._meter = meter
        self._patience = patience
        self._staging = Staging(models_dir, self._reference.repo)

    def run(self) -> Downloaded:
        """Download what is not here yet, and make a model of it.

        Raises:
            PullRefused: it is none that can run here, and next to nothing was downloaded.
            PullFailed: somebody has to do something first; what has come is kept.
            HubUnreachable: the hub did not answer for too long; what has come is kept.
            OSError: a file cannot be written; what has come is kept.
        """
        with self._staging.hold():
            self._staging.write(Pending(self._reference))
            self._refuse_foreign_folder()
            self._meter.enter("asking")
            snapshot = self._ask()
            files = needed(self._reference.repo, snapshot.files)
            size = sum(file.size for file in files)
            up_to_date = self._is_installed(snapshot, files)
            if up_to_date:
                self._staging.remove()
            else:
                self._prepare(files)
                self._obtain_all(snapshot, files)
                self._staging.install(
                    PullRecord(
                        self._reference.repo, self._reference.revision, snapshot.commit, files
                    )
                )
            return Downloaded(
                path=str(self._staging.target),
                commit=snapshot.commit,
                size_bytes=size,
                bytes_fetched=self._meter.fetched,
                up_to_date=up_to_date,
            )

    def _refuse_foreign_folder(self) -> None:
        target = self._staging.target
        if target.is_symlink() or (target.exists() and self._staging.origin() is None):
            raise PullFailed(f"{target} is there already and was not pulled: move it away first")
        if (owner := target.parent) != self._models_dir and (owner / CONFIG).exists():
            raise PullFailed(f"{owner} is a model itself: move it away first")

    def _ask(self) -> Snapshot:
        begun = self._staging.size_bytes() > 0
        allowed = self._patience.tries if begun else self._patience.first_tries
        tries = Retries(self._patience, self._meter, allowed)
        while True:
            try:
                return self._repository.snapshot(self._patience.silence)
            except Interrupted as interrupted:
                tries.pause(interrupted)
                self._meter.enter("asking")

    def _is_installed(self, snapshot: Snapshot, files: Sequence[RepoFile]) -> bool:
        origin = self._staging.origin()
        if origin is None or origin.commit != snapshot.commit:
            return False
        return present_in(self._staging.target, files)

    def _prepare(self, files: Sequence[RepoFile]) -> None:
        """Take over what is here already, and see whether there is room for the rest."""
        repo = self._reference.repo
        check_memory(repo, files, self._memory_limit)
        self._staging.keep_only(files)
        if (installed := self._staging.origin()) is not None:
            for file in installed.files:
                self._take_over(file, files)
        present = sum(map(self._staging.present, files))
        size = sum(file.size for file in files)
        self._meter.plan(present, size)
        check_disk(repo, size - present, self._models_dir)

    def _take_over(self, installed: RepoFile, files: Sequence[RepoFile]) -> None:
        """Use a file of the installed model, if it is wanted and is still what it was."""
        path, whole = self._staging.target / installed.name, self._staging.whole(installed)
        wanted = installed.hash in {file.hash for file in files}
        if not wanted or whole.exists() or not path.is_file():
            return
        self._meter.enter("verifying", installed.name)
        if is_intact(path, installed):
            link(path, whole)

    def _obtain_all(self, snapshot: Snapshot, files: Sequence[RepoFile]) -> None:
        for file in files:
            self._obtain(snapshot, file)
            if file.name == CONFIG:
                repo = self._reference.repo
                config = check_config(repo, self._staging.whole(file).read_bytes())
                check_memory(repo, files, self._memory_limit, config)

    def _obtain(self, snapshot: Snapshot, file: RepoFile) -> None:
        """Make `file` whole; one that is not what it should be is fetched once more."""
        whole, part = self._staging.whole(file), self._staging.part(file)
        for _ in range(2):
            if whole.exists():
                return
            self._fetch(snapshot, file, part)
            self._meter.enter("verifying", file.name)
            if is_intact(part, file):
                self._staging.complete(file)
                return
            self._meter.lose(file.size)
            part.unlink()
        raise PullFailed(
            f"{file.name} of {self._reference.repo} came with a wrong hash, twice: what the hub "
            f"sends is not what it says it is ({file.hash[:12]}…)"
        )

    def _fetch(self, snapshot: Snapshot, file: RepoFile, part: Path) -> None:
        url = self._repository.url(snapshot, file)
        tries = Retries(self._patience, self._meter, self._patience.tries)

        def came(count: int) -> None:
            if count > 0:
                tries.begin_anew()
                self._meter.add(count)
            else:
                self._meter.lose(-count)

        while True:
            self._meter.enter("downloading", file.name)
            try:
                with self._repository.explained():
                    return fetch(url, file, part, self._patience.silence, came)
            except Interrupted as interrupted:
                tries.pause(interrupted)
