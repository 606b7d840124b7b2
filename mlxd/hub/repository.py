"""A repository of the model hub: what is in it, its files, and what the hub's errors mean.

Only the download process imports huggingface_hub; the daemon never does.
"""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
from huggingface_hub import HfApi, get_hf_file_metadata, get_session, get_token, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

from mlxd.errors import PullFailed, PullRefused
from mlxd.hub.meter import Meter
from mlxd.hub.reference import Reference
from mlxd.hub.staging import RepoFile, Snapshot

_HASH = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
_TRY_AGAIN = (408, 429)
_SERVER_ERROR = 500
_BROKE = "the connection to the hub broke"


class Interrupted(Exception):
    """The hub did not answer this time; it may have asked to wait `retry_after` seconds."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Repository:
    """The repository that `reference` names, on the hub at `endpoint` (default: HF_ENDPOINT).

    The hub may be silent for `silence` seconds.
    """

    def __init__(
        self, reference: Reference, endpoint: str | None = None, silence: float = 30.0
    ) -> None:
        self.reference = reference
        self._api = HfApi(endpoint)
        self._endpoint = self._api.endpoint
        self._silence = silence

    def snapshot(self) -> Snapshot:
        """Ask the hub what the repository holds.

        Raises:
            PullRefused: there is no such model, or it is not accessible.
            PullFailed: this hub cannot be used.
            Interrupted: the hub did not answer this time.
        """
        repo, revision = self.reference.repo, self.reference.revision
        with self._errors_explained():
            try:
                found = self._api.model_info(
                    repo, revision=revision, files_metadata=True, timeout=self._silence
                )
            except HfHubHTTPError:
                raise
            except (KeyError, TypeError, ValueError) as error:
                raise PullFailed(f"{self._endpoint} is not a model hub") from error
            if found.id != repo:
                raise PullRefused(f"{repo} is now {found.id}. Run: mlxctl pull {found.id}")
            if found.sha is None:
                raise PullFailed(f"the hub does not say which commit {self.reference} is")
            files = [self._file(found.sha, sibling) for sibling in found.siblings or ()]
        return Snapshot(repo, revision, found.sha, files)

    def fetch(self, commit: str, file: RepoFile, part: Path, meter: Meter) -> None:
        """Append to `part` what it lacks of `file`; each byte that came is on disk, even if killed.

        huggingface_hub's own download starts each file anew in a new process and writes it ten
        megabytes at a time (2.4.0, `_download_to_tmp_and_move`).

        Raises:
            PullRefused, PullFailed: as `snapshot` does.
            Interrupted: the connection ended before the file did.
            OSError: `part` cannot be written.
        """
        with part.open("ab") as out, self._errors_explained():
            have = out.tell()
            if have >= file.size:
                return
            headers = build_hf_headers() | {"Accept-Encoding": "identity"}
            if have:
                headers["Range"] = f"bytes={have}-"
            url = self._url(commit, file.name)
            timeout = httpx2.Timeout(self._silence)
            with get_session().stream("GET", url, headers=headers, timeout=timeout) as response:
                hf_raise_for_status(response)
                if have and response.status_code != httpx2.codes.PARTIAL_CONTENT:
                    out.truncate(0)
                    meter.discard(have)
                    have = 0
                for block in response.iter_raw():
                    wanted = block[: file.size - have]
                    out.write(wanted)
                    out.flush()
                    have += len(wanted)
                    meter.add(len(wanted))
                    if len(wanted) < len(block):  # it sends more than it announced
                        break
            if have < file.size:
                raise Interrupted(_BROKE)

    def _file(self, commit: str, sibling: RepoSibling) -> RepoFile:
        """Return a file's size and hash; some mirrors tell them only with the file itself."""
        name, size = sibling.rfilename, sibling.size
        digest = sibling.lfs.sha256 if sibling.lfs else sibling.blob_id
        if size is None or digest is None:
            head = get_hf_file_metadata(self._url(commit, name), timeout=self._silence)
            size, digest = head.size, head.etag
        if size is None or digest is None or not _HASH.fullmatch(digest):  # it becomes a file name
            raise PullFailed(f"the hub has no hash of {name}, so it cannot be verified")
        return RepoFile(name, size, digest)

    def _url(self, commit: str, name: str) -> str:
        url: str = hf_hub_url(self.reference.repo, name, revision=commit, endpoint=self._endpoint)
        return url

    @contextlib.contextmanager
    def _errors_explained(self) -> Iterator[None]:
        """Turn what huggingface_hub raises into errors of ours.

        Raises:
            PullRefused: the hub will always answer so, as long as the repository is as it is.
            PullFailed: the user has to do something first.
            Interrupted: the next try may succeed.
        """
        try:
            yield
        except HfHubHTTPError as error:
            raise self._explained(error) from error
        except OfflineModeIsEnabled as error:
            raise PullFailed("downloads are off: HF_HUB_OFFLINE is set where mlxd runs") from error
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            why = ": its certificate is not trusted" if "CERTIFICATE_VERIFY" in str(error) else ""
            raise Interrupted(f"{self._endpoint} cannot be reached{why}") from error
        except httpx2.TimeoutException as error:
            raise Interrupted("the hub stopped sending") from error
        except httpx2.TransportError as error:
            raise Interrupted(_BROKE) from error

    def _explained(self, error: HfHubHTTPError) -> PullRefused | PullFailed | Interrupted:
        repo, page = self.reference.repo, f"{self._endpoint}/{self.reference.repo}"
        match error:
            case GatedRepoError():  # which is also a RepositoryNotFoundError
                hint = f"accept its license on {page}, then {_login_hint()}"
                return PullRefused(f"{repo} is gated: {hint}")
            case RepositoryNotFoundError():
                missing = f"there is no model {repo} on {self._endpoint}"
                return PullRefused(f"{missing}, or it is private: {_login_hint()}")
            case RevisionNotFoundError():
                return PullRefused(f"{repo} has no revision {self.reference.revision!r}")
        status = error.response.status_code
        if status in _TRY_AGAIN or status >= _SERVER_ERROR:
            after = error.response.headers.get("Retry-After", "")
            seconds = float(after) if after.isdecimal() else 0.0  # it may also be a date
            return Interrupted(f"the hub answered with status {status}", seconds)
        if status in (httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN):
            return PullRefused(f"access to {repo} was denied ({status}): {_login_hint()}")
        reason = (error.server_message or "").partition("\n")[0]
        return PullFailed(f"the hub answered with status {status} {reason}".rstrip())


def _login_hint() -> str:
    if get_token() is None:
        return "log in with `hf auth login`, or set hub.token in config.toml"
    return "mlxd's token does not allow it; set another one with `hf auth login`"
