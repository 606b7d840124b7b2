"""Prompts to tokens, with the tiny models' tokenizers: one token a byte."""

from pathlib import Path
from typing import Any

import pytest
from mlx_lm.utils import load_tokenizer

from mlxd.engine.loader import LoadedModel
from mlxd.engine.prompts import PromptReader, begins_in_reasoning
from mlxd.engine.sandbox import Sandbox
from mlxd.errors import ContextLengthExceeded, InvalidRequest
from mlxd.generate_request import ChatPrompt, Prompt, Template, TextPrompt, TokensPrompt

USER = {"role": "user", "content": "hi"}


@pytest.fixture
def tokenizer(loaded: LoadedModel) -> Any:
    return loaded.tokenizer


@pytest.fixture(scope="module")
def marked(marked_model: Path) -> Any:
    """A tokenizer whose template supports thoughts and tools."""
    return load_tokenizer(marked_model)


def tokenize(tokenizer: Any, prompt: Prompt, sandbox: Sandbox | None = None) -> list[int]:
    return PromptReader(tokenizer, sandbox=sandbox).read(prompt)


def render(
    tokenizer: Any,
    template: Template,
    *messages: dict[str, Any],
    sandbox: Sandbox | None = None,
) -> str:
    prompt = ChatPrompt([dict(message) for message in messages or [USER]], template)
    return str(tokenizer.decode(tokenize(tokenizer, prompt, sandbox)))


def test_text_goes_to_the_tokenizer_as_it_is(tokenizer: Any) -> None:
    assert tokenizer.decode(tokenize(tokenizer, TextPrompt("hello"))) == "hello"


def test_a_chat_ends_where_the_assistant_begins(tokenizer: Any) -> None:
    text = render(tokenizer, Template())
    assert text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


def test_token_ids_go_through(tokenizer: Any) -> None:
    assert tokenize(tokenizer, TokensPrompt([5, 6])) == [5, 6]


@pytest.mark.parametrize("prompt", [TextPrompt(""), TokensPrompt([])])
def test_an_empty_prompt_is_rejected(tokenizer: Any, prompt: TextPrompt | TokensPrompt) -> None:
    with pytest.raises(InvalidRequest, match="empty") as caught:
        tokenize(tokenizer, prompt)
    assert caught.value.param == "prompt"


def test_a_template_of_the_request_replaces_the_models(tokenizer: Any, sandbox: Sandbox) -> None:
    template = Template(
        source="{{ messages[0].content | upper }}, {{ mood }}", arguments={"mood": "ok"}
    )
    assert render(tokenizer, template, sandbox=sandbox) == "HI, ok"


def test_arguments_reach_the_models_template(marked: Any) -> None:
    thinking = render(marked, Template())
    silent = render(marked, Template(arguments={"enable_thinking": False}))
    hard = render(marked, Template(arguments={"reasoning_effort": "high"}))
    assert thinking == silent + "<think>\n"
    assert "<|im_start|>effort\nhigh<|im_end|>" in hard


def test_a_prompt_that_opens_a_thought_is_recognized(marked: Any, tokenizer: Any) -> None:
    def opened(tokenizer: Any, **arguments: Any) -> bool:
        prompt = ChatPrompt([dict(USER)], Template(arguments=arguments))
        return begins_in_reasoning(tokenizer, tokenize(tokenizer, prompt))

    assert opened(marked)
    assert not opened(marked, enable_thinking=False)
    assert not opened(tokenizer)


def test_a_role_mapping_replaces_the_template_by_prefixes(tokenizer: Any) -> None:
    mapping = {"user": "Q: ", "assistant": "A:", "stop": "\n"}
    assert render(tokenizer, Template(role_mapping=mapping)) == "Q: hi\nA:"


def test_a_model_without_a_template_gets_a_plain_dialogue(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer._tokenizer, "has_chat_template", False)
    assert render(tokenizer, Template()) == "USER: hi\nASSISTANT:"
    assert render(tokenizer, Template(role_mapping={"user": "U "})) == "U hi"


def test_a_model_without_a_template_may_be_given_the_default_one(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer._tokenizer, "has_chat_template", False)
    text = render(tokenizer, Template(default=True))
    assert text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


def test_the_last_message_can_be_continued(tokenizer: Any) -> None:
    template = Template(arguments={"continue_final_message": True})
    text = render(tokenizer, template, USER, {"role": "assistant", "content": "Well,"})
    assert text.endswith("<|im_start|>assistant\nWell,")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ messages[7].content }}", "has no element 7"),
        ("{% if %}", "Expected an expression"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{{ cycler.__init__.__globals__ }}", "unsafe"),
    ],
)
def test_a_template_that_fails_or_reaches_out_says_why(
    tokenizer: Any, sandbox: Sandbox, source: str, reason: str
) -> None:
    with pytest.raises(InvalidRequest, match=reason) as caught:
        render(tokenizer, Template(source=source), sandbox=sandbox)
    assert caught.value.param == "chat_template"


ENDLESS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (ENDLESS, r"took more than 0\.4 s"),
        ("{{ 10 ** (10 ** 9) }}", r"took more than 0\.4 s"),  # one call into C, with the GIL
        ("{{ 'a' * 900000000 }}", "takes more than 512 MB"),
        ("{{ 'a' * 40000000 }}", "writes too much"),
        ("{{ raise_exception('\\ud800') }}", r"\\ud800"),
        ("a" * 300_000, "longer than 262144 characters"),
    ],
    ids=["loop", "power", "memory", "text", "half a character", "long"],
)
def test_a_hostile_template_is_refused(
    tokenizer: Any,
    sandbox: Sandbox,
    source: str,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = 0.4 if reason.startswith("took") else 20
    monkeypatch.setattr("mlxd.engine.prompts.TEMPLATE_SECONDS", seconds)
    with pytest.raises(InvalidRequest, match=reason) as caught:
        render(tokenizer, Template(source=source), sandbox=sandbox)
    assert caught.value.param == "chat_template"
    caught.value.message.encode()


@pytest.mark.parametrize("name", ["tokenize", "return_tensors", "tools", "messages"])
def test_arguments_of_the_renderer_cannot_be_set(tokenizer: Any, name: str) -> None:
    with pytest.raises(InvalidRequest, match=name) as caught:
        render(tokenizer, Template(arguments={name: True}))
    assert caught.value.param == "chat_template_kwargs"


@pytest.mark.parametrize(
    ("size", "told"), [(100, "100 tokens"), (100_000, "100000 characters, at least")]
)
def test_a_prompt_longer_than_the_context_is_rejected(tokenizer: Any, size: int, told: str) -> None:
    with pytest.raises(ContextLengthExceeded, match=f"{told}.*context holds 100 ") as caught:
        PromptReader(tokenizer, 100).read(TextPrompt("x" * size))
    assert caught.value.param == "prompt"


def test_a_token_outside_the_vocabulary_is_named(tokenizer: Any) -> None:
    with pytest.raises(InvalidRequest, match="token ID 999 is outside") as caught:
        tokenize(tokenizer, TokensPrompt([1, 999]))
    assert caught.value.param == "prompt[1]"


def test_the_boundaries_are_where_conversations_part(marked: Any) -> None:
    system = {"role": "system", "content": "Be brief."}
    asked = {"role": "user", "content": "one"}
    answered = {"role": "assistant", "content": "1"}
    reader = PromptReader(marked)

    def parts(*messages: dict[str, Any], **arguments: Any) -> list[str]:
        prompt = ChatPrompt([dict(each) for each in messages], Template(arguments=arguments))
        chat = reader.read_chat(prompt)
        return [marked.decode(chat.tokens[:place]) for place in reader.boundaries(chat)]

    begun = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n"
    told = f"{begun}one<|im_end|>\n<|im_start|>assistant\n"
    assert parts(system, asked) == [begun, told]
    assert parts(system, asked, enable_thinking=True) == [begun, told]
    more = f"{told}1<|im_end|>\n<|im_start|>user\n"
    assert parts(system, asked, answered, USER) == [
        begun,
        more,
        f"{more}hi<|im_end|>\n<|im_start|>assistant\n",
    ]
    assert parts(asked) == ["", "<|im_start|>user\none<|im_end|>\n<|im_start|>assistant\n"]


def test_a_template_that_rejects_an_unusual_conversation_has_fewer_boundaries(
    tokenizer: Any,
) -> None:
    source = (
        "{% if messages | length > 2 %}{{ raise_exception('no') }}{% endif %}"
        "{{ messages[0].content }}"
    )
    prompt = ChatPrompt([dict(USER)], Template(source=source, trusted=True))
    reader = PromptReader(tokenizer)
    assert reader.boundaries(reader.read_chat(prompt)) == (0, 0)
