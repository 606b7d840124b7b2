from pathlib import Path

import pytest


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty MLXD_HOME, which holds config.toml and settings.toml."""
    monkeypatch.setenv("MLXD_HOME", str(tmp_path))
    return tmp_path
