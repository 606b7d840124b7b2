"""The name of a repository of the model hub: `OWNER/NAME` or `OWNER/NAME@REVISION`."""

import re

import msgspec

from mlxd.errors import InvalidRequest

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
    """Return the repository and revision that a user named.

    Raises:
        InvalidRequest: the hub has no such names.
    """
    repo, at, revision = text.partition("@")
    if not _REPO.fullmatch(repo) or ".." in repo or "--" in repo or len(repo) > _MAX_NAME:
        raise InvalidRequest(
            f"{text!r} is not a repository name; use OWNER/NAME or OWNER/NAME@REVISION, "
            "such as mlx-community/SmolLM2-135M-4bit",
            param="model",
        )
    if at and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise InvalidRequest(
            f"{text!r}: after the @ must come a branch, a tag or the hash of a commit",
            param="model",
        )
    return Reference(repo, revision or MAIN)
