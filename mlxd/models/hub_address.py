"""What people paste to name a model of the hub: the address in a browser, or a clone's.

acme/tiny@v1                                      a name
https://huggingface.co/acme/tiny?library=mlx      a page, also without https://
https://hf.co/acme/tiny/tree/v1                   a page of one revision
hf://acme/tiny@v1, git@hf.co:acme/tiny.git        for huggingface_hub and git
hf.co/acme/tiny:latest                            for Ollama
"""

import os
import re
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

_HOSTS = frozenset({"huggingface.co", "www.huggingface.co", "hf.co"})
_SCHEMES = ("http", "https", "ssh")
_OTHER_PAGES = {
    "datasets": "a data set",
    "spaces": "a space",
    "collections": "a collection",
    "papers": "a paper",
    "docs": "documentation",
    "blog": "a blog",
    "organizations": "an organization",
    "settings": "settings",
}
_PREFIXES = (["api", "models"], ["models"])
_LATEST = ":latest"
_OF_A_REVISION = ("tree", "blob", "resolve", "raw", "blame", "commit", "commits")
_CLONE = re.compile(r"(?<![\w.-])[\w.-]+@([\w.-]+):(.+)")
_SECRET = re.compile(r"(?<=://)[^/@\s]+@")


class NoModelAddress(Exception):
    """An address that is not one of a model; the message says whose it is."""


def read_address(text: str) -> tuple[str, str]:
    """Return the repository and the revision that `text` names, "" if it names none.

    A text that is no address is only taken apart; whether the parts are valid is not checked.

    Raises:
        NoModelAddress: it is the address of something else.
    """
    text = _CLONE.sub(r"ssh://\1/\2", text.strip())
    host, path = _place(text)
    if host is None:
        parts = [_without_tag(path)]
    else:
        parts = [part for part in path.split("/") if part]
        for prefix in _PREFIXES:
            if parts[: len(prefix)] == prefix:
                parts = parts[len(prefix) :]
        shown = repr(_SECRET.sub("", text))
        if parts and (page := _OTHER_PAGES.get(parts[0])):
            raise NoModelAddress(f"{shown} is {page}, not a model")
        if not parts:
            raise NoModelAddress(f"{shown} names no model; use OWNER/NAME")
        parts = _repository(parts)
    repo, at, revision = parts[0].partition("@")
    if at and not revision:
        revision = "@"  # which no revision is called
    return repo, revision or _revision(parts[1:])


def _place(text: str) -> tuple[str | None, str]:
    """Return the hub's host and the path on it; without a host, the text up to `?` or `#`.

    Raises:
        NoModelAddress: it is an address elsewhere.
    """
    endpoint = urlsplit(os.environ.get("HF_ENDPOINT", ""))
    scheme, separator, _ = text.partition("://")
    if separator and scheme.lower() == "hf":
        return "hf", re.split(r"[?#]", text[len("hf://") :])[0]
    try:
        address = urlsplit(text if separator else f"//{text}")
        host = address.netloc.rpartition("@")[2].lower()
    except ValueError as error:
        raise NoModelAddress(f"{text!r} is not an address: {error}") from error
    if host in _HOSTS or (host and host == endpoint.netloc.lower()):
        base = endpoint.path.rstrip("/") if host == endpoint.netloc.lower() else ""
        return host, address.path.removeprefix(base)
    if separator:
        what = "is not an address" if scheme.lower() not in _SCHEMES else "is not on the hub"
        raise NoModelAddress(
            f"{_SECRET.sub('', text)!r} {what}; use OWNER/NAME or https://huggingface.co/OWNER/NAME"
        )
    return None, re.split(r"[?#]", text)[0]


def _repository(parts: Sequence[str]) -> list[str]:
    """Return the repository's name and what follows it; the oldest repositories have no owner."""
    head = 1 if parts[1:2] and parts[1] in _OF_A_REVISION else 2
    name = unquote("/".join(parts[:head]))
    return [_without_tag(name).removesuffix(".git"), *parts[head:]]


def _revision(parts: Sequence[str]) -> str:
    """Return the revision in what follows a repository's name: one part, or all of a reference."""
    if len(parts) < 2 or parts[0] not in _OF_A_REVISION:
        return ""
    return "/".join(parts[1:4]) if parts[1] == "refs" else unquote(parts[1])


def _without_tag(name: str) -> str:
    """Return a name as it is on the hub, from one with a slash at its end or with `:latest`."""
    return name.rstrip("/").removesuffix(_LATEST)
