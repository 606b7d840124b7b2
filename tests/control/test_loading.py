"""Loading, unloading and changing the default model; the engines are tests/fakes/engine.py."""

import asyncio
import tomllib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlxd.config import Config, ModelsConfig
from mlxd.control.loading import LoadingControl
from mlxd.errors import ConfigError, Draining, LoadFailed, ModelNotFound
from mlxd.messages import Load
from mlxd.models.catalog import Catalog, CatalogEntry
from mlxd.models.selection import Selection
from mlxd.pool.engine_process import EngineProcess
from mlxd.pool.model import State
from mlxd.pool.pool import Pool
from tests.support.pool import fake_command, first_delta, start_engine, text, until


@dataclass
class Daemon:
    """The parts of one that matter here, with the models `a`, `b` and the broken one `broken`."""

    home: Path
    catalog: Catalog
    pool: Pool
    selection: Selection
    loading: LoadingControl

    @property
    def default(self) -> str | None:
        entry = self.catalog.default()
        return entry.id if entry else None

    def entry(self, name: str | None = None) -> CatalogEntry:
        return self.catalog.resolve(name)

    def saved(self) -> str | None:
        file = self.home / "settings.toml"
        return tomllib.loads(file.read_text())["models"]["default"] if file.exists() else None


async def launch(entry: CatalogEntry, report: Callable[[float], None]) -> EngineProcess:
    scripts = {"broken": "unloadable", "slow": "hang-on-load"}
    command = fake_command(scripts.get(entry.id, "endless"))
    return await start_engine(entry.id, Load(str(entry.path)), report, command)


@asynccontextmanager
async def daemon(home: Path, max_loaded: int = 3) -> AsyncIterator[Daemon]:
    config = Config(models=ModelsConfig(default="a", max_loaded=max_loaded))
    catalog, pool = Catalog(config.models), Pool(config, launch)
    selection = Selection(catalog, config)
    loading = LoadingControl(catalog, selection, pool, None)
    try:
        async with asyncio.timeout(30):
            yield Daemon(home, catalog, pool, selection, loading)
    finally:
        await pool.close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> Path:
    monkeypatch.setenv("MLXD_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    for name in ("a", "b", "broken", "slow"):
        (tmp_path / "models" / name).symlink_to(tiny_model)
    return tmp_path


async def test_the_default_changes_once_the_new_one_is_in_memory(home: Path) -> None:
    async with daemon(home) as d:
        using = d.loading.use("b")
        assert (d.default, d.saved()) == ("a", None)
        reply = await using.result()
        assert (reply.model, reply.state) == ("b", "ready")
        assert (d.default, d.saved()) == ("b", "b")


async def test_the_old_default_answers_beside_the_new_one(home: Path) -> None:
    async with daemon(home) as d:
        answer = d.pool.submit(d.entry(), text("la"))
        await first_delta(answer)
        await d.loading.use("b").result()
        await first_delta(answer)
        waiting = d.loading.use("a"), d.loading.use("b", wait=True)
        await waiting[0].result()
        assert d.pool.model(d.entry("a")).state is State.READY
        assert not await waiting[1].wait(0)
        await answer.aclose()
        assert (await waiting[1].result()).model == "b"


async def test_where_both_do_not_fit_requests_for_the_default_wait_for_the_new_one(
    home: Path,
) -> None:
    async with daemon(home, max_loaded=1) as d:
        answer = d.pool.submit(d.entry(), text("la"))
        await first_delta(answer)
        using = d.loading.use("b")
        await until(lambda: d.pool.admission.has_waiters(d.pool.model(d.entry("b"))))
        waiting = [asyncio.create_task(d.selection.settled_model(n)) for n in (None, "")]
        loading = d.loading.load(None, None)
        assert (await d.selection.settled_model("a")).id == "a"  # which is not held
        await first_delta(answer)
        assert not any(task.done() for task in waiting)
        assert (using.progress().status, d.default, d.saved()) == ("waiting", "a", None)
        await answer.aclose()
        await using.result()
        assert [entry.id for entry in await asyncio.gather(*waiting)] == ["b", "b"]
        assert (await loading.result()).id == "b"
        assert d.pool.model(d.entry("a")).state is State.UNLOADED
        assert d.saved() == "b"


async def test_where_both_fit_requests_for_the_default_do_not_wait(home: Path) -> None:
    async with daemon(home) as d:
        await d.loading.load(None, None).result()
        slow = d.loading.use("slow")
        await until(lambda: slow.progress().fraction == 0.5)
        assert (await d.selection.settled_model(None)).id == "a"


async def test_requests_go_on_with_the_old_default_where_the_new_one_cannot_be_loaded(
    home: Path,
) -> None:
    async with daemon(home, max_loaded=1) as d:
        answer = d.pool.submit(d.entry(), text("la"))
        await first_delta(answer)
        using = d.loading.use("broken")
        await until(lambda: d.pool.admission.has_waiters(d.pool.model(d.entry("broken"))))
        waiting = asyncio.create_task(d.selection.settled_model(None))
        await answer.aclose()
        with pytest.raises(LoadFailed):
            await using.result()
        assert (await waiting).id == "a"


@pytest.mark.parametrize("max_loaded", [3, 1])
async def test_a_model_that_cannot_be_loaded_does_not_become_the_default(
    home: Path, max_loaded: int
) -> None:
    async with daemon(home, max_loaded) as d:
        await d.loading.load(None, None).result()
        with pytest.raises(LoadFailed, match="no safetensors found"):
            await d.loading.use("broken").result()
        assert (d.default, d.saved()) == ("a", None)
        with pytest.raises(ModelNotFound):
            d.loading.use("nonesuch")


async def test_settings_that_cannot_be_written_leave_the_default(home: Path) -> None:
    (home / "settings.toml").mkdir()
    async with daemon(home, max_loaded=1) as d:
        with pytest.raises(ConfigError, match=r"settings\.toml"):
            await d.loading.use("b").result()
        assert d.default == "a"


async def test_a_load_may_say_how_long_it_stays_and_shows_how_far_it_is(home: Path) -> None:
    async with daemon(home) as d:
        status = await d.loading.load("b", 60).result()
        assert (status.id, status.state, status.requests) == ("b", "ready", 0)
        assert 50 < (status.expires_in_s or 0) <= 60
        slow = d.loading.load("slow", None)
        await until(lambda: slow.progress().fraction == 0.5)
        assert (slow.progress().status, slow.progress().model) == ("loading", "slow")


async def test_unload_gives_the_memory_back_when_the_requests_have_ended(home: Path) -> None:
    async with daemon(home) as d:
        answer = d.pool.submit(d.entry("a"), text("la"))
        await first_delta(answer)
        await d.loading.load("b", None).result()
        unloading = d.loading.unload(None)
        assert not await unloading.wait(0.1)
        assert (unloading.progress().status, unloading.progress().requests) == ("draining", 1)
        await answer.aclose()
        assert sorted((await unloading.result()).models) == ["a", "b"]
        assert not any(model.resident for model in d.pool.models)
        assert (await d.loading.unload("a").result()).models == []
        with pytest.raises(ModelNotFound):
            d.loading.unload("nonesuch")


async def test_a_stopping_daemon_loads_nothing(home: Path) -> None:
    async with daemon(home) as d:
        await d.pool.drain(0)
        with pytest.raises(Draining):
            d.loading.load("a", None)
        with pytest.raises(Draining):
            d.loading.use("b")


async def test_a_model_in_use_is_released_after_its_requests_without_holding_up_others(
    home: Path,
) -> None:
    async with daemon(home) as d:
        answer = d.pool.submit(d.entry("a"), text("la"))
        await first_delta(answer)
        await d.loading.release("a")
        other = d.pool.submit(d.entry("a"), text("la"))
        await first_delta(other)
        await answer.aclose()
        await first_delta(other)
        await other.aclose()
        await until(lambda: d.pool.model(d.entry("a")).state is State.UNLOADED)
        await d.loading.load("a", None).result()
        await d.loading.release("a")
        assert d.pool.model(d.entry("a")).state is State.UNLOADED
