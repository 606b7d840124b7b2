"""Write the manual pages in packaging/man, from the help of the commands and the keys.

    python -m scripts.man_pages [--check]

With `--check` nothing is written, and the exit status is 1 if a page is out of date. A page
keeps its date as long as nothing else in it changes.
"""

import argparse
import inspect
import re
import sys
import textwrap
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from mlxctl import cli
from mlxd.__main__ import main as mlxd
from mlxd.config.keys import KEYS, MODEL_KEYS, SECTIONS, Key

FOLDER = Path(__file__).resolve().parent.parent / "packaging" / "man"

_WIDTH = 70  # of a line in the file, which escapes make longer
_DATE = re.compile(r"^\.Dd (.*)$", re.MULTILINE)
_LITERAL = "\b\n"
_EXAMPLES = "Examples:"
_ENVIRONMENT = {
    "MLXD_HOME": "Folder for everything: configuration, models, logs and socket.",
    "MLXD_SECTION__KEY": "Sets a configuration key, such as MLXD_SERVER__PORT=8081. Lists are "
    "comma-separated.",
}
_MLXCTL_ENVIRONMENT = {
    "AGAINST_API_KEY": "The API key of the server that `mlxctl bench --against` measures.",
    "MLXD_API_KEY": "The API key that mlxctl env and launch pass on.",
    "NO_COLOR": "If not empty, output has no color.",
}
_MLXD_ENVIRONMENT = {
    "HF_TOKEN": "Token for private and gated models of the hub.",
    "HF_ENDPOINT": "URL of another hub.",
}
_FILES = {
    "~/Library/Application Support/mlxd": "On macOS: config.toml, settings.toml, models, adapters "
    "and the socket.",
    "~/Library/Caches/mlxd": "On macOS: the prompt cache.",
    "~/Library/Logs/mlxd": "On macOS: the log.",
    "~/.config/mlxd": "On Linux: config.toml and settings.toml.",
    "~/.cache/mlxd": "On Linux: the prompt cache.",
    "~/.local/share/mlxd": "On Linux: models and adapters.",
    "~/.local/state/mlxd": "On Linux: the log and the socket.",
}
_MLXCTL_STATUS = {
    "0": "Success.",
    "1": "Failure. A line on standard error says why.",
    "2": "Wrong usage.",
    "3": "The daemon is not running.",
    "130": "Interrupted.",
}
_MLXD_STATUS = {
    "0": "Stopped on request.",
    "1": "Could not start or continue. A line on standard error says why.",
    "78": "The configuration is invalid.",
}


def pages() -> dict[Path, str]:
    """Return every page; each keeps the date of its file if nothing else has changed."""
    made = {
        "mlxctl.1": _page("mlxctl", 1, "control the language-model daemon", _mlxctl()),
        "mlxd.1": _page("mlxd", 1, "language-model daemon for MLX", _mlxd()),
        "mlxd.toml.5": _page("mlxd.toml", 5, "configuration of the mlxd daemon", _config()),
    }
    return {FOLDER / name: _dated(FOLDER / name, text) for name, text in made.items()}


def _dated(file: Path, text: str) -> str:
    before = file.read_text() if file.exists() else ""
    if (match := _DATE.search(before)) and _with_date(text, match[1]) == before:
        return before
    today = time.localtime()
    return _with_date(text, f"{time.strftime('%B', today)} {today.tm_mday}, {today.tm_year}")


def _with_date(text: str, date: str) -> str:
    return _DATE.sub(lambda _: f".Dd {date}", text, count=1)


def _page(name: str, section: int, what: str, body: Iterable[str]) -> str:
    head = [".Dd -", f".Dt {name.upper()} {section}", ".Os"]
    return "\n".join([*head, ".Sh NAME", f".Nm {name}", f".Nd {what}", *body]) + "\n"


def _mlxctl() -> Iterator[str]:
    context = click.Context(cli.mlxctl, info_name="mlxctl")
    yield from [".Sh SYNOPSIS", ".Nm", ".Ar command", ".Op Ar arguments"]
    yield ".Sh DESCRIPTION"
    yield from _text(
        "Starts and stops the daemon, asks it questions, downloads and switches its models, and "
        "shows what is running. It talks to the daemon over a Unix socket. Each command has its "
        "own --help."
    )
    for title, commands in cli.SECTIONS.items():
        yield f".Ss {title}"
        yield ".Bl -tag -width Ds"
        for name in commands:
            command = cli.mlxctl.get_command(context, name)
            assert command is not None
            yield from _command(command, click.Context(command, context, info_name=name))
        yield ".El"
    yield from _list("ENVIRONMENT", "Ev", _ENVIRONMENT | _MLXCTL_ENVIRONMENT)
    yield from _list("FILES", "Pa", _FILES)
    yield from _list("EXIT STATUS", "Er", _MLXCTL_STATUS)
    yield from _see_also("mlxd 1", "mlxd.toml 5")


def _mlxd() -> Iterator[str]:
    context = click.Context(mlxd, info_name="mlxd")
    yield from [".Sh SYNOPSIS", ".Nm", ".Op Ar options", ".Sh DESCRIPTION"]
    yield from _paragraphs(mlxd.help or "")
    yield from _options(mlxd, context)
    yield from _list("ENVIRONMENT", "Ev", _ENVIRONMENT | _MLXD_ENVIRONMENT)
    yield from _list("FILES", "Pa", _FILES)
    yield from _list("EXIT STATUS", "Er", _MLXD_STATUS)
    yield from _see_also("mlxctl 1", "mlxd.toml 5")


def _config() -> Iterator[str]:
    yield ".Sh DESCRIPTION"
    yield from _text(
        "The daemon reads config.toml when it starts. `mlxctl config init` creates it with every "
        "key commented out; no program changes it after that. What `mlxctl use` and "
        "`mlxctl alias` choose is kept in settings.toml beside it. Each of these overrides the "
        "ones before it: the defaults, config.toml, settings.toml, the environment, the flags of "
        "mlxd. If there is a mistake, the daemon does not start, and prints a line that names "
        "file and key. To check the files, run `mlxctl config validate`."
    )
    for name, section in SECTIONS.items():
        yield f".Ss {name}"
        yield from _text(section.__doc__ or "")
        yield from _keys(key for path, key in KEYS.items() if path[0] == name)
    yield ".Ss model"
    yield from _text(
        'Settings for one model, in a table [model."ID"] with its id. It may also have '
        "generation = {...}, with the keys of [generation] that differ for this model."
    )
    yield from _keys(key for path, key in MODEL_KEYS.items() if len(path) == 1)
    yield from _list("ENVIRONMENT", "Ev", _ENVIRONMENT)
    yield from _list("FILES", "Pa", _FILES)
    yield ".Sh EXAMPLES"
    yield from _literal(
        '[server]\nport = 8081\n\n[models]\ndefault = "mlx-community/Qwen3-8B-4bit"\n'
        'keep_alive = "30m"\n\n[model."llama-3.1-8b"]\ndraft_model = "llama-3.2-1b"'
    )
    yield from _see_also("mlxctl 1", "mlxd 1")


def _keys(keys: Iterable[Key]) -> Iterator[str]:
    yield ".Bl -tag -width Ds"
    for key in keys:
        yield f".It Cm {key.path[-1]} No = {_argument(key.value_type.write(key.default))}"
        yield from _text(f"{key.description} Value: {key.value_type.expected}.")
    yield ".El"


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    """Yield a list item for a command, with its options and subcommands below it."""
    pieces = [piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]"]
    subcommands = command.commands if isinstance(command, click.Group) else {}
    words = [] if subcommands else [f"Ar {_argument(piece)}" for piece in pieces]
    yield " ".join([f".It Ic {context.info_name}", *words])
    yield from _paragraphs(command.help or "")
    yield from _options(command, context)
    if subcommands:
        yield ".Bl -tag -width Ds"
        for name, subcommand in subcommands.items():
            yield from _command(subcommand, click.Context(subcommand, context, info_name=name))
        yield ".El"


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    records = [
        record
        for parameter in command.params
        if isinstance(parameter, click.Option) and (record := parameter.get_help_record(context))
    ]
    if not records:
        return
    yield ".Bl -tag -width Ds"
    for names, what in records:
        yield ".It " + " , ".join(map(_flag, names.split(", ")))
        yield from _text(what)
    yield ".El"


def _flag(name: str) -> str:
    """Turn "--lines N" into macros."""
    flag, _, argument = name.partition(" ")
    return f"Fl {flag[1:]}" + (f" Ar {_argument(argument)}" if argument else "")


def _paragraphs(text: str) -> Iterator[str]:
    """Yield a command's help; a block that click leaves unwrapped becomes a display."""
    for number, paragraph in enumerate(inspect.cleandoc(text).split("\n\n")):
        if not paragraph.startswith(_LITERAL):
            yield from [".Pp"] * (number > 0)
            yield from _text(paragraph)
            continue
        block = paragraph.removeprefix(_LITERAL)
        if block.startswith(_EXAMPLES):
            yield from [".Pp", _EXAMPLES]
            block = block.removeprefix(_EXAMPLES).removeprefix("\n")
        yield from _literal(textwrap.dedent(block))


def _literal(text: str) -> Iterator[str]:
    yield ".Bd -literal -offset indent"
    yield from map(_escaped, text.splitlines())
    yield ".Ed"


def _list(title: str, macro: str, entries: dict[str, str]) -> Iterator[str]:
    yield from [f".Sh {title}", ".Bl -tag -width Ds"]
    for name, what in entries.items():
        yield f".It {macro} {_argument(name)}"
        yield from _text(what)
    yield ".El"


def _see_also(*others: str) -> Iterator[str]:
    yield ".Sh SEE ALSO"
    yield " ,\n".join(f".Xr {other}" for other in others)


def _text(text: str) -> Iterator[str]:
    """Yield running text, each sentence on its own lines."""
    for sentence in re.split(r"(?<=[.!?]) +", " ".join(text.split())):
        quoted = re.sub(r"`(.*?)`", r"“\1”", sentence)
        lines = textwrap.wrap(quoted, _WIDTH, break_on_hyphens=False, break_long_words=False)
        yield from map(_escaped, lines)


def _escaped(line: str) -> str:
    line = line.replace("\\", "\\e").replace("--", "\\-\\-").replace("~", "\\(ti")
    line = line.replace("“", "\\(lq").replace("”", "\\(rq").replace("…", "...")
    return f"\\&{line}" if line.startswith((".", "'")) else line


def _argument(text: str) -> str:
    """Return one argument of a macro."""
    inner = _escaped(text).replace('"', "\\(dq")
    return f'"{inner}"' if " " in inner or not inner else inner


def main() -> None:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = {
        file: text
        for file, text in pages().items()
        if not file.exists() or file.read_text() != text
    }
    for file, text in stale.items():
        if not check:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        print(f"{file} {'is out of date' if check else 'is written'}")
    sys.exit(1 if check and stale else 0)


if __name__ == "__main__":
    main()
