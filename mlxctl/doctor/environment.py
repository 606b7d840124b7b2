"""The configuration, and what the environment does to clients."""

from collections.abc import Iterator

from mlxctl.doctor.finding import Finding, bad, good, warning
from mlxctl.doctor.situation import Situation
from mlxd import paths

_PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
_LOCAL = {"localhost", "127.0.0.1"}


def configuration(situation: Situation) -> Iterator[Finding]:
    """Whether the daemon would start with it."""
    if situation.config_fault is None:
        file = paths.config_file()
        yield good("configuration", str(file) if file.exists() else "the defaults")
        return
    for line in situation.config_fault.splitlines():
        yield bad("configuration", line, "mlxctl config validate")


def proxies(situation: Situation) -> Iterator[Finding]:
    """Whether clients would ask a proxy for this very machine."""
    environ = situation.environ
    name = next((name for name in _PROXIES if environ.get(name)), None)
    if name is None:
        return
    excepted = ",".join(environ.get(key, "") for key in ("no_proxy", "NO_PROXY"))
    names = {entry.strip() for entry in excepted.split(",")}
    if "*" in names or names >= _LOCAL:
        yield good("proxy", f"{name} is set, and this machine is excepted")
    else:
        yield warning(
            "proxy",
            f"{name} is set: clients may ask the proxy for 127.0.0.1",
            "export NO_PROXY=localhost,127.0.0.1 no_proxy=localhost,127.0.0.1",
        )
