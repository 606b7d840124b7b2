"""`mlxctl list`, `show`, `rm`, `import` and `alias`: the models on disk."""

import os
import sys
import time
from pathlib import Path

import click
import msgspec

from mlxctl import terminal
from mlxctl.arguments import alias_names, model_argument, model_names
from mlxctl.client import connect
from mlxctl.commands.pull import pulls_table
from mlxctl.errors import CommandFailed
from mlxctl.terminal import json_option, print_result, remark
from mlxd import control_api, paths
from mlxd.control_api import Alias, CatalogModel, ModelDetails
from mlxd.units import amount, size

_HEADER = ("MODEL", "SIZE", "QUANT", "CONTEXT", "STATE")
_HUB_CACHE = "hub cache"
_WHERE = {
    _HUB_CACHE: "in the Hugging Face cache (read-only)",
    "models.dirs": "in a folder of models.dirs (read-only)",
}


@click.command("list")
@json_option()
def list_models(*, as_json: bool) -> None:
    """List the models, with running downloads and models that cannot be loaded."""
    client = connect()
    catalog, pulls = client.call(control_api.LIST_MODELS), client.call(control_api.LIST_PULLS).pulls
    everything = msgspec.structs.asdict(catalog) | {"pulls": pulls}
    tables = [_models_table(catalog.models)]
    if pulls:
        tables.append(f"downloads (see mlxctl pull):\n{pulls_table(pulls)}")
    if catalog.broken:
        rows = [(model.id, size(model.size_bytes), model.fault) for model in catalog.broken]
        tables.append(f"broken:\n{terminal.table(rows)}")
    print_result(everything, "\n\n".join(tables), as_json=as_json)


def _models_table(models: list[CatalogModel]) -> str:
    """Return a table; the models in the Hugging Face cache come last, under their own heading."""
    if not models:
        return (
            "no models; to download one: mlxctl pull OWNER/NAME; to convert a GGUF file: "
            "mlxctl import FILE.gguf"
        )
    own = [model for model in models if model.origin != _HUB_CACHE]
    cached = [model for model in models if model.origin == _HUB_CACHE]
    lines = terminal.table([_HEADER, *map(_row, [*own, *cached])]).splitlines()
    if cached:
        heading = "in the Hugging Face cache (read-only):"
        lines.insert(1 + len(own), f"\n{heading}" if own else heading)
    return "\n".join(lines)


def _row(model: CatalogModel) -> tuple[str, ...]:
    return (
        f"{model.id} (default)" if model.default else model.id,
        size(model.size_bytes),
        model.quantization or "-",
        str(model.context_length or "-"),
        model.state,
    )


@click.command()
@model_argument
@json_option()
def show(model: str, *, as_json: bool) -> None:
    """Show details of MODEL: an ID, an alias, or the name, path or hub address of a model."""
    details = connect().call(control_api.SHOW_MODEL, model=model)
    title = f"{details.id} (default)" if details.default else details.id
    facts = terminal.table([row for row in _facts(details) if row[1]])
    print_result(details, f"{title}\n\n{facts}", as_json=as_json)


def _facts(model: ModelDetails) -> list[tuple[str, str]]:
    """Return names and values of what is known; an empty value is unknown."""
    return [
        ("broken", model.fault or ""),
        ("architecture", model.architecture or ""),
        ("parameters", amount(model.parameters) if model.parameters else ""),
        ("quantization", model.quantization or ""),
        ("context", _context(model)),
        ("batching", "no: one request at a time" if model.batched is False else ""),
        ("caches", f"quantized to {model.kv_bits} bits" if model.kv_bits else ""),
        ("template", _template(model)),
        ("sampling", _sampling(model)),
        ("license", model.license or ""),
        ("state", "" if model.fault else model.state),
        ("memory", _memory(model)),
        ("aliases", ", ".join(model.aliases)),
        ("adapters", ", ".join(model.adapters)),
        ("size", size(model.size_bytes)),
        ("changed", time.strftime("%Y-%m-%d %H:%M", time.localtime(model.created))),
        ("path", model.path),
        ("", _WHERE.get(model.origin, "")),
    ]


def _template(model: ModelDetails) -> str:
    if model.fault:
        return ""
    if model.template is None:
        return "none"
    knows = {"tools": model.template.tools, "thinking": model.template.thinking}
    names = [name for name, known in knows.items() if known]
    return f"yes, with {' and '.join(names)}" if names else "yes"


def _sampling(model: ModelDetails) -> str:
    """Return what requests get that say nothing: the model's own values, or configured ones."""
    own = model.own_sampling
    return ", ".join(
        f"{name} {value:g}" + ("" if own.get(name) == value else " (configured)")
        for name, value in model.sampling.items()
        if value or name not in ("max_tokens", "repetition_context_size")
    )


def _context(model: ModelDetails) -> str:
    if not model.context_length:
        return ""
    length, fits = f"{model.context_length:,} tokens", model.context_fits
    if fits is None:
        return length
    if fits >= model.context_length:
        return f"{length}, which fit in memory"
    about = f"about {_rounded_down(fits):,}" if fits else "none"
    return f"{length}; {about} fit under models.memory_limit"


def _rounded_down(count: int) -> int:
    """Return a number with its first two digits, and zeros after them."""
    unit: int = 10 ** max(0, len(str(count)) - 2)
    return count // unit * unit


def _memory(model: ModelDetails) -> str:
    if model.memory_bytes is None:
        return ""
    needed = f"about {size(model.memory_bytes)}"
    if not model.cache_bytes or not model.cached_tokens:
        return f"{needed}, plus the context"
    needed = f"{needed} with {model.cached_tokens:,} tokens of context"
    thousand = size((model.token_bytes or 0) * 1000)
    return f"{needed}, {thousand} per 1,000 more" if model.token_bytes else needed


@click.command("rm")
@model_argument
@click.option("-y", "--yes", is_flag=True, help="Do not ask for confirmation.")
@json_option()
def remove(model: str, *, yes: bool, as_json: bool) -> None:
    """Delete MODEL from the models directory, and its prompts on disk.

    Unload a model that is in memory first. The Hugging Face cache and the folders of models.dirs
    are read-only for mlxd: models in them cannot be deleted.
    """
    client = connect()
    found = client.call(control_api.REMOVE_MODEL, model=model, dry_run=True)
    what = f"the link {found.path}" if found.link else f"{found.path} ({size(found.size_bytes)})"
    if not yes:
        if not sys.stdin.isatty():
            raise CommandFailed(
                "cannot ask for confirmation without a terminal; to delete it: "
                f"mlxctl rm --yes {found.id}"
            )
        if not click.confirm(f"delete {found.id}, {what}?", err=True):
            raise CommandFailed("nothing was deleted")
    removed = client.call(control_api.REMOVE_MODEL, model=found.id)
    print_result(removed, f"deleted {found.id}, {what}", as_json=as_json)
    if found.default:
        remark("it was the default model; to set another: mlxctl use MODEL")
    for alias in found.aliases:
        remark(f"the alias {alias} has no model now; to remove it: mlxctl alias --rm {alias}")


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--name", metavar="NAME", help="Name of the model (default: that of FILE, in lower case)."
)
@click.option(
    "--dtype",
    type=click.Choice(["keep", "float32", "float16", "bfloat16"]),
    default="keep",
    show_default=True,
    help="Keep the quantization of FILE, or dequantize to this type.",
)
def import_model(file: Path, name: str | None, dtype: str) -> None:
    """Convert the GGUF file FILE into a model.

    Supported architectures are llama, mistral, qwen2, qwen3 and gemma3.

    \b
    Examples:
      mlxctl import Qwen3-0.6B-Q4_0.gguf --name qwen3
    """
    command = [sys.executable, "-P", "-m", "mlxd.gguf"]
    command += ["--into", str(paths.models_dir()), f"--dtype={dtype}"]
    command += [f"--name={name}"] if name is not None else []
    # mlxctl does not import MLX. The importer replaces this process, so that it receives signals
    # and its exit status is the command's.
    os.execv(sys.executable, [*command, "--", str(file)])  # noqa: S606


@click.command()
@click.argument("name", required=False)
@click.argument("model", required=False, shell_complete=model_names)
@click.option(
    "--rm", "removed", metavar="NAME", shell_complete=alias_names, help="Remove the alias NAME."
)
@json_option()
def alias(name: str | None, model: str | None, removed: str | None, *, as_json: bool) -> None:
    """Make NAME an alias for MODEL. Without arguments, list the aliases.

    Aliases take effect immediately and are saved in settings.toml. The list includes those that
    config.toml sets in [models.aliases].

    \b
    Examples:
      mlxctl alias gpt-4o-mini mlx-community/Qwen3-8B-4bit
      mlxctl alias --rm gpt-4o-mini
    """
    if removed is not None:
        if name is not None:
            raise click.UsageError("--rm takes one name.")
        removal = connect().call(control_api.REMOVE_ALIAS, name=removed)
        text = f"removed the alias {removal.name}"
        if removal.now:
            text = f"{removal.name} is an alias for {removal.now} again, as set in config.toml"
        print_result(removal, text, as_json=as_json)
    elif name is None:
        found = connect().call(control_api.LIST_ALIASES)
        print_result(found, _aliases_table(found.aliases), as_json=as_json)
    elif not model:
        raise click.UsageError("Missing argument 'MODEL'.")
    else:
        made = connect().call(control_api.SET_ALIAS, Alias(name=name, model=model))
        print_result(made, f"{made.name} is now an alias for {made.model}", as_json=as_json)


def _aliases_table(aliases: list[Alias]) -> str:
    if not aliases:
        return "no aliases; to add one: mlxctl alias NAME MODEL"
    rows = [
        (one.name, one.model if one.exists else f"{one.model} (no such model)") for one in aliases
    ]
    return terminal.table([("ALIAS", "MODEL"), *rows])
