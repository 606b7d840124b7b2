"""The page's part of the control API, on TCP below `/ui/v1/`.

A key that may use some models only sees and changes no others.
"""

import inspect
from collections.abc import Awaitable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mlxd import control_api, page_api
from mlxd.activity import Activity
from mlxd.control_api import Endpoint
from mlxd.errors import ModelForbidden
from mlxd.http.callers import Caller
from mlxd.http.connection import json_response
from mlxd.http.control import Handler, handlers, path_of, serving
from mlxd.http.generate import Dependencies
from mlxd.http.record import caller_of
from mlxd.keys import RIGHTS

_OF_THE_HUB = (control_api.PULL, control_api.CANCEL_PULL)


def routes(dependencies: Dependencies) -> list[Route]:
    """Return the routes below `/ui/v1/`."""
    known = handlers(dependencies.control)
    return [
        Route(page_api.SHOW_CALLER.path, _show_caller, methods=[page_api.SHOW_CALLER.method]),
        *(_route(dependencies, endpoint, known[endpoint]) for endpoint in page_api.PAGE),
    ]


async def _show_caller(request: Request) -> Response:
    caller = caller_of(request.scope)
    rights: list[str] = [right for right in RIGHTS if right in caller.rights]
    return json_response(page_api.CallerRights(name=caller.name, rights=rights))


def _route(dependencies: Dependencies, endpoint: Endpoint[Any], handler: Handler) -> Route:
    async def serve(request: Request) -> Response:
        caller = caller_of(request.scope)
        own = _own(handler, endpoint, caller, dependencies) if caller.models else handler
        return await serving(dependencies.control, endpoint, own)(request)

    return Route(path_of(page_api.path_on_tcp(endpoint)), serve, methods=[endpoint.method])


def _own(
    handler: Handler, endpoint: Endpoint[Any], caller: Caller, dependencies: Dependencies
) -> Handler:
    """Return `handler` for a caller who may use some models only."""

    def serve(*body: Any, **parameters: Any) -> Any:
        if body or "model" in parameters:
            name = body[0].model if body else parameters["model"]
            if name is None:
                raise ModelForbidden("this key may not use all models: name one", param="model")
            if endpoint in _OF_THE_HUB:
                repo = dependencies.control.pulls.repo(name)
                caller.check_model(repo, repo)
            else:
                caller.resolve(dependencies.catalog.resolve, name)
        elif endpoint is page_api.READ_LOG:
            caller.check_all_models("the log")
        reply = handler(*body, **parameters)
        return _seen_later(reply, caller) if inspect.isawaitable(reply) else _seen(reply, caller)

    return serve


async def _seen_later(reply: Awaitable[msgspec.Struct], caller: Caller) -> msgspec.Struct:
    seen: msgspec.Struct = _seen(await reply, caller)
    return seen


def _seen(reply: Any, caller: Caller) -> Any:
    """Return what the caller may see of a reply: nothing of the models that they may not use."""
    match reply:
        case control_api.Status(models=models, default_model=default):
            hidden = default is not None and not caller.may_use(default)
            return msgspec.structs.replace(
                reply,
                models=[model for model in models if caller.may_use(model.id)],
                default_model=None if hidden else default,
            )
        case control_api.ModelListing(models=models, broken=broken):
            return control_api.ModelListing(
                models=[model for model in models if caller.may_use(model.id)],
                broken=[model for model in broken if caller.may_use(model.id)],
            )
        case Activity(requests=requests):
            return msgspec.structs.replace(
                reply,
                requests=[each for each in requests if each.model and caller.may_use(each.model)],
            )
        case control_api.PullList(pulls=pulls):
            return control_api.PullList(
                pulls=[pull for pull in pulls if caller.may_use(pull.model)]
            )
    return reply
