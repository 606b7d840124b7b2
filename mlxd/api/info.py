"""The replies of GET /v1/models and GET /v1/models/{id}."""

import msgspec


class Model(msgspec.Struct, frozen=True):
    """One model, as OpenAI describes it; `created` is unix time."""

    id: str
    created: int
    object: str = "model"
    owned_by: str = "mlxd"


class ModelList(msgspec.Struct, frozen=True):
    """Every model that can be asked for."""

    data: list[Model]
    object: str = "list"
