"""The name of a repository of the model hub: `OWNER/NAME` or `OWNER/NAME@REVISION`."""

import re

import msgspec

from mlxd.errors import InvalidRequest
from mlxd.models.hub_address import NoModelAddress, read_address

MAIN = "main"
_MAX_NAME = 96
# The hub's own rule, which also excludes ".." and whatever else cannot be a folder's name.
_PART = r"[A-Za-z0-9_](?:[\w.-]*[A-Za-z0-9_])?"
_REPO = re.compile(rf"(?:{_PART}/)?{_PART}", re.ASCII)
_REVISION = re.compile(r"[^\s\x00-\x1f\x7f~^:?*\[\\-][^\s\x00-\x1f\x7f~^:?*\[\\]{0,254}")


class Reference(msgspec.Struct, frozen=True):
    """A repository at a revision: a branch, a tag or the hash of a commit."""

    repo: str
    revision: str = MAIN

    def __str__(self) -> str:
        return self.repo if self.revision == MAIN else f"{self.repo}@{self.revision}"


def parse(text: str) -> Reference:
    """Return the repository and revision that a user named, also by an address on the hub.

    Raises:
        InvalidRequest: the hub has no such names, or it is the address of something else.
    """
    try:
        repo, revision = read_address(text)
    except NoModelAddress as error:
        raise InvalidRequest(str(error), param="model") from error
    name, colon, tag = repo.partition(":")
    if colon and _is_repository(name) and tag.isprintable():
        raise InvalidRequest(
            f"{text!r}: the hub has no tags such as :{tag}; a revision is {name}@REVISION",
            param="model",
        )
    if not _is_repository(repo):
        raise InvalidRequest(
            f"{text!r} is not a repository name; use OWNER/NAME or OWNER/NAME@REVISION, "
            "such as mlx-community/SmolLM2-135M-4bit",
            param="model",
        )
    if revision and (not _REVISION.fullmatch(revision) or revision == "@" or ".." in revision):
        raise InvalidRequest(
            f"{text!r}: after the @ must come a branch, a tag or the hash of a commit",
            param="model",
        )
    return Reference(repo, revision or MAIN)


def _is_repository(name: str) -> bool:
    if ".." in name or "--" in name or len(name) > _MAX_NAME:
        return False
    return bool(_REPO.fullmatch(name))
