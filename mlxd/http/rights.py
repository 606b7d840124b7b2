"""What each route needs: no key, or a key with one of the rights; and which routes ask a model."""

from mlxd.keys import Right

_FREE = ("/", "/health")
"""What needs no key, since the reply says no more than that mlxd runs."""
_PAGE_FILES = "/page/"  # which are the same for every daemon
_OTHER_RIGHTS: tuple[tuple[str, Right | None], ...] = (
    ("/metrics", "metrics"),
    ("/api/pull", "pull"),
    ("/api/copy", "manage"),
    ("/api/delete", "manage"),
    ("/ui/v1/pulls", "metrics"),
    ("/ui/v1/pull", "pull"),
    ("/ui/v1/load", "manage"),
    ("/ui/v1/unload", "manage"),
    ("/ui/v1/use", "manage"),
    ("/ui/v1/log", "manage"),
    ("/ui/v1/caller", None),  # which tells each key what it may do
    ("/ui/v1/", "metrics"),
)
"""The routes, by the beginning of their paths, that need another right than to ask, or none.

The control API has none, since only the Unix socket has it, with all rights."""
_PREFIXES = ("/v1", "/api/v0")
_DIALECTS = {
    "/chat/completions": "chat",
    "/completions": "completions",
    "/messages": "messages",
    "/messages/count_tokens": "messages",
    "/responses": "responses",
    "/responses/compact": "responses",
    "/responses/input_tokens": "responses",
    "/api/chat": "ollama",
    "/api/generate": "ollama",
}
"""The dialect of each path that asks a model, without its prefix."""


def is_free(method: str, path: str) -> bool:
    """Whether a request needs no key, because its reply tells nothing about this daemon."""
    return method in ("GET", "HEAD") and (path in _FREE or path.startswith(_PAGE_FILES))


def right_for(path: str) -> Right | None:
    """Return the right that a path needs, unless it is free; None if any key will do."""
    found = (right for prefix, right in _OTHER_RIGHTS if path.startswith(prefix))
    return next(found, "ask")


def dialect_of(method: str, path: str) -> str | None:
    """Return the dialect of a request that makes a model compute, so that limits apply to it."""
    if method != "POST":
        return None
    for prefix in _PREFIXES:
        path = path.removeprefix(prefix)
    return _DIALECTS.get(path)
