from dataclasses import replace
from pathlib import Path

import pytest

from mlxctl.doctor import environment
from tests.mlxctl.doctor.conftest import MAC, WELL, only

PROXY = {"http_proxy": "http://proxy:3128"}


def test_configuration(home: Path) -> None:
    assert only(environment.configuration, WELL) == ("good", "the defaults", None)
    broken = replace(WELL, config=None, config_fault="one mistake\nanother")
    assert [finding.message for finding in environment.configuration(broken)] == [
        "one mistake",
        "another",
    ]
    assert {finding.state for finding in environment.configuration(broken)} == {"bad"}


@pytest.mark.parametrize(
    ("environ", "state"),
    [
        (PROXY, "warning"),
        ({"ALL_PROXY": "socks5://proxy"}, "warning"),
        (PROXY | {"NO_PROXY": "localhost"}, "warning"),
        (PROXY | {"NO_PROXY": "localhost, 127.0.0.1"}, "good"),
        (PROXY | {"no_proxy": "*"}, "good"),
        (PROXY | {"no_proxy": "corp", "NO_PROXY": "localhost,127.0.0.1"}, "warning"),
        ({}, None),
    ],
)
def test_proxies(environ: dict[str, str], state: str | None) -> None:
    found = [finding.state for finding in environment.proxies(replace(WELL, environ=environ))]
    assert found == ([state] if state else [])


def test_a_proxy_of_the_network_settings() -> None:
    through = replace(WELL, machine=replace(MAC, proxy="http://proxy:3128"))
    assert only(environment.proxies, through)[0] == "warning"
    excepted = replace(through, environ={"NO_PROXY": "localhost,127.0.0.1"})
    assert only(environment.proxies, excepted)[0] == "good"
