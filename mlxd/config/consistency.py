"""Checks for values that are allowed by themselves, but not together."""

import os
import sys

from mlxd import paths
from mlxd.config.keys import PER_MODEL, dotted
from mlxd.config.tree import Config, ServerConfig
from mlxd.config.values import toml_text
from mlxd.errors import ConfigError


def check(config: Config) -> None:
    """Check that the configuration is safe and can work.

    Raises:
        ConfigError: other machines could reach the daemon without a key, the file of keys is
            damaged, a certificate lacks its key or cannot be read, the path of the Unix socket is
            too long for the system, or a model is its own draft model.
    """
    check_host(config, config.server.host)
    _check_files(config.server)
    socket = config.socket_file()
    length = len(os.fsencode(socket))
    limit = 103 if sys.platform == "darwin" else 107  # sun_path, less its final NUL
    if length > limit:
        raise ConfigError(
            f"server.socket: {socket} has {length} bytes; the path of a Unix socket may have at "
            f"most {limit}: set server.socket or MLXD_HOME to a shorter path"
        )
    for name, model in config.model.items():
        draft = model.draft_model
        if name == config.models.aliases.get(draft, draft):
            raise ConfigError(
                f"{dotted((PER_MODEL, name, 'draft_model'))}: {toml_text(draft)} is the model "
                "itself; use a smaller one with the same tokens"
            )


def _check_files(server: ServerConfig) -> None:
    """Check the keys and the certificate, without which the daemon does not start."""
    if paths.keys_file().exists():
        from mlxd import keys  # mlxctl imports this module and rarely checks

        keys.read(paths.keys_file())
    if bool(server.tls_cert) != bool(server.tls_key):
        raise ConfigError("server.tls_cert and server.tls_key: set both, or none of them")
    if server.tls_cert:
        from mlxd.certificate import read_certificate

        read_certificate(server.tls_cert, server.tls_key)


def check_host(config: Config, host: str) -> None:
    """Check that it is safe to listen on `host`.

    Raises:
        ConfigError: other machines can reach it, and there is no API key.
    """
    guarded = config.server.api_key or paths.keys_file().exists()
    if not guarded and not is_loopback(host):
        raise ConfigError(
            f'server.host: "{host}" can be reached from other machines: '
            "set server.api_key too, make a key (mlxctl key create), or use 127.0.0.1"
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address to listen on."""
    if host.lower() == "localhost":
        return True
    from ipaddress import ip_address  # mlxctl imports this module and rarely checks

    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
