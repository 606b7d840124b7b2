"""What the download process tells the daemon: one JSON object a line on its standard output.

Any number of `DownloadProgress`, then one `Downloaded` or `DownloadFailed`, and the process ends.
"""

from typing import Literal

import msgspec

Phase = Literal["asking", "downloading", "verifying", "retrying"]
FailureKind = Literal["refused", "failed", "unreachable"]


class DownloadProgress(msgspec.Struct, frozen=True, kw_only=True, tag="progress"):
    """How far it is; `bytes_total` is None until the hub has answered.

    `bytes_done` counts what need not be fetched any more; `note` says why it is `retrying`.
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
    """There is no model, and `message` says why in one line.

    A `refused` one stays so as long as the repository is as it is, one that `failed` needs somebody
    to do something, and where the hub was `unreachable` it is enough to try again later.
    """

    kind: FailureKind
    message: str


Report = DownloadProgress | Downloaded | DownloadFailed

_decoder = msgspec.json.Decoder(Report)


def encode_line(report: Report) -> bytes:
    """Give `report` as a line."""
    return msgspec.json.encode(report) + b"\n"


def decode_line(line: bytes) -> Report:
    """Read a line.

    Raises:
        msgspec.DecodeError: it is none of ours.
    """
    report: Report = _decoder.decode(line)
    return report
