"""How long a model stays, as Ollama spells it."""

import re

import msgspec
import pytest

from mlxd.api.keep_alive import FOREVER, KEEP_ALIVE_KINDS, keep_alive_seconds
from mlxd.errors import InvalidRequest


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (None, None),
        (0, 0),
        ("0", 0),
        (300, 300),
        (2.5, 2.5),
        ("5m", 300),
        ("1h30m", 5400),
        ("250ms", 0.25),
        ("1.5h", 5400),
        ("2d", 172_800),
        ("+5m", 300),
        (-1, FOREVER),
        ("-1", FOREVER),
        ("-5m", FOREVER),
        (1e300, FOREVER),
    ],
)
def test_a_number_of_seconds_or_a_duration(
    written: float | str | None, seconds: float | None
) -> None:
    assert keep_alive_seconds(written) == seconds
    if isinstance(written, str):
        assert re.search(msgspec.json.schema(KEEP_ALIVE_KINDS[1])["pattern"], written)


@pytest.mark.parametrize("written", ["", "soon", "5 m", "m", "5w", "1h-5m", "--5m", "5m\n6", "٣s"])
def test_anything_else_is_refused(written: str) -> None:
    with pytest.raises(InvalidRequest, match="`keep_alive`: expected a number") as error:
        keep_alive_seconds(written)
    assert error.value.param == "keep_alive"
