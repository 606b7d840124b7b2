"""`keep_alive` as Ollama spells it: how long a model stays in memory after a request.

Source: Ollama's API, where it is a number of seconds or a duration of Go's, see time.ParseDuration.
"""

import math
from typing import Annotated

from msgspec import Meta

from mlxd.errors import InvalidRequest
from mlxd.units import SECONDS_PATTERN, parse_seconds

FOREVER = -1.0

_LONGEST = 365 * 24 * 3600.0
KEEP_ALIVE_KINDS = (float, Annotated[str, Meta(pattern=f"^[+-]?({SECONDS_PATTERN})$")], None)
"""The types of the field, for the API's description."""


def keep_alive_seconds(value: float | str | None, param: str = "keep_alive") -> float | None:
    """Return `value`, such as 300, "5m", "1h30m", 0 or "-1", in seconds; FOREVER if negative.

    `param` is the name of its field.

    Raises:
        InvalidRequest: it is none of these.
    """
    if value is None:
        return None
    seconds = _parse(value.strip()) if isinstance(value, str) else float(value)
    if seconds is None or not math.isfinite(seconds):
        raise InvalidRequest(
            f'`{param}`: expected a number of seconds or a duration such as "5m" or "1h30m"; '
            "negative: forever, 0: unload at once",
            param=param,
        )
    return FOREVER if seconds < 0 or seconds > _LONGEST else seconds


def _parse(text: str) -> float | None:
    seconds = parse_seconds(text[1:] if text[:1] in ("+", "-") else text)
    return -seconds if seconds is not None and text.startswith("-") else seconds
