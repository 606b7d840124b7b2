"""What a download process reports at its end."""

from mlxd.control_api import PullReply

REPLY = PullReply(
    model="acme/tiny",
    revision="main",
    commit="c",
    path="/m",
    size_bytes=9,
    bytes_fetched=9,
    up_to_date=False,
)
