"""How figures look to a person, here and in mlxctl."""

_UNITS = ("kB", "MB", "GB", "TB")


def size(count: int) -> str:
    """Give `count` bytes as "98 MB" or "1.2 GB"."""
    if count < 1000:
        return f"{count} B"
    value = float(count)
    for unit in _UNITS:
        value /= 1000
        if value < 999.5 or unit == _UNITS[-1]:
            break
    return f"{value:.1f} {unit}" if value < 9.95 else f"{value:.0f} {unit}"
