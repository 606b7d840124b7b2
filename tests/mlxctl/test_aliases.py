"""`mlxctl alias`."""

import json

import pytest

from tests.mlxctl.conftest import Run
from tests.support.fake_daemon import FakeDaemon

LIST = ("GET", "/control/v1/aliases")


def test_aliases_are_listed(daemon: FakeDaemon, mlxctl: Run) -> None:
    aliases = [
        {"name": "gpt-4", "model": "owner/a", "exists": True},
        {"name": "old", "model": "b", "exists": False},
    ]
    daemon.answers(LIST, {"aliases": aliases})
    assert mlxctl("alias").stdout.splitlines() == [
        "ALIAS  MODEL",
        "gpt-4  owner/a",
        "old    b (no such model)",
    ]
    assert json.loads(mlxctl("alias", "--json").stdout)["aliases"] == aliases
    daemon.answers(LIST, {"aliases": []})
    assert "mlxctl alias NAME MODEL" in mlxctl("alias").stdout


def test_an_alias_is_made(daemon: FakeDaemon, mlxctl: Run) -> None:
    daemon.answers(("POST", "/control/v1/aliases"), {"name": "gpt-4", "model": "owner/a"})
    assert mlxctl("alias", "gpt-4", "a").stdout == "gpt-4 is now an alias for owner/a\n"
    assert daemon.bodies == [{"name": "gpt-4", "model": "a", "exists": True}]
    assert json.loads(mlxctl("alias", "gpt-4", "a", "--json").stdout)["model"] == "owner/a"


def test_an_alias_is_removed(daemon: FakeDaemon, mlxctl: Run) -> None:
    daemon.answers(("DELETE", "/control/v1/aliases/a/b"), {"name": "a/b"})
    assert mlxctl("alias", "--rm", "a/b").stdout == "removed the alias a/b\n"
    daemon.answers(("DELETE", "/control/v1/aliases/x"), {"name": "x", "now": "c"})
    assert (
        mlxctl("alias", "--rm", "x").stdout == "x is an alias for c again, as set in config.toml\n"
    )
    assert json.loads(mlxctl("alias", "--rm", "x", "--json").stdout) == {"name": "x", "now": "c"}


@pytest.mark.parametrize("arguments", [("x",), ("x", ""), ("--rm", "x", "y"), ("--rm",)])
def test_half_an_alias_is_invalid_usage(
    daemon: FakeDaemon, mlxctl: Run, arguments: tuple[str, ...]
) -> None:
    assert mlxctl("alias", *arguments).returncode == 2
    assert daemon.bodies == daemon.deleted == []
