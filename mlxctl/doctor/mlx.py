"""MLX and its device, asked in a process of its own: mlxctl imports no MLX."""

import shlex
import subprocess
import sys
from collections.abc import Iterator

import msgspec

from mlxctl.doctor.facts import Facts
from mlxctl.doctor.finding import Finding, bad, good, warning

_SECONDS = 8.0  # the first use of Metal after an upgrade compiles
_PROGRAM = """
import json
from importlib.metadata import version
import mlx.core as mx
mx.eval(mx.ones(8) + 1)
print(json.dumps({
    "mlx": version("mlx"), "mlx_lm": version("mlx-lm"), "device": str(mx.default_device().type),
}))
"""


class Mlx(msgspec.Struct):
    """What is installed, and what it computes on, such as "DeviceType.gpu"."""

    mlx: str
    mlx_lm: str
    device: str


def ask(python: str = sys.executable, seconds: float = _SECONDS) -> Mlx | str:
    """Have `python` compute something with MLX; give what it is, or why it cannot."""
    try:
        done = subprocess.run(
            [python, "-P", "-c", _PROGRAM],
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=seconds,
        )
    except OSError as error:
        return f"{python}: {error.strerror}"
    except subprocess.TimeoutExpired:
        return f"it does not answer within {seconds:g} s"
    if done.returncode == 0:
        try:
            return msgspec.json.decode(done.stdout, type=Mlx)
        except msgspec.DecodeError:
            return f"it prints {done.stdout[:100]!r}"
    if done.returncode < 0:
        return f"it was ended by signal {-done.returncode}"
    return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]


def device(situation: Facts) -> Iterator[Finding]:
    """Whether MLX computes, and on a Mac on the GPU."""
    yield judged(ask(), on_mac=situation.machine.system == "Darwin")


def judged(found: Mlx | str, *, on_mac: bool) -> Finding:
    """Say how good it is what was found."""
    if isinstance(found, str):
        return bad("mlx", f"MLX cannot compute: {found}", again(sys.executable))
    text = f"mlx {found.mlx}, mlx-lm {found.mlx_lm}, on the {found.device.rpartition('.')[2]}"
    if on_mac and not found.device.endswith("gpu"):
        return warning("mlx", f"{text}: without Metal answers are slow", again(sys.executable))
    return good("mlx", text)


def again(python: str) -> str:
    """Give what installs MLX for `python` anew."""
    if "/Cellar/" in python or "/opt/mlxd/" in python:
        return "brew reinstall mlxd"
    return f"{shlex.quote(python)} -m pip install --force-reinstall mlx-lm"
