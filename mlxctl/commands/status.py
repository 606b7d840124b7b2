"""`mlxctl status` and `version`: what runs, and where everything is."""

import click
import msgspec

from mlxctl import terminal
from mlxctl.client import Client, running_status
from mlxctl.commands.loading import models_table, present
from mlxctl.errors import NoAnswer, NotRunning
from mlxctl.service.choose import in_charge
from mlxctl.service.manager import ServiceStatus
from mlxctl.service.probe import may_be_elsewhere
from mlxd import __version__, config, control_api, lock, paths
from mlxd.config import Config
from mlxd.control_api import Status
from mlxd.units import size


@click.command()
@terminal.json_option()
@click.pass_context
def status(ctx: click.Context, *, as_json: bool) -> None:
    """Show the daemon's status, its models in memory and its files. Exit status 3: not running."""
    settings = config.load()
    service = in_charge(settings).describe()
    found = _status(settings, kept=service.keeps_sockets)
    if as_json:
        terminal.print_json(msgspec.to_builtins(found) | {"service": service.as_json()})
    else:
        click.echo("\n".join(_lines(found, service)))
    if not found.running:
        ctx.exit(NotRunning.exit_status)


def _status(settings: Config, *, kept: bool) -> Status:
    """Return the daemon's status, or, while none runs, where everything is."""
    client = Client(settings.socket_file())
    pid = lock.holder(paths.lock_file())
    if pid is not None or may_be_elsewhere(settings, kept=kept):
        try:
            return client.call(control_api.STATUS)
        except NotRunning:
            if lock.holder(paths.lock_file()) is not None:
                where = client.socket_file
                raise NoAnswer(f"mlxd (pid {pid}) runs, but does not answer on {where}") from None
        except NoAnswer as error:
            raise NoAnswer(
                f"{error.message}; its pid is {pid}" if pid else error.message
            ) from error
    return Status(
        running=False,
        socket=str(client.socket_file),
        config=str(paths.config_file()),
        settings=str(paths.settings_file()),
        models_dir=str(paths.models_dir()),
        adapters_dir=str(paths.adapters_dir()),
        cache_dir=str(paths.cache_dir()),
        responses_dir=str(paths.responses_dir()),
        log=str(paths.log_file()),
    )


def _lines(status: Status, service: ServiceStatus) -> list[str]:
    places = [
        *_service_lines(service),
        ("socket", status.socket),
        ("config", status.config),
        ("settings", status.settings),
        ("models", status.models_dir),
        ("adapters", status.adapters_dir),
        ("cache", status.cache_dir),
        ("responses", status.responses_dir),
        ("log", status.log),
    ]
    if status.version is None:
        return [_without_answer(service), "", terminal.table(places)]
    uptime = terminal.duration(status.uptime_s or 0)
    facts = [
        ("url", status.url or ""),
        ("default model", status.default_model or f"none: {status.default_fault}"),
        ("memory limit", size(status.memory_limit_bytes or 0)),
    ]
    facts += [("no answer", f"{each} (models.dirs)") for each in status.silent_dirs]
    does = "stopping" if status.stopping else "running"
    models = present(status.models)
    return [
        f"mlxd {status.version} is {does} (pid {status.pid}, for {uptime})",
        "",
        terminal.table(facts + places),
        "",
        models_table(models) if models else "no model in memory",
    ]


def _without_answer(service: ServiceStatus) -> str:
    if service.loaded and service.pid is not None:
        return f"mlxd is starting (pid {service.pid})"
    if service.loaded and service.keeps_sockets:
        return "mlxd is not running; the first connection starts it"
    return NotRunning().message


def _service_lines(service: ServiceStatus) -> list[tuple[str, str]]:
    """Describe the service manager, if there is one, and the last exit, unless it was asked for."""
    lines = []
    if service.label is not None:
        stopped = "" if service.loaded else ", stopped"
        lines += [
            ("service", f"{service.manager} ({service.label}){stopped}"),
            ("starts", service.starts),
        ]
    if service.last_exit and service.last_exit != "stopped":
        lines.append(("last exit", service.last_exit))
    return lines + [("fault", str(fault)) for fault in service.faults]


@click.command()
@terminal.json_option()
def version(*, as_json: bool) -> None:
    """Show the versions of mlxctl and of the running daemon."""
    daemon = running_status()
    versions = {
        "mlxctl": __version__,
        "mlxd": daemon.version if daemon else None,
        "pid": daemon.pid if daemon else None,
    }
    running = f"mlxd {daemon.version} (pid {daemon.pid})" if daemon else "mlxd is not running"
    terminal.print_result(versions, f"mlxctl {__version__}\n{running}", as_json=as_json)
