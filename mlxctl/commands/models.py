"""`mlxctl list` and `import`: the models on disk."""

import os
import sys
from pathlib import Path

import click
import msgspec

from mlxctl import text
from mlxctl.client import connect
from mlxd import paths
from mlxd.api.control import CatalogModel


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_models(*, as_json: bool) -> None:
    """List the models that can be asked for."""
    catalog = connect().models()
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(catalog)))
    elif catalog.models:
        header = ("MODEL", "SIZE", "QUANTISATION", "CONTEXT", "STATE")
        click.echo(text.table([header, *map(_row, catalog.models)]))
    else:
        click.echo("no models yet; make one of a GGUF file with: mlxctl import FILE.gguf")


def _row(model: CatalogModel) -> tuple[str, ...]:
    return (
        f"{model.id} (default)" if model.default else model.id,
        text.size(model.size_bytes),
        model.quantization or "none",
        str(model.context_length or "-"),
        model.state,
    )


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", help="The model's name; without it, the file's in lower case.")
@click.option(
    "--dtype",
    type=click.Choice(["keep", "float32", "float16"]),
    default="keep",
    show_default=True,
    help="Keep the file's quantisation, or dequantise to a type.",
)
def import_model(file: Path, name: str | None, dtype: str) -> None:
    """Make a model out of the GGUF file FILE."""
    command = [sys.executable, "-P", "-m", "mlxd.engine.gguf"]
    command += ["--into", str(paths.models_dir()), f"--dtype={dtype}"]
    command += [f"--name={name}"] if name is not None else []
    # Only the engine's package may import MLX. Its process takes the place of this one, so that
    # signals reach it and its exit status is the command's.
    os.execv(sys.executable, [*command, "--", str(file)])  # noqa: S606
