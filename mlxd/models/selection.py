"""What a request runs on: its model, an adapter, and a draft model for speculative decoding.

What the request names overrides the configuration of the model. Neither names files: both use the
names of the catalog.
"""

import asyncio
import logging
import os
from pathlib import Path

import msgspec

from mlxd.config import Config, ModelSettings
from mlxd.config.keys import PER_MODEL, dotted
from mlxd.errors import InvalidRequest, LoadFailed, ModelNotFound, RequestError
from mlxd.generate_request import Draft
from mlxd.models.adapters import adapter_in
from mlxd.models.catalog import DEFAULT_NAMES, Catalog, CatalogEntry

_CONFIGURED = "default_model"

_log = logging.getLogger("mlxd.models")


class Selection:
    """Finds in the catalog what requests and the configuration name.

    Whoever holds `default_lock` holds requests for the default model in `settled_model`.
    """

    def __init__(self, catalog: Catalog, config: Config) -> None:
        self._catalog = catalog
        self._config = config
        self.default_lock = asyncio.Lock()

    def configure(self, config: Config) -> None:
        """Take a changed configuration."""
        self._config = config

    async def settled_model(self, name: str | None, adapter: str | None = None) -> CatalogEntry:
        """Return the model as `model` does, the default model when it is not about to change.

        Raises LoadFailed, not ModelNotFound, if it may be in a folder that does not answer.
        """
        await self._catalog.refresh(name)
        try:
            if name in (None, *DEFAULT_NAMES):
                async with self.default_lock:
                    return self.model(name, adapter)
            return self.model(name, adapter)
        except ModelNotFound as error:
            if self._catalog.unread:
                raise LoadFailed(error.message) from None
            raise

    def model(self, name: str | None, adapter: str | None = None) -> CatalogEntry:
        """Return the model `name` with its adapter.

        An `adapter` of None or `default_model` means the configured one, "" means none. Raises
        ModelNotFound; InvalidRequest if there is no such adapter; LoadFailed if the configured
        adapter does not exist, without which the answers would differ.
        """
        entry = self._catalog.resolve(name)
        if adapter in (None, _CONFIGURED):
            return self._with_configured_adapter(entry)
        return self._with_adapter(entry, adapter) if adapter else entry

    def settings(self, entry: CatalogEntry) -> ModelSettings:
        """Return the settings for a model, with its own sampling where nothing is configured."""
        settings = self._config.for_model(entry.id)
        generation = entry.sampling.fill(settings.generation)
        return msgspec.structs.replace(settings, generation=generation)

    def draft(
        self, entry: CatalogEntry, name: str | None = None, tokens: int | None = None
    ) -> Draft | None:
        """Return the draft model `name`, which drafts `tokens` tokens at a time for `entry`.

        A `name` of None or `default_model`, and `tokens` of None, mean the configured ones. Draft
        models do not change answers, so a configured one that does not exist is only logged. Raises
        ModelNotFound, and InvalidRequest if it is the model itself.
        """
        settings = self._config.for_model(entry.id)
        tokens = settings.num_draft_tokens if tokens is None else tokens
        named = name not in (None, *DEFAULT_NAMES)
        wanted = name if named else settings.draft_model
        if not wanted or tokens == 0:
            return None
        try:
            return Draft(str(self._draft_entry(entry, wanted).path), tokens)
        except RequestError as error:
            if named:
                raise
            key = _key(entry, "draft_model")
            _log.warning("%s: %s; answering without a draft model", key, error.message)
            return None

    def blame(self, error: InvalidRequest, entry: CatalogEntry, draft_name: str | None) -> None:
        """Raise LoadFailed if the configured draft model, not that of the request, is at fault."""
        if error.param == "draft_model" and draft_name in (None, *DEFAULT_NAMES):
            raise LoadFailed(f"{_key(entry, 'draft_model')}: {error.message}") from None

    def _with_configured_adapter(self, entry: CatalogEntry) -> CatalogEntry:
        name = self._config.for_model(entry.id).adapter
        if not name:
            return entry
        if os.path.isabs(name):  # as --adapter-path says; a request cannot
            return msgspec.structs.replace(entry, adapter=adapter_in(Path(name)))
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
            raise ModelNotFound(error.message, param="draft_model", found=error.found) from None
        if draft.id == entry.id:
            fault = f"{name!r} is the model itself; name a smaller one with the same tokens"
            raise InvalidRequest(fault, param="draft_model")
        return draft


def _key(entry: CatalogEntry, name: str) -> str:
    return dotted((PER_MODEL, entry.id, name))
