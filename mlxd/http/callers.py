"""Who a request comes from, and what they may do."""

import asyncio
import base64
import binascii
import contextlib
import hmac
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol, TypeVar

from starlette.datastructures import Headers
from starlette.types import Scope

from mlxd.errors import ConfigError, Forbidden, ModelForbidden, ModelNotFound, Unauthorized
from mlxd.http.key_ring import KeyRing
from mlxd.http.rights import is_free, right_for
from mlxd.keys import RIGHTS, ApiKey, KeyLimits, Right

_NO_LIMITS = KeyLimits()
_TOKEN_BYTES = 32


class _Entry(Protocol):
    @property
    def id(self) -> str: ...


EntryT = TypeVar("EntryT", bound=_Entry)


@dataclass(frozen=True)
class Caller:
    """Who sends a request: `name` is that of their key, or says where the request comes from.

    `models` are patterns of the models they may use; without any they may use all. Callers with
    different `salt` share no prompt cache. `limited` says that the limits of a key apply to them.
    """

    name: str
    rights: frozenset[Right]
    models: tuple[str, ...] = ()
    salt: str = ""
    limited: bool = False
    limits: KeyLimits = _NO_LIMITS

    @property
    def may_keep(self) -> bool:
        """Whether they may say how long a model stays in memory."""
        return not self.limited or "manage" in self.rights

    def may_use(self, model: str) -> bool:
        """Whether they may use the model with that id."""
        plain = (each.replace("[", "[[]").replace("?", "[?]") for each in self.models)
        return not self.models or any(fnmatchcase(model, pattern) for pattern in plain)

    def check_model(self, model: str, name: str | None, param: str = "model") -> None:
        """Raise ModelForbidden if they may not use the model with that id.

        The error has its `name` in the request, that of `param`, and not the id, which they need
        not know; None is for the default model.
        """
        if not self.may_use(model):
            shown = repr(name) if name else "the default model"
            allowed = ", ".join(self.models)
            raise ModelForbidden(f"this key may not use {shown}; it may use {allowed}", param=param)

    def check_all_models(self, what: str) -> None:
        """Raise ModelForbidden if they may not use every model; `what` tells of all of them."""
        if self.models:
            raise ModelForbidden(f"{what} is about all models; {self._allowed}")

    def resolve(
        self, resolve: Callable[[str | None], EntryT], name: str | None, param: str = "model"
    ) -> EntryT:
        """Return the model that `resolve` finds for `name`, which is that of `param`.

        Raises:
            ModelForbidden: they may not use it.
            ModelNotFound: there is none; the message names only models that they may use.
        """
        try:
            entry = resolve(name)
        except ModelNotFound as error:
            raise self.not_found(error, name, param) from None
        self.check_model(entry.id, name, param)
        return entry

    def not_found(
        self, error: ModelNotFound, name: str | None, param: str = "model"
    ) -> ModelNotFound:
        """Return `error`, or one that does not list the models that they may not use."""
        if not self.models or (error.found is not None and self.may_use(error.found)):
            return error
        missing = f"no model {name!r}" if name else "the request names no model"
        return ModelNotFound(f"{missing}; {self._allowed}", param=param)

    @property
    def _allowed(self) -> str:
        return f"this key may use {', '.join(self.models)}"

    def check(self, right: Right | None, what: str) -> None:
        """Raise Forbidden if they do not have `right`, which `what` needs; None is no right."""
        if right is None or right in self.rights:
            return
        if self is ANYONE:
            raise Forbidden(
                f"{what} needs the Unix socket, or an API key: set server.api_key, or "
                f"`mlxctl key create NAME --may {right}`"
            )
        held = ", ".join(held for held in RIGHTS if held in self.rights)
        raise Forbidden(f"{what} needs the right {right!r}, and this key has only: {held}")


LOCAL = Caller("the Unix socket", frozenset(RIGHTS))
"""Who uses the Unix socket, whose file mode is the key."""
ANYONE = Caller("anyone", frozenset({"ask", "metrics"}))
"""Who sends no key where none is needed."""
_OWNER = Caller("server.api_key", frozenset(RIGHTS))
_PAGE = Caller("mlxctl open", frozenset(RIGHTS))


class Callers:
    """Knows callers by their keys: `server.api_key`, those of the key ring, and the page's token.

    Raises:
        ConfigError: the file of the keys cannot be read.
    """

    def __init__(self, api_key: str, ring: KeyRing | None) -> None:
        self.configure(api_key)
        self._ring = ring
        self._page_token = b""
        if ring is not None and ring.fault:
            raise ConfigError(ring.fault)

    def configure(self, api_key: str) -> None:
        """Take another `server.api_key`, which counts from the next request."""
        self._api_key = api_key.encode()

    def page_token(self) -> str:
        """Return the key that `mlxctl open` gives the page; it ends with the daemon."""
        if not self._page_token:
            self._page_token = secrets.token_urlsafe(_TOKEN_BYTES).encode()
        return self._page_token.decode()

    def authorize(self, scope: Scope) -> Caller:
        """Return who sends a request on TCP; raise Unauthorized or Forbidden if they may not."""
        path = scope["path"]
        if is_free(scope["method"], path):
            return ANYONE
        caller = self._identify(Headers(scope=scope))
        caller.check(right_for(path), path)
        return caller

    def _identify(self, headers: Headers) -> Caller:
        """Return who sends `headers` on TCP; raise Unauthorized if they need a key."""
        if self._ring is not None:
            self._ring.refresh()
        if self._page_token and any(
            hmac.compare_digest(given, self._page_token) for given in _given_keys(headers)
        ):
            return _PAGE
        if not self._api_key and not (self._ring and self._ring.needed):
            return ANYONE
        for given in _given_keys(headers):
            if self._api_key and hmac.compare_digest(given, self._api_key):
                return _OWNER
            if self._ring is not None and (key := self._ring.find(given)):
                return self._holder(self._ring, key)
        raise Unauthorized("a valid API key is required: `Authorization: Bearer KEY`")

    def _holder(self, ring: KeyRing, key: ApiKey) -> Caller:
        if key.expired:
            day = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(key.expires))
            raise Unauthorized(f"this API key expired on {day}")
        if ring.use(key):
            asyncio.get_running_loop().run_in_executor(None, ring.save_uses)
        rights = frozenset(key.rights)
        return Caller(key.name, rights, tuple(key.models), key.salt, True, key.limits)


def _given_keys(headers: Headers) -> Iterator[bytes]:
    """Yield the keys in the headers, as bytes; Starlette decodes headers as Latin-1.

    OpenAI's and Ollama's clients send a bearer token, Anthropic's `x-api-key`, and Azure's
    `api-key`. A client with a URL such as http://:KEY@HOST sends the key as a password.
    """
    scheme, _, rest = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        yield rest.strip().encode("latin-1")
    elif scheme.lower() == "basic":
        with contextlib.suppress(binascii.Error, ValueError):
            yield base64.b64decode(rest.strip(), validate=True).partition(b":")[2]
    for name in ("x-api-key", "api-key"):
        if value := headers.get(name):
            yield value.strip().encode("latin-1")
