"""The models: what is broken, and what has failed."""

from collections.abc import Iterator

from mlxctl.doctor.finding import Finding, bad, good, warning
from mlxctl.doctor.situation import Situation

_OURS = "models directory"


def models(situation: Situation) -> Iterator[Finding]:
    """What the daemon knows of them; nothing where it does not run."""
    status, found = situation.status, situation.models
    if status is None or found is None:
        return
    for model in status.models:
        if model.state == "failed":
            yield bad("models", f"{model.id} has failed: {model.cause}", f"mlxctl load {model.id}")
    for broken in found.broken:
        again = "mlxctl pull" if "/" in broken.id else "mlxctl rm"
        mend = f"{again} {broken.id}" if broken.origin == _OURS else None
        yield warning("models", f"{broken.id} is broken: {broken.fault}", mend)
    if not found.models:
        yield warning("models", "there is none", "mlxctl pull OWNER/NAME")
    elif status.default_fault:
        yield warning("models", f"no default model: {status.default_fault}", "mlxctl use MODEL")
    else:
        yield good(
            "models", f"{len(found.models)} to ask for; the default is {status.default_model}"
        )
