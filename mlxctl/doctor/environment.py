"""The configuration, and what the environment does to clients."""

from collections.abc import Iterator

from mlxctl.doctor.facts import Facts
from mlxctl.doctor.finding import Finding, bad, good, warning
from mlxctl.terminal import shown
from mlxd import paths

_PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
_LOCAL = {"localhost", "127.0.0.1"}


def configuration(situation: Facts) -> Iterator[Finding]:
    """Whether the daemon would start with it."""
    if situation.config_fault is None:
        file = paths.config_file()
        yield good("configuration", shown(file) if file.exists() else "the defaults")
        return
    for line in situation.config_fault.splitlines():
        yield bad("configuration", line, "mlxctl config validate")


def proxies(situation: Facts) -> Iterator[Finding]:
    """Whether clients would ask a proxy for this very machine."""
    environ = situation.environ
    what = next((name for name in _PROXIES if environ.get(name)), None)
    if what is None and situation.machine.proxy:
        what = "a proxy in the network settings"
    if what is None:
        return
    # Python's clients look at the lower case first, and at the other one only without it; they
    # do not look at the exceptions in a Mac's network settings at all.
    excepted = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    names = {entry.strip() for entry in excepted.split(",")}
    if "*" in names or names >= _LOCAL:
        yield good("proxy", f"{what} is set, and this machine is excepted")
    else:
        yield warning(
            "proxy",
            f"{what} is set: OpenAI's SDKs ask it for 127.0.0.1 too",
            "export NO_PROXY=localhost,127.0.0.1 no_proxy=localhost,127.0.0.1",
        )
