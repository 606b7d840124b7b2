"""The real daemon whose engines answer by script; see tests/fakes/scripted_engine.py."""

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from tests.fakes import scripted_daemon
from tests.fakes.model_folder import LLAMA, add_model
from tests.fakes.scripted_engine import CONTEXT, Scene
from tests.support.daemon_process import DaemonProcess, running_daemon

_REFUSED = re.compile(r": [A-Z]+ \S+ [45]\d\d .*")


@contextmanager
def running_scripted_daemon(
    *flags: str, environ: Mapping[str, str] = {}, **scripts: list[Scene]
) -> Iterator[DaemonProcess]:
    """Run a daemon with a model of each name that answers by its script."""
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        for name, scenes in scripts.items():
            config = {**LLAMA, "max_position_embeddings": CONTEXT}
            model = add_model(Path(folder) / "models" / name, config)
            (model / "chat_template.jinja").write_text("{{ messages }}{{ tools }}")
            (model / "script.json").write_bytes(msgspec.json.encode(scenes))
        program = scripted_daemon.__file__
        flags = ("--model", next(iter(scripts)), *flags)
        with running_daemon(Path(folder), *flags, program=[program], **environ) as one:
            yield one


def refused(daemon: DaemonProcess) -> list[str]:
    """Return the requests in a daemon's log that it did not answer, and why."""
    return _REFUSED.findall(daemon.log())
