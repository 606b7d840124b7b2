from dataclasses import replace

import pytest
from msgspec.structs import replace as with_fields

from mlxctl.doctor import models
from mlxctl.doctor.facts import Facts
from mlxd.control_api import BrokenModel, ModelListing, ModelStatus, PullStatus
from tests.mlxctl.doctor.conftest import MODELS, RUNNING, STOPPED, WELL, only

OURS = BrokenModel(
    id="qwen3", path="/p", origin="models directory", size_bytes=1, fault="it is cut short"
)
PULLED = with_fields(OURS, id="owner/name")
CACHED = with_fields(OURS, origin="hub cache")


def test_models() -> None:
    assert only(models.models, WELL)[0] == "ok"
    assert only(models.models, STOPPED) == ("ok", "1 available", None)
    assert list(models.models(replace(STOPPED, models=None))) == []
    unknown = replace(STOPPED, models=None, models_fault="it cannot be read")
    assert only(models.models, unknown)[0] == "warning"
    none = replace(WELL, models=ModelListing(models=[]))
    assert only(models.models, none)[::2] == ("warning", "mlxctl pull OWNER/NAME")


def test_broken_models_and_their_fixes() -> None:
    broken = with_fields(MODELS, broken=[OURS, PULLED, CACHED])
    *found, well = models.models(replace(WELL, models=broken))
    assert [finding.fix for finding in found] == [
        "mlxctl rm qwen3",
        "mlxctl pull owner/name",
        None,
    ]
    assert {finding.state for finding in found} == {"warning"}
    assert well.state == "ok"


def test_one_that_was_given_up_is_bad() -> None:
    failed = ModelStatus(id="tiny", state="failed", cause="it crashed 3 times")
    found, _ = models.models(replace(WELL, status=with_fields(RUNNING, models=[failed])))
    assert (found.state, found.fix) == ("error", "mlxctl load tiny")


def test_no_default_model() -> None:
    status = with_fields(RUNNING, default_model=None, default_fault="there are two")
    assert only(models.models, replace(WELL, status=status))[0] == "warning"


@pytest.mark.parametrize(
    ("state", "facts", "says", "fix"),
    [
        ("failed", WELL, "warning", "mlxctl pull a/b  # or add --cancel to remove it"),
        ("failed", STOPPED, "warning", "mlxctl pull a/b  # or add --cancel to remove it"),
        ("queued", STOPPED, "warning", "mlxctl start"),
        ("downloading", WELL, "ok", None),
        ("retrying", WELL, "warning", None),
    ],
)
def test_downloads_that_are_not_complete(
    state: str, facts: Facts, says: str, fix: str | None
) -> None:
    pull = PullStatus(model="a/b", revision="main", state=state, bytes_done=10, cause="no network")
    assert only(models.downloads, replace(facts, pulls=[pull]))[::2] == (says, fix)
