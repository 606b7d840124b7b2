"""`python -m mlxd.gguf FILE.gguf --into MODELS_DIR`: what `mlxctl import` runs.

Progress and errors go to standard error, one line about the new model to standard output. The exit
status is 0, 1 if the file cannot be imported, or 2 for wrong usage.
"""

import argparse
import signal
import sys
from pathlib import Path

from mlxd.errors import MlxdError

_PROGRAM = "mlxctl import"


def main(arguments: list[str] | None = None) -> int:
    """Run the command, and return its exit status."""
    parser = argparse.ArgumentParser(
        prog=_PROGRAM, description="Convert a GGUF file to an MLX model folder."
    )
    parser.add_argument("file", type=Path, metavar="FILE.gguf")
    parser.add_argument("--into", type=Path, required=True, metavar="MODELS_DIR")
    parser.add_argument(
        "--name", default="", help="name of the model (default: the file's name in lower case)"
    )
    parser.add_argument(
        "--dtype",
        choices=("keep", "float32", "float16", "bfloat16"),
        default="keep",
        help="keep the file's quantization, or dequantize to a type (default: keep)",
    )
    options = parser.parse_args(arguments)
    # An exception, so that the hidden folder is removed.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        # Imported here so that a missing package is reported like any other error.
        from mlxd.gguf.importer import import_gguf

        imported = import_gguf(
            options.file,
            options.into,
            name=options.name,
            precision=options.dtype,
            progress=_say,
        )
    except MlxdError as error:
        _say(error.message)
        return 1
    except ImportError as error:
        _say(f"a required package cannot be imported: {error}")
        return 1
    except KeyboardInterrupt:
        _say("interrupted")
        return 130
    megabytes = imported.size_bytes / 1e6
    print(f"{imported.folder.name}: {imported.weights}, {megabytes:.0f} MB, {imported.folder}")  # noqa: T201
    return 0


def _say(line: str) -> None:
    print(f"{_PROGRAM}: {line}", file=sys.stderr, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
