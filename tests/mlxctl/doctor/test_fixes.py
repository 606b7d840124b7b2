"""Whatever doctor and the service managers tell a person to type is there to be typed."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import mlxctl.doctor
import mlxctl.service
from mlxctl.cli import mlxctl as cli

FOLDERS = [Path(package.__file__).parent for package in (mlxctl.doctor, mlxctl.service)]
ADVICE = re.compile(r"(?:^|: |see |then: |and |sudo )mlxctl ([a-z]+)((?: -{0,2}\w[\w-]*)*)")


def texts(module: Path) -> Iterator[str]:
    """What a module may say; a name in an f-string stands as NAME."""
    tree = ast.parse(module.read_text())
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    parts = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in node.values
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "NAME"
                for part in node.values
            )
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in docs | parts
        ):
            yield node.value


def advised() -> set[tuple[str, str]]:
    modules = [module for folder in FOLDERS for module in sorted(folder.glob("*.py"))]
    return {
        (match[1], match[2])
        for module in modules
        for text in texts(module)
        for match in ADVICE.finditer(text)
        if match[1] != "NAME"
    }


def test_there_is_advice() -> None:
    assert {verb for verb, _ in advised()} >= {"start", "restart", "install", "pull", "rm", "logs"}


@pytest.mark.parametrize(("verb", "arguments"), sorted(advised()))
def test_every_command_that_is_advised_is_one(verb: str, arguments: str) -> None:
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None, verb
    words = arguments.split()
    if isinstance(command, click.Group):
        command = command.get_command(click.Context(command), words[0])
        assert command is not None, arguments
    known = {option for each in command.params for option in each.opts}
    assert {word for word in words if word.startswith("-")} <= known
