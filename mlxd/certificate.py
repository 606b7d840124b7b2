"""A certificate and its key for HTTPS, as the daemon reads them and mlxctl checks them before."""

import ssl

from mlxd.errors import ConfigError


def read_certificate(cert: str, key: str) -> ssl.SSLContext:
    """Return what a server needs for TLS with the files `cert` and `key`, which are in PEM.

    `cert` also has the certificates between it and its issuer.

    Raises:
        ConfigError: they cannot be read, or do not belong together.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.set_alpn_protocols(["http/1.1"])
    try:
        # Without the password, OpenSSL would ask for one on the terminal.
        context.load_cert_chain(cert, key, password=lambda: "")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        if isinstance(error, ssl.SSLError):
            reason = f"not a certificate and its key, in PEM without a password ({reason})"
        raise ConfigError(
            f"server.tls_cert, server.tls_key: {cert} and {key} cannot be used: {reason}"
        ) from error
    return context
