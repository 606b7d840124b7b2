"""The `mlxctl` command: its commands, each imported when it is used, and the exit status.

Exit status: 0 success, 1 failure, 2 invalid usage, 3 the daemon is not running.
"""

import contextlib
import gc
import importlib
import io
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from mlxctl.errors import CommandFailed
from mlxd import __version__
from mlxd.errors import MlxdError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_EXIT_FAILED = 1
_EXIT_USAGE = 2

# Each command with the place of its function, and its line in `mlxctl --help`.
SECTIONS = {
    "Daemon": {
        "start": ("service:start", "Start the daemon."),
        "stop": ("service:stop", "Stop the daemon after running requests finish."),
        "reload": ("service:reload", "Take a changed configuration without a restart."),
        "restart": ("service:restart", "Restart the daemon."),
        "status": ("status:status", "Show the status of the daemon."),
        "top": ("top:top", "Show what the daemon does, live."),
        "logs": ("logs:logs", "Show the daemon's log."),
        "open": ("open:open_page", "Open the daemon's page in a browser."),
    },
    "Inference": {
        "run": ("run:run", "Send a prompt to a model."),
        "chat": ("chat:chat", "Chat with a model."),
        "launch": ("launch:launch", "Start Claude Code, Codex or opencode with a model."),
        "bench": ("bench:bench", "Measure how fast a model is on this machine."),
        "env": ("shell:env", "Print environment variables for OpenAI clients."),
    },
    "Models": {
        "list": ("models:list_models", "List models."),
        "show": ("models:show", "Show details of a model."),
        "pull": ("pull:pull", "Download a model from Hugging Face."),
        "import": ("models:import_model", "Convert a GGUF file into a model."),
        "rm": ("models:remove", "Delete a model from disk."),
        "alias": ("models:alias", "List, set and remove aliases of models."),
        "use": ("loading:use", "Set the default model."),
        "ps": ("loading:ps", "List the models in memory."),
        "load": ("loading:load", "Load a model into memory."),
        "unload": ("loading:unload", "Unload a model from memory."),
        "cache": ("cache:cache", "Show or clear the prompt cache on disk."),
    },
    "Service": {
        "install": ("install:install", "Install the daemon as a service."),
        "uninstall": ("install:uninstall", "Stop the daemon and remove its service."),
        "enable": ("install:enable", "Start the service automatically."),
        "disable": ("install:disable", "Do not start the service automatically."),
    },
    "Setup and troubleshooting": {
        "doctor": ("doctor:doctor", "Find problems and suggest fixes."),
        "report": ("report:report", "Collect information for a bug report."),
        "key": ("key:key", "Create, list and revoke API keys."),
        "config": ("config:config", "Create, show and check the configuration."),
        "completion": ("shell:completion", "Print a shell completion script."),
        "version": ("status:version", "Show the versions of mlxctl and the daemon."),
    },
}
_COMMANDS = {name: entry for section in SECTIONS.values() for name, entry in section.items()}

_EPILOG = """\b
Get started:
  mlxctl start
  mlxctl pull mlx-community/SmolLM2-135M-Instruct-4bit
  mlxctl run "What is the capital of France?"

Run `mlxctl COMMAND --help` for more about a command. Exit status: 0 success, 1 failure, 2 invalid
usage, 3 the daemon is not running, 130 interrupted."""


class _Commands(click.Group):
    """A group that lists and completes its commands without importing them."""

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
        """Return the commands that begin with `incomplete`; click would import them all."""
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
    """Control mlxd, the language-model daemon for MLX."""


def main() -> None:
    """Run the command and exit with its status; if it failed, print one line.

    Raises:
        KeyboardInterrupt: Ctrl-C; the command has cleaned up.
    """
    # Garbage collection, now and at exit, would take a fifth of the time of a short command.
    gc.disable()
    _prepare_streams()
    status = _run()
    gc.freeze()
    sys.exit(status)


def _prepare_streams() -> None:
    """Open /dev/null for streams that the shell closed (`>&-`); replace what cannot be shown."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream: Any = getattr(sys, name) or open(os.devnull, mode)  # noqa: SIM115  until the end
        if mode == "w":
            stream.reconfigure(errors="replace")
        setattr(sys, name, stream)


def _run() -> int:
    try:
        # click returns the status given to `ctx.exit`, or else what the command returns: None.
        return mlxctl.main(prog_name="mlxctl", standalone_mode=False) or 0
    except click.ClickException as error:
        with contextlib.suppress(OSError):
            error.show()
        return error.exit_code
    except click.Abort as error:
        if isinstance(error.__context__, EOFError):  # Ctrl-D answers a question with no
            return _EXIT_FAILED
        raise KeyboardInterrupt from None
    except MlxdError as error:
        _complain(error.message)
        return error.exit_status if isinstance(error, CommandFailed) else _EXIT_FAILED
    except UnicodeEncodeError:  # from Python's stand-in for a byte that is not UTF-8
        _complain("an argument is not UTF-8")
        return _EXIT_USAGE
    except OSError as error:
        _complain(f"{error.filename or 'standard output'}: {error.strerror or error}")
        sys.stdout = io.StringIO()  # not to try again, at exit, what cannot be written
        return _EXIT_FAILED


def _complain(line: str) -> None:
    with contextlib.suppress(OSError):  # standard error cannot be written either
        click.echo(f"mlxctl: {line}", err=True)
