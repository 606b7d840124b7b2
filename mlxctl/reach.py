"""What this shell says about the network and the daemon does not know, and how to tell it."""

from collections.abc import Collection, Mapping

from mlxd import network

KEYS = {
    "HTTP_PROXY": "hub.proxy",
    "HTTPS_PROXY": "hub.proxy",
    "ALL_PROXY": "hub.proxy",
    "NO_PROXY": "hub.no_proxy",
    "HF_ENDPOINT": "hub.endpoint",
    "HF_TOKEN": "hub.token",
    "SSL_CERT_FILE": "hub.ca_file",
}
"""The key of config.toml that says what each variable says."""


def unknown(known: Mapping[str, str] | None, environ: Mapping[str, str]) -> list[str]:
    """Return the variables of `environ` that are other than those that are `known` to the daemon.

    Secrets are masked in `known`, so that one is as good as another. A daemon of an earlier version
    does not tell what it knows, which is None.
    """
    if known is None:
        return []
    here = network.shown(network.variables(environ))
    return [name for name, value in here.items() if known.get(name) != value]


def keys(names: Collection[str]) -> str:
    """Return the keys of config.toml that say what the variables say, as words of a sentence."""
    return listed(dict.fromkeys(KEYS[name] for name in names))


def listed(names: Collection[str]) -> str:
    """Return names as words of a sentence: "A", "A and B", "A, B and C"."""
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
