"""The environment variables that say how the model hub is reached, and what of them may be shown.

A service starts with none of the variables of a shell. Other users can read its description, so
that what may be secret does not go there.
"""

import re
from collections.abc import Mapping

_TOKEN = "HF_TOKEN"  # noqa: S105  the name of a variable
_NAMES = {
    "HTTP_PROXY": ("http_proxy", "HTTP_PROXY"),
    "HTTPS_PROXY": ("https_proxy", "HTTPS_PROXY"),
    "ALL_PROXY": ("all_proxy", "ALL_PROXY"),
    "NO_PROXY": ("no_proxy", "NO_PROXY"),
    "HF_ENDPOINT": ("HF_ENDPOINT",),
    _TOKEN: (_TOKEN, "HUGGING_FACE_HUB_TOKEN"),
    # The download understands the first of these, other programs the others.
    "SSL_CERT_FILE": ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
}
_MASK = "***"
_USER = re.compile(r"//[^/@]*@")


def spellings() -> set[str]:
    """Return every name that one of the variables may have."""
    return {spelling for known in _NAMES.values() for spelling in known}


def variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what `environ` says about the network, each under one name, whatever it has there."""
    found: dict[str, str] = {}
    for name, spellings in _NAMES.items():
        values = [environ[spelling] for spelling in spellings if environ.get(spelling)]
        if values:
            found[name] = values[0]
    return found


def replaced(environ: Mapping[str, str], others: Mapping[str, str]) -> dict[str, str]:
    """Return `environ` with `others`, as `variables` names them, in place of its own."""
    known = spellings()
    kept = {name: value for name, value in environ.items() if name not in known}
    return {**kept, **variables(environ), **others}


def is_secret(name: str, value: str) -> bool:
    """Whether nobody else may read the variable: a token, or an address with a password."""
    return name == _TOKEN or _USER.search(value) is not None


def shown(found: Mapping[str, str]) -> dict[str, str]:
    """Return variables with their secrets masked."""
    return {
        name: _MASK if name == _TOKEN else _USER.sub(f"//{_MASK}@", value)
        for name, value in found.items()
    }
