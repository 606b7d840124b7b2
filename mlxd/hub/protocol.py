"""What the download process reports to the daemon: one JSON object a line on standard output.

Any number of `DownloadProgress`, then one `Downloaded` or `DownloadFailed`, and the process exits.
"""

from typing import Literal

import msgspec

from mlxd.errors import HubUnreachable, MlxdError, PullFailed, PullRefused

Phase = Literal["asking", "downloading", "verifying", "retrying"]

_ERRORS: dict[str | None, type[MlxdError]] = {
    error.code: error for error in (PullRefused, PullFailed, HubUnreachable)
}


class DownloadProgress(msgspec.Struct, frozen=True, kw_only=True, tag="progress"):
    """How far it is; `bytes_total` is None until the hub has answered.

    `bytes_done` counts what is on disk, `note` says why it is `retrying`.
    """

    phase: Phase
    bytes_done: int = 0
    bytes_total: int | None = None
    bytes_per_second: float | None = None
    file: str | None = None
    note: str | None = None


class Downloaded(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """The model is in `path`, at `commit`; `bytes_fetched` are those of this process."""

    path: str
    commit: str
    size_bytes: int
    bytes_fetched: int
    up_to_date: bool


class DownloadFailed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """There is no model, because of an error of that code and message."""

    code: str | None
    message: str

    def error(self) -> MlxdError:
        """Return the error."""
        return _ERRORS.get(self.code, PullFailed)(self.message)


Report = DownloadProgress | Downloaded | DownloadFailed

_decoder = msgspec.json.Decoder(Report)


def encode_line(report: Report) -> bytes:
    """Return `report` as a line."""
    return msgspec.json.encode(report) + b"\n"


def decode_line(line: bytes) -> Report:
    """Return the report in a line.

    Raises:
        msgspec.DecodeError: the line is not a report.
    """
    report: Report = _decoder.decode(line)
    return report
