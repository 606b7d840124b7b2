"""The commented config.toml that a person starts from."""

from collections.abc import Iterator

from mlxd.config.keys import KEYS, MODEL_KEYS, SECTIONS, Key

_HEAD = """\
# The configuration of mlxd. Every key is here with its default, commented out: remove the "#" in
# front of a key to change it. The daemon reads this file when it starts; `mlxctl config validate`
# checks it. Sizes are like "32MB" or "1GiB", times like "30s", "5m" or "1h". Relative paths start
# at this file's folder.
"""
_PER_MODEL = """\
# For one model, by its id; each model may have such a table.
#
#   [model."some/id"]
"""
_PER_MODEL_END = """\
#   # Keys of [generation] that are different for this model.
#   generation = { max_tokens = 2048, temperature = 0.7 }
"""


def render_default() -> str:
    """Give a config.toml with every key, its default and what it does; the keys are commented."""
    return "\n".join(_blocks())


def _blocks() -> Iterator[str]:
    yield _HEAD
    for name, section in SECTIONS.items():
        lines = [f"# {section.__doc__}", f"[{name}]"]
        for (owner, key_name), key in KEYS.items():
            if owner == name:
                lines += [f"# {key.meta.description}", f"#{key_name} = {key.write(key.default)}"]
        yield "\n".join(lines) + "\n"
    yield _PER_MODEL + "".join(map(_example, MODEL_KEYS.values())) + _PER_MODEL_END


def _example(key: Key) -> str:
    return f"#   # {key.meta.description}\n#   {key.path[0]} = {key.write(key.default)}\n"
