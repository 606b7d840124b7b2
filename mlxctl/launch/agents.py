"""The agents that mlxctl starts, as data: what is installed how, and what each must be told.

What they are told counts for one run: it goes into the environment and the arguments, and the
person's own files of settings stay as they are.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mlxctl.api_access import KEY_VARIABLE
from mlxctl.launch.target import Target, as_text

_PATIENCE_MS = 3_600_000  # a long prompt may take minutes to read, and a model to load


@dataclass(frozen=True)
class Agent:
    """A program that works on a task by calling functions.

    It begins with about `first_prompt` tokens, and goes on for long with `advised` tokens of
    context. Of `environ`, `options` (each passed as `OPTION VALUE`) and `overrides` (each passed as
    `-c KEY=VALUE`), texts name the facts of a Target, and what is not a text is passed as JSON. A
    variable that is None is unset.
    """

    title: str
    install: str
    first_prompt: int
    advised: int
    environ: Mapping[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def variables(self, target: Target) -> dict[str, str | None]:
        """Return the environment variables to set, or to unset where one is None."""
        filled = {name: target.fill(value) for name, value in self.environ.items()}
        return {name: None if value is None else as_text(value) for name, value in filled.items()}

    def arguments(self, target: Target) -> list[str]:
        """Return the arguments that come before the person's own."""
        options = [
            word
            for name, value in self.options.items()
            for word in (name, as_text(target.fill(value)))
        ]
        # A JSON string or number is one in TOML, too.
        overrides = [
            word
            for key, value in self.overrides.items()
            for word in ("-c", f"{key}={json.dumps(target.fill(value), ensure_ascii=False)}")
        ]
        return options + overrides


AGENTS = {
    "claude": Agent(
        title="Claude Code",
        install="npm install -g @anthropic-ai/claude-code",
        first_prompt=20_000,
        advised=64_000,
        environ={
            "ANTHROPIC_AUTH_TOKEN": "$key",
            # What else could lead it to another server, or send it a key that is not meant for it.
            "ANTHROPIC_API_KEY": None,
            "CLAUDE_CODE_USE_BEDROCK": None,
            "CLAUDE_CODE_USE_FOUNDRY": None,
            "CLAUDE_CODE_USE_VERTEX": None,
        },
        options={
            # The settings of the person have an `env`, too, which outweighs the environment.
            "--settings": {
                "model": "$model",
                "env": {
                    "ANTHROPIC_BASE_URL": "$url",
                    "ANTHROPIC_MODEL": "$model",
                    "ANTHROPIC_SMALL_FAST_MODEL": "$model",
                    "ANTHROPIC_DEFAULT_FABLE_MODEL": "$model",
                    "ANTHROPIC_DEFAULT_HAIKU_MODEL": "$model",
                    "ANTHROPIC_DEFAULT_OPUS_MODEL": "$model",
                    "ANTHROPIC_DEFAULT_SONNET_MODEL": "$model",
                    "CLAUDE_CODE_SUBAGENT_MODEL": "$model",
                    "CLAUDE_CODE_ATTRIBUTION_HEADER": "0",
                    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
                    "CLAUDE_CODE_MAX_CONTEXT_TOKENS": "${context}",
                    "CLAUDE_CODE_MAX_OUTPUT_TOKENS": "${answer}",
                    "API_TIMEOUT_MS": str(_PATIENCE_MS),
                },
            }
        },
    ),
    "codex": Agent(
        title="Codex",
        install="npm install -g @openai/codex",
        first_prompt=9_000,
        advised=32_000,
        environ={KEY_VARIABLE: "$key"},
        overrides={
            "model": "$model",
            "model_provider": "mlxd",
            "model_context_window": "$context",
            "model_providers.mlxd.name": "mlxd",
            "model_providers.mlxd.base_url": "$url/v1",
            "model_providers.mlxd.wire_api": "responses",
            "model_providers.mlxd.env_key": KEY_VARIABLE,
            "model_providers.mlxd.stream_idle_timeout_ms": _PATIENCE_MS,
        },
    ),
    "opencode": Agent(
        title="opencode",
        install="npm install -g opencode-ai",
        first_prompt=7_500,
        advised=32_000,
        environ={
            KEY_VARIABLE: "$key",
            "OPENCODE_CONFIG_CONTENT": {
                "model": "mlxd/$model",
                "small_model": "mlxd/$model",
                "provider": {
                    "mlxd": {
                        "npm": "@ai-sdk/openai-compatible",
                        "name": "mlxd",
                        "options": {
                            "baseURL": "$url/v1",
                            "apiKey": f"{{env:{KEY_VARIABLE}}}",
                            "timeout": False,
                        },
                        "models": {
                            "$model": {"limit": {"context": "$context", "output": "$answer"}}
                        },
                    }
                },
            },
        },
    ),
}


def shell_lines(variables: Mapping[str, str | None], command: str, arguments: Sequence[str]) -> str:
    """Return lines with which a POSIX shell does what mlxctl would do."""
    lines = [
        f"unset {name}" if value is None else f"export {name}={shlex.quote(value)}"
        for name, value in variables.items()
    ]
    return "\n".join([*lines, shlex.join([command, *arguments])])
