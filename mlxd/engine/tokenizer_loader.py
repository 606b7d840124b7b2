"""A model's tokenizer with its chat template, from whichever files a folder has.

transformers finds the tokenizer. It does not read a template in `chat_template.json`, which only
its processors do; it loses the default one beside `additional_chat_templates`; and what it makes of
a `tekken.json` knows no special tokens.

`python -m mlxd.engine.tokenizer_loader FOLDER` prints why a folder's tokenizer cannot be loaded, or
nothing.
"""

import json
import sys
from pathlib import Path
from typing import Any

from mlx_lm import utils

from mlxd.engine.load_faults import faults_explained
from mlxd.errors import LoadFailed

_CONFIG = "tokenizer_config.json"
_TEKKEN_TOKENS = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
}
_CLEARER = {
    "contains custom code": "it needs Python code of the model's own, which is not there, or runs "
    "only with engine.trust_remote_code = true",
    "instantiate the backend tokenizer": "there is none in its files that transformers can read",
    "`tiktoken` is required": "it is a tiktoken file, which transformers cannot read by itself",
}
"""Words in transformers' errors, and what they mean here."""


def load_tokenizer(path: Path, config: dict[str, Any], *, trusted: bool = False) -> Any:
    """Load a folder's tokenizer in mlx_lm's TokenizerWrapper; without MLX, so for any thread.

    `config` is the model's. Only if the folder is `trusted` may it run Python code in it.

    Raises:
        LoadFailed: it cannot be loaded.
    """
    trusted = trusted and any(path.glob("*.py"))  # else transformers would want the code to be here
    try:
        with faults_explained("its tokenizer cannot be loaded: "):
            options = {"trust_remote_code": trusted, **_chat_template(path), **_tekken_tokens(path)}
            return utils.load_tokenizer(path, options, eos_token_ids=config.get("eos_token_id"))
    except LoadFailed as error:
        for words, meaning in _CLEARER.items():
            if words in error.message:
                raise LoadFailed(f"its tokenizer cannot be loaded: {meaning}") from error
        raise


def _chat_template(path: Path) -> dict[str, str]:
    """Return the argument for the templates that transformers would not find, if there are any.

    Of several it is one template that does what transformers would: take the one named `tool_use`
    if there are tools, else `default`.
    """
    templates = dict[str, str]()
    missed = False
    if (file := path / "chat_template.jinja").is_file():
        templates = {"default": file.read_text(encoding="utf-8")}
    elif not (templates := _by_name(_json(path / _CONFIG).get("chat_template"))):
        templates = _by_name(_json(path / "chat_template.json").get("chat_template"))
        missed = bool(templates)
    for file in (path / "additional_chat_templates").glob("*.jinja"):
        templates[file.stem] = file.read_text(encoding="utf-8")
    if not templates or (list(templates) == ["default"] and not missed):
        return {}
    default = templates.get("default", next(iter(templates.values())))
    with_tools = templates.get("tool_use", default)
    if with_tools == default:
        return {"chat_template": default}
    # The newlines belong to the tags; a template's first line is then the first of a line.
    first, second = with_tools.removesuffix("\n"), default.removesuffix("\n")
    return {"chat_template": f"{{% if tools %}}\n{first}{{% else %}}\n{second}{{% endif %}}"}


def _by_name(template: object) -> dict[str, str]:
    """Return the templates of a configuration, which has one, or several with names."""
    if isinstance(template, list):
        pairs = [(one.get("name"), one.get("template")) for one in template if type(one) is dict]
    else:
        pairs = list((template if isinstance(template, dict) else {"default": template}).items())
    return {str(name): text for name, text in pairs if isinstance(text, str) and text}


def _tekken_tokens(path: Path) -> dict[str, Any]:
    """Return the special tokens of a `tekken.json` that is the only tokenizer."""
    if (path / "tokenizer.json").exists() or not (file := path / "tekken.json").is_file():
        return {}
    told = _json(path / _CONFIG)
    special = _json(file).get("special_tokens")
    known = {token.get("token_str") for token in special} if special else None
    tokens = {kind: text for kind, text in _TEKKEN_TOKENS.items() if known is None or text in known}
    return {
        name: value for name, value in {**tokens, "add_bos_token": True}.items() if name not in told
    }


def _json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    content = json.loads(file.read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else {}


def main() -> None:
    """Print why the tokenizer of the folder that is named cannot be loaded, or nothing."""
    try:
        load_tokenizer(Path(sys.argv[1]), {})
    except LoadFailed as error:
        print(error.message)  # noqa: T201


if __name__ == "__main__":
    main()
