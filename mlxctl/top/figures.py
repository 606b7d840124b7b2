"""Numbers in few characters; an unknown one is "-"."""

from mlxctl.terminal import CONTROLS

_UNITS = (("d", 86400), ("h", 3600), ("min", 60))
UNKNOWN = "-"


def seconds(value: float | None) -> str:
    """Return a time in at most six columns: "12 ms", "1.2 s", "45 s", "3 min", "5 h"."""
    if value is None:
        return UNKNOWN
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    for unit, length in _UNITS:
        if value >= length:
            return f"{int(value // length)} {unit}"
    return f"{value:.1f} s" if value < 9.95 else f"{int(value)} s"


def speed(value: float | None) -> str:
    """Return a number of tokens per second, with a decimal if it is small."""
    if value is None:
        return UNKNOWN
    return f"{value:.1f}" if 0 < value < 99.95 else f"{value:,.0f}"


def count(value: int | None) -> str:
    """Return a number with separated thousands."""
    return UNKNOWN if value is None else f"{value:,}"


def share(part: float, whole: float) -> str:
    """Return a part in percent."""
    return f"{part / whole:.0%}" if whole else UNKNOWN


def one_line(text: str) -> str:
    """Return text from elsewhere in one line, with its control characters made visible."""
    return " ".join(text.split()).translate(CONTROLS)
