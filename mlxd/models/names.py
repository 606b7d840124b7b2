"""Which of the installed models a name means, however it is spelled."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from mlxd.files import open_regular
from mlxd.models.entry import Candidate, Origin

PULL_RECORD = ".mlxd-pull.json"
_SHORTEST_COMMIT = 7
_MAX_REF = 1000


class _Pulled(msgspec.Struct, frozen=True):
    """What the record of a pull says of the revision."""

    revision: str
    commit: str


class _Model(Protocol):
    @property
    def path(self) -> Path: ...

    @property
    def origin(self) -> Origin: ...


def matches(
    name: str, candidates: Sequence[Candidate], aliases: Mapping[str, str]
) -> Iterator[list[Candidate]]:
    """Yield the candidates that `name` may mean, the likeliest first.

    That is by ID or alias; by the name of the folder, `NAME` of `OWNER/NAME`; `OWNER/NAME` where
    the folder is only called `NAME`, or `OWNER--NAME`; and each of these in other upper and lower
    case. Another owner's model of that name never counts: its answers would differ.
    """
    ids = [each.id for each in candidates]
    yield from _matches(name, aliases.get(name, name), candidates, ids)
    aliases = {alias.casefold(): model for alias, model in aliases.items()}
    name = name.casefold()
    meant = aliases.get(name, name).casefold()
    yield from _matches(name, meant, candidates, [each.casefold() for each in ids])


def _matches(
    name: str, meant: str, candidates: Sequence[Candidate], ids: Sequence[str]
) -> Iterator[list[Candidate]]:
    found = list(zip(candidates, ids, strict=True))
    for wanted in dict.fromkeys((name, meant)):
        yield [each for each, its_id in found if its_id == wanted]
    yield [each for each, its_id in found if its_id.endswith(f"/{meant}")]
    owner, _, folder = meant.rpartition("/")
    if owner and not owner.startswith(".") and "/" not in owner:
        yield [each for each, its_id in found if its_id in (folder, f"{owner}--{folder}")]


def is_path(name: str) -> bool:
    """Return whether a name is a folder's path, not a model's ID."""
    return name.startswith(("/", "~/"))


def has_revision(model: _Model, revision: str) -> bool:
    """Return whether a model is known to be of a revision: a branch, a tag, or a commit's hash."""
    if model.origin is Origin.HUB_CACHE:
        commit = model.path.name
        named = ref(model.path.parent.parent, revision) == commit
    elif (pulled := _pulled(model.path)) is not None:
        commit, named = pulled.commit, pulled.revision == revision
    else:
        return revision == "main"
    return named or (len(revision) >= _SHORTEST_COMMIT and commit.startswith(revision))


def ref(repository: Path, revision: str) -> str | None:
    """Return the commit that a branch or tag of a repository in the hub's cache names."""
    refs = repository / "refs"
    file = refs / revision
    if ".." in file.parts or not file.is_relative_to(refs):
        return None
    try:
        with open_regular(file) as content:
            return content.read(_MAX_REF).decode("ascii").strip()
    except (OSError, ValueError):
        return None


def _content(file: Path) -> bytes:
    with open_regular(file) as stream:
        return stream.read()


def _pulled(folder: Path) -> _Pulled | None:
    try:
        return msgspec.json.decode(_content(folder / PULL_RECORD), type=_Pulled)
    except (OSError, msgspec.DecodeError):
        return None
