"""POST /v1/responses/compact: the model writes a summary, which stands for the conversation."""

import secrets
import time

import msgspec

from mlxd.api.response_items import sealed
from mlxd.api.response_resource import Compaction, OutputCompaction, OutputMessage, usage_of
from mlxd.api.responses import ResponseBody
from mlxd.api.responses_reply import ResponseReplyBuilder
from mlxd.errors import InvalidRequest
from mlxd.messages import Usage

_INSTRUCTION = (
    "Summarize this conversation so that another assistant can go on with it. Keep what was "
    "asked, what was decided and done, names, numbers, paths, the exact wording of requirements, "
    "and what is still to do. Write only the summary."
)


def compaction_request(body: ResponseBody) -> ResponseBody:
    """Return the request for the summary of the conversation in `body`.

    Raises:
        InvalidRequest: it names no model.
    """
    if not body.model:
        raise InvalidRequest("`model`: missing", param="model")
    given = body.input or []
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    return msgspec.structs.replace(
        body,
        input=[*items, {"role": "user", "content": _INSTRUCTION}],
        tools=None,
        tool_choice=None,
        text=None,
        store=False,
        background=None,
        stream=None,
    )


def compaction_of(builder: ResponseReplyBuilder) -> Compaction:
    """Return what stands for the conversation from now on, made of the summary."""
    texts = [
        part.text
        for item in builder.response.output
        if isinstance(item, OutputMessage)
        for part in item.content
    ]
    number = secrets.token_hex(24)
    item = OutputCompaction(f"cmp_{number}_0", sealed("".join(texts).strip()))
    return Compaction(
        id=f"resp_{number}",
        created_at=int(time.time()),
        output=[item],
        usage=usage_of(builder.usage or Usage(0, 0, 0)),
    )
