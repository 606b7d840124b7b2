"""What `mlxctl show` says of a model beyond what the catalog knows."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from mlxd.control_api import TemplateSupport
from mlxd.files import open_regular
from mlxd.models.adapters import ADAPTER_CONFIG, Adapter, adapters
from mlxd.models.cache_layout import CacheLayout, read_layout
from mlxd.models.entry import CatalogEntry
from mlxd.models.folder import CONFIG
from mlxd.models.model_config import UnusableJson, load_json
from mlxd.models.weights import TensorInfo, read_tensors

_GROUP_SIZE = 64
_MAX_BYTES = 50_000_000
_FRONT_MATTER_BYTES = 20_000
_FRONT_MATTER = re.compile(r"---\n.*?^---$", re.DOTALL | re.MULTILINE)
_LICENSE = re.compile(r"^(license|license_name): *['\"]?(.+?)['\"]?$", re.MULTILINE)
# What marks templates of thinking models: the tags that mlx_lm knows, and the words of gpt-oss.
_THINKING = re.compile(
    r"enable_thinking|reasoning_effort|</?think>|<longcat_think>|<\|think:start\|>"
    r"|<\|channel>thought|<\|open\|>think<\|sep\|>"
)
_TOOLS = re.compile(r"\btools\b")
# Tensors that say how the parameters were packed, and are not parameters themselves.
_SCALES = (".scales", ".biases", ".global_scale")


class Details(msgspec.Struct, frozen=True, kw_only=True):
    """What the folder of a model says, and the names of the adapters that fit it.

    `cache` is what the cache of a sequence takes, in full precision.
    """

    parameters: int
    cache: CacheLayout
    template: TemplateSupport | None
    license: str | None
    adapters: list[str]


def read_details(entry: CatalogEntry) -> Details:
    """Read the folder of a model; what it does not say is None."""
    tensors = read_tensors(entry.path.glob("model*.safetensors"))
    config = _json(entry.path / CONFIG)
    return Details(
        parameters=count_parameters(tensors, config),
        cache=read_layout(config),
        template=_template(entry.path),
        license=_license(entry.path),
        adapters=[adapter.name for adapter in adapters() if _fits(adapter, entry)],
    )


def count_parameters(tensors: Mapping[str, TensorInfo], config: Mapping[str, Any]) -> int:
    """Count the parameters; in quantized weights one number packs several."""
    return sum(_parameters(name, tensors, config) for name in tensors)


def _parameters(name: str, tensors: Mapping[str, TensorInfo], config: Mapping[str, Any]) -> int:
    module, dot, kind = name.rpartition(".")
    if f"{module}.scales" in tensors and tensors[f"{module}.weight"].dtype == "U32":
        if dot + kind in _SCALES:
            return 0
        if kind == "weight":
            groups = math.prod(tensors[f"{module}.scales"].shape)
            return groups * _group_size(module, config)
    if name.endswith("_scales") and f"{name.removesuffix('scales')}blocks" in tensors:
        return 0
    count = math.prod(tensors[name].shape)
    return 2 * count if name.endswith("_blocks") else count


def _group_size(module: str, config: Mapping[str, Any]) -> int:
    quantization = config.get("quantization")
    if not isinstance(quantization, dict):
        return _GROUP_SIZE
    for section in (quantization.get(module), quantization):
        if isinstance(section, dict) and isinstance(size := section.get("group_size"), int):
            return size
    return _GROUP_SIZE


def _template(folder: Path) -> TemplateSupport | None:
    text = _read(folder / "chat_template.jinja", _MAX_BYTES)
    for file in ("tokenizer_config.json", "chat_template.json"):
        text = text or _text(_json(folder / file).get("chat_template"))
    more = sorted((folder / "additional_chat_templates").glob("*.jinja"))
    text = "\n".join(filter(None, (text, *(_read(file, _MAX_BYTES) for file in more))))
    if not text:
        return None
    return TemplateSupport(tools=bool(_TOOLS.search(text)), thinking=bool(_THINKING.search(text)))


def _text(template: object) -> str:
    """Return the text of a template, or of several together."""
    if isinstance(template, dict):
        return "\n".join(map(_text, template.values()))
    if isinstance(template, list):
        return "\n".join(_text(one.get("template")) for one in template if isinstance(one, dict))
    return template if isinstance(template, str) else ""


def _license(folder: Path) -> str | None:
    """Return the license in the front matter of the README."""
    text = _read(folder / "README.md", _FRONT_MATTER_BYTES)
    front_matter = _FRONT_MATTER.match(text)
    fields = dict(_LICENSE.findall(front_matter[0])) if front_matter else {}
    name = fields.get("license", "")
    name = fields.get("license_name", name) if name == "other" else name
    return name if name and name.isprintable() else None


def _fits(adapter: Adapter, entry: CatalogEntry) -> bool:
    """Return whether an adapter names the model as the one it was made for, by id or by path."""
    base = _json(adapter.path / ADAPTER_CONFIG).get("model")
    return isinstance(base, str) and Path(base).name == Path(entry.id).name


def _json(file: Path) -> dict[str, Any]:
    try:
        return load_json(file)
    except UnusableJson:
        return {}


def _read(file: Path, most: int) -> str:
    """Return at most `most` bytes of a text file; "" if it cannot be read."""
    try:
        with open_regular(file) as stream:
            return stream.read(most).decode("utf-8", "replace")
    except OSError:
        return ""
