"""Aliases of models: those in settings.toml override those in config.toml."""

from mlxd import config, control_api
from mlxd.errors import InvalidRequest, ModelNotFound
from mlxd.models.catalog import DEFAULT_NAMES, Catalog


class AliasControl:
    """Lists and changes aliases; a change takes effect at once and survives a restart.

    Changes raise ConfigError if the configuration is at fault, or settings.toml cannot be written.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def list(self) -> control_api.AliasList:
        """Return all aliases, sorted by name."""
        aliases = sorted(self._catalog.aliases.items())
        return control_api.AliasList(aliases=[self._alias(name, model) for name, model in aliases])

    def set(self, name: str, model: str) -> control_api.Alias:
        """Make `name` an alias of the model that `model` names."""
        if name in DEFAULT_NAMES or name != name.strip() or not name.isprintable():
            raise InvalidRequest(f"{name!r} is not a valid alias", param="name")
        entry = self._catalog.resolve(model)
        if name in (known.id for known in self._catalog.entries()):
            raise InvalidRequest(
                f"{name!r} is the ID of a model and cannot be an alias", param="name"
            )
        self._write(name, entry.id)
        return self._alias(name, entry.id)

    def remove(self, name: str) -> control_api.AliasRemoval:
        """Remove an alias from settings.toml, the only place it may be set in."""
        aliases = self._catalog.aliases
        if name not in aliases:
            known = (
                f"known aliases: {', '.join(sorted(aliases))}"
                if aliases
                else "there are no aliases"
            )
            raise InvalidRequest(f"alias {name!r} does not exist; {known}", param="name")
        if name not in config.read_settings().get("models", {}).get("aliases", {}):
            raise InvalidRequest(
                f"alias {name!r} is set in config.toml or the environment; remove it there",
                param="name",
            )
        self._write(name, None)
        return control_api.AliasRemoval(name=name, now=self._catalog.aliases.get(name))

    def _write(self, name: str, model: str | None) -> None:
        config.load()  # before any change: an error in the configuration must not leave half of one
        config.write_settings({"models.aliases": {name: model}})
        self._catalog.set_aliases(config.load().models.aliases)

    def _alias(self, name: str, model: str) -> control_api.Alias:
        try:
            self._catalog.resolve(name)
        except ModelNotFound:
            return control_api.Alias(name=name, model=model, exists=False)
        return control_api.Alias(name=name, model=model)
