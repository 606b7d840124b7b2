"""Where models are looked for, and when a change is noticed."""

import os
import shutil
from pathlib import Path

import pytest

from mlxd.config import ModelsConfig
from mlxd.models.catalog import Catalog
from mlxd.models.entry import Origin
from tests.fakes.model_folder import add_model, add_to_cache


def ids(catalog: Catalog) -> list[str]:
    return [entry.id for entry in catalog.entries()]


def test_each_folder_with_a_config_and_weights_is_a_model(models: Path) -> None:
    add_model(models / "b")
    add_model(models / "a")
    add_model(models / ".a.partial")
    add_model(models / "owner" / "c")
    add_model(models / "owner" / ".d.partial")
    (models / "empty").mkdir()
    (models / "a-file").write_text("")
    assert ids(Catalog(ModelsConfig())) == ["a", "b", "owner/c"]


def beside(owner: Path, what: str) -> None:
    """Put something that is no model into a folder of models."""
    match what:
        case "dangling link":
            (owner / "gone").symlink_to("/nowhere")  # lmstudio-bug-tracker#97
        case "link to itself":
            (owner / "self").symlink_to(owner / "self")
        case "link back":
            (owner / "up").symlink_to(owner)
        case "folder":
            (owner / "notes" / "old").mkdir(parents=True)
            (owner / "notes" / "todo.txt").write_text("")
        case "unreadable folder":
            (owner / "theirs").mkdir(mode=0)
        case name:
            (owner / name).write_text("")


@pytest.mark.parametrize(
    "what",
    [
        *("README.md", "q4.gguf", ".DS_Store", "Icon\r", "link to itself", "dangling link"),
        *("link back", "folder", "unreadable folder", "download.safetensors.part"),
        "config.json",
    ],
)
def test_what_is_no_model_hides_none(models: Path, what: str) -> None:
    """As lmstudio-bug-tracker#449, where a note in a folder of models hides them all."""
    add_model(models / "a")
    add_model(models / "owner" / "b")
    beside(models, what)
    beside(models / "owner", what)
    catalog = Catalog(ModelsConfig())
    assert ids(catalog) == ["a", "owner/b"]
    assert {each.id for each in catalog.broken()} <= {
        *("notes", "owner/notes", "theirs", "owner/theirs")
    }


@pytest.mark.parametrize(
    "root",
    [
        pytest.param(".lmstudio/models", id="LM Studio"),
        pytest.param(".lmstudio", id="a folder above"),
        pytest.param(".lmstudio/models/owner", id="an owner"),
    ],
)
def test_models_of_other_programs_have_the_same_names(
    models: Path, tmp_path: Path, root: str
) -> None:
    folder = add_model(tmp_path / ".lmstudio/models/owner/a")
    (tmp_path / ".lmstudio/hub.json").write_text("{}")
    catalog = Catalog(ModelsConfig(dirs=[str(tmp_path / root)]))
    assert catalog.resolve("owner/a").path == folder
    assert catalog.broken() == []


def test_a_cache_may_be_below_one_of_models_dirs(models: Path, tmp_path: Path) -> None:
    add_to_cache(tmp_path / "disk" / "hub", "owner/a")
    (tmp_path / "disk" / "token").write_text("")
    (entry,) = Catalog(ModelsConfig(dirs=[str(tmp_path / "disk")])).entries()
    assert (entry.id, entry.origin) == ("owner/a", Origin.HUB_CACHE)


def test_blobs_of_ollama_are_passed_over(models: Path, tmp_path: Path) -> None:
    for file in ("blobs/sha256-01", "manifests/registry.ollama.ai/library/llama3/latest"):
        (tmp_path / "ollama" / file).parent.mkdir(parents=True)
        (tmp_path / "ollama" / file).write_text("")
    catalog = Catalog(ModelsConfig(dirs=[str(tmp_path / "ollama")]))
    assert (catalog.entries(), catalog.broken()) == ([], [])


def test_parts_of_a_pipeline_are_no_models(models: Path) -> None:
    add_model(models / "flux" / "text_encoder")
    (models / "flux" / "model_index.json").write_text("{}")
    catalog = Catalog(ModelsConfig())
    assert ids(catalog) == []
    assert [(each.id, each.fault) for each in catalog.broken()] == [
        ("flux", "it has no config.json")
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_folder_is_listed(models: Path) -> None:
    add_model(models / "a").chmod(0)
    (broken,) = Catalog(ModelsConfig()).broken()
    (models / "a").chmod(0o700)
    assert (broken.id, broken.fault) == ("a", "it cannot be read: Permission denied")


@pytest.mark.parametrize("name", [b"caf\xe9", b"two\nlines"])
def test_an_unprintable_name_is_ignored(models: Path, name: bytes) -> None:
    add_model(models / "a")
    try:
        add_model(models / os.fsdecode(name))
    except OSError:
        pytest.skip("this file system allows no such names")
    assert ids(Catalog(ModelsConfig())) == ["a"]


def test_a_model_that_is_added_or_removed_is_noticed(models: Path) -> None:
    catalog = Catalog(ModelsConfig())
    assert ids(catalog) == []
    folder = add_model(models / "new")
    assert ids(catalog) == ["new"]
    (folder / "config.json").unlink()
    assert ids(catalog) == []


def test_a_model_that_is_added_beside_others_is_noticed(models: Path) -> None:
    add_model(models / "owner" / "a")
    catalog = Catalog(ModelsConfig())
    assert ids(catalog) == ["owner/a"]
    add_model(models / "b")
    add_model(models / "owner" / "c")
    assert ids(catalog) == ["b", "owner/a", "owner/c"]


def test_models_dirs_hold_models_or_are_one(models: Path, tmp_path: Path) -> None:
    add_model(models / "here")
    add_model(tmp_path / "elsewhere" / "there")
    one = add_model(tmp_path / "one")
    missing = tmp_path / "missing"
    dirs = [str(tmp_path / "elsewhere"), str(one), str(missing)]
    assert ids(Catalog(ModelsConfig(dirs=dirs))) == ["here", "one", "there"]


def test_of_two_models_with_the_same_id_the_first_counts(models: Path, tmp_path: Path) -> None:
    add_model(models / "a")
    first = add_model(tmp_path / "elsewhere" / "a")
    (entry,) = Catalog(ModelsConfig(dirs=[str(tmp_path / "elsewhere")])).entries()
    assert entry.path == first


def test_a_snapshot_is_a_model_with_the_id_of_its_repository(models: Path, hub_cache: Path) -> None:
    folder = add_to_cache(hub_cache, "owner/a", parts=2)
    add_to_cache(hub_cache, "gpt2")
    (hub_cache / "datasets--owner--b" / "snapshots" / "abc").mkdir(parents=True)
    (hub_cache / "models--owner--nothing" / "refs").mkdir(parents=True)
    first, second = Catalog(ModelsConfig()).entries()
    assert (first.id, second.id, second.path) == ("gpt2", "owner/a", folder)
    assert second.origin is Origin.HUB_CACHE
    assert second.size_bytes > 100


def test_the_revision_of_main_comes_first(models: Path, hub_cache: Path) -> None:
    main = add_to_cache(hub_cache, "owner/a", "1")
    later = add_to_cache(hub_cache, "owner/a", "2", main=False)
    os.utime(main, (1, 1))
    catalog = Catalog(ModelsConfig())
    assert catalog.resolve("owner/a").path == main
    (hub_cache / "models--owner--a" / "refs" / "main").unlink()
    assert catalog.resolve("owner/a").path == later


def test_a_revision_without_weights_does_not_hide_a_usable_one(
    models: Path, hub_cache: Path
) -> None:
    whole = add_to_cache(hub_cache, "owner/a", "1")
    tokenizer_only = add_to_cache(hub_cache, "owner/a", "2")
    (tokenizer_only / "model.safetensors").unlink()
    assert Catalog(ModelsConfig()).resolve("owner/a").path == whole


def test_a_missing_blob_is_noticed(models: Path, hub_cache: Path) -> None:
    folder = add_to_cache(hub_cache, "owner/a", parts=2)
    catalog = Catalog(ModelsConfig())
    assert catalog.resolve("owner/a").id == "owner/a"
    (folder / "model-00001-of-00002.safetensors").resolve().unlink()
    assert catalog.entries() == []
    (broken,) = catalog.broken()
    assert "model-00001-of-00002.safetensors is missing" in broken.fault


def test_a_cache_may_be_one_of_models_dirs(models: Path, tmp_path: Path) -> None:
    add_to_cache(tmp_path / "disk", "owner/a")
    (entry,) = Catalog(ModelsConfig(dirs=[str(tmp_path / "disk")])).entries()
    assert (entry.id, entry.origin) == ("owner/a", Origin.HUB_CACHE)


def test_a_cache_that_is_gone_is_empty(models: Path, hub_cache: Path) -> None:
    add_to_cache(hub_cache, "owner/a")
    catalog = Catalog(ModelsConfig())
    assert len(catalog.entries()) == 1
    shutil.rmtree(hub_cache)
    assert catalog.entries() == []


@pytest.mark.parametrize("content", [b"\xff\xfe", b"../../../else\n", b""])
def test_an_invalid_ref_is_ignored(models: Path, hub_cache: Path, content: bytes) -> None:
    folder = add_to_cache(hub_cache, "owner/a")
    (hub_cache / "models--owner--a" / "refs" / "main").write_bytes(content)
    assert Catalog(ModelsConfig()).resolve("owner/a").path == folder
