from pathlib import Path

import pytest

from mlxd.config import Config, ModelsConfig, ModelSettings, ServerConfig, check
from mlxd.errors import ConfigError


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost", "LocalHost"])
def test_loopback_needs_no_key(home: Path, host: str) -> None:
    check(Config(server=ServerConfig(host=host)))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "mac.local", "localhost.example"])
def test_any_other_address_needs_a_key(home: Path, host: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check(Config(server=ServerConfig(host=host)))
    assert caught.value.message == (
        f'server.host: "{host}" can be reached from other machines: '
        "set server.api_key too, make a key (mlxctl key create), or use 127.0.0.1"
    )
    check(Config(server=ServerConfig(host=host, api_key="sesame-open")))


@pytest.mark.parametrize(("platform", "limit"), [("darwin", 103), ("linux", 107)])
def test_a_socket_path_must_fit_the_system(
    home: Path, monkeypatch: pytest.MonkeyPatch, platform: str, limit: int
) -> None:
    monkeypatch.setattr("sys.platform", platform)
    check(Config(server=ServerConfig(socket="/" + "x" * (limit - 1))))
    with pytest.raises(ConfigError) as caught:
        check(Config(server=ServerConfig(socket="/" + "ü" + "x" * (limit - 2))))
    assert f"has {limit + 1} bytes" in caught.value.message
    assert f"at most {limit}: set server.socket or MLXD_HOME" in caught.value.message


def test_the_standard_socket_must_fit_too(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLXD_HOME", "/" + "x" * 120)
    with pytest.raises(ConfigError, match=r"^server\.socket: /x+/run/mlxd\.sock has 135 bytes"):
        check(Config())


def test_a_model_does_not_draft_for_itself(home: Path) -> None:
    big = {"owner/big": ModelSettings(draft_model="same")}
    check(Config(model=big))
    with pytest.raises(ConfigError) as caught:
        check(Config(models=ModelsConfig(aliases={"same": "owner/big"}), model=big))
    assert caught.value.message == (
        'model."owner/big".draft_model: "same" is the model itself; '
        "use a smaller one with the same tokens"
    )


def test_a_certificate_needs_its_key_and_a_key_file_is_as_good_as_an_api_key(home: Path) -> None:
    with pytest.raises(ConfigError, match="set both, or none"):
        check(Config(server=ServerConfig(tls_cert="/c.pem")))
    (home / "keys.json").write_text("{}")
    check(Config(server=ServerConfig(host="0.0.0.0")))


def test_files_without_which_the_daemon_would_not_start_are_found_before(home: Path) -> None:
    """So that `mlxctl restart` does not stop one that runs with what it has read."""
    pair = ServerConfig(tls_cert=str(home / "cert.pem"), tls_key=str(home / "key.pem"))
    with pytest.raises(ConfigError, match=r"key\.pem cannot be used: No such file"):
        check(Config(server=pair))
    (home / "keys.json").write_text("{")
    with pytest.raises(ConfigError, match=r"keys\.json is damaged"):
        check(Config())
