"""Asking the model hub about a repository, and what its refusals mean.

Like `fetch.py` it imports huggingface_hub, which the daemon never does: see the package.
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
from huggingface_hub.hf_api import RepoSibling

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
    """The repository that `reference` names, on the hub at `endpoint`: HF_ENDPOINT, or the one."""

    def __init__(self, reference: Reference, endpoint: str = constants.ENDPOINT) -> None:
        self.reference = reference
        self._endpoint = endpoint
        self._api = HfApi(endpoint)

    def snapshot(self, silence: float) -> Snapshot:
        """Ask what there is; the hub may take `silence` seconds to answer.

        Raises:
            PullRefused: nothing that could be downloaded; the message says what there is instead.
            PullFailed: this hub cannot be used.
            Interrupted: it may be another time.
        """
        repo = self.reference.repo
        with self.explained():
            try:
                found = self._api.model_info(
                    repo,
                    revision=self.reference.revision,
                    files_metadata=True,
                    timeout=silence,
                )
            except RepositoryNotFoundError as error:
                if not isinstance(error, GatedRepoError) and (kind := self._other_kind()):
                    raise PullRefused(f"{repo} is a {kind}, not a model") from error
                raise
            except (KeyError, TypeError, ValueError) as error:
                if isinstance(error, HfHubHTTPError):
                    raise
                raise PullFailed(f"what answers at {self._endpoint} is no model hub") from error
        if found.id != repo:
            raise PullRefused(f"{repo} is called {found.id} on the hub: mlxctl pull {found.id}")
        if found.sha is None:
            raise PullFailed(f"the hub does not say which commit {self.reference} is")
        with self.explained():
            siblings = found.siblings or []
            files = [self._file(found.sha, sibling, silence) for sibling in siblings]
        return Snapshot(found.sha, files)

    def _file(self, commit: str, sibling: RepoSibling, silence: float) -> RepoFile:
        """Give what a file is; a hub that is a mirror may tell only when asked for the file."""
        name, size = sibling.rfilename, sibling.size
        digest = sibling.lfs.sha256 if sibling.lfs else sibling.blob_id
        if size is None or digest is None:
            head = get_hf_file_metadata(self._url(commit, name), timeout=silence)
            size, digest = head.size, head.etag
        if size is None or digest is None or not _is_hash(digest):
            raise PullFailed(f"the hub tells no hash of {name}, so it cannot be verified")
        return RepoFile(name, size, digest)

    def url(self, snapshot: Snapshot, file: RepoFile) -> str:
        """Give where to get a file."""
        return self._url(snapshot.commit, file.name)

    def _url(self, commit: str, name: str) -> str:
        url: str = hf_hub_url(self.reference.repo, name, revision=commit, endpoint=self._endpoint)
        return url

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Say in our words what the hub or the way to it raises.

        Raises:
            PullRefused: as long as things are as they are.
            PullFailed: as long as nobody does anything about it.
            Interrupted: it may be otherwise the next time.
        """
        repo = self.reference.repo
        try:
            yield
        except GatedRepoError as error:
            page = f"{self._endpoint}/{repo}"
            raise PullRefused(
                f"{repo} is gated: accept its licence on {page}, then {_give_token()}"
            ) from error
        except RepositoryNotFoundError as error:
            raise PullRefused(self._not_there()) from error
        except RevisionNotFoundError as error:
            raise PullRefused(f"{repo} has no revision {self.reference.revision!r}") from error
        except RemoteEntryNotFoundError as error:
            raise PullFailed(f"{repo} has lost a file meanwhile: pull it again") from error
        except DisabledRepoError as error:
            raise PullRefused(f"the hub has disabled {repo}") from error
        except OfflineModeIsEnabled as error:
            raise PullFailed(
                "HF_HUB_OFFLINE is set where mlxd runs: it may not download"
            ) from error
        except HfHubHTTPError as error:
            self._explain_status(error)
        except httpx2.TransportError as error:
            raise Interrupted(self._break(error)) from error

    def _explain_status(self, error: HfHubHTTPError) -> None:
        status = error.response.status_code
        if status in _TRY_AGAIN or status >= _SERVER_ERROR:
            raise Interrupted(f"the hub answers with {status}", _asked_for(error)) from error
        if status == httpx2.codes.UNAUTHORIZED and get_token() is None:
            raise PullRefused(self._not_there()) from error
        if status in (httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN):
            raise PullRefused(
                f"the hub does not let us have {self.reference.repo} ({status}): {_give_token()}"
            ) from error
        reason = (error.server_message or "").partition("\n")[0]
        raise PullFailed(f"the hub answers with {status} {reason}".rstrip()) from error

    def _not_there(self) -> str:
        there = f"there is no model {self.reference.repo} on {self._endpoint}"
        return f"{there}, or it is private: {_give_token()}"

    def _break(self, error: httpx2.TransportError) -> str:
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
            return f"{self._endpoint} cannot be reached"
        if isinstance(error, httpx2.TimeoutException):
            return "the hub has fallen silent"
        return "the connection to the hub broke"

    def _other_kind(self) -> str | None:
        """Give what there is of that name which is no model."""
        for kind in _OTHER_KINDS:
            if self._api.repo_exists(self.reference.repo, repo_type=kind):
                return kind
        return None


def _is_hash(digest: str) -> bool:
    return len(digest) in _HASH_LENGTHS and digest.isalnum()


def _give_token() -> str:
    if get_token() is None:
        return "log in with `hf auth login`, or set HF_TOKEN where mlxd runs"
    return "the token that mlxd has does not allow it; `hf auth login` sets another one"


def _asked_for(error: HfHubHTTPError) -> float | None:
    """Give the seconds of a Retry-After; a date is not taken for one."""
    value = error.response.headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else None
