"""A repository of the model hub: what is in it, its files, and what the hub's errors mean.

Only the download process imports huggingface_hub; the daemon never does.
"""

import contextlib
import email.utils
import re
import time
from collections.abc import Iterator

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
from huggingface_hub.utils import (
    build_hf_headers,
    hf_raise_for_status,
    parse_ratelimit_headers,
)

from mlxd.errors import PullFailed, PullRefused
from mlxd.hub.reference import Reference
from mlxd.hub.retry import Interrupted, RangesRefused
from mlxd.hub.staging import RepoFile, Snapshot

_CONTENT_RANGE = re.compile(r"bytes (\d+)-")
_HASH = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")
_TRY_AGAIN = (408, 429)
_NOT_SATISFIABLE = 416
_SERVER_ERROR = 500
_BROKE = "the connection to the hub broke"


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

    @contextlib.contextmanager
    def open(self, commit: str, file: RepoFile, start: int, end: int) -> Iterator[Iterator[bytes]]:
        """Yield the bytes of `file` from `start` to `end`, in blocks of at most 64 KiB or so.

        Each call asks the hub again where the file is, because the addresses of its storage expire.

        Raises, and the blocks do too:
            PullRefused, PullFailed: as `snapshot` does.
            RangesRefused: the hub sends only the whole file.
            Interrupted: the connection ended before the range did.
        """
        headers = build_hf_headers() | {"Accept-Encoding": "identity"}
        whole = (start, end) == (0, file.size)
        if not whole:
            headers["Range"] = f"bytes={start}-{end - 1}"
        url, timeout = self._url(commit, file.name), httpx2.Timeout(self._silence)
        stream = get_session().stream("GET", url, headers=headers, timeout=timeout)
        with self._errors_explained(), stream as response:
            if not whole and response.status_code == _NOT_SATISFIABLE:
                raise RangesRefused(f"the hub answered with status {_NOT_SATISFIABLE}")
            hf_raise_for_status(response)
            if not whole and not _is_range(response, start):
                raise RangesRefused("the hub did not send the part that it was asked for")
            yield _blocks(response, end - start)

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
        response, status = error.response, error.response.status_code
        if status in _TRY_AGAIN or status >= _SERVER_ERROR:
            return Interrupted(f"the hub answered with status {status}", _wait(response))
        if response.history and "X-Error-Message" not in response.headers:
            # The hub's storage: its addresses expire, and the next try gets a fresh one.
            where = f"{response.url.host}, where the hub keeps the files,"
            return Interrupted(f"{where} answered with status {status}", _wait(response))
        if status in (httpx2.codes.UNAUTHORIZED, httpx2.codes.FORBIDDEN):
            return PullRefused(f"access to {repo} was denied ({status}): {_login_hint()}")
        reason = (error.server_message or "").partition("\n")[0]
        return PullFailed(f"the hub answered with status {status} {reason}".rstrip())


def _login_hint() -> str:
    if get_token() is None:
        return "log in with `hf auth login`, or set hub.token in config.toml"
    return "mlxd's token does not allow it; set another one with `hf auth login`"


def _is_range(response: httpx2.Response, start: int) -> bool:
    found = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
    partial = response.status_code == httpx2.codes.PARTIAL_CONTENT
    return partial and found is not None and int(found[1]) == start


def _blocks(response: httpx2.Response, size: int) -> Iterator[bytes]:
    """Yield `size` bytes of the body.

    Raises:
        Interrupted: it has fewer.
    """
    for block in response.iter_raw():
        yield block[:size]
        if (size := size - len(block)) < 0:  # it sends more than it announced
            return
    if size:
        raise Interrupted(_BROKE)


def _wait(response: httpx2.Response) -> float:
    """Return how many seconds the hub asks to wait, 0 if it does not say."""
    after = response.headers.get("Retry-After", "")
    if after.isdecimal():
        return float(after)
    limit = parse_ratelimit_headers(response.headers)
    if limit is not None and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    try:
        return email.utils.parsedate_to_datetime(after).timestamp() - time.time()
    except ValueError:
        return 0.0
