"""The course of a benchmark, with sessions that only tell what they were asked."""

from collections.abc import Callable, Sequence

import pytest

from mlxctl.bench.measure import DISK, Measurement, Plan, Reload, Samples
from mlxctl.bench.runs import CHAT, TEXT, Run
from mlxctl.bench.summary import comparisons, prompt_cache, short_answers, throughput
from mlxctl.errors import BenchmarkError, BenchmarkRefused


class ScriptedSession:
    """A server on which streams take `seconds`; `fault` says what is wrong with a run, if any."""

    def __init__(
        self,
        name: str,
        log: list[tuple[str, list[str]]],
        *,
        seconds: float = 0.01,
        fault: Callable[[Sequence[str]], str | None] = lambda _texts: None,
        ends_after: int = 10_000,
        chat_only: bool = False,
    ) -> None:
        self.name, self.path = name, TEXT
        self._log, self._seconds, self._fault = log, seconds, fault
        self._ends_after, self._chat_only = ends_after, chat_only

    def run(self, texts: Sequence[str], tokens: int, seconds: float) -> Run:
        self._log.append((self.name, list(texts)))
        if reason := self._fault(texts):
            raise BenchmarkError(reason)
        count, counted = len(texts), min(tokens, self._ends_after)
        times = [[self._seconds / 2, self._seconds]] * count
        lengths = [len(text) for text in texts]  # a character is a token
        return Run(lengths, [counted] * count, times, self._seconds, 0.0, [None] * count)

    def try_out(self, path: str, text: str, tokens: int, seconds: float) -> Run:
        if self._chat_only and path == TEXT:
            raise BenchmarkRefused("status 404: no such path", 404)
        self.path = path
        return self.run([text], tokens, seconds)


class QuietWatch:
    """A daemon with `others` requests of others."""

    def __init__(self, others: int = 0) -> None:
        self.others = others

    def look(self) -> object:
        return object()

    def expecting(self, requests: int) -> "QuietWatch":
        return self

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


def plan(**changes: object) -> Plan:
    usual = {
        "prompts": (100, 1000),
        "streams": (1, 4),
        "tokens": 32,
        "rounds": 2,
        "seconds": 60.0,
        "context": 4096,
    }
    return Plan(**usual | changes)


def measure(
    sessions: Sequence[ScriptedSession],
    reload: Reload | None = None,
    watch: QuietWatch | None = None,
    **changes: object,
) -> Samples:
    watch = watch or QuietWatch()
    measurement = Measurement(sessions, plan(**changes), watch, lambda *_: None)
    return measurement.run(reload)


def test_servers_get_the_same_prompts_in_turns() -> None:
    log: list[tuple[str, list[str]]] = []
    samples = measure([ScriptedSession("mlxd", log), ScriptedSession("other", log)])

    many = [(name, texts) for name, texts in log if len(texts) == 4]
    assert [name for name, _ in many] == ["mlxd", "other"] * 2 + ["other", "mlxd"] * 2
    for (_, texts), (_, same) in zip(many[::2], many[1::2], strict=True):
        assert texts == same
        assert len(set(texts)) == 4
    assert [len(text) for text in many[0][1]] == [100] * 4
    assert samples.runs.keys() == {
        (name, prompt, streams)
        for name in ("mlxd", "other")
        for prompt in (100, 1000)
        for streams in (1, 4)
    }
    assert all(runs.keys() == {0, 1} for runs in samples.runs.values())
    assert samples.left_out == []


def test_no_prompt_comes_twice() -> None:
    log: list[tuple[str, list[str]]] = []
    measure([ScriptedSession("mlxd", log)])

    texts = [text for _, texts in log for text in texts]
    warm = [text for text in texts if any(text.startswith(f"{other} ") for other in texts)]
    assert len(texts) == len(set(texts))
    assert len(warm) == 4  # the follow-ups, one for each run of one stream


def test_from_disk_comes_what_was_asked_before_the_model_was_unloaded() -> None:
    log: list[tuple[str, list[str]]] = []
    reload = Reload(lambda: log.append(("reload", [])), seconds=1.0)
    samples = measure([ScriptedSession("mlxd", log)], reload, prompts=(100,), rounds=1)

    at = log.index(("reload", []))
    before = [texts[0] for _, texts in log[:at] if len(texts) == 1 and len(texts[0]) == 100]
    assert log[-1][1][0].startswith(before[0])
    assert len(log) == at + 3  # a short one to warm up, and the follow-up
    assert samples.reuse["mlxd", 100, DISK].keys() == {0}


def test_model_that_others_use_is_not_unloaded() -> None:
    reload = Reload(lambda: pytest.fail("unloaded"), seconds=1.0)
    samples = measure([ScriptedSession("mlxd", [])], reload, QuietWatch(others=1))
    assert samples.left_out == ["the prompt cache on disk: others use the daemon"]


def test_what_would_take_too_long_is_left_out() -> None:
    reload = Reload(lambda: pytest.fail("unloaded"), seconds=100.0)
    samples = measure([ScriptedSession("mlxd", [], seconds=40.0)], reload)
    assert samples.left_out == [
        "the prompt cache on disk: no time for it",
        "4 streams with prompts of 100 tokens: no time for them",
        "1 stream with prompts of 1,000 tokens: no time for them",
        "4 streams with prompts of 1,000 tokens: no time for them",
    ]
    assert samples.runs.keys() == {("mlxd", 100, 1)}


def test_slow_model_gives_shorter_answers() -> None:
    slow, fast = (ScriptedSession("mlxd", [], seconds=each) for each in (2.0, 0.01))
    assert measure([fast], tokens=None).tokens == 128
    assert measure([slow], tokens=None, prompts=(100,), streams=(1, 2)).tokens == 64


def test_prompts_longer_than_the_context_are_left_out() -> None:
    samples = measure([ScriptedSession("mlxd", [])], context=1000)
    assert samples.left_out == ["prompts of 1,000 tokens: the context has 1,000"]
    with pytest.raises(BenchmarkError, match="no prompt fits: the context has 100 tokens"):
        measure([ScriptedSession("mlxd", [])], context=100)


def test_fault_of_one_run_leaves_the_others() -> None:
    own = ScriptedSession("mlxd", [])
    other = ScriptedSession(
        "other", [], fault=lambda texts: "status 400: too much" if len(texts) == 4 else None
    )
    samples = measure([own, other])
    assert samples.left_out == [
        "4 streams with prompts of 100 tokens: other: status 400: too much",
        "4 streams with prompts of 1,000 tokens: other: status 400: too much",
    ]
    assert [(row.prompt, row.streams) for row in comparisons(samples, ["mlxd", "other"])] == [
        (100, 1),
        (1000, 1),
    ]


def test_server_that_does_not_answer_at_all() -> None:
    broken = ScriptedSession("other", [], fault=lambda _: "a connection failed")
    with pytest.raises(BenchmarkError, match=r"^other: a connection failed$"):
        measure([ScriptedSession("mlxd", []), broken])


def test_chat_for_all_where_one_has_only_that() -> None:
    sessions = [ScriptedSession("mlxd", []), ScriptedSession("other", [], chat_only=True)]
    assert measure(sessions).api == CHAT
    assert {session.path for session in sessions} == {CHAT}


def test_figures() -> None:
    sessions = [
        ScriptedSession("mlxd", [], seconds=0.01),
        ScriptedSession("other", [], seconds=0.02, ends_after=16),
    ]
    names = ["mlxd", "other"]
    samples = measure(sessions, prompts=(100,))

    own, other, *_ = throughput(samples, names)
    assert (own.server, own.prompt_tokens, own.answer_tokens) == ("mlxd", 100, 32)
    assert (own.first_token_s, own.tokens_per_second, own.rounds) == (0.005, 3200.0, 2)
    assert (other.server, other.answer_tokens, other.tokens_per_second) == ("other", 16, 800.0)
    assert [row.tokens_per_second for row in comparisons(samples, names)] == [4.0, 4.0]
    assert [row.first_token for row in comparisons(samples, names)] == [2.0, 2.0]
    assert [(row.server, row.state) for row in prompt_cache(samples, names)] == [
        ("mlxd", "cold"),
        ("mlxd", "warm"),
        ("other", "cold"),
        ("other", "warm"),
    ]
    assert list(short_answers(samples)) == ["other"]
