"""`keep_alive` as Ollama spells it: how long a model stays in memory after a request.

Source: Ollama's API, where it is a number of seconds or a duration of Go's, see time.ParseDuration.
"""

import math
import re

from mlxd.errors import InvalidRequest

FOR_EVER = -1.0

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_PART = r"([0-9]{1,12}(?:\.[0-9]{1,12})?)(h|ms|m|s|us|µs|ns)"
_DURATION = re.compile(rf"[+-]?(?:{_PART})+", re.ASCII)
_NUMBER = re.compile(r"[+-]?[0-9]{1,12}(?:\.[0-9]{1,12})?", re.ASCII)
_LONGEST = 365 * 24 * 3600.0
KEEP_ALIVE_SCHEMA = {
    "anyOf": [
        {"type": "number"},
        {"type": "string", "pattern": f"^({_NUMBER.pattern}|{_DURATION.pattern})$"},
        {"type": "null"},
    ]
}
"""What may stand there, for the API's description."""


def keep_alive_seconds(value: float | str | None) -> float | None:
    """Give `value`, such as 300, "5m", "1h30m", 0 or "-1", in seconds; -1 is for ever.

    Raises:
        InvalidRequest: it is none of these.
    """
    if value is None:
        return None
    seconds = _of_text(value.strip()) if isinstance(value, str) else float(value)
    if seconds is None or not math.isfinite(seconds):
        raise InvalidRequest(
            '`keep_alive`: expected a number of seconds or a duration such as "5m" or "1h30m"; '
            "negative is for ever, 0 not at all",
            param="keep_alive",
        )
    return FOR_EVER if seconds < 0 or seconds > _LONGEST else seconds


def _of_text(text: str) -> float | None:
    if _NUMBER.fullmatch(text):
        return float(text)
    if not _DURATION.fullmatch(text):
        return None
    seconds = sum(float(number) * _UNITS[unit] for number, unit in re.findall(_PART, text))
    return -seconds if text.startswith("-") else seconds
