"""One download from start to end: ask the hub, check, fetch, verify, install."""

from collections.abc import Sequence
from pathlib import Path

from mlxd.errors import PullFailed
from mlxd.hub.compatibility import check_config, check_disk, check_memory, needed
from mlxd.hub.fetch import fetch, is_intact
from mlxd.hub.meter import Meter
from mlxd.hub.protocol import Downloaded
from mlxd.hub.repository import Repository, Snapshot
from mlxd.hub.retry import Retries, RetryPolicy
from mlxd.hub.staging import Pending, PullRecord, RepoFile, Staging, link, size_of
from mlxd.models.folder import CONFIG

_DEFAULT_POLICY = RetryPolicy()


class Download:
    """The download of `repository` into `models_dir`.

    A model that needs more than `memory_limit` bytes of memory is refused.
    """

    def __init__(
        self,
        repository: Repository,
        models_dir: Path,
        memory_limit: int,
        meter: Meter,
        policy: RetryPolicy = _DEFAULT_POLICY,
    ) -> None:
        self._repository = repository
        self._reference = repository.reference
        self._models_dir = models_dir
        self._memory_limit = memory_limit
        self._meter = meter
        self._policy = policy
        self._staging = Staging(models_dir, self._reference.repo)

    def run(self) -> Downloaded:
        """Download what is not here yet, and install the model.

        Raises:
            PullRefused: it cannot run here; no weights were downloaded.
            PullFailed: it needs the user; what was downloaded is kept.
            HubUnreachable: the hub did not answer for too long; what was downloaded is kept.
            OSError: a file cannot be written; what was downloaded is kept.
        """
        with self._staging.lock():
            self._staging.write(Pending(self._reference))
            self._check_target()
            snapshot = self._ask()
            files = needed(self._reference.repo, snapshot.files)
            up_to_date = self._is_installed(snapshot, files)
            if up_to_date:
                self._staging.remove()
            else:
                self._prepare(files)
                self._obtain_all(snapshot, files)
                repo, revision = self._reference.repo, self._reference.revision
                self._staging.install(PullRecord(repo, revision, snapshot.commit, files))
            return Downloaded(
                path=str(self._staging.target),
                commit=snapshot.commit,
                size_bytes=sum(file.size for file in files),
                bytes_fetched=self._meter.fetched,
                up_to_date=up_to_date,
            )

    def _check_target(self) -> None:
        target = self._staging.target
        if target.is_symlink() or (target.exists() and self._staging.installed() is None):
            raise PullFailed(f"{target} already exists and was not pulled: move it away first")
        if (owner := target.parent) != self._models_dir and (owner / CONFIG).exists():
            raise PullFailed(f"{owner} is itself a model: move it away first")

    def _ask(self) -> Snapshot:
        begun = self._staging.size_bytes() > 0
        allowed = self._policy.tries if begun else self._policy.first_tries

        def ask() -> Snapshot:
            self._meter.enter("asking")
            return self._repository.snapshot(self._policy.silence)

        return Retries(self._policy, self._meter, allowed).run(ask)

    def _is_installed(self, snapshot: Snapshot, files: Sequence[RepoFile]) -> bool:
        installed = self._staging.installed()
        if installed is None or installed.commit != snapshot.commit:
            return False
        return all(self._is_in_target(file, file.name) for file in files)

    def _is_in_target(self, file: RepoFile, name: str) -> bool:
        path = self._staging.target / name
        return path.is_file() and size_of(path) == file.size

    def _prepare(self, files: Sequence[RepoFile]) -> None:
        """Check that there is room for what is not here yet."""
        repo = self._reference.repo
        check_memory(repo, files, self._memory_limit)
        self._staging.keep_only(files)
        self._reuse_installed(files)
        present = sum(map(self._staging.present_bytes, files))
        size = sum(file.size for file in files)
        self._meter.plan(present, size)
        check_disk(repo, size - present, self._models_dir)

    def _reuse_installed(self, files: Sequence[RepoFile]) -> None:
        """Link the files that have not changed since the last pull; they are verified as if new."""
        if (installed := self._staging.installed()) is None:
            return
        names = {file.hash: file.name for file in installed.files}
        for file in files:
            name = names.get(file.hash)
            if name and not self._staging.present_bytes(file) and self._is_in_target(file, name):
                link(self._staging.target / name, self._staging.part(file))

    def _obtain_all(self, snapshot: Snapshot, files: Sequence[RepoFile]) -> None:
        repo = self._reference.repo
        for file in files:
            self._obtain(snapshot, file)
            if file.name == CONFIG:
                content = self._staging.complete_file(file).read_bytes()
                check_memory(repo, files, self._memory_limit, check_config(repo, content))

    def _obtain(self, snapshot: Snapshot, file: RepoFile) -> None:
        """Fetch and verify `file`; one with a wrong hash is fetched once more."""
        part = self._staging.part(file)
        for _ in range(2):
            if self._staging.complete_file(file).exists():
                return
            self._fetch(snapshot, file, part)
            self._meter.enter("verifying", file.name)
            if is_intact(part, file):
                self._staging.complete(file)
                return
            self._meter.discard(file.size)
            part.unlink()
        raise PullFailed(
            f"{file.name} of {self._reference.repo} had a wrong hash twice: what the hub sends is "
            f"not what it announces ({file.hash[:12]}…)"
        )

    def _fetch(self, snapshot: Snapshot, file: RepoFile, part: Path) -> None:
        url = self._repository.url(snapshot, file)
        retries = Retries(self._policy, self._meter, self._policy.tries)

        def came(count: int) -> None:
            if count > 0:
                retries.reset()
                self._meter.add(count)
            else:
                self._meter.discard(-count)

        def attempt() -> None:
            self._meter.enter("downloading", file.name)
            with self._repository.errors_explained():
                fetch(url, file, part, self._policy.silence, came)

        retries.run(attempt)
