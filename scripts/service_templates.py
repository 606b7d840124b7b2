"""Write packaging/launchd and packaging/systemd: what `mlxctl install` makes, with @NAMES@ in it.

    python -m scripts.service_templates

@BIN@ is the folder of the `mlxd` command, @LOGS@ holds its logs, and @STATE@ its socket.
"""

from pathlib import Path

from mlxctl.service import plist, systemd
from mlxctl.service.description import ON_DEMAND_IDLE_EXIT, Description, Mode

PACKAGING = Path(__file__).resolve().parent.parent / "packaging"


def templates() -> dict[Path, bytes]:
    """Return the content of every file."""
    files = {}
    for mode, suffix in ((Mode.AT_LOGIN, ""), (Mode.ON_DEMAND, ".on-demand")):
        service = description(mode)
        content = plist.render(plist.make(service, plist.LABEL))
        files[PACKAGING / "launchd" / f"{plist.LABEL}{suffix}.plist"] = content
    for name, text in systemd.units(description(Mode.AT_LOGIN)).items():
        files[PACKAGING / "systemd" / name] = text.encode()
    return files


def description(mode: Mode) -> Description:
    """Return the daemon with its defaults."""
    idle = {"MLXD_SERVER__IDLE_EXIT": ON_DEMAND_IDLE_EXIT} if mode is Mode.ON_DEMAND else {}
    return Description(
        mode=mode,
        program=("@BIN@/mlxd", "--log-file", "@LOGS@/mlxd.log"),
        environment=idle,
        host="localhost",
        addresses=("127.0.0.1",),  # `mlxctl install` adds ::1 where the machine has it
        port=8080,
        socket="@STATE@/run/mlxd.sock",
        stderr="@LOGS@/mlxd.stderr.log",
        stop_seconds=45,
    )


if __name__ == "__main__":
    for file, content in templates().items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        print(file)
