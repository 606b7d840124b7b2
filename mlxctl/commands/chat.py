"""`mlxctl chat`: a conversation with a model."""

import click

from mlxctl import chat_input
from mlxctl.arguments import model_option, names_of_models, system_option
from mlxctl.client import Client, connect
from mlxctl.errors import CommandFailed
from mlxctl.streaming import ChatMessage, Request, StreamedAnswer, receive
from mlxctl.terminal import remark
from mlxd import control_api, paths

_HELP = """\
/model [NAME]   switch to the model NAME; without NAME, show the current one
/system [TEXT]  set the system message; without TEXT, remove it
/clear          forget the conversation
/exit           end the chat, like Ctrl-D
For a message of several lines, end a line with \\ or use \"\"\" before and after it.
Ctrl-C stops an answer."""


@click.command()
@model_option
@system_option
def chat(model: str | None, system: str | None) -> None:
    """Chat with a model.

    Ctrl-C stops an answer, Ctrl-D or /exit ends the chat, and /help lists the other commands. For a
    message of several lines, end a line with a backslash, or use triple quotes before and after it.
    Piped input is sent line by line. What you type is saved for the arrow keys, in a file that
    only you can read.
    """
    client = connect()
    name = None if model is None else client.call(control_api.SHOW_MODEL, model=model).id
    conversation = Conversation(client, name, system)
    with chat_input.editing(paths.chat_history_file(), conversation.complete):
        if chat_input.on_terminal():
            conversation.greet()
        for text in chat_input.messages():
            if not conversation.take(text):
                break


class Conversation:
    """The messages exchanged with `model`, None for the default one, and the chat's commands."""

    def __init__(self, client: Client, model: str | None, system: str | None) -> None:
        self._client = client
        self._model = model
        self._system = system
        self._messages: list[ChatMessage] = []

    def greet(self) -> None:
        """Show the model and how to get help."""
        self._use("")
        click.echo("type /help for commands, press Ctrl-D to end the chat")

    def take(self, text: str) -> bool:
        """Answer a message or run a command; return whether the chat continues.

        Raises:
            CommandFailed: it fails, and the chat is not interactive.
        """
        command, _, rest = text.strip().partition(" ")
        rest = rest.strip()
        try:
            match command:
                case "/exit" | "/quit":
                    return False
                case "/help":
                    click.echo(_HELP)
                case "/clear":
                    self._messages.clear()
                case "/system":
                    self._system = rest or None
                case "/model":
                    self._use(rest)
                case _ if command.startswith("/"):
                    raise CommandFailed(f"unknown command {command}; type /help for commands")
                case _:
                    self._ask(text)
        except CommandFailed as error:
            if not chat_input.on_terminal():
                raise
            remark(error.message)
        return True

    def complete(self, line: str) -> list[str]:
        """Return the completions of the last word of `line`: commands or models."""
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
        request = Request(messages=[*system, *self._messages, question], model=self._model)
        answer = StreamedAnswer()
        try:
            receive(self._client, request, answer, show=True)
            if answer.finish_reason == "length" and chat_input.on_terminal():
                click.echo("(cut off: generation.max_tokens, or the end of the model's context)")
        except KeyboardInterrupt:
            if not chat_input.on_terminal():
                raise
            click.echo("(stopped)")
        finally:
            if answer.content:
                self._messages += [question, ChatMessage("assistant", answer.content)]

    def _use(self, name: str) -> None:
        """Switch to the model `name`, unless that is empty, and show the current one."""
        if name:
            self._model = self._client.call(control_api.SHOW_MODEL, model=name).id
        model, fault = self._model, None
        if model is None:
            status = self._client.call(control_api.STATUS)
            model, fault = status.default_model, status.default_fault
        click.echo(f"model: {model}" if model else f"no model selected: {fault}")
