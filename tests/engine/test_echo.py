from mlxd.engine.echo import PromptEcho
from mlxd.messages import Echo

BYTES = {0: b"<s>", 1: b" Hi", 2: b" \xc3", 3: b"\xa9", 4: b"!"}


def echo(tokens: list[int], text: str | None) -> PromptEcho:
    return PromptEcho(7, tokens, text, BYTES.__getitem__)


def scored(tokens: list[int]) -> list[tuple[tuple[int, float], list[tuple[int, float]]]]:
    return [((token, -float(token)), [(4, -0.5)]) for token in tokens]


def test_tokens_that_are_not_in_the_text_take_no_place_in_it() -> None:
    """A tokenizer may put a beginning before a text, and a space before its first word."""
    (part,) = echo([0, 1, 2, 3, 4], "Hi é!").part(1, scored([1, 2, 3, 4]))
    assert part.text == "Hi é!"
    assert part.offsets == [0, 0, 2, 3, 4]
    assert [entry.token.logprob for entry in part.logprobs] == [0, -1, -2, -3, -4]
    assert [entry.token.text for entry in part.logprobs][:2] == ["<s>", " Hi"]


def test_token_ids_are_decoded_and_parts_continue_each_other() -> None:
    prompt = echo([0, 1, 2, 3, 4], None)
    parts = [*prompt.part(1, scored([1, 2])), *prompt.part(3, scored([3, 4]))]
    assert [part.text for part in parts] == ["<s> Hi ", "é!"]
    assert [part.offsets for part in parts] == [[0, 3, 6], [0, 1]]
    assert prompt.done


def test_what_is_read_a_second_time_is_told_once() -> None:
    prompt = echo([0, 1, 4], None)
    prompt.part(1, scored([1]))
    (rest,) = prompt.part(1, scored([1, 4]))
    assert rest.text == "!"
    assert prompt.rest(scored=True) == []


def test_a_prompt_that_is_not_scored_is_its_text() -> None:
    assert echo([0, 1], "Hi").rest(scored=False) == [Echo(7, "Hi")]
    assert echo([1, 2, 3], None).rest(scored=False) == [Echo(7, " Hi é")]


def test_a_prompt_of_one_token_has_no_log_probability() -> None:
    (only,) = echo([1], "Hi").rest(scored=True)
    assert (only.text, [entry.token.id for entry in only.logprobs]) == ("Hi", [1])
