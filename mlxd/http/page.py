"""The page at `/` for browsers: its files, which are read from disk when somebody asks for them."""

import asyncio
import hashlib
import zlib
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_FOLDER = Path(__file__).parent.parent / "page"
_INDEX = "index.html"
_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".md": "text/plain",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # HTML is made by one function of the page only, in markdown.js.
        "require-trusted-types-for 'script'",
        "trusted-types markdown",
    )
)
_GZIP = 31  # as zlib's wbits
_HEADERS = {
    "cache-control": "no-cache",  # ask each time whether it has changed
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "vary": "Accept, Accept-Encoding",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def wanted(request: Request) -> bool:
    """Whether a browser asks for `/`, rather than a program."""
    return "text/html" in request.headers.get("accept", "")


async def index(request: Request) -> Response:
    """Return the page."""
    return await _reply(request, _INDEX)


def routes() -> list[Route]:
    """Return the route of the page's other files."""
    return [Route("/page/{file:path}", _file, methods=["GET"])]


async def _file(request: Request) -> Response:
    return await _reply(request, request.path_params["file"])


async def _reply(request: Request, name: str) -> Response:
    content = await asyncio.to_thread(_read, name)
    if content is None:
        return Response(status_code=404)
    tag = f'W/"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**_HEADERS, "etag": tag}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        content = await asyncio.to_thread(zlib.compress, content, wbits=_GZIP)
        headers["content-encoding"] = "gzip"
    return Response(content, headers=headers, media_type=_TYPES[Path(name).suffix])


def _read(name: str) -> bytes | None:
    # The name is looked up among those of the files, so that it leads to no other.
    files = {file.relative_to(_FOLDER).as_posix(): file for file in _FOLDER.rglob("*.*")}
    known = name in files and files[name].suffix in _TYPES
    return files[name].read_bytes() if known else None
