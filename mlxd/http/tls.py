"""TLS with a certificate and a key from files, which are read again when they change."""

import contextlib
import logging
import os
import ssl

from mlxd.certificate import read_certificate
from mlxd.errors import ConfigError

_log = logging.getLogger("mlxd.http")

_Stamp = tuple[tuple[int, int, int], ...]


class Certificate:
    """A certificate (with those between it and its issuer) and its key, as files in PEM.

    A renewed pair counts from the next connection. One that cannot be read is logged, the one
    before stays, and the next connection tries again.

    Raises:
        ConfigError: the pair cannot be read.
    """

    def __init__(self, cert: str, key: str) -> None:
        self._cert = cert
        self._key = key
        self._stamp = self._stamp_now()
        self._fault = ""
        self.context = self._newest = read_certificate(self._cert, self._key)
        # It is called in each handshake, whether or not the client names a host.
        self.context.sni_callback = self._choose

    def _choose(
        self, connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _: ssl.SSLContext
    ) -> None:
        stamp = self._stamp_now()
        if stamp != self._stamp:
            try:
                self._newest = read_certificate(self._cert, self._key)
            except ConfigError as error:
                if error.message != self._fault:
                    _log.warning("%s; the certificate before stays", error.message)
                self._fault = error.message
            else:
                self._stamp, self._fault = stamp, ""
                _log.info("the certificate was read again: %s", self._cert)
        connection.context = self._newest

    def _stamp_now(self) -> _Stamp:
        """Return what changes when a file does; nothing if one is missing or hidden."""
        with contextlib.suppress(OSError):
            found = [os.stat(file) for file in (self._cert, self._key)]
            return tuple((each.st_mtime_ns, each.st_ino, each.st_size) for each in found)
        return ()
