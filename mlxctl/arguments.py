"""Checks of what the command line says, as callbacks of click."""

import math

import click


def finite(_ctx: click.Context, _param: click.Parameter, value: float | None) -> float | None:
    """Refuse a number that JSON does not have."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a finite number.")
    return value


def unicode_text(_ctx: click.Context, _param: click.Parameter, value: str | None) -> str | None:
    """Refuse what cannot be sent."""
    if value is not None:
        _check_unicode(value)
    return value


def unicode_words(
    _ctx: click.Context, _param: click.Parameter, value: tuple[str, ...]
) -> tuple[str, ...]:
    """Refuse what cannot be sent, word by word."""
    for word in value:
        _check_unicode(word)
    return value


def model_name(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Refuse what cannot be sent, and an empty name."""
    if not value:
        raise click.BadParameter("empty; `mlxctl list` shows the models.")
    unicode_text(ctx, param, value)
    return value


def _check_unicode(value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise click.BadParameter("not UTF-8.") from error
