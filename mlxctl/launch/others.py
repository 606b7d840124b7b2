"""The settings of programs that mlxctl does not start, as text for a file or a shell."""

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass

from mlxctl.api_access import KEY_VARIABLE
from mlxctl.launch.target import Target


@dataclass(frozen=True)
class Other:
    """A program whose settings go to the place `where`.

    `text` names the facts of a Target; `quote` writes the model and the key into it.
    """

    title: str
    where: str
    text: str
    quote: Callable[[str], str] = json.dumps

    def settings(self, target: Target) -> str:
        """Return the settings for a daemon and a model."""
        return target.fill_text(self.text, self.quote).strip()


OTHERS = {
    "aider": Other(
        "aider",
        "for a shell",
        """
export OPENAI_API_BASE=$url/v1
export OPENAI_API_KEY=$key
aider --model openai/$model --no-show-model-warnings
""",
        shlex.quote,
    ),
    "continue": Other(
        "Continue",
        "~/.continue/config.yaml",
        """
name: mlxd
version: 1.0.0
schema: v1
models:
  - name: $model
    provider: openai
    model: $model
    apiBase: $url/v1
    apiKey: $key
    roles: [chat, edit, apply]
    capabilities: [tool_use]
    defaultCompletionOptions:
      contextLength: $context
      maxTokens: $answer
""",
    ),
    "langchain": Other(
        "LangChain",
        "in Python, with the package langchain-openai",
        """
from langchain_openai import ChatOpenAI

model = ChatOpenAI(model=$model, base_url="$url/v1", api_key=$key)
""",
    ),
    "open-webui": Other(
        "Open WebUI",
        "for a shell",
        """
export OPENAI_API_BASE_URL=$url/v1
export OPENAI_API_KEY=$key
export DEFAULT_MODELS=$model
export ENABLE_OLLAMA_API=false
open-webui serve
""",
        shlex.quote,
    ),
    "vscode": Other(
        "VS Code",
        "chatLanguageModels.json (command: Chat: Open Language Models)",
        """
[
  {
    "name": "mlxd",
    "vendor": "customendpoint",
    "apiKey": $key,
    "apiType": "chat-completions",
    "models": [
      {
        "id": $model,
        "name": $model,
        "url": "$url/v1/chat/completions",
        "toolCalling": true,
        "vision": false,
        "maxInputTokens": $prompt,
        "maxOutputTokens": $answer
      }
    ]
  }
]
""",
    ),
    "zed": Other(
        "Zed",
        f"settings.json (command: zed: open settings); the key goes into {KEY_VARIABLE}",
        """
{
  "language_models": {
    "openai_compatible": {
      "mlxd": {
        "api_url": "$url/v1",
        "available_models": [
          {
            "name": $model,
            "display_name": $model,
            "max_tokens": $context,
            "max_output_tokens": $answer,
            "capabilities": {
              "tools": true,
              "images": false,
              "parallel_tool_calls": true,
              "prompt_cache_key": false
            }
          }
        ]
      }
    }
  },
  "agent": {"default_model": {"provider": "mlxd", "model": $model}}
}
""",
    ),
}
