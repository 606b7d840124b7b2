"""What a request runs on, as it and the configuration say."""

import logging

import pytest

from mlxd.config import ModelSettings, ServerConfig
from mlxd.errors import InvalidRequest, LoadFailed, ModelNotFound
from mlxd.generate_request import Draft
from mlxd.models.selection import Selection
from tests.support.http_fakes import FakeCatalog, FakeSettings

DRAFT = "/models/owner/name"


def selection(settings: ModelSettings) -> Selection:
    return Selection(FakeCatalog(), FakeSettings(ServerConfig(), settings))


def draft(
    settings: ModelSettings, name: str | None = None, tokens: int | None = None
) -> Draft | None:
    selected = selection(settings)
    return selected.draft(selected.model("tiny"), name, tokens)


@pytest.mark.parametrize(
    ("asked", "configured", "name"),
    [
        (None, "", "tiny"),
        ("pirate", "", "tiny with adapter pirate"),
        (None, "pirate", "tiny with adapter pirate"),
        ("default_model", "pirate", "tiny with adapter pirate"),
        ("pirate", "gone", "tiny with adapter pirate"),
        ("", "pirate", "tiny"),
    ],
)
def test_the_adapter_is_the_one_asked_for_or_else_the_configured_one(
    asked: str | None, configured: str, name: str
) -> None:
    selected = selection(ModelSettings(adapter=configured))
    assert selected.model("tiny", asked).name == name


def test_a_missing_adapter_is_an_error() -> None:
    with pytest.raises(InvalidRequest) as asked:
        selection(ModelSettings()).model("tiny", "gone")
    assert asked.value.param == "adapters"
    with pytest.raises(LoadFailed) as configured:
        selection(ModelSettings(adapter="gone")).model("tiny")
    assert configured.value.message == "model.tiny.adapter: no adapter 'gone'; there is pirate"


@pytest.mark.parametrize(
    ("settings", "name", "tokens", "expected"),
    [
        (ModelSettings(), None, None, None),
        (ModelSettings(), None, 5, None),
        (ModelSettings(), "owner/name", None, Draft(DRAFT, 3)),
        (ModelSettings(draft_model="owner/name"), None, None, Draft(DRAFT, 3)),
        (ModelSettings(draft_model="owner/name"), "default_model", 8, Draft(DRAFT, 8)),
        (ModelSettings(draft_model="owner/name", num_draft_tokens=6), None, None, Draft(DRAFT, 6)),
        (ModelSettings(draft_model="owner/name"), None, 0, None),
        (ModelSettings(draft_model="gone"), "owner/name", None, Draft(DRAFT, 3)),
    ],
)
def test_the_draft_model_is_the_one_asked_for_or_else_the_configured_one(
    settings: ModelSettings, name: str | None, tokens: int | None, expected: Draft | None
) -> None:
    assert draft(settings, name, tokens) == expected


def test_an_unusable_draft_model_of_a_request_is_an_error() -> None:
    with pytest.raises(ModelNotFound) as unknown:
        draft(ModelSettings(), "gone")
    assert unknown.value.param == "draft_model"
    with pytest.raises(InvalidRequest, match="'tiny' is the model itself") as itself:
        draft(ModelSettings(), "tiny")
    assert itself.value.param == "draft_model"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gone", "no model 'gone'; near ones: tiny"),
        ("tiny", "'tiny' is the model itself; name a smaller one with the same tokens"),
    ],
)
def test_an_unusable_configured_draft_model_is_only_logged(
    caplog: pytest.LogCaptureFixture, name: str, reason: str
) -> None:
    with caplog.at_level(logging.WARNING):
        assert draft(ModelSettings(draft_model=name)) is None
    assert caplog.messages == [f"model.tiny.draft_model: {reason}; answering without a draft model"]
