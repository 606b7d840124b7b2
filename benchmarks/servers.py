"""Start the servers under test, each in its own process group, and make sure that they end."""

import compileall
import contextlib
import dataclasses
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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from models import Model

from mlxctl.bench.address import ServerAddress
from mlxctl.bench.client import StreamingClient
from mlxctl.errors import BenchmarkError

_START_SECONDS = 120.0
_STOP_SECONDS = 15.0
_HEALTH_POLL_SECONDS = 0.002
_LOG_TAIL_BYTES = 2000
_BIN = Path(sys.executable).parent
_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Server:
    """A running server: its port, its process, and how long it took to its first /health.

    `home` and `checkout` are those of a daemon.
    """

    port: int
    pid: int
    start_seconds: float
    home: Path | None = None
    checkout: Path | None = None

    def client(self) -> StreamingClient:
        """Return a client of this server, to be closed."""
        return StreamingClient(ServerAddress.of_port(self.port))

    def mlxctl(self, *arguments: str) -> str:
        """Run `mlxctl` against this daemon and return its output.

        Raises:
            BenchmarkError: when it exits with another status than 0.
        """
        command = [str(_BIN / "mlxctl"), *arguments]
        environment = {**os.environ, "MLXD_HOME": str(self.home)}
        if self.checkout is not None:
            environment["PYTHONPATH"] = str(self.checkout)
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise BenchmarkError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout}")
        return done.stdout

    def engine_pids(self) -> list[int]:
        """Return the process ids of this daemon's engines."""
        models = json.loads(self.mlxctl("status", "--json"))["models"]
        return [int(model["pid"]) for model in models if model["pid"]]


Start = Callable[[Model | None], contextlib.AbstractContextManager[Server]]
Daemon = Callable[..., contextlib.AbstractContextManager[Server]]
"""`mlxd`, or the same with a `checkout`."""


def mlx_lm_command(model: str | None, port: str) -> list[str]:
    """Return the command of `mlx_lm server` as it ships; without a model if `model` is None."""
    command = [sys.executable, "-m", "mlx_lm", "server", "--port", port]
    return command if model is None else [*command, "--model", model]


def mlxd_command(model: str | None, port: str) -> list[str]:
    """Return the command of `mlxd`; without a default model if `model` is None."""
    command = [sys.executable, "-P", "-m", "mlxd", "--host", "127.0.0.1", "--port", port]
    return command if model is None else [*command, "--model", model]


@contextlib.contextmanager
def mlx_lm_server(model: Model | None) -> Iterator[Server]:
    """Start `mlx_lm server` as it ships; without a model if `model` is None."""
    environment = model.environment() if model else dict(os.environ)
    path = str(model.path) if model else None
    with serve(lambda port: mlx_lm_command(path, port), environment) as server:
        yield server


@contextlib.contextmanager
def mlxd(
    model: Model | None,
    *,
    default: bool = True,
    checkout: Path | None = None,
    home: Path | None = None,
    settings: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Start `mlxd` with its own home, which holds only `model`.

    With `default` False the model is there, but not the daemon's default: it is loaded when a
    request comes. `checkout` is the folder of other sources than the installed ones. `home` is
    kept from one start to the next; without it, each start has its own. `settings` are values of
    the configuration, such as {"models.memory_limit": "300MB"}.
    """
    environment = model.environment() if model else dict(os.environ)
    for key, value in (settings or {}).items():
        environment[f"MLXD_{key.upper().replace('.', '__')}"] = value
    if checkout is not None:
        environment["PYTHONPATH"] = str(checkout)
    with contextlib.ExitStack() as stack:
        home = home or stack.enter_context(new_home())
        environment["MLXD_HOME"] = str(home)
        if model is not None:
            link = home / "models" / model.path.name
            link.parent.mkdir(exist_ok=True)
            if not link.exists():
                link.symlink_to(model.path)
        name = model.path.name if model and default else None
        server = stack.enter_context(serve(lambda port: mlxd_command(name, port), environment))
        yield dataclasses.replace(server, home=home, checkout=checkout)


@contextlib.contextmanager
def new_home() -> Iterator[Path]:
    """Return a folder for a daemon's home, which is deleted after the block."""
    # A Unix socket's path must be short, and the temporary folder of macOS is not.
    with tempfile.TemporaryDirectory(prefix="mb-", dir="/tmp") as folder:
        yield Path(folder)


@contextlib.contextmanager
def serve(command: Callable[[str], list[str]], environment: dict[str, str]) -> Iterator[Server]:
    """Start the server that `command` returns for a port, and wait for its first good /health.

    Raises:
        BenchmarkError: it exits, or does not start in time; with the end of its log.
    """
    port = _free_port()
    with _process(command(str(port)), environment) as (process, started, log):
        yield Server(port, process.pid, _await_health(process, port, started, log))


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


def compile_packages() -> None:
    """Compile packages to bytecode, so that no start is timed with it."""
    for folder in (_ROOT / "mlxd", _ROOT / "mlxctl", Path(sysconfig.get_paths()["purelib"])):
        compileall.compile_dir(folder, quiet=2)
