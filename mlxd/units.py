"""How sizes, times and addresses look to a person, in the daemon and in mlxctl."""

import re

_SIZES = ("kB", "MB", "GB", "TB")
_THOUSANDS = ("thousand", "million", "billion", "trillion")
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_NUMBER = r"[0-9]{1,12}(?:\.[0-9]{1,12})?"
_PART = rf"({_NUMBER})(d|h|ms|m|s|us|µs|ns)"
_DURATION = rf"(?:{_PART})+"
SECONDS_PATTERN = rf"{_NUMBER}|{_DURATION}"
"""What `parse_seconds` takes, as a regular expression."""


def size(count: int) -> str:
    """Return `count` bytes as text, such as "98 MB" or "1.2 GB"."""
    return f"{count} B" if count < 1000 else _scaled(count, _SIZES)


def amount(count: int) -> str:
    """Return a number of things as text: "115 thousand", "135 million" or "3.2 billion"."""
    return str(count) if count < 1000 else _scaled(count, _THOUSANDS)


def _scaled(count: int, units: tuple[str, ...]) -> str:
    value = float(count)
    for unit in units:
        value /= 1000
        if value < 999.5 or unit == units[-1]:
            break
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"


def parse_duration(text: str) -> float | None:
    """Return the seconds of a duration such as "90s", "5m" or "1h30m"; None if it is not one.

    The form is that of Go's time.ParseDuration without a sign, and with days.
    """
    if not re.fullmatch(_DURATION, text):
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in re.findall(_PART, text))


def parse_seconds(text: str) -> float | None:
    """Return the seconds of a number such as "300", or of a duration; None if it is neither."""
    return float(text) if re.fullmatch(_NUMBER, text) else parse_duration(text)


def address(host: str, port: int) -> str:
    """Return "HOST:PORT", an IPv6 host in brackets, as URLs have it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
