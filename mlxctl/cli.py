"""The `mlxctl` command: the tree of commands, each imported when it is used, and the exit status.

Exit status: 0 done, 1 failed, 2 wrong usage, 3 not running. Ctrl-C ends it by SIGINT, which shells
call 130, once it has tidied up.
"""

import contextlib
import gc
import importlib
import io
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

import click

from mlxctl.errors import CommandFailed
from mlxd import __version__
from mlxd.errors import MlxdError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_EXIT_FAILED = 1
_EXIT_INTERRUPTED = 130

_Action = Callable[[int, FrameType | None], object] | int

# By what they are about: each with where it is, and one line that says what it does.
SECTIONS = {
    "The daemon": {
        "start": ("service:start", "Start the daemon."),
        "stop": ("service:stop", "Let running requests finish, then end the daemon."),
        "restart": ("service:restart", "Stop the daemon if it runs, then start it."),
        "status": ("status:status", "Show what runs, and where everything is."),
        "logs": ("logs:logs", "Show the daemon's log."),
    },
    "Questions": {
        "run": ("run:run", "Ask the model something."),
        "chat": ("chat:chat", "Talk with the model."),
        "env": ("env:env", "Point OpenAI's clients at the daemon."),
    },
    "Models": {
        "list": ("models:list_models", "List the models."),
        "show": ("models:show", "Show what there is to know of a model."),
        "pull": ("pull:pull", "Download a model from the hub."),
        "import": ("models:import_model", "Make a model out of a GGUF file."),
        "rm": ("models:remove", "Remove a model from the disk."),
        "alias": ("aliases:alias", "Give a model another name."),
        "use": ("loading:use", "Choose the default model."),
        "ps": ("loading:ps", "Show the models in memory."),
        "load": ("loading:load", "Bring a model into memory."),
        "unload": ("loading:unload", "Take a model out of memory."),
    },
    "The service": {
        "install": ("install:install", "Have the system start the daemon."),
        "uninstall": ("install:uninstall", "Take the service out."),
        "enable": ("install:enable", "Have the service start by itself again."),
        "disable": ("install:disable", "Have the service not start by itself."),
    },
    "This installation": {
        "doctor": ("doctor:doctor", "Say what is wrong, and what mends it."),
        "report": ("report:report", "Write what helps to find a fault."),
        "config": ("config:config", "Make, find, show and check the configuration."),
        "completion": ("completion:completion", "Let the shell complete commands and models."),
        "version": ("version:version", "Show mlxctl's and the daemon's version."),
    },
}
_COMMANDS = {name: entry for section in SECTIONS.values() for name, entry in section.items()}

_EPILOG = """\b
To begin with:
  mlxctl start
  mlxctl pull mlx-community/SmolLM2-135M-Instruct-4bit
  mlxctl run "What is the capital of France?"

mlxctl COMMAND --help says more. The exit status is 0 when it is done, 1 when it failed, 2 for wrong
usage, 3 when the daemon does not run, 130 after Ctrl-C."""


class _Commands(click.Group):
    """A group that knows its commands' names and one line about each without importing them."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name][0].partition(":")
        found = importlib.import_module(f"mlxctl.commands.{module}")
        command: click.Command = getattr(found, attribute)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        """Give the commands that begin so; the original would import them all."""
        from click.shell_completion import CompletionItem

        names = sorted(name for name in _COMMANDS if name.startswith(incomplete))
        items = [CompletionItem(name, help=_COMMANDS[name][1]) for name in names]
        return items + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, _COMMANDS))
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                rows = [(name.ljust(width), line) for name, (_, line) in commands.items()]
                formatter.write_dl(rows)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=_EPILOG,
)
@click.version_option(__version__, prog_name="mlxctl", message="%(prog)s %(version)s")
def mlxctl() -> None:
    """Control mlxd, the language-model daemon of this machine."""
    # The command has been imported: from now on it is a KeyboardInterrupt.
    _let_control_c(signal.default_int_handler, instead_of=signal.SIG_DFL)


def main() -> None:
    """Run the command line's command, and exit with its status and one line about a failure.

    Where SIGINT has its default action it is a KeyboardInterrupt while the command runs. Then the
    process ends by it all the same: after an exit status a shell would go on with its loop.
    """
    # Looking for garbage, now and when the interpreter ends, would be a fifth of a short command.
    gc.disable()
    _open_what_is_closed()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    status = _EXIT_INTERRUPTED
    with contextlib.suppress(KeyboardInterrupt):
        status = _run()
    _let_control_c(signal.SIG_DFL, instead_of=signal.default_int_handler)
    if status == _EXIT_INTERRUPTED:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os.kill(os.getpid(), signal.SIGINT)
    gc.freeze()
    sys.exit(status)


def _open_what_is_closed() -> None:
    """Let nothing be read or written where a stream was closed, as by `>&-`; and no other file."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115  for as long as this lives


def _let_control_c(action: _Action, instead_of: _Action) -> None:
    if signal.getsignal(signal.SIGINT) is instead_of:
        signal.signal(signal.SIGINT, action)


def _run() -> int:
    try:
        # click gives the status of `ctx.exit`, or else what the command returns: None.
        return mlxctl.main(prog_name="mlxctl", standalone_mode=False) or 0
    except click.ClickException as error:
        with contextlib.suppress(OSError):
            error.show()
        return error.exit_code
    except click.Abort as error:
        # Ctrl-D at a question is an answer.
        return _EXIT_FAILED if isinstance(error.__context__, EOFError) else _EXIT_INTERRUPTED
    except MlxdError as error:
        _complain(error.message)
        return error.exit_status if isinstance(error, CommandFailed) else _EXIT_FAILED
    except OSError as error:
        _complain(f"{error.filename or 'standard output'}: {error.strerror or error}")
        _discard_output()
        return _EXIT_FAILED


def _complain(line: str) -> None:
    with contextlib.suppress(OSError):  # there is nowhere left to say it
        click.echo(f"mlxctl: {line}", err=True)


def _discard_output() -> None:
    """Keep the interpreter from trying again, at its end, to write what cannot be written."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.close(nothing)
