"""Asking the model hub about a repository, and turning its errors into ours.

Like `fetch.py` it imports huggingface_hub, which the daemon never does.
"""

import contextlib
from collections.abc import Iterator

import httpx2
import msgspec
from huggingface_hub import HfApi, constants, get_hf_file_metadata, get_token, hf_hub_url
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import ModelInfo, RepoSibling

from mlxd.errors import PullFailed, PullRefused
from mlxd.hub.reference import Reference
from mlxd.hub.retry import Interrupted
from mlxd.hub.staging import RepoFile

_HASH_LENGTHS = (40, 64)
_TRY_AGAIN = (408, 429)
_SERVER_ERROR = 500
_OTHER_KINDS = ("dataset", "space")


class Snapshot(msgspec.Struct, frozen=True):
    """A repository at a commit, and every file in it."""

    commit: str
    files: list[RepoFile]


class Repository:
    """The repository that `reference` names, on the hub at `endpoint` (default: HF_ENDPOINT)."""

    def __init__(self, reference: Reference, endpoint: str = constants.ENDPOINT) -> None:
        self.reference = reference
        self._endpoint = endpoint
        self._api = HfApi(endpoint)

    def snapshot(self, silence: float) -> Snapshot:
        """Ask the hub what the repository holds; it may take `silence` seconds to answer.

        Raises:
            PullRefused: there is no such model, or it is not accessible.
            PullFailed: this hub cannot be used.
            Interrupted: the hub did not answer this time.
        """
        repo = self.reference.repo
        with self.errors_explained():
            found = self._model_info(silence)
            if found.id != repo:
                raise PullRefused(f"{repo} is now {found.id}. Run: mlxctl pull {found.id}")
            if found.sha is None:
                raise PullFailed(f"the hub does not say which commit {self.reference} is")
            siblings = found.siblings or []
            files = [self._file(found.sha, sibling, silence) for sibling in siblings]
        return Snapshot(found.sha, files)

    def _model_info(self, silence: float) -> ModelInfo:
        repo, revision = self.reference.repo, self.reference.revision
        try:
            return self._api.model_info(
                repo, revision=revision, files_metadata=True, timeout=silence
            )
        except RepositoryNotFoundError as error:
            if not isinstance(error, GatedRepoError) and (kind := self._other_kind()):
                raise PullRefused(f"{repo} is a {kind}, not a model") from error
            raise
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, HfHubHTTPError):
                raise
            raise PullFailed(f"{self._endpoint} is not a model hub") from error

    def _file(self, commit: str, sibling: RepoSibling, silence: float) -> RepoFile:
        """Return a file's size and hash; some mirrors tell them only with the file itself."""
        name, size = sibling.rfilename, sibling.size
        digest = sibling.lfs.sha256 if sibling.lfs else sibling.blob_id
        if size is None or digest is None:
            head = get_hf_file_metadata(self._url(commit, name), timeout=silence)
            size, digest = head.size, head.etag
        if size is None or digest is None or not _is_hash(digest):
            raise PullFailed(f"the hub has no hash of {name}, so it cannot be verified")
        return RepoFile(name, size, digest)

    def url(self, snapshot: Snapshot, file: RepoFile) -> str:
        """Return the address of a file."""
        return self._url(snapshot.commit, file.name)

    def _url(self, commit: str, name: str) -> str:
        url: str = hf_hub_url(self.reference.repo, name, revision=commit, endpoint=self._endpoint)
        return url

    @contextlib.contextmanager
    def errors_explained(self) -> Iterator[None]:
        """Turn what huggingface_hub raises into errors of ours.

        Raises:
            PullRefused: the hub will always answer so, as long as the repository is as it is.
            PullFailed: the user has to do something first.
            Interrupted: the next try may succeed.
        """
        try:
            yield
        except HfHubHTTPError as error:
            raise self._refusal(error) or self._status_error(error) from error
        except OfflineModeIsEnabled as error:
            raise PullFailed("downloads are off: HF_HUB_OFFLINE is set where mlxd runs") from error
        except httpx2.TransportError as error:
            raise Interrupted(self._connection_problem(error)) from error

    def _refusal(self, error: HfHubHTTPError) -> PullRefused | PullFailed | None:
        """Return what the hub said by name, if it did; a gated repository is also not found."""
        repo = self.reference.repo
        match error:
            case GatedRepoError():
                page = f"{self._endpoint}/{repo}"
                hint = f"accept its licence on {page}, then {_login_hint()}"
                return PullRefused(f"{repo} is gated: {hint}")
            case RepositoryNotFoundError():
                return PullRefused(self._not_found())
            case RevisionNotFoundError():
                return PullRefused(f"{repo} has no revision {self.reference.revision!r}")
            case RemoteEntryNotFoundError():
                return PullFailed(f"{repo} has changed in the meantime: pull it again")
            case DisabledRepoError():
                return PullRefused(f"the hub has disabled {repo}")
        return None

    def _status_error(self, error: HfHubHTTPError) -> PullRefused | PullFailed | Interrupted:
        status = error.response.status_code
        if status in _TRY_AGAIN or status >= _SERVER_ERROR:
            after = error.response.headers.get("Retry-After", "")
            seconds = float(after) if after.isdecimal() else 0.0  # it may also be a date
            return Interrupted(f"the hub answered with status {status}", seconds)
        if status == httpx2.codes.UNAUTHORIZED and get_token() is None:
            return PullRefused(self._not_found())
        if status in (httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN):
            repo = self.reference.repo
            return PullRefused(f"access to {repo} was denied ({status}): {_login_hint()}")
        reason = (error.server_message or "").partition("\n")[0]
        return PullFailed(f"the hub answered with status {status} {reason}".rstrip())

    def _not_found(self) -> str:
        missing = f"there is no model {self.reference.repo} on {self._endpoint}"
        return f"{missing}, or it is private: {_login_hint()}"

    def _connection_problem(self, error: httpx2.TransportError) -> str:
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
            return f"{self._endpoint} cannot be reached"
        if isinstance(error, httpx2.TimeoutException):
            return "the hub stopped sending"
        return "the connection to the hub broke"

    def _other_kind(self) -> str | None:
        """Return what the hub has under that name if it is not a model."""
        repo = self.reference.repo
        exists = self._api.repo_exists
        return next((kind for kind in _OTHER_KINDS if exists(repo, repo_type=kind)), None)


def _is_hash(digest: str) -> bool:
    return len(digest) in _HASH_LENGTHS and digest.isalnum()


def _login_hint() -> str:
    if get_token() is None:
        return "log in with `hf auth login`, or set HF_TOKEN where mlxd runs"
    return "the token of mlxd does not allow it; `hf auth login` sets another one"
