"""The replies of GET /health, GET /v1/models and GET /v1/models/{id}."""

import msgspec


class Health(msgspec.Struct, frozen=True):
    """The reply of a daemon that can generate."""

    status: str
    version: str


class ModelCard(msgspec.Struct, frozen=True):
    """One model, as OpenAI describes it; `created` is unix time."""

    id: str
    created: int
    object: str = "model"
    owned_by: str = "mlxd"


class ModelList(msgspec.Struct, frozen=True):
    """Every model that can be asked for."""

    data: list[ModelCard]
    object: str = "list"
