"""`mlxctl chat`: a conversation, typed."""

from collections.abc import Callable

import click
from msgspec import UNSET

from mlxctl import chat_input
from mlxctl.arguments import unicode_text
from mlxctl.client import Client, connect
from mlxctl.errors import CommandFailed
from mlxctl.shell_completion import model_names, names_of_models
from mlxctl.streaming import ChatMessage, Request, StreamedAnswer, receive
from mlxd import control_api, paths

_HELP = """\
/model [NAME]   ask NAME from now on; without NAME: say which
/system [TEXT]  what the model is told first; without TEXT: nothing
/clear          forget what was said
/exit           end, as Ctrl-D does
A line that ends with \\ goes on, and so does all between \"\"\" and \"\"\".
Ctrl-C stops an answer."""


@click.command()
@click.option(
    "-m",
    "--model",
    metavar="MODEL",
    callback=unicode_text,
    shell_complete=model_names,
    help="Ask this model instead of the default one.",
)
@click.option(
    "--system", metavar="TEXT", callback=unicode_text, help="A system message to begin with."
)
def chat(model: str | None, system: str | None) -> None:
    """Talk with the model.

    Ctrl-C stops an answer, Ctrl-D or /exit ends the chat, and /help lists what else there is. A
    line that ends with a backslash goes on, and so does all between three quotes and three quotes.
    What is piped in is asked line by line. What is typed is kept for the arrow keys, in a file that
    is yours alone.
    """
    client = connect()
    name = None if model is None else client.call(control_api.SHOW_MODEL, model=model).id
    conversation = Conversation(client, name, system)
    with chat_input.editing(paths.chat_history_file(), conversation.complete):
        if chat_input.on_terminal():
            conversation.greet()
        while (text := _next_message()) is not None:
            if not conversation.take(text):
                break


def _next_message() -> str | None:
    while True:
        try:
            text = chat_input.message()
        except KeyboardInterrupt:
            if not chat_input.on_terminal():
                raise
            click.echo("\n(Ctrl-D or /exit ends the chat)")
            continue
        if text is None and chat_input.on_terminal():
            click.echo()
        return text


class Conversation:
    """What was said to `model`, None being the default one, and how it goes on."""

    def __init__(self, client: Client, model: str | None, system: str | None) -> None:
        self._client = client
        self._model = model
        self._system = system
        self._messages: list[ChatMessage] = []
        self._commands: dict[str, Callable[[str], None]] = {
            "/model": self._use,
            "/system": self._tell,
            "/clear": self._clear,
            "/help": self._help,
        }

    def greet(self) -> None:
        """Say who answers, and how to go on."""
        self._say_model()
        click.echo("/help lists the commands; Ctrl-D ends")

    def take(self, text: str) -> bool:
        """Do what a message or command says; say whether the chat goes on.

        Raises:
            CommandFailed: it fails, and nobody types who could do better.
        """
        command, _, rest = text.strip().partition(" ")
        if command in ("/exit", "/quit"):
            return False
        try:
            if not command.startswith("/"):
                self._ask(text)
            elif command in self._commands:
                self._commands[command](rest.strip())
            else:
                raise CommandFailed(f"there is no {command}; /help lists the commands")
        except CommandFailed as error:
            if not chat_input.on_terminal():
                raise
            click.echo(f"mlxctl: {error.message}", err=True)
        return True

    def complete(self, line: str) -> list[str]:
        """Give what the last word of `line` may become: a command, or the name of a model."""
        command, space, name = line.partition(" ")
        if not command.startswith("/"):
            return []
        if not space:
            words = ("/model ", "/system ", "/clear", "/help", "/exit")
            return [word for word in words if word.startswith(command)]
        return names_of_models(name) if command == "/model" and " " not in name else []

    def _ask(self, text: str) -> None:
        if not text.strip():
            return
        question = ChatMessage("user", text.encode(errors="replace").decode())
        system = [ChatMessage("system", self._system)] if self._system else []
        request = Request(
            messages=[*system, *self._messages, question],
            model=UNSET if self._model is None else self._model,
        )
        answer = StreamedAnswer()
        try:
            receive(self._client, request, answer, show=True)
            if answer.finish_reason == "length" and chat_input.on_terminal():
                click.echo("(cut short: the answer has reached generation.max_tokens)")
        except KeyboardInterrupt:
            if not chat_input.on_terminal():
                raise
            click.echo("(stopped)")
        finally:
            if answer.content:
                self._messages += [question, ChatMessage("assistant", answer.content)]

    def _use(self, name: str) -> None:
        if name:
            self._model = self._client.call(control_api.SHOW_MODEL, model=name).id
        self._say_model()

    def _say_model(self) -> None:
        if self._model is not None:
            click.echo(f"you talk with {self._model}")
            return
        status = self._client.call(control_api.STATUS)
        click.echo(
            f"you talk with {status.default_model or 'nobody: ' + str(status.default_fault)}"
        )

    def _tell(self, text: str) -> None:
        self._system = text or None

    def _clear(self, _rest: str) -> None:
        self._messages.clear()

    def _help(self, _rest: str) -> None:
        click.echo(_HELP)
