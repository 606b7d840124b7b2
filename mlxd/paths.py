"""The paths of all files, one function each.

`MLXD_HOME=DIR` puts everything under DIR (tests, second instances); otherwise platformdirs decides.
Nothing here creates folders.
"""

import os
from pathlib import Path

import platformdirs

from mlxd.errors import ConfigError

_APP = "mlxd"


def home() -> Path | None:
    """Return the absolute path of the folder `MLXD_HOME`; None if it is unset or empty."""
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
    """Return the folder of `config.toml` and `settings.toml`."""
    return home() or platformdirs.user_config_path(_APP, appauthor=False)


def config_file() -> Path:
    """Return the user's configuration file."""
    return config_dir() / "config.toml"


def settings_file() -> Path:
    """Return the settings file, which `mlxctl use` and `mlxctl alias` write."""
    return config_dir() / "settings.toml"


def models_dir() -> Path:
    """Return the folder that holds models as NAME or OWNER/NAME."""
    root = home() or platformdirs.user_data_path(_APP, appauthor=False)
    return root / "models"


def adapters_dir() -> Path:
    """Return the folder whose subfolders are adapters."""
    return models_dir().with_name("adapters")


def responses_dir() -> Path:
    """Return the folder of stored responses, of mode 0700; see `mlxd.stored_responses`."""
    return models_dir().with_name("responses")


def hub_cache_dir() -> Path | None:
    """Return the cache of Hugging Face's own programs; None if mlxd is not to use it.

    With `MLXD_HOME`, only a cache that one of Hugging Face's variables names is used.
    """
    for name, below in (("HF_HUB_CACHE", ""), ("HUGGINGFACE_HUB_CACHE", ""), ("HF_HOME", "hub")):
        if value := os.environ.get(name):
            return Path(os.path.expandvars(os.path.expanduser(value))).absolute() / below
    if home() is not None:
        return None
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(caches).absolute() / "huggingface" / "hub"


def cache_dir() -> Path:
    """Return the folder of what mlxd can make again."""
    root = home()
    return root / "cache" if root else platformdirs.user_cache_path(_APP, appauthor=False)


def prompts_dir() -> Path:
    """Return the folder of the prompt cache on disk, of mode 0700; see `mlxd.prompt_files`."""
    return cache_dir() / "prompts"


def log_dir() -> Path:
    """Return the folder of the daemon's log files."""
    root = home()
    return root / "logs" if root else platformdirs.user_log_path(_APP, appauthor=False)


def log_file() -> Path:
    """Return the daemon's log file; rotated files beside it end in `.1`, `.2` and so on."""
    return log_dir() / "mlxd.log"


def stderr_file() -> Path:
    """Return the file for what the daemon prints before its log is open; emptied at each start."""
    return log_dir() / "mlxd.stderr.log"


def chat_history_file() -> Path:
    """Return the history of `mlxctl chat`, of mode 0600."""
    return runtime_dir().with_name("chat_history")


def runtime_dir() -> Path:
    """Return the folder of the socket and the lock, of mode 0700.

    It is not the system's runtime folder, which is deleted with the login session or purged: a
    daemon that outlives the session would lose its socket.
    """
    root = home() or platformdirs.user_state_path(_APP, appauthor=False)
    return root / "run"


def socket_file() -> Path:
    """Return the default path of the Unix socket."""
    return runtime_dir() / "mlxd.sock"


def lock_file() -> Path:
    """Return the file that is locked, and holds the process id, while a daemon runs."""
    return runtime_dir() / "mlxd.lock"


def run_record_file() -> Path:
    """How the daemon was started and how it ended; see `mlxd.run_record`."""
    return runtime_dir() / "mlxd.run.json"
