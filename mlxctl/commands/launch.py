"""`mlxctl launch`: start an agent with a local model, or show the settings of other programs."""

import os
import shutil
import signal
import sys

import click

from mlxctl.api_access import KEY_VARIABLE, KEY_WANTED, api_key, api_url
from mlxctl.arguments import model_option
from mlxctl.client import connect, running_status
from mlxctl.commands.service import report
from mlxctl.errors import CommandFailed, NotRunning
from mlxctl.launch import fitness
from mlxctl.launch.agents import AGENTS, Agent, shell_lines
from mlxctl.launch.others import OTHERS
from mlxctl.launch.target import Target
from mlxctl.service.choose import in_charge
from mlxctl.terminal import remark
from mlxd import config as configuration
from mlxd import control_api
from mlxd.config import Config
from mlxd.control_api import ModelDetails, Status


class _LaunchCommand(click.Command):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as usual; say where options of the started program go."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise click.UsageError(
                f'No such option: {error.option_name}. The program\'s own come after "--".', ctx
            ) from None


@click.command(cls=_LaunchCommand)
@click.argument("program", metavar="PROGRAM", type=click.Choice([*AGENTS, *OTHERS]))
@click.argument("arguments", metavar="[-- ARGS...]", nargs=-1, type=click.UNPROCESSED)
@model_option
@click.option("--print", "printed", is_flag=True, help="Print the settings and start nothing.")
def launch(program: str, arguments: tuple[str, ...], model: str | None, *, printed: bool) -> None:
    """Start the agent PROGRAM, claude, codex or opencode, with a model of this daemon.

    The daemon is started if it does not run. ARGS are passed on. What the agent is told goes into
    its environment and arguments; its own files of settings stay as they are. With `--print`,
    PROGRAM can also be aider, continue, langchain, open-webui, vscode or zed. If mlxd wants a key
    of `mlxctl key`, set MLXD_API_KEY to it.

    \b
    Examples:
      mlxctl launch claude
      mlxctl launch codex --model qwen3-8b -- exec "Fix the tests"
      mlxctl launch --print zed
    """
    if program in OTHERS and (arguments or not printed):
        raise click.UsageError(
            f"{program} is started by you. To see its settings: mlxctl launch --print {program}"
        )
    settings = configuration.load()
    agent = AGENTS.get(program)
    file = None
    if agent is not None and not printed:
        file = shutil.which(program)
        if file is None:
            raise CommandFailed(f"{agent.title} is not installed; to install it: {agent.install}")
    key = api_key(settings.server)
    if key is None:
        if not printed:
            raise CommandFailed(KEY_WANTED)
        remark(KEY_WANTED)
    status = _running(settings, may_start=not printed)
    found = _model(status, model)
    url = api_url(settings.server, status)
    target = Target(url, key or f"<{KEY_VARIABLE}>", found.id, fitness.room(found))
    if agent is None:
        other = OTHERS[program]
        remark(f"settings of {other.title}, {other.where}:")
        click.echo(other.settings(target))
        return
    _doubt(agent, found, only_printed=printed)
    words = [*agent.arguments(target), *arguments]
    if file is None:
        click.echo(shell_lines(agent.variables(target), program, words))
    else:
        _become(file, [program, *words], agent, target)


def _doubt(agent: Agent, model: ModelDetails, *, only_printed: bool) -> None:
    """Tell what speaks against the model; refuse one that the agent could not begin with."""
    try:
        for doubt in fitness.check(agent, model):
            remark(doubt)
    except CommandFailed as error:
        if not only_printed:
            raise
        remark(error.message)


def _running(settings: Config, *, may_start: bool) -> Status:
    status = running_status()
    if status is not None and not status.stopping:
        return status
    if not may_start:
        raise NotRunning
    configuration.check(settings)
    status = in_charge(settings).start(report)
    remark(f"mlxd has started (pid {status.pid})")
    return status


def _model(status: Status, name: str | None) -> ModelDetails:
    if name is None and status.default_model is None:
        raise CommandFailed(f"no model selected: {status.default_fault}")
    return connect().call(control_api.SHOW_MODEL, model=name or status.default_model or "")


def _become(file: str, words: list[str], agent: Agent, target: Target) -> None:
    """Replace this process, so that signals and the exit status are the agent's."""
    environ = dict(os.environ)
    for name, value in agent.variables(target).items():
        environ.pop(name, None)
        if value is not None:
            environ[name] = value
    sys.stdout.flush()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and that is inherited
    os.execve(file, words, environ)  # noqa: S606
