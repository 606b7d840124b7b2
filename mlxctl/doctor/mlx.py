"""MLX and its device, asked in a process of its own: mlxctl imports no MLX."""

import subprocess
import sys
from collections.abc import Iterator
from functools import cache

import msgspec

from mlxctl.doctor.finding import Finding, bad, good, warning
from mlxctl.doctor.situation import Situation

_SECONDS = 60.0
_PROGRAM = """
import json
from importlib.metadata import version
import mlx.core as mx
mx.eval(mx.ones(8) + 1)
print(json.dumps({
    "mlx": version("mlx"), "mlx_lm": version("mlx-lm"), "device": str(mx.default_device().type),
}))
"""
_MEND = f"{sys.executable} -m pip install --force-reinstall mlx-lm"


class Mlx(msgspec.Struct):
    """What is installed, and what it computes on, such as "DeviceType.gpu"."""

    mlx: str
    mlx_lm: str
    device: str


@cache
def ask(python: str = sys.executable) -> Mlx | str:
    """Have `python` compute something with MLX; give what it is, or why it cannot."""
    try:
        done = subprocess.run(
            [python, "-P", "-c", _PROGRAM], capture_output=True, text=True, timeout=_SECONDS
        )
    except OSError as error:
        return f"{python}: {error.strerror}"
    except subprocess.TimeoutExpired:
        return f"it does not answer within {_SECONDS:g} s"
    if done.returncode == 0:
        try:
            return msgspec.json.decode(done.stdout, type=Mlx)
        except msgspec.DecodeError:
            return f"it prints {done.stdout[:100]!r}"
    if done.returncode < 0:
        return f"it was ended by signal {-done.returncode}"
    return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]


def device(situation: Situation) -> Iterator[Finding]:
    """Whether MLX computes, and on a Mac on the GPU."""
    yield judged(ask(), on_mac=situation.machine.system == "Darwin")


def judged(found: Mlx | str, *, on_mac: bool) -> Finding:
    """Say how good it is what was found."""
    if isinstance(found, str):
        return bad("mlx", f"MLX cannot compute: {found}", _MEND)
    text = f"mlx {found.mlx}, mlx-lm {found.mlx_lm}, on the {found.device.rpartition('.')[2]}"
    if on_mac and not found.device.endswith("gpu"):
        return warning("mlx", f"{text}: without Metal answers are slow", _MEND)
    return good("mlx", text)
