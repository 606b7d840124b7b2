"""What doctor finds out about the machine and, without a daemon, about the disk."""

import threading
from pathlib import Path

import pytest

from mlxctl.doctor import facts
from mlxctl.doctor.facts import look, on_disk, this_machine
from mlxctl.errors import CommandFailed
from mlxd import paths
from mlxd.errors import StartupError
from mlxd.hub.reference import Reference
from mlxd.hub.staging import Pending, Staging
from mlxd.run_record import RunEnd, recorded


def test_the_models_directories_are_read(home: Path, tiny_model: Path) -> None:
    models = home / "models"
    (models / "broken").mkdir(parents=True)
    (models / "broken" / "config.json").write_text("{}")
    (models / "tiny").symlink_to(tiny_model)
    staging = Staging(models, "owner/name")
    staging.write(Pending(Reference("owner/name", "main"), "no network"))
    (staging.folder / "abc.part").write_bytes(b"123")

    listing, (pull,) = on_disk()
    assert [model.id for model in listing.models] == ["tiny"]
    assert [(model.id, model.fault) for model in listing.broken] == [
        ("broken", "its config.json has no model_type")
    ]
    assert (pull.model, pull.state, pull.cause, pull.bytes_done) == (
        "owner/name",
        "failed",
        "no network",
        3,
    )


def test_a_configuration_that_is_at_fault(home: Path) -> None:
    (home / "config.toml").write_text("log.keep = 0")
    with pytest.raises(CommandFailed, match="the models directories cannot be read"):
        on_disk()
    assert "log.keep" in look().config_fault


def test_how_the_last_daemon_ended(home: Path) -> None:
    assert look().last_end is None
    (home / "run").mkdir()
    with pytest.raises(StartupError), recorded(paths.run_record_file()):
        raise StartupError("the port is in use")
    assert look().last_end == RunEnd("failed", "the port is in use")


@pytest.mark.usefixtures("home")
def test_what_takes_too_long_is_a_fact(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()

    def hang(*_: object) -> None:
        over.wait(60)
        raise CommandFailed("the test is over")

    monkeypatch.setattr(facts, "_SECONDS", 0.5)
    monkeypatch.setattr(facts, "in_charge", hang)
    monkeypatch.setattr(facts, "on_disk", hang)
    monkeypatch.setattr(facts.configuration, "load", hang)
    monkeypatch.setattr(facts.Probe, "pid", hang)
    try:
        found = look()
    finally:
        over.set()
    late = "no result within 0.5 s"
    assert (found.config_fault, found.service_fault) == (late, late)
    assert (found.silence, found.models_fault) == (late, late)


def test_this_machine() -> None:
    assert this_machine().memory_bytes > 2**28
    assert this_machine().system
