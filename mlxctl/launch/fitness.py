"""Whether a model can do an agent's work."""

from mlxctl.errors import CommandFailed
from mlxctl.launch.agents import Agent
from mlxd.control_api import ModelDetails


def room(model: ModelDetails) -> int | None:
    """Return how many tokens of context a conversation may have; None if that is unknown."""
    return min(filter(None, (model.context_length, model.context_fits)), default=None)


def check(agent: Agent, model: ModelDetails) -> list[str]:
    """Return what speaks against a model, one line each.

    Raises:
        CommandFailed: the agent cannot even begin with it.
    """
    if model.fault:
        raise CommandFailed(f"{model.id} cannot be loaded: {model.fault}")
    context = room(model)
    begins = f"{agent.title} begins with about {agent.first_prompt:,} tokens"
    doubts = []
    if context is not None and context < agent.first_prompt:
        raise CommandFailed(f"{begins}, and {_has(model, context)}; {_remedy(model, context)}")
    if context is not None and context < agent.advised:
        advised = f"for long tasks it needs {agent.advised:,}"
        doubts.append(f"{begins}, {advised}, and {_has(model, context)}")
    if model.template is None or not model.template.tools:
        doubts.append(f"the chat template of {model.id} has no functions, which agents call")
    return doubts


def _has(model: ModelDetails, context: int) -> str:
    what = "the context of" if context == model.context_length else "the context in memory of"
    return f"{what} {model.id} is {context:,}"


def _remedy(model: ModelDetails, context: int) -> str:
    another = "choose another model with --model"
    return another if context == model.context_length else f"{another}, or free memory"
