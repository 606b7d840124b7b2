"""The files that mlxd writes: a commented config.toml to start from, and settings.toml."""

from collections.abc import Iterator, Mapping
from typing import Any

from mlxd import paths
from mlxd.config.keys import KEYS, MODEL_KEYS, SECTIONS
from mlxd.config.merge import read_setting
from mlxd.config.sources import Setting, Source, read_toml
from mlxd.errors import ConfigError
from mlxd.files import write_atomically

_HEAD = """\
# The configuration of mlxd. Every key is here with its default, commented out: to change a key,
# remove the "#" in front of it. The daemon reads this file when it starts; `mlxctl config validate`
# checks it. Sizes look like "32MB" or "1GiB", durations like "30s", "5m" or "1h30m". Relative paths
# are resolved from this file's folder.
"""
_PER_MODEL = """\
# Settings for one model, by its ID; each model may have such a table.
#
#   [model."OWNER/NAME"]
"""
_PER_MODEL_END = """\
#   # Keys of [generation] that differ for this model.
#   generation = { max_tokens = 2048, temperature = 0.7 }
"""


def render_default() -> str:
    """Return a config.toml with every key, its default and what it does; the keys are commented."""
    return "\n".join(_blocks())


def _blocks() -> Iterator[str]:
    yield _HEAD
    for name, section in SECTIONS.items():
        lines = [f"# {section.__doc__}", f"[{name}]"]
        for (owner, key_name), key in KEYS.items():
            if owner == name:
                default = key.value_type.write(key.default)
                lines += [f"# {key.description}", f"#{key_name} = {default}"]
        yield "\n".join(lines) + "\n"
    examples = [
        f"#   # {key.description}\n#   {path[0]} = {key.value_type.write(key.default)}\n"
        for path, key in MODEL_KEYS.items()
        if len(path) == 1
    ]
    yield _PER_MODEL + "".join(examples) + _PER_MODEL_END


def read_settings() -> dict[str, Any]:
    """Return what settings.toml says, as it is written there.

    Raises:
        ConfigError: the file cannot be read, or is not TOML.
    """
    return read_toml(paths.settings_file())


def write_settings(changes: Mapping[str, object]) -> None:
    """Set the dotted keys of `changes` in settings.toml; a value of None removes the key.

    A table changes by its names, of which a value of None removes that one. The file is replaced in
    one step.

    Raises:
        ConfigError: a key or value is not allowed, or the file cannot be read or written.
    """
    import tomli_w  # mlxctl imports this module and never writes

    file = paths.settings_file()
    source = Source(label=file.name, where=str(file), folder=file.parent)
    table = read_toml(file)
    for name, value in changes.items():
        section, _, key = name.partition(".")
        if isinstance(value, Mapping):
            merged = {**table.get(section, {}).get(key, {}), **value}
            value = {inner: entry for inner, entry in merged.items() if entry is not None} or None
        if value is None:
            table.get(section, {}).pop(key, None)
        else:
            read_setting(Setting((section, key), value, source))
            table.setdefault(section, {})[key] = value
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(file, tomli_w.dumps(table).encode())
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written: {error.strerror}") from error
