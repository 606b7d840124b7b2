"""`mlxctl key`: the API keys of TCP clients. They are in a file, so no daemon needs to run."""

import re
import time
from collections.abc import Iterator, Sequence

import click
import msgspec

from mlxctl import terminal
from mlxctl.arguments import model_names
from mlxctl.client import connect, is_running
from mlxctl.terminal import json_option, print_result, remark, shown
from mlxd import control_api, keys, paths
from mlxd.errors import MlxdError
from mlxd.keys import RIGHTS, ApiKey, KeyLimits, Right
from mlxd.units import parse_seconds

_HEADER = ("NAME", "MAY", "MODELS", "LIMITS", "CREATED", "EXPIRES", "USED")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_DAYS = re.compile(r"([0-9]{1,5})d")
_DAY = 86400.0
_LIMIT = click.IntRange(0, 1_000_000_000)


class ListedKey(msgspec.Struct, kw_only=True):
    """One key, as `mlxctl key list --json` prints it; times are in Unix seconds."""

    name: str
    rights: list[Right]
    models: list[str]
    created: float
    expires: float | None
    expired: bool
    last_used: float | None
    limits: KeyLimits


class KeyListing(msgspec.Struct, kw_only=True):
    """All keys, in the order of their creation."""

    file: str
    keys: list[ListedKey]


class NewKey(msgspec.Struct, kw_only=True):
    """A key that was created; nobody can read its text again."""

    name: str
    key: str
    rights: list[Right]
    models: list[str]
    expires: float | None


class RevokedKey(msgspec.Struct, kw_only=True):
    """A key that was revoked, and how many are left."""

    name: str
    left: int


def _seconds(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float | None:
    """Return a time such as 90d or 12h in seconds."""
    if value is None:
        return None
    if match := _DAYS.fullmatch(value):
        return int(match[1]) * _DAY
    seconds = parse_seconds(value)
    if seconds is None or seconds <= 0:
        raise click.BadParameter(f'{value!r} is not a time such as "90d", "12h" or "30m".')
    return seconds


def _valid_name(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    if not _NAME.fullmatch(value):
        raise click.BadParameter(
            f"{value!r}: up to 64 letters, digits and . _ @ -, beginning with a letter or digit."
        )
    return value


@click.group(invoke_without_command=True)
@click.pass_context
def key(ctx: click.Context) -> None:
    """Create, list and revoke API keys. Without a command, list them.

    As soon as there is a key, clients on TCP need one. A running daemon heeds a change at the next
    request. The Unix socket, which mlxctl uses, needs none.
    """
    if ctx.invoked_subcommand is None:
        ctx.invoke(list_keys, as_json=False)


@key.command()
@click.argument("name", callback=_valid_name)
@click.option(
    "--may",
    "rights",
    multiple=True,
    type=click.Choice(RIGHTS),
    help="What it may do: ask models, see metrics, pull models, manage (copy, delete, unload)."
    " Default: ask.",
)
@click.option(
    "-m",
    "--model",
    "models",
    multiple=True,
    metavar="MODEL",
    shell_complete=model_names,
    help="A model that it may use; * stands for any text. Default: all.",
)
@click.option(
    "--expires", metavar="TIME", callback=_seconds, help="How long it is valid, such as 90d or 12h."
)
@click.option("--running", type=_LIMIT, metavar="N", help="Requests that may run at a time.")
@click.option("--queued", type=_LIMIT, metavar="N", help="Requests that may wait beside those.")
@click.option("--requests-per-minute", type=_LIMIT, metavar="N", help="Requests in a minute.")
@click.option(
    "--tokens-per-minute", type=_LIMIT, metavar="N", help="Tokens, read or written, in a minute."
)
@json_option()
def create(
    name: str,
    rights: tuple[Right, ...],
    models: tuple[str, ...],
    expires: float | None,
    *,
    as_json: bool,
    **limits: int | None,
) -> None:
    """Create a key and print it, this once: mlxd keeps only its hash.

    Limits that are not given are those of the section [limits] of the configuration. 0 is no limit,
    but with --queued it is none that may wait.

    \b
    mlxctl key create laptop
    mlxctl key create build-server --may ask --may pull --expires 90d
    mlxctl key create guest -m "mlx-community/*" --requests-per-minute 20
    """
    held = [right for right in RIGHTS if right in rights] or [RIGHTS[0]]
    end = None if expires is None else time.time() + expires
    text = keys.create(
        paths.keys_file(),
        name,
        rights=held,
        models=list(models),
        expires=end,
        limits=KeyLimits(**limits),
    )
    for unknown in _not_installed(models):
        remark(f"no model has the ID {unknown!r} now; mlxctl list shows the IDs")
    if limits["queued"] is not None and limits["running"] is None:
        remark("--queued counts only where --running, or limits.key_running, is set.")
    new = NewKey(name=name, key=text, rights=held, models=list(models), expires=end)
    if not as_json:
        remark("keep this key; it is not shown again.")
    print_result(new, text, as_json=as_json)


@key.command("list")
@json_option()
def list_keys(*, as_json: bool) -> None:
    """List the keys, without their texts, and when each was last used."""
    file = paths.keys_file()
    uses = keys.last_uses(paths.key_uses_file())
    found = keys.read(file)
    listed = [_listed(each, uses) for each in found or []]
    if found is None:
        text = "no keys; to create one: mlxctl key create NAME"
    elif not found:
        text = _none_left()
    else:
        text = terminal.table([_HEADER, *map(_row, listed)])
    print_result(KeyListing(file=str(file), keys=listed), text, as_json=as_json)


@key.command()
@click.argument("name")
@json_option()
def revoke(name: str, *, as_json: bool) -> None:
    """Revoke a key; requests that are running with it still end."""
    left = keys.revoke(paths.keys_file(), name)
    text = f"revoked {name}" if left else f"revoked {name}\n{_none_left()}"
    print_result(RevokedKey(name=name, left=len(left)), text, as_json=as_json)


def _not_installed(models: Sequence[str]) -> list[str]:
    """Return those of `models` that name one model, and none that a running daemon has."""
    named = [model for model in models if "*" not in model]
    try:
        if not named or not is_running():
            return []
        listed = connect().call(control_api.LIST_MODELS)
    except MlxdError:  # the key is made all the same
        return []
    ids = {model.id for model in listed.models} | {model.id for model in listed.broken}
    return [model for model in named if model not in ids]


def _none_left() -> str:
    file = shown(paths.keys_file())
    return (
        "no keys are left, and TCP clients still need one; "
        f"to serve without keys, remove {file} and restart mlxd"
    )


def _listed(key: ApiKey, uses: dict[str, float]) -> ListedKey:
    return ListedKey(
        name=key.name,
        rights=key.rights,
        models=key.models,
        created=key.created,
        expires=key.expires,
        expired=key.expired,
        last_used=uses.get(key.digest),
        limits=key.limits,
    )


def _row(key: ListedKey) -> tuple[str, ...]:
    now = time.time()
    expires = "never" if key.expires is None else f"in {terminal.duration(key.expires - now)}"
    return (
        key.name,
        ", ".join(key.rights),
        ", ".join(key.models) or "all",
        ", ".join(_limits(key.limits)) or "usual",
        f"{terminal.duration(max(0.0, now - key.created))} ago",
        "expired" if key.expired else expires,
        f"{terminal.duration(max(0.0, now - key.last_used))} ago" if key.last_used else "never",
    )


def _limits(limits: KeyLimits) -> Iterator[str]:
    """Yield the limits of a key's own."""
    for limit, words in (
        (limits.running, "running"),
        (limits.queued, "queued"),
        (limits.requests_per_minute, "requests/min"),
        (limits.tokens_per_minute, "tokens/min"),
    ):
        if limit is not None:
            yield f"{limit} {words}"
