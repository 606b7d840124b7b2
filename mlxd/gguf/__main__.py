"""`python -m mlxd.gguf FILE.gguf --into MODELS_DIR`: what `mlxctl import` runs.

Progress and errors go to standard error, one line about the new model to standard output. Ends with
0, with 1 when the file cannot be imported, with 2 on wrong usage.
"""

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

from mlxd.errors import MlxdError

_PROGRAM = "mlxctl import"


def main(arguments: list[str] | None = None) -> int:
    """The command; gives the exit status."""
    parser = argparse.ArgumentParser(
        prog=_PROGRAM, description="Make an MLX model folder out of a GGUF file."
    )
    parser.add_argument("file", type=Path, metavar="FILE.gguf")
    parser.add_argument("--into", type=Path, required=True, metavar="MODELS_DIR")
    parser.add_argument("--name", default="", help="of the model (the file's name in lower case)")
    parser.add_argument(
        "--dtype",
        choices=("keep", "float32", "float16"),
        default="keep",
        help="keep the file's quantisation, or dequantise to a type (keep)",
    )
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _end)
    try:
        # Here, so that an installation that lacks something is told of like everything else.
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
        _say(f"a package it needs cannot be imported: {error}")
        return 1
    except KeyboardInterrupt:
        _say("interrupted")
        return 130
    megabytes = imported.size_bytes / 1e6
    print(f"{imported.folder.name}: {imported.weights}, {megabytes:.0f} MB, {imported.folder}")  # noqa: T201
    return 0


def _say(line: str) -> None:
    print(f"{_PROGRAM}: {line}", file=sys.stderr, flush=True)  # noqa: T201


def _end(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Ends the process as an exception, so that what was written aside is removed."""
    raise SystemExit(128 + signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
