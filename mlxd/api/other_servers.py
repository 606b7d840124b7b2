"""What other servers' fields mean here: refused by name, or ignored.

The names are those of the request types of OpenAI's SDK 3.57, vLLM, SGLang, llama.cpp's server, LM
Studio and Ollama. A field that mlxd honors has its place beside the others of its kind.
"""

from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import Annotated, Any, get_args, get_type_hints

import msgspec
from msgspec import Meta

from mlxd.api.decode import EXACTLY
from mlxd.errors import UnsupportedParameter

_EMPTY: tuple[Any, ...] = (None, "", [], {})
_ALLOWED, _SHOWN = "allowed", "shown"


def only(*values: Any, up_to: float | None = None) -> Meta:
    """Return what marks a field that would change the answer and cannot be honored.

    Only `values`, numbers up to `up_to`, and null or something empty ask for nothing.
    """
    shown = [msgspec.json.encode(value).decode() for value in values]
    schema: dict[str, Any] = {"enum": [*_EMPTY, *values]}
    if up_to is not None:
        shown.append(f"a number up to {up_to:g}")
        schema = {"anyOf": [schema, {"type": "number", "maximum": up_to}]}

    def allows(value: Any) -> bool:
        if any(type(value) is type(one) and value == one for one in (*_EMPTY, *values)):
            return True
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        numbers = [one for one in values if not isinstance(one, bool)]
        return value in numbers or (up_to is not None and value <= up_to)

    description = "Not supported." + (f" Accepted: {' or '.join(shown)}." if shown else "")
    extra = {_ALLOWED: allows, _SHOWN: shown}
    return Meta(description=description, extra_json_schema={EXACTLY: schema}, extra=extra)


@cache
def refused_fields(kind: type[msgspec.Struct]) -> dict[str, dict[str, Any]]:
    """Return the fields of a type that have an `only`, each with what it says."""
    hints = get_type_hints(kind, include_extras=True)
    extras = {
        name: meta.extra
        for name, hint in hints.items()
        for meta in get_args(hint)
        if isinstance(meta, Meta) and meta.extra
    }
    return {name: dict(extra) for name, extra in sorted(extras.items()) if _ALLOWED in extra}


@cache
def _checks(
    kind: type[msgspec.Struct],
) -> tuple[list[tuple[str, Callable[[Any], bool]]], Callable[[object], tuple[Any, ...]]]:
    """Return the fields with their checks, and what reads all of them."""
    fields = refused_fields(kind)
    checks = [(name, extra[_ALLOWED]) for name, extra in fields.items()]
    (first, *others) = fields
    if not others:  # for one name, attrgetter's reader returns no tuple
        return checks, lambda body: (getattr(body, first),)
    return checks, attrgetter(first, *others)


def check_refused(body: msgspec.Struct, prefix: str = "") -> None:
    """Check the fields of `body` that have an `only`.

    Raises:
        UnsupportedParameter: one asks for something; `prefix` begins its path.
    """
    checks, read = _checks(type(body))
    values = read(body)
    if values.count(None) == len(values):  # as in nearly every request
        return
    for (name, allows), value in zip(checks, values, strict=True):
        if value is None or allows(value):
            continue
        shown = " or ".join(refused_fields(type(body))[name][_SHOWN])
        allowed = f"; it may be {shown}, or left out" if shown else "; leave the field out"
        param = prefix + name
        raise UnsupportedParameter(f"`{param}`: this value is not supported{allowed}", param=param)


class RefusedFields(msgspec.Struct, frozen=True, kw_only=True):
    """Fields of other servers that would change the answer, with the values that do not."""

    adaptive_target: Annotated[Any, only(-1)] = None
    allowed_token_ids: Annotated[Any, only()] = None
    bad_words: Annotated[Any, only()] = None
    custom_logit_processor: Annotated[Any, only()] = None
    custom_params: Annotated[Any, only()] = None
    dry_multiplier: Annotated[Any, only(0)] = None
    dynatemp_range: Annotated[Any, only(0)] = None
    generation_prompt: Annotated[Any, only()] = None
    grammar_lazy: Annotated[Any, only(False)] = None
    grammar_triggers: Annotated[Any, only()] = None
    guided_whitespace_pattern: Annotated[Any, only()] = None
    include_stop_str_in_output: Annotated[Any, only(False)] = None
    input_ids: Annotated[Any, only()] = None
    logits_processors: Annotated[Any, only()] = None
    logprob_token_ids: Annotated[Any, only()] = None
    lora: Annotated[Any, only()] = None
    lora_path: Annotated[Any, only()] = None
    min_keep: Annotated[Any, only(0, 1)] = None
    mirostat: Annotated[Any, only(0)] = None
    n_indent: Annotated[Any, only(0)] = None
    no_stop_trim: Annotated[Any, only(False)] = None
    parse_tool_calls: Annotated[Any, only(True)] = None
    post_sampling_probs: Annotated[Any, only(False)] = None
    prompt_embeds: Annotated[Any, only()] = None
    prompt_logprobs: Annotated[Any, only()] = None
    reasoning_format: Annotated[Any, only("auto", "deepseek")] = None
    repetition_detection: Annotated[Any, only()] = None
    response_fields: Annotated[Any, only()] = None
    return_hidden_states: Annotated[Any, only(False)] = None
    return_meta_info: Annotated[Any, only(False)] = None
    return_prompt_text: Annotated[Any, only(False)] = None
    return_prompt_token_ids: Annotated[Any, only(False)] = None
    return_routed_experts: Annotated[Any, only(False)] = None
    return_token_ids: Annotated[Any, only(False)] = None
    return_tokens: Annotated[Any, only(False)] = None
    return_tokens_as_token_ids: Annotated[Any, only(False)] = None
    samplers: Annotated[Any, only()] = None
    separate_reasoning: Annotated[Any, only(True)] = None
    session_params: Annotated[Any, only()] = None
    stop_regex: Annotated[Any, only()] = None
    structural_tag: Annotated[Any, only()] = None
    t_max_predict_ms: Annotated[Any, only(up_to=0)] = None
    tfs_z: Annotated[Any, only(1)] = None
    top_n_sigma: Annotated[Any, only(up_to=0)] = None
    truncate_prompt_tokens: Annotated[Any, only(-1)] = None
    typical_p: Annotated[Any, only(1)] = None
    use_beam_search: Annotated[Any, only(False)] = None
    vllm_xargs: Annotated[Any, only()] = None
    watermarking: Annotated[Any, only(False)] = None


IGNORED: dict[str, tuple[str, ...]] = {
    "who asks, and what is kept of it": (
        "custom_labels",
        "metadata",
        "request_id",
        "rid",
        "safety_identifier",
        "session_id",
        "store",
        "user",
    ),
    "where, when and how fast it is computed": (
        "backend_sampling",
        "bootstrap_host",
        "bootstrap_port",
        "bootstrap_room",
        "cache_prompt",
        "cache_salt",
        "data_parallel_rank",
        "disagg_prefill_dp_rank",
        "ec_transfer_params",
        "extra_key",
        "guided_decoding_backend",
        "id_slot",
        "kv_transfer_params",
        "n_cache_reuse",
        "n_discard",
        "n_keep",
        "ngram_corpus_id",
        "prediction",
        "priority",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "routed_dp_rank",
        "service_tier",
        "sse_ping_interval",
        "stream_interval",
        "stream_reasoning",
    ),
    "facts beside the answer": (
        "include_reasoning",
        "return_cached_tokens_details",
        "return_mm_kwargs",
        "return_progress",
        "return_token_offsets",
        "routed_experts_prompt_start",
        "routed_experts_start_len",
        "timings_per_token",
        "verbose",
        "_debug_render_only",
    ),
    "details of what is refused or off": (
        "adaptive_decay",
        "dry_allowed_length",
        "dry_base",
        "dry_penalty_last_n",
        "dry_sequence_breakers",
        "dynatemp_exponent",
        "early_stopping",
        "images_config",
        "length_penalty",
        "max_dynamic_patch",
        "media_io_kwargs",
        "min_dynamic_patch",
        "mirostat_eta",
        "mirostat_tau",
        "mm_processor_kwargs",
        "reasoning_budget_end_tag",
        "reasoning_budget_end_tags",
        "reasoning_budget_message",
        "reasoning_budget_start_tag",
        "reasoning_control",
        "truncation_side",
        "use_audio_in_video",
    ),
    "what mlxd does by itself": (
        "chat_format",
        "chat_parser",
        "preserved_tokens",
        "skip_special_tokens",
        "spaces_between_special_tokens",
        "task",
    ),
}
"""Fields that cannot change the answer, by what they say."""
