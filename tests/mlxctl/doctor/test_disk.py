from pathlib import Path

import pytest

from mlxctl.doctor.disk import on_disk
from mlxctl.errors import CommandFailed
from mlxd.hub.reference import Reference
from mlxd.hub.staging import Pending, Staging


def test_the_folders_are_looked_into(home: Path, tiny_model: Path) -> None:
    models = home / "models"
    (models / "broken").mkdir(parents=True)
    (models / "broken" / "config.json").write_text("{}")
    (models / "tiny").symlink_to(tiny_model)
    staging = Staging(models, "owner/name")
    staging.write(Pending(Reference("owner/name", "main"), "no network"))
    (staging.folder / "abc.part").write_bytes(b"123")

    found = on_disk()
    assert [model.id for model in found.models.models] == ["tiny"]
    assert [(model.id, model.fault) for model in found.models.broken] == [
        ("broken", "its config.json has no model_type")
    ]
    (pull,) = found.pulls
    assert (pull.model, pull.state, pull.cause, pull.bytes_done) == (
        "owner/name",
        "failed",
        "no network",
        3,
    )


def test_a_configuration_that_is_at_fault(home: Path) -> None:
    (home / "config.toml").write_text("log.keep = 0")
    with pytest.raises(CommandFailed, match="the folders of models cannot be read"):
        on_disk()
