"""Broken and failed models, and downloads that are not complete."""

import shlex
from collections.abc import Iterator

from mlxctl.doctor.facts import Facts
from mlxctl.doctor.finding import Finding, error, ok, warning
from mlxd.units import size

_OURS = "models directory"


def models(facts: Facts) -> Iterator[Finding]:
    """Which models there are, and how the daemon fares with them if it runs."""
    status, found = facts.status, facts.models
    if facts.models_fault is not None and facts.config is not None:
        yield warning("models", facts.models_fault)
    for model in status.models if status else []:
        if model.state == "failed":
            fix = f"mlxctl load {shlex.quote(model.id)}"
            yield error("models", f"{model.id} failed: {model.cause}", fix)
    for silent in status.silent_dirs if status else []:
        message = f"{silent} does not answer (models.dirs); mlxd uses what it last found there"
        yield warning("models", message, f"ls {shlex.quote(silent)}")
    if found is None:
        return
    for broken in found.broken:
        again = "mlxctl pull" if "/" in broken.id else "mlxctl rm"
        fix_ours = f"{again} {shlex.quote(broken.id)}" if broken.origin == _OURS else None
        yield warning("models", f"{broken.id} is broken: {broken.fault}", fix_ours)
    count = f"{len(found.models)} available"
    if not found.models:
        yield warning("models", "there are no models", "mlxctl pull OWNER/NAME")
    elif status is None:
        yield ok("models", count)
    elif status.default_fault:
        yield warning("models", f"no default model: {status.default_fault}", "mlxctl use MODEL")
    else:
        yield ok("models", f"{count}; the default is {status.default_model}")


def downloads(facts: Facts) -> Iterator[Finding]:
    """Which downloads have failed, or need a daemon."""
    for pull in facts.pulls:
        here = f"{pull.model} is incomplete ({size(pull.bytes_done)})"
        if pull.state == "failed":
            fix = f"mlxctl pull {shlex.quote(pull.model)}  # or add --cancel to remove it"
            yield warning("downloads", f"{here}: {pull.cause}", fix)
        elif facts.status is None:
            yield warning("downloads", f"{here}; the daemon downloads the rest", "mlxctl start")
        elif pull.state == "retrying":
            yield warning("downloads", f"{here}; mlxd will try again: {pull.cause}")
        else:
            yield ok("downloads", f"{here}; the download is running")
