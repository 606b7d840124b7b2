"""What a request runs on: its model, the adapter applied to it, and the model that guesses ahead.

What the request names wins over what the configuration says for the model. Neither names a file:
both name what the catalog has.
"""

import logging

import msgspec

from mlxd.config import Config
from mlxd.config.keys import PER_MODEL, dotted
from mlxd.errors import InvalidRequest, LoadFailed, ModelNotFound, RequestError
from mlxd.messages import Draft
from mlxd.models.catalog import DEFAULT_NAMES, Catalog, CatalogEntry

_CONFIGURED = "default_model"

_log = logging.getLogger("mlxd.models")


class Selection:
    """Finds what is named, in the request or in the configuration."""

    def __init__(self, catalog: Catalog, config: Config) -> None:
        self._catalog = catalog
        self._config = config

    def model(
        self, name: str | None, adapter: str | None = None, *, settled: bool = False
    ) -> CatalogEntry:
        """Give the model `name` with its adapter.

        Without `adapter`, or with `default_model`, that is the configured one; with "" there is
        none. `settled` leaves out of account what is only about to become the default.

        Raises:
            ModelNotFound: there is no such model.
            InvalidRequest: there is no adapter of that name.
            LoadFailed: the configured adapter does not exist, without which the model would give
                other answers than it should.
        """
        entry = self._catalog.resolve(name, settled=settled)
        if adapter in (None, _CONFIGURED):
            return self._with_configured_adapter(entry)
        return self._with_adapter(entry, adapter) if adapter else entry

    def draft(
        self, entry: CatalogEntry, name: str | None = None, tokens: int | None = None
    ) -> Draft | None:
        """Give the draft model `name`, which is to guess `tokens` tokens ahead of `entry`.

        What is left out, or a `name` of `default_model`, is as configured. No answer depends on a
        draft model, so a configured one that does not exist is only a warning in the log.

        Raises:
            ModelNotFound: there is no model `name`.
            InvalidRequest: it is the model itself.
        """
        settings = self._config.for_model(entry.id)
        tokens = settings.num_draft_tokens if tokens is None else tokens
        asked = name not in (None, *DEFAULT_NAMES)
        wanted = name if asked else settings.draft_model
        if not wanted or tokens == 0:
            return None
        try:
            return Draft(str(self._draft_entry(entry, wanted).path), tokens)
        except RequestError as error:
            if asked:
                raise
            key = _key(entry, "draft_model")
            _log.warning("%s: %s; answering without a draft model", key, error.message)
            return None

    def blame(self, error: InvalidRequest, entry: CatalogEntry, draft_name: str | None) -> None:
        """Do nothing where a request is to blame for `error`, its draft model being `draft_name`.

        Raises:
            LoadFailed: the configured draft model is.
        """
        if error.param == "draft_model" and draft_name in (None, *DEFAULT_NAMES):
            raise LoadFailed(f"{_key(entry, 'draft_model')}: {error.message}") from None

    def _with_configured_adapter(self, entry: CatalogEntry) -> CatalogEntry:
        name = self._config.for_model(entry.id).adapter
        if not name:
            return entry
        try:
            return self._with_adapter(entry, name)
        except InvalidRequest as error:
            raise LoadFailed(f"{_key(entry, 'adapter')}: {error.message}") from None

    def _with_adapter(self, entry: CatalogEntry, name: str) -> CatalogEntry:
        return msgspec.structs.replace(entry, adapter=self._catalog.adapter(name))

    def _draft_entry(self, entry: CatalogEntry, name: str) -> CatalogEntry:
        try:
            draft = self._catalog.resolve(name)
        except ModelNotFound as error:
            raise ModelNotFound(error.message, param="draft_model") from None
        if draft.id == entry.id:
            raise InvalidRequest(
                f"{name!r} is the model itself; name a smaller one with the same tokens",
                param="draft_model",
            )
        return draft


def _key(entry: CatalogEntry, name: str) -> str:
    """Give the path of the configuration's key `name` for one model."""
    return dotted((PER_MODEL, entry.id, name))
