"""Start the servers under test, each in its own process group, and make sure that they end."""

import compileall
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from client import BenchmarkError

_START_SECONDS = 120.0
_STOP_SECONDS = 15.0
_HEALTH_POLL_SECONDS = 0.002
_LOG_TAIL_BYTES = 2000
_OPENBLAS = Path("/usr/lib/x86_64-linux-gnu/openblas-pthread/libblas.so.3")
_BIN = Path(sys.executable).parent
_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Model:
    """The model all servers get: `tiny` when it is the random one this benchmark made."""

    path: Path
    tiny: bool
    context_length: int
    quantized: bool

    @classmethod
    def read(cls, path: Path, *, tiny: bool) -> "Model":
        """Read what the benchmark needs to know from the model's config.json."""
        config = json.loads((path / "config.json").read_text())
        return cls(
            path, tiny, config.get("max_position_embeddings", 4096), "quantization" in config
        )

    def environment(self) -> dict[str, str]:
        """Return the environment of every process that runs the model, the same for all servers.

        Only Linux has a say: a CPU build of MLX is slow with its own BLAS, and a tiny model with
        more than one BLAS thread.
        """
        environment = dict(os.environ)
        if self.tiny:
            environment["OPENBLAS_NUM_THREADS"] = "1"
        if sys.platform == "linux" and not self.quantized and _OPENBLAS.exists():
            environment["LD_PRELOAD"] = str(_OPENBLAS)
        return environment


@dataclass(frozen=True)
class Server:
    """A running server: its port, its process, and how long it took to its first /health."""

    port: int
    pid: int
    start_seconds: float
    home: Path | None = None

    def mlxctl(self, *arguments: str) -> str:
        """Run `mlxctl` against this daemon and return its output.

        Raises:
            BenchmarkError: when it exits with another status than 0.
        """
        command = [str(_BIN / "mlxctl"), *arguments]
        environment = {**os.environ, "MLXD_HOME": str(self.home)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise BenchmarkError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout}")
        return done.stdout


Start = Callable[[Model | None], contextlib.AbstractContextManager[Server]]


@contextlib.contextmanager
def mlx_lm_server(model: Model | None) -> Iterator[Server]:
    """Start `mlx_lm server` as it ships; without a model if `model` is None."""
    port = _free_port()
    command = [sys.executable, "-m", "mlx_lm", "server", "--port", str(port)]
    if model is not None:
        command += ["--model", str(model.path)]
    environment = model.environment() if model else dict(os.environ)
    with _process(command, environment) as (process, started, log):
        yield Server(port, process.pid, _await_health(process, port, started, log))


@contextlib.contextmanager
def mlxd(
    model: Model | None, *, default: bool = True, checkout: Path | None = None
) -> Iterator[Server]:
    """Start `mlxd` with its own home, which holds only `model`.

    With `default` False the model is there, but not the daemon's default: it is loaded when a
    request comes. `checkout` is the folder of other sources than the installed ones.
    """
    port = _free_port()
    # A Unix socket's path must be short, and the temporary folder of macOS is not.
    with tempfile.TemporaryDirectory(prefix="mb-", dir="/tmp") as folder:
        home = Path(folder)
        command = [sys.executable, "-P", "-m", "mlxd", "--host", "127.0.0.1", "--port", str(port)]
        if model is not None:
            (home / "models").mkdir()
            (home / "models" / model.path.name).symlink_to(model.path)
            if default:
                command += ["--model", model.path.name]
        environment = model.environment() if model else dict(os.environ)
        environment["MLXD_HOME"] = str(home)
        if checkout is not None:
            environment["PYTHONPATH"] = str(checkout)
        with _process(command, environment) as (process, started, log):
            yield Server(port, process.pid, _await_health(process, port, started, log), home)


def run_bare_loop(model: Model, batches: list[list[str]], tokens: int) -> list[dict[str, object]]:
    """Run bare_loop.py on batches of prompts, one after the other, and return its report."""
    command = [sys.executable, str(Path(__file__).with_name("bare_loop.py")), str(model.path)]
    question = json.dumps({"batches": batches, "tokens": tokens}).encode()
    with _process(command, model.environment(), pipes=True) as (process, _, log):
        output, _ = process.communicate(question)
        if process.returncode:
            raise BenchmarkError(f"the bare loop failed: {_tail(log)}")
    return json.loads(output)


@contextlib.contextmanager
def _process(
    command: list[str], environment: dict[str, str], *, pipes: bool = False
) -> Iterator[tuple["subprocess.Popen[bytes]", float, Path]]:
    """Run `command` in its own process group while the block runs; its output goes to a file."""
    with tempfile.NamedTemporaryFile(prefix="mb-", suffix=".log") as log:
        started = time.perf_counter()
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
            stdout=subprocess.PIPE if pipes else log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield process, started, Path(log.name)
        finally:
            _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def _await_health(
    process: "subprocess.Popen[bytes]", port: int, started: float, log: Path
) -> float:
    """Wait for the first good answer of /health; return the seconds since `started`."""
    while time.perf_counter() - started < _START_SECONDS:
        if process.poll() is not None:
            raise BenchmarkError(f"{process.args!r} exited at its start: {_tail(log)}")
        if _healthy(port):
            return time.perf_counter() - started
        time.sleep(_HEALTH_POLL_SECONDS)
    raise BenchmarkError(f"{process.args!r} did not start in {_START_SECONDS:.0f} s: {_tail(log)}")


def _healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _tail(log: Path) -> str:
    return log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def prepare_model(name: str, folder: Path) -> Model:
    """Return the model in the folder `name`; for `tiny`, make the random one in `folder`.

    Raises:
        BenchmarkError: there is no model.
    """
    if name != "tiny":
        try:
            return Model.read(Path(name).resolve(), tiny=False)
        except (OSError, ValueError) as error:
            raise BenchmarkError(f"{name} is no model folder: {error}") from error
    path = folder / "tiny"
    command = [sys.executable, str(_ROOT / "scripts" / "tiny_model.py"), str(path)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return Model.read(path, tiny=True)


def compile_packages() -> None:
    """Compile packages to bytecode, so that no start is timed with it."""
    for folder in (_ROOT / "mlxd", _ROOT / "mlxctl", Path(sysconfig.get_paths()["purelib"])):
        compileall.compile_dir(folder, quiet=2)
