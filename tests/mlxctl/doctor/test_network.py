"""A daemon that reaches the model hub in another way than this shell, ollama#1501."""

import os
from dataclasses import replace

import pytest
from msgspec.structs import replace as with_fields

from mlxctl.doctor.facts import Facts
from mlxctl.doctor.network import network, secrecy
from mlxctl.service import homebrew
from mlxd.config import Config, HubConfig, ServerConfig
from mlxd.network import variables
from tests.mlxctl.doctor.conftest import LAUNCHD, RUNNING, STOPPED, WELL, only

PROXY = "http://proxy:3128"
BREW = with_fields(LAUNCHD, manager=homebrew.NAME)


@pytest.fixture(autouse=True)
def shell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if variables({name: "x"}):
            monkeypatch.delenv(name)
    monkeypatch.setenv("https_proxy", PROXY)


def that_has(**found: str) -> Facts:
    return replace(WELL, status=with_fields(RUNNING, network=found), service=LAUNCHD)


def test_what_the_daemon_lacks_is_named_with_a_way_to_give_it() -> None:
    message = "downloads do not get HTTPS_PROXY as set in this shell"
    assert only(network, that_has()) == ("warning", message, "mlxctl install")
    other = that_has(HTTPS_PROXY="http://other:3128")
    assert only(network, other) == ("warning", message, "mlxctl install")
    by_hand = replace(that_has(), service=WELL.service)
    assert only(network, by_hand)[2] == "mlxctl restart"
    brew = replace(that_has(), service=BREW)
    assert only(network, brew)[2] == "write hub.proxy into config.toml, then: mlxctl restart"


def test_a_secret_belongs_into_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_12345678")
    _, message, fix = only(network, that_has())
    assert message == "downloads do not get HTTPS_PROXY and HF_TOKEN as set in this shell"
    assert fix == "write hub.proxy and hub.token into config.toml, then: mlxctl restart"
    assert "hf_12345678" not in message


def test_a_key_beyond_this_machine_wants_tls() -> None:
    def serving(**keys: str) -> Facts:
        return replace(WELL, config=Config(server=ServerConfig(**keys)))

    state, message, fix = only(secrecy, serving(host="0.0.0.0", api_key="12345678"))
    assert state == "warning"
    assert message == "API keys and prompts cross the network of 0.0.0.0 as plain text"
    assert "server.tls_cert" in (fix or "")
    assert list(secrecy(serving(host="0.0.0.0", tls_cert="c", tls_key="k"))) == []
    assert list(secrecy(serving(api_key="12345678"))) == []


def test_nothing_is_said_where_nothing_is_missing() -> None:
    assert list(network(that_has(HTTPS_PROXY=PROXY))) == []
    configured = Config(hub=HubConfig(proxy="http://other:3128"))
    assert list(network(replace(that_has(), config=configured))) == []
    assert list(network(WELL)) == []  # an older daemon, which does not say
    assert list(network(STOPPED)) == []
