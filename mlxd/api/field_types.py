"""The types of fields that several dialects have, and Ollama's options."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from mlxd.api.decode import doc
from mlxd.api.other_servers import only

INT32_MAX = 2**31 - 1
MAX_CHOICES = 128

MAX_STOPS = 256
MAX_STOP_TOKENS = 1000
MOST_BIASES = 10_000
_LONGEST_STOP = 1000
MAX_TOP_LOGPROBS = 20

TokenCount = int | None
LastTokens = Annotated[int, Meta(ge=-1, le=INT32_MAX)] | None
ContextSize = Annotated[int, Meta(ge=0, le=INT32_MAX)] | None
PenaltyValue = Annotated[float, Meta(ge=-100, le=100)] | None
Share = Annotated[float, Meta(ge=0, le=1)] | None
_StopText = Annotated[str, Meta(max_length=_LONGEST_STOP)]
StopTexts = _StopText | Annotated[list[_StopText], Meta(max_length=MAX_STOPS)] | None
FactorValue = Annotated[float, Meta(ge=0, le=100)] | None
TopLogprobs = Annotated[int, Meta(ge=-1, le=MAX_TOP_LOGPROBS)] | None
Choices = Annotated[int, Meta(ge=1, le=MAX_CHOICES)] | None
SeedValue = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None
TemperatureValue = Annotated[float, Meta(ge=0, le=2)] | None
TopKValue = Annotated[int, Meta(ge=-1, le=INT32_MAX)] | None
ThoughtTokens = Annotated[int, Meta(ge=-1)] | None


def another(name: str) -> Meta:
    """Return the description of a field that is another name for one."""
    return doc(f"Another name for `{name}`.")


class OllamaOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Ollama's way to name fields. Those of the request itself take precedence."""

    num_predict: Annotated[TokenCount, another("max_tokens")] = None
    temperature: Annotated[TemperatureValue, doc("As in the request.")] = None
    top_p: Annotated[Share, doc("As in the request.")] = None
    top_k: Annotated[TopKValue, doc("As in the request.")] = None
    min_p: Annotated[Share, doc("As in the request.")] = None
    repeat_penalty: Annotated[FactorValue, doc("As in the request.")] = None
    repeat_last_n: Annotated[LastTokens, doc("As in the request.")] = None
    presence_penalty: Annotated[PenaltyValue, doc("As in the request.")] = None
    frequency_penalty: Annotated[PenaltyValue, doc("As in the request.")] = None
    seed: Annotated[SeedValue, doc("As in the request.")] = None
    stop: Annotated[StopTexts, doc("As in the request.")] = None
    mirostat: Annotated[Any, only(0)] = None
    tfs_z: Annotated[Any, only(1)] = None
    typical_p: Annotated[Any, only(1)] = None
