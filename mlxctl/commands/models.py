"""`mlxctl list`, `show`, `rm` and `import`: the models on disk."""

import os
import sys
import time
from pathlib import Path

import click
import msgspec

from mlxctl import terminal
from mlxctl.arguments import model_name
from mlxctl.client import connect
from mlxctl.errors import CommandFailed
from mlxctl.shell_completion import model_names
from mlxctl.terminal import json_option, print_json
from mlxd import control_api, paths
from mlxd.control_api import CatalogModel, ModelDetails, PullStatus
from mlxd.units import size

_HEADER = ("MODEL", "SIZE", "QUANT", "CONTEXT", "STATE")
_HUB_CACHE = "hub cache"
_WHERE = {
    _HUB_CACHE: "the Hugging Face cache, which mlxd only reads",
    "models.dirs": "a folder of models.dirs, which mlxd only reads",
}


@click.command("list")
@json_option()
def list_models(*, as_json: bool) -> None:
    """List the models that can be asked for, those on their way, and those that are broken."""
    client = connect()
    catalog, pulls = client.call(control_api.LIST_MODELS), client.call(control_api.LIST_PULLS).pulls
    if as_json:
        everything = msgspec.structs.asdict(catalog) | {"pulls": pulls}
        print_json(everything)
        return
    if catalog.models:
        _list(catalog.models)
    else:
        click.echo(
            "no models yet; download one with mlxctl pull OWNER/NAME, or make one of a GGUF file "
            "with mlxctl import FILE.gguf"
        )
    if pulls:
        click.echo(
            f"\non their way, see mlxctl pull:\n{terminal.table(list(map(_pull_row, pulls)))}"
        )
    if catalog.broken:
        rows = [(model.id, size(model.size_bytes), model.fault) for model in catalog.broken]
        click.echo(f"\nbroken, and not offered:\n{terminal.table(rows)}")


def _pull_row(pull: PullStatus) -> tuple[str, ...]:
    total = size(pull.bytes_total) if pull.bytes_total else "?"
    return (
        pull.model,
        f"{size(pull.bytes_done)} of {total}",
        pull.state,
        pull.cause or "",
    )


def _list(models: list[CatalogModel]) -> None:
    """Print a table, in which those of the hub's cache come last, under a line of their own."""
    own = [model for model in models if model.origin != _HUB_CACHE]
    cached = [model for model in models if model.origin == _HUB_CACHE]
    header, *rows = terminal.table([_HEADER, *map(_row, [*own, *cached])]).splitlines()
    click.echo("\n".join([header, *rows[: len(own)]]))
    if cached:
        gap = "\n" if own else ""
        click.echo("\n".join([f"{gap}in the Hugging Face cache, read-only:", *rows[len(own) :]]))


def _row(model: CatalogModel) -> tuple[str, ...]:
    return (
        f"{model.id} (default)" if model.default else model.id,
        size(model.size_bytes),
        model.quantization or "-",
        str(model.context_length or "-"),
        model.state,
    )


@click.command()
@click.argument("model", callback=model_name, shell_complete=model_names)
@json_option()
def show(model: str, *, as_json: bool) -> None:
    """Show what there is to know of MODEL, which is an id, an alias or a folder's name."""
    details = connect().call(control_api.SHOW_MODEL, model=model)
    if as_json:
        print_json(details)
        return
    click.echo(f"{details.id} (default)\n" if details.default else f"{details.id}\n")
    click.echo(terminal.table([row for row in _facts(details) if row[1]]))


def _facts(model: ModelDetails) -> list[tuple[str, str]]:
    """Give what there is to say, line by line; an empty text where there is nothing."""
    return [
        ("broken", model.fault or ""),
        ("architecture", model.architecture or ""),
        ("parameters", terminal.count(model.parameters) if model.parameters else ""),
        ("quantisation", model.quantization or ""),
        ("context", f"{model.context_length} tokens" if model.context_length else ""),
        ("template", _template(model)),
        ("licence", model.license or ""),
        ("state", "" if model.fault else model.state),
        ("memory", _memory(model)),
        ("aliases", ", ".join(model.aliases)),
        ("adapters", ", ".join(model.adapters)),
        ("size", size(model.size_bytes)),
        ("changed", time.strftime("%Y-%m-%d %H:%M", time.localtime(model.created))),
        ("path", model.path),
        ("", f"in {_WHERE[model.origin]}" if model.origin in _WHERE else ""),
    ]


def _template(model: ModelDetails) -> str:
    if model.fault:
        return ""
    if model.template is None:
        return "none"
    knows = {"tools": model.template.tools, "thinking": model.template.thinking}
    names = [name for name, known in knows.items() if known]
    return f"yes, with {' and '.join(names)}" if names else "yes"


def _memory(model: ModelDetails) -> str:
    if model.memory_bytes is None:
        return ""
    needed = f"about {size(model.memory_bytes)}"
    if not model.cache_bytes or not model.cached_tokens:
        return f"{needed}, and that of the conversation"
    thousand = model.cache_bytes * 1000 // model.cached_tokens
    return (
        f"{needed} with {model.cached_tokens} tokens of conversation; "
        f"{size(thousand)} more for each 1000, and what an engine takes"
    )


@click.command("rm")
@click.argument("model", callback=model_name, shell_complete=model_names)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@json_option()
def remove(model: str, *, yes: bool, as_json: bool) -> None:
    """Remove MODEL from the models directory, for good.

    A model in memory is refused (unload it first), and so is one that is elsewhere: mlxd only reads
    the Hugging Face cache and the folders of models.dirs.
    """
    client = connect()
    found = client.call(control_api.REMOVE_MODEL, model=model, dry_run=True)
    what = f"the link {found.path}" if found.link else f"{found.path} ({size(found.size_bytes)})"
    if not yes:
        if not sys.stdin.isatty():
            raise CommandFailed(f"nobody to ask here: mlxctl rm --yes {found.id}")
        if not click.confirm(f"remove {found.id}, {what}?", err=True):
            raise CommandFailed("nothing was removed")
    removed = client.call(control_api.REMOVE_MODEL, model=found.id)
    if as_json:
        print_json(removed)
        return
    click.echo(f"removed {found.id}, {what}")
    if found.default:
        click.echo(
            "mlxctl: it was the default model; choose another with: mlxctl use MODEL", err=True
        )
    for alias in found.aliases:
        click.echo(
            f"mlxctl: the alias {alias} stands for nothing now; remove it with: "
            f"mlxctl alias --rm {alias}",
            err=True,
        )


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--name", metavar="NAME", help="The model's name; without it, the file's in lower case."
)
@click.option(
    "--dtype",
    type=click.Choice(["keep", "float32", "float16"]),
    default="keep",
    show_default=True,
    help="Keep the file's quantisation, or dequantise to a type.",
)
def import_model(file: Path, name: str | None, dtype: str) -> None:
    """Make a model out of the GGUF file FILE, whose architecture is llama, mistral, qwen2 or qwen3.

    \b
    Examples:
      mlxctl import Qwen3-0.6B-Q4_0.gguf --name qwen3
    """
    command = [sys.executable, "-P", "-m", "mlxd.gguf"]
    command += ["--into", str(paths.models_dir()), f"--dtype={dtype}"]
    command += [f"--name={name}"] if name is not None else []
    # Only the engine's package may import MLX. Its process takes the place of this one, so that
    # signals reach it and its exit status is the command's.
    os.execv(sys.executable, [*command, "--", str(file)])  # noqa: S606
