"""Whether the daemon reaches the model hub as this shell does, and is reached in secret."""

import os
from collections.abc import Iterator

from mlxctl import reach
from mlxctl.doctor.facts import Facts
from mlxctl.doctor.finding import Finding, warning
from mlxctl.service import homebrew
from mlxd.config import is_loopback
from mlxd.network import is_secret, variables


def network(facts: Facts) -> Iterator[Finding]:
    """Whether the daemon has this shell's proxies, certificates, hub and token."""
    if facts.status is None:
        return
    here = variables(os.environ)
    configured = facts.config.hub.variables() if facts.config else {}
    unknown = reach.unknown(facts.status.network, os.environ)
    if names := [name for name in unknown if name not in configured]:
        secret = any(is_secret(name, here[name]) for name in names)
        yield warning(
            "network",
            f"downloads do not get {reach.listed(names)} as set in this shell",
            _fix(facts, names, secret=secret),
        )


def secrecy(facts: Facts) -> Iterator[Finding]:
    """Whether keys and prompts cross the network as plain text."""
    if facts.config is None:
        return
    server = facts.config.server
    if not server.tls_cert and not is_loopback(server.host):
        yield warning(
            "TLS",
            f"API keys and prompts cross the network of {server.host} as plain text",
            "set server.tls_cert and server.tls_key (docs/operations.md), then: mlxctl restart",
        )


def _fix(facts: Facts, names: list[str], *, secret: bool) -> str:
    service = facts.service
    if service is None or service.label is None:
        return "mlxctl restart"  # which hands on what this shell has
    if secret or service.manager == homebrew.NAME:
        return f"write {reach.keys(names)} into config.toml, then: mlxctl restart"
    return "mlxctl install"
