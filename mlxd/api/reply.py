"""The types that OpenAI's replies share: what surrounds the choices, models, health."""

from typing import Annotated, Generic, TypeVar

import msgspec
from msgspec import UNSET, UnsetType

from mlxd.api.decode import doc
from mlxd.messages import Overlooked

ChoiceT = TypeVar("ChoiceT")


class PromptTokensDetails(msgspec.Struct, frozen=True):
    """How many of the prompt's tokens came from the prompt cache."""

    cached_tokens: int


class CompletionTokensDetails(msgspec.Struct, frozen=True):
    """How many of the answer's tokens the model spent on reasoning."""

    reasoning_tokens: int


class CompletionUsage(msgspec.Struct, frozen=True):
    """Token counts. A prompt counts once, however many answers it has."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails


class OverlookedKeyword(msgspec.Struct, frozen=True):
    """A part of the request that does not restrict the answer: where it is, and why."""

    param: str
    message: str


def warnings_of(overlooked: list[Overlooked]) -> list[OverlookedKeyword] | UnsetType:
    """Return what a reply says about keywords that are not enforced, UNSET for nothing."""
    return [
        OverlookedKeyword(each.param, f"`{each.param}` is not enforced: {each.reason}")
        for each in overlooked
    ] or UNSET


class Reply(msgspec.Struct, Generic[ChoiceT], frozen=True):
    """A whole reply, or one chunk of it. `created` is in Unix seconds."""

    id: str
    object: str
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChoiceT]
    usage: Annotated[
        CompletionUsage | UnsetType | None,
        doc("In the chunks of a stream only if `stream_options` asks for it."),
    ] = UNSET
    warnings: Annotated[
        list[OverlookedKeyword] | UnsetType,
        doc("Keywords of a schema that are not enforced. In a stream, in the first chunk."),
    ] = UNSET


class ModelCard(msgspec.Struct, frozen=True):
    """One model. `created` is in Unix seconds."""

    id: str
    created: int
    object: str = "model"
    owned_by: str = "mlxd"


class ModelList(msgspec.Struct, frozen=True):
    """Every model that a request can name."""

    data: list[ModelCard]
    object: str = "list"


class Health(msgspec.Struct, frozen=True):
    """The reply of a daemon that can generate."""

    status: str
    version: str
