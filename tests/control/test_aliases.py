"""Other names for models, in settings.toml over config.toml."""

from pathlib import Path

import pytest

from mlxd.config import load
from mlxd.control.aliases import AliasControl
from mlxd.errors import ConfigError, InvalidRequest, ModelNotFound
from mlxd.models.catalog import Catalog
from tests.fakes.model_folder import add_model


@pytest.fixture(autouse=True)
def _two_models(models: Path) -> None:
    add_model(models / "owner" / "a")
    add_model(models / "b")
    (models.parent / "config.toml").write_text('[models.aliases]\nmine = "b"\ngone = "x"\n')


def test_an_alias_holds_at_once_and_after_a_restart(
    aliases: AliasControl, catalog: Catalog
) -> None:
    made = aliases.set("gpt-4.1/mini", "a")
    assert (made.name, made.model, made.exists) == ("gpt-4.1/mini", "owner/a", True)
    assert catalog.resolve("gpt-4.1/mini").id == "owner/a"
    restarted = Catalog(load(environ={}).models)
    assert restarted.resolve("gpt-4.1/mini").id == "owner/a"
    assert restarted.resolve("mine").id == "b"


def test_the_list_tells_which_models_do_not_exist(aliases: AliasControl) -> None:
    aliases.set("x", "mine")
    listed = [(alias.name, alias.model, alias.exists) for alias in aliases.list().aliases]
    assert listed == [("gone", "x", False), ("mine", "b", True), ("x", "b", True)]


def test_a_removed_alias_is_gone_at_once_and_after_a_restart(
    aliases: AliasControl, catalog: Catalog
) -> None:
    aliases.set("x", "a")
    assert aliases.remove("x").now is None
    with pytest.raises(ModelNotFound):
        catalog.resolve("x")
    assert "x" not in load(environ={}).models.aliases


def test_removing_an_alias_uncovers_the_one_in_config_toml(
    aliases: AliasControl, catalog: Catalog
) -> None:
    aliases.set("mine", "a")
    assert catalog.resolve("mine").id == "owner/a"
    assert aliases.remove("mine").now == "b"
    assert catalog.resolve("mine").id == "b"
    with pytest.raises(InvalidRequest, match=r"'mine' is set in config\.toml or the environment"):
        aliases.remove("mine")


@pytest.mark.parametrize("name", ["", "default_model", " x", "two\nlines", "b", "owner/a"])
def test_an_invalid_alias_is_refused(aliases: AliasControl, name: str) -> None:
    with pytest.raises(InvalidRequest, match=r"is not a valid alias|is the ID of a model"):
        aliases.set(name, "b")


def test_an_alias_of_an_unknown_model_is_refused(aliases: AliasControl, models: Path) -> None:
    with pytest.raises(ModelNotFound, match="'c' does not exist"):
        aliases.set("x", "c")
    with pytest.raises(InvalidRequest, match="alias 'x' does not exist; known aliases: gone, mine"):
        aliases.remove("x")
    assert not (models.parent / "settings.toml").exists()


def test_an_error_in_the_configuration_changes_nothing(
    aliases: AliasControl, catalog: Catalog, models: Path
) -> None:
    (models.parent / "config.toml").write_text("[models]\naliases = 5\n")
    with pytest.raises(ConfigError, match=r"models\.aliases: found 5"):
        aliases.set("x", "b")
    assert not (models.parent / "settings.toml").exists()
    assert "x" not in catalog.aliases
