"""Other names for models: those in settings.toml, over those in config.toml."""

from mlxd import config, control_api
from mlxd.errors import InvalidRequest, ModelNotFound
from mlxd.models.catalog import DEFAULT_NAMES, Catalog

_KEY = "models.aliases"


class AliasControl:
    """Shows and changes them; a change holds at once, and after a restart."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def list(self) -> control_api.AliasList:
        """Give every alias, by name."""
        aliases = sorted(self._catalog.aliases.items())
        return control_api.AliasList(aliases=[self._alias(name, model) for name, model in aliases])

    def set(self, name: str, model: str) -> control_api.Alias:
        """Make `name` another name for what `model` means now.

        Raises:
            InvalidRequest: it is no fit name, or a model's own.
            ModelNotFound: there is no such model.
            ConfigError: the configuration is at fault, or settings.toml cannot be written.
        """
        if name in DEFAULT_NAMES or name != name.strip() or not name.isprintable():
            raise InvalidRequest(f"{name!r} cannot be an alias", param="name")
        entry = self._catalog.resolve(model)
        if name in (known.id for known in self._catalog.entries()):
            raise InvalidRequest(f"{name!r} is a model's own id", param="name")
        self._write(name, entry.id)
        return self._alias(name, entry.id)

    def remove(self, name: str) -> control_api.AliasRemoval:
        """Take an alias out of settings.toml.

        Raises:
            InvalidRequest: there is none, or config.toml or the environment sets it.
            ConfigError: as `set` does.
        """
        aliases = self._catalog.aliases
        if name not in aliases:
            there = f"there is {', '.join(sorted(aliases))}" if aliases else "there is none"
            raise InvalidRequest(f"alias {name!r} does not exist; {there}", param="name")
        if name not in config.read_settings().get("models", {}).get("aliases", {}):
            raise InvalidRequest(
                f"alias {name!r} is set in config.toml or the environment: take it out there",
                param="name",
            )
        self._write(name, None)
        return control_api.AliasRemoval(name=name, now=self._catalog.aliases.get(name))

    def _write(self, name: str, model: str | None) -> None:
        config.load()  # before anything is changed: a mistake in it would leave half a change
        config.write_settings({_KEY: {name: model}})
        self._catalog.set_aliases(config.load().models.aliases)

    def _alias(self, name: str, model: str) -> control_api.Alias:
        try:
            self._catalog.resolve(name)
        except ModelNotFound:
            return control_api.Alias(name=name, model=model, exists=False)
        return control_api.Alias(name=name, model=model)
