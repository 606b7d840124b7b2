"""The tables of `mlxctl top`: models in memory, downloads, and requests."""

from collections.abc import Sequence

from rich.text import Text

from mlxctl.top.columns import Column, table
from mlxctl.top.figures import UNKNOWN, count, one_line, seconds, share, speed
from mlxd.activity import ServedRequest
from mlxd.control_api import ModelStatus, PullStatus
from mlxd.units import size

_BAR_WIDTH = 16
_STYLES = {
    "ready": "green",
    "loading": "yellow",
    "draining": "yellow",
    "failed": "red",
    "queued": "yellow",
    "reading": "cyan",
    "writing": "green",
    "done": "dim",
    "aborted": "dim",
    "downloading": "green",
    "retrying": "yellow",
}


def model_lines(models: Sequence[ModelStatus], width: int, rows: int) -> list[Text]:
    """Return the table of models in at most `rows` rows, and the cause below one that failed."""
    header, *lines = table(_MODELS, models, width)
    return [
        header,
        *_at_most([_with_cause(*pair) for pair in zip(lines, models, strict=True)], rows),
    ]


def pull_lines(pulls: Sequence[PullStatus], width: int, rows: int) -> list[Text]:
    """Return the table of downloads in at most `rows` rows."""
    header, *lines = table(_PULLS, pulls, width)
    return [header, *_at_most([[line] for line in lines], rows)]


def request_lines(requests: Sequence[ServedRequest], width: int, rows: int) -> list[Text]:
    """Return the table of the first requests in at most `rows` rows.

    Callers are shown only if there are several of them, and errors only if there are any.
    """
    shown = requests[:rows]
    columns = list(_REQUESTS)
    if len({request.caller for request in shown}) > 1:
        columns.insert(2, _CALLER)
    if any(request.error for request in shown):
        columns.append(_ERROR)
    return table(columns, shown, width)


def _with_cause(line: Text, model: ModelStatus) -> list[Text]:
    if not model.cause:
        return [line]
    cause = Text(f"  {one_line(model.cause)}", "red")
    cause.truncate(line.cell_len, overflow="ellipsis")
    return [line, cause]


def _at_most(entries: Sequence[list[Text]], rows: int) -> list[Text]:
    """Return the entries that fit into `rows` rows, and how many more there are."""
    if sum(map(len, entries)) <= rows:
        return [line for entry in entries for line in entry]
    shown: list[Text] = []
    for number, entry in enumerate(entries):
        if len(shown) + len(entry) >= rows:
            return [*shown, Text(f"… and {len(entries) - number} more", "dim")]
        shown += entry
    return shown


def _state(row: ModelStatus | ServedRequest | PullStatus) -> str:
    return _STYLES.get(row.state, "")


def _model_state(model: ModelStatus) -> str:
    if model.load_progress is not None:
        return f"{model.state} {model.load_progress:.0%}"
    return "waiting" if model.state == "unloaded" else model.state


def _name(row: ModelStatus | ServedRequest) -> str:
    """Return the model's name, with its adapter if it has one."""
    model = row.id if isinstance(row, ModelStatus) else row.model or UNKNOWN
    return one_line(f"{model}+{row.adapter}" if row.adapter else model)


def _until(model: ModelStatus) -> str:
    if model.state != "ready":
        return UNKNOWN
    if model.expires_in_s is not None:
        return seconds(max(model.expires_in_s, 1.0))
    if model.pinned:
        return "pinned"
    return "in use" if model.requests else "forever"


def _size(count: int | None) -> str:
    return UNKNOWN if count is None else size(count)


def _progress(pull: PullStatus) -> str:
    """Return a bar, or the cause or state of a pull that is not downloading."""
    if pull.state != "downloading" or not pull.bytes_total:
        return one_line(pull.cause or pull.state)
    done = round(min(pull.bytes_done / pull.bytes_total, 1.0) * _BAR_WIDTH)
    return "█" * done + "░" * (_BAR_WIDTH - done)


def _left(pull: PullStatus) -> str:
    if not pull.bytes_total or not pull.bytes_per_second:
        return UNKNOWN
    return seconds(max((pull.bytes_total - pull.bytes_done) / pull.bytes_per_second, 1.0))


_MODELS = (
    Column[ModelStatus]("MODEL", 14, 0, _name, grows=True),
    Column[ModelStatus]("STATE", 11, 1, _model_state, _state),
    Column[ModelStatus]("MEMORY", 6, 2, lambda row: _size(row.memory_bytes), right=True),
    Column[ModelStatus]("LIMIT", 6, 9, lambda row: _size(row.memory_limit_bytes), right=True),
    Column[ModelStatus]("CACHE", 6, 5, lambda row: _size(row.prompt_cache_bytes), right=True),
    Column[ModelStatus]("REQUESTS", 8, 4, lambda row: count(row.requests), right=True),
    Column[ModelStatus]("QUEUED", 6, 7, lambda row: count(row.queued), right=True),
    Column[ModelStatus]("TOK/S", 5, 3, lambda row: speed(row.tokens_per_second), right=True),
    Column[ModelStatus]("UNTIL", 7, 6, _until, right=True),
)
_PULLS = (
    Column[PullStatus]("DOWNLOAD", 14, 0, lambda row: one_line(row.model), grows=True),
    Column[PullStatus]("PROGRESS", _BAR_WIDTH, 1, _progress, _state, grows=True),
    Column[PullStatus](
        "", 4, 2, lambda row: share(row.bytes_done, row.bytes_total or 0), right=True
    ),
    Column[PullStatus]("DONE", 6, 4, lambda row: size(row.bytes_done), right=True),
    Column[PullStatus]("TOTAL", 6, 5, lambda row: _size(row.bytes_total), right=True),
    Column[PullStatus](
        "PER S", 6, 3, lambda row: size(round(row.bytes_per_second or 0)), right=True
    ),
    Column[PullStatus]("LEFT", 6, 6, _left, right=True),
)
_REQUESTS = (
    Column[ServedRequest]("REQUEST", 7, 0, lambda row: row.state, _state),
    Column[ServedRequest]("MODEL", 12, 1, _name, grows=True),
    Column[ServedRequest]("API", 11, 9, lambda row: row.dialect),
    Column[ServedRequest]("PROMPT", 7, 4, lambda row: count(row.prompt_tokens), right=True),
    Column[ServedRequest]("CACHED", 7, 6, lambda row: count(row.cached_tokens), right=True),
    Column[ServedRequest]("ANSWER", 6, 2, lambda row: count(row.completion_tokens), right=True),
    Column[ServedRequest]("FIRST", 6, 5, lambda row: seconds(row.first_token_s), right=True),
    Column[ServedRequest]("TOK/S", 5, 3, lambda row: speed(row.tokens_per_second), right=True),
    Column[ServedRequest]("TIME", 6, 7, lambda row: seconds(row.total_s), right=True),
)
_CALLER = Column[ServedRequest]("CALLER", 8, 8, lambda row: one_line(row.caller), grows=True)
_ERROR = Column[ServedRequest](
    "ERROR", 10, 10, lambda row: row.error or "", lambda _row: "red", grows=True
)
