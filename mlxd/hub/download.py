"""One download from start to end: ask the hub, check, fetch, verify, install."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from mlxd.control_api import PullReply
from mlxd.errors import HubUnreachable, PullFailed
from mlxd.hub.compatibility import check_disk, check_files, check_model, needed
from mlxd.hub.meter import Meter
from mlxd.hub.repository import Repository
from mlxd.hub.retry import Interrupted, RetryPolicy
from mlxd.hub.staging import RepoFile, Snapshot, Staging, link, size_of
from mlxd.hub.transfer import Transfer
from mlxd.models.folder import CONFIG
from mlxd.models.weights import is_weights

_Result = TypeVar("_Result")


_DEFAULT_POLICY = RetryPolicy()


class Download:
    """The download of `repository` into `models_dir`, where its staging folder has been made.

    A model that needs more than `memory_limit` bytes of memory is refused, and so is one that
    `check`, called before the weights are downloaded, refuses as `check_files` does. It uses up to
    `connections` connections at the same time.
    """

    def __init__(
        self,
        repository: Repository,
        models_dir: Path,
        memory_limit: int,
        meter: Meter,
        connections: int,
        policy: RetryPolicy = _DEFAULT_POLICY,
        check: Callable[[str, Sequence[RepoFile], Path], None] = check_files,
    ) -> None:
        self._repository = repository
        self._repo = repository.reference.repo
        self._models_dir = models_dir
        self._memory_limit = memory_limit
        self._meter = meter
        self._connections = connections
        self._policy = policy
        self._check_files = check
        self._staging = Staging(models_dir, self._repo)

    def run(self) -> PullReply:
        """Download what is not here yet, and install the model.

        Raises:
            PullRefused: it cannot run here; no weights were downloaded.
            PullFailed: it needs the user; what was downloaded is kept.
            HubUnreachable: the hub did not answer for too long; what was downloaded is kept.
            OSError: a file cannot be written; what was downloaded is kept.
        """
        another = "another process downloads it"
        with self._staging.held(lambda: self._meter.enter("queued", cause=another)):
            return self._run()

    def _run(self) -> PullReply:
        self._check_target()
        snapshot = self._ask()
        up_to_date = self._is_installed(snapshot)
        if up_to_date:
            self._staging.remove()
        else:
            self._obtain_all(snapshot)
            self._staging.install(snapshot)
        return PullReply(
            model=snapshot.repo,
            revision=snapshot.revision,
            commit=snapshot.commit,
            path=str(self._staging.target),
            size_bytes=sum(file.size for file in snapshot.files),
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
        """Return the repository with the files that the model needs."""

        def ask() -> Snapshot:
            self._meter.enter("asking")
            return self._repository.snapshot()

        begun = self._staging.size_bytes() > 0
        tries = self._policy.tries if begun else self._policy.first_tries
        snapshot = self._retry(ask, tries)
        return msgspec.structs.replace(snapshot, files=needed(self._repo, snapshot.files))

    def _is_installed(self, snapshot: Snapshot) -> bool:
        installed = self._staging.installed()
        if installed is None or installed.commit != snapshot.commit:
            return False
        return all(self._is_in_target(file, file.name) for file in snapshot.files)

    def _is_in_target(self, file: RepoFile, name: str) -> bool:
        path = self._staging.target / name
        return path.is_file() and size_of(path) == file.size

    def _obtain_all(self, snapshot: Snapshot) -> None:
        """Obtain the files, the weights last: the others say whether the model can run here."""
        files = snapshot.files
        first: dict[str, RepoFile] = {}
        for file in files:
            first.setdefault(file.hash, file)
        different = list(first.values())
        size = sum(file.size for file in different)
        self._staging.keep_only(files)
        self._reuse_installed(files)
        self._meter.plan(sum(map(self._staging.present_bytes, different)), size)
        self._obtain(snapshot.commit, different[:1])
        config = self._staging.complete_file(files[0])
        check_model(self._repo, files, config, self._memory_limit)
        missing = size - sum(map(self._staging.present_bytes, different))
        check_disk(self._repo, missing, self._models_dir)
        small = [file for file in different if not is_weights(file.name)]
        self._obtain(snapshot.commit, small)
        self._meter.enter("checking")
        shown = [file for file in files if not is_weights(file.name)]
        self._check_files(self._repo, files, self._staging.assemble(shown, "checked"))
        self._obtain(snapshot.commit, different)

    def _reuse_installed(self, files: list[RepoFile]) -> None:
        """Link the files that have not changed since the last pull; they are verified as if new."""
        if (installed := self._staging.installed()) is None:
            return
        names = {file.hash: file.name for file in installed.files}
        for file in files:
            name = names.get(file.hash)
            if name and not self._staging.present_bytes(file) and self._is_in_target(file, name):
                link(self._staging.target / name, self._staging.part(file))

    def _obtain(self, commit: str, files: Sequence[RepoFile]) -> None:
        """Fetch and verify the files that are not here."""
        self._meter.enter("downloading", files[0].name if files else None)
        parts = (self._staging, self._meter, self._policy, self._connections)
        Transfer(self._repository, commit, files, *parts).run()

    def _retry(self, action: Callable[[], _Result], tries: int) -> _Result:
        """Call `action` until it is not interrupted, with a longer pause each time.

        Raises:
            HubUnreachable: `tries` calls in a row were interrupted, and no byte came.
        """
        policy, failures = self._policy, 0
        while True:
            fetched = self._meter.fetched
            try:
                return action()
            except Interrupted as interrupted:
                failures = failures + 1 if self._meter.fetched == fetched else 1
                if failures >= tries:
                    raise HubUnreachable(f"{interrupted} (tried {failures} times)") from interrupted
                pause = policy.pause(failures, interrupted)
                self._meter.enter("retrying", cause=f"{interrupted}; next try in {pause:.0f} s")
                time.sleep(pause)
