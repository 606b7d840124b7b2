"""Where every file lives, one function each.

`MLXD_HOME=DIR` puts everything under DIR (tests, second instances); otherwise platformdirs decides.
Nothing here creates a folder.
"""

import os
from pathlib import Path

import platformdirs

from mlxd.errors import ConfigError

_APP = "mlxd"


def home() -> Path | None:
    """The folder `MLXD_HOME` names, absolute; None when it is unset or empty.

    Raises:
        ConfigError: it names the home of nobody, or is not UTF-8.
    """
    value = os.environ.get("MLXD_HOME", "")
    if not value:
        return None
    folder = os.path.expanduser(value)
    if folder.startswith("~"):
        raise ConfigError(f"MLXD_HOME: {value}: there is no such user")
    try:
        folder.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"MLXD_HOME: {value}: not UTF-8") from error
    return Path(folder).absolute()


def config_dir() -> Path:
    """The folder of `config.toml` and `settings.toml`."""
    return home() or platformdirs.user_config_path(_APP, appauthor=False)


def config_file() -> Path:
    """The person's configuration."""
    return config_dir() / "config.toml"


def settings_file() -> Path:
    """The machine's settings, written by `mlxctl use` and `mlxctl alias`."""
    return config_dir() / "settings.toml"


def models_dir() -> Path:
    """The folder of models, as NAME or OWNER/NAME."""
    root = home() or platformdirs.user_data_path(_APP, appauthor=False)
    return root / "models"


def adapters_dir() -> Path:
    """The folder whose sub-folders are adapters."""
    return models_dir().with_name("adapters")


def hub_cache_dir() -> Path | None:
    """The cache of Hugging Face's own programs, where they find it; None when there is to be none.

    With `MLXD_HOME` it is none but the one that a variable of theirs names.
    """
    for name, below in (("HF_HUB_CACHE", ""), ("HUGGINGFACE_HUB_CACHE", ""), ("HF_HOME", "hub")):
        if value := os.environ.get(name):
            return Path(os.path.expandvars(os.path.expanduser(value))).absolute() / below
    if home() is not None:
        return None
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(caches).absolute() / "huggingface" / "hub"


def log_dir() -> Path:
    """The folder of the daemon's log files."""
    root = home()
    return root / "logs" if root else platformdirs.user_log_path(_APP, appauthor=False)


def log_file() -> Path:
    """The daemon's log; rotated files beside it end in `.1`, `.2` and so on."""
    return log_dir() / "mlxd.log"


def stderr_file() -> Path:
    """What a started daemon prints before its log is open; emptied at each start."""
    return log_dir() / "mlxd.stderr.log"


def chat_history_file() -> Path:
    """What was typed into `mlxctl chat`, for the arrow keys; mode 0600."""
    return runtime_dir().with_name("chat_history")


def runtime_dir() -> Path:
    """The 0700 folder of the socket and the lock.

    It is no system's runtime folder: those go with the login session or are purged, and a daemon
    that outlives the session would lose its socket.
    """
    root = home() or platformdirs.user_state_path(_APP, appauthor=False)
    return root / "run"


def socket_file() -> Path:
    """The Unix socket where `server.socket` names no other."""
    return runtime_dir() / "mlxd.sock"


def lock_file() -> Path:
    """Locked, and holding the process id, while a daemon runs on this home."""
    return runtime_dir() / "mlxd.lock"


def run_record_file() -> Path:
    """How the daemon was started and how it ended; see `mlxd.run_record`."""
    return runtime_dir() / "mlxd.run.json"
