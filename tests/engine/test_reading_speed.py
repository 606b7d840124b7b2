"""How many tokens of a prompt are read at once while others generate, on machines of many kinds."""

from dataclasses import dataclass

import pytest

from mlxd.engine.reading_speed import PromptSpeed, ReadingSpeed

LIMIT = 2048
PROMPT = 6000


@dataclass
class Machine:
    """Takes `fixed` seconds for a part and `each` for each of its tokens, `step` for a step."""

    fixed: float
    each: float
    step: float

    def read(self, speed: ReadingSpeed, late: float = 0.0) -> list[tuple[int, float]]:
        """Read a prompt beside others; return tokens and seconds of each part, the first `late`."""
        parts = []
        left, own = PROMPT, PromptSpeed()
        while left:
            tokens = min(speed.part(LIMIT, self.step, own), left)
            seconds = self.fixed + tokens * self.each + self.step + late
            speed.add(tokens, seconds, self.step, own)
            parts.append((tokens, seconds))
            left, late = left - tokens, 0.0
        return parts

    @property
    def alone(self) -> float:
        return -(-PROMPT // LIMIT) * self.fixed + PROMPT * self.each


GPU = Machine(fixed=0.05, each=0.00005, step=0.007)
MACHINES = {
    "gpu": GPU,
    "small model": Machine(fixed=0.001, each=0.0002, step=0.002),
    "large model": Machine(fixed=0.01, each=0.002, step=0.03),
    "most is fixed": Machine(fixed=0.003, each=0.00001, step=0.003),
}


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_beside_others_a_prompt_takes_little_longer_than_alone(machine: Machine) -> None:
    speed = ReadingSpeed()
    for _ in range(3):
        parts = machine.read(speed)
    assert sum(seconds for _, seconds in parts) < 1.5 * machine.alone


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
def test_others_wait_for_a_few_steps(machine: Machine) -> None:
    speed = ReadingSpeed()
    longest = max(0.03, 4 * (machine.step + machine.fixed)) + machine.step
    for _ in range(3):
        assert max(seconds for _, seconds in machine.read(speed)[1:]) < 1.3 * longest


def test_a_slow_first_part_is_soon_forgotten() -> None:
    speed = ReadingSpeed()
    GPU.read(speed, late=0.2)
    assert len(GPU.read(speed)) < 10


@pytest.mark.parametrize(
    ("tokens_per_second", "part"), [(100, 256), (1000, 480), (3000, 1472), (10_000, LIMIT)]
)
def test_while_nobody_generates_a_part_takes_no_longer_than_a_new_request_can_wait(
    tokens_per_second: int, part: int
) -> None:
    speed, own = ReadingSpeed(), PromptSpeed()
    for _ in range(3):
        tokens = speed.part(LIMIT, None, own)
        speed.add(tokens, tokens / tokens_per_second, None, own)
    assert speed.part(LIMIT, None, own) == part


def test_what_is_fixed_makes_parts_larger_also_alone() -> None:
    speed, own = ReadingSpeed(), PromptSpeed()
    for tokens in (256, 512) * 4:
        speed.add(tokens, 1.0 + tokens / 500, None, own)
    assert speed.part(LIMIT, None, own) > 1000  # it would be 256 if nothing were fixed


def test_a_slower_part_counts_more_than_a_faster_one() -> None:
    def following(*seconds: float) -> int:
        speed, own = ReadingSpeed(), PromptSpeed()
        for each in seconds:
            speed.add(1000, each, 0.0, own)
        return speed.part(LIMIT, 0.02, own)

    assert following(1.0, 0.1) == 288  # 1000 + 0.3 * 9000 tokens a second, for 0.08 s
    assert following(1.0, 0.1, 2.0) == 32


@pytest.mark.parametrize("step", [None, 0.003])
def test_each_prompt_has_a_speed_of_its_own(step: float | None) -> None:
    speed, own, deep = ReadingSpeed(), PromptSpeed(), PromptSpeed()
    for _ in range(10):
        speed.add(2000, 0.1, step, own)  # the beginnings of others
    assert speed.part(LIMIT, step, own) > 500
    assert speed.part(LIMIT, step, deep) == (128 if step else 1024)
    speed.add(128, 0.1, step, deep)
    speed.add(2000, 0.1, step, own)
    assert speed.part(LIMIT, step, own) > 500
    assert speed.part(LIMIT, step, deep) == (32 if step else 640)
