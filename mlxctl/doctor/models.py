"""The models: what is broken, what has failed, and what has come in part."""

import shlex
from collections.abc import Iterator

from mlxctl.doctor.facts import Facts
from mlxctl.doctor.finding import Finding, bad, good, warning
from mlxd.units import size

_OURS = "models directory"


def models(situation: Facts) -> Iterator[Finding]:
    """What there is of them, and what the daemon says where it runs."""
    status, found = situation.status, situation.models
    if situation.models_fault is not None and situation.config is not None:
        yield warning("models", situation.models_fault)
    for model in status.models if status else []:
        if model.state == "failed":
            mend = f"mlxctl load {shlex.quote(model.id)}"
            yield bad("models", f"{model.id} has failed: {model.cause}", mend)
    if found is None:
        return
    for broken in found.broken:
        again = "mlxctl pull" if "/" in broken.id else "mlxctl rm"
        ours = broken.origin == _OURS
        yield warning(
            "models",
            f"{broken.id} is broken: {broken.fault}",
            f"{again} {shlex.quote(broken.id)}" if ours else None,
        )
    if not found.models:
        yield warning("models", "there is none", "mlxctl pull OWNER/NAME")
    elif status is None:
        yield good("models", f"{len(found.models)} to ask for")
    elif status.default_fault:
        yield warning("models", f"no default model: {status.default_fault}", "mlxctl use MODEL")
    else:
        yield good(
            "models", f"{len(found.models)} to ask for; the default is {status.default_model}"
        )


def downloads(situation: Facts) -> Iterator[Finding]:
    """The models that are not here in whole, and that nobody brings any more."""
    for pull in situation.pulls:
        here = f"{pull.model} is here in part ({size(pull.bytes_done)})"
        if pull.state == "failed":
            mend = f"mlxctl pull {shlex.quote(pull.model)}  # or add --cancel to remove it"
            yield warning("downloads", f"{here}: {pull.cause}", mend)
        elif situation.status is None:
            yield warning("downloads", f"{here}, and waits for the daemon", "mlxctl start")
        elif pull.state == "retrying":
            yield warning("downloads", f"{here}, and is tried again: {pull.cause}")
        else:
            yield good("downloads", f"{here}, and comes")
