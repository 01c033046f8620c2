"""Serve the web console's built files beside the API, under a strict content security policy.

`install` is called by `app.py` once all API routes are added. Separate from the domains because it
reads no data and asks no authorizer: the files are the same for everyone, and what they show comes
from the API under its own rules. Unknown paths answer with the console's page, since its routes
hold the state; what lies under the API's prefixes never does. Source: ADR 0025.
"""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import Match, Route

STATIC: Final = Path(__file__).parent / "static"
"""Where `make web` puts the built console; part of the wheel, not of the repository."""
API_PREFIXES: Final = ("/v1", "/agent", "/scim", "/usage", "/healthz", "/readyz", "/metrics")
"""What never answers with the page: a client there wants data or an error it can read."""
ASSETS: Final = "/assets/"
"""Files below have a digest in their name, so they may be kept for ever."""
POLICY: Final = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",  # PatternFly's form controls draw their icons by data addresses
        "font-src 'self'",
        "connect-src 'self'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
NOT_BUILT: Final = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Ringfence: the console is not built</title></head>
<body><h1>The console is not built</h1>
<p>The API runs; its web console is missing from this checkout. Build it with:</p>
<pre>make web</pre>
<p>Then load this page again. The command line <code>ringfence</code> works without it.</p>
</body></html>
"""


class ConsoleRoute(Route):
    """Matches every path that no API route took and that is not the API's own."""

    def __init__(self, folder: Path) -> None:
        super().__init__("/{path:path}", _endpoint(folder), methods=["GET"], name="console")

    def matches(self, scope: Any) -> tuple[Match, Any]:
        """Leave the API's paths and all other methods to its own 404 and 405."""
        if scope["type"] != "http" or is_api_path(scope["path"]):
            return Match.NONE, {}
        match, child = super().matches(scope)
        return (match, child) if match is Match.FULL else (Match.NONE, {})


def is_api_path(path: str) -> bool:
    """Tell whether a path belongs to the API, whatever its letters' case."""
    lowered = path.lower()
    return any(lowered == p or lowered.startswith(p + "/") for p in API_PREFIXES)


def install(app: Starlette, folder: Path = STATIC) -> None:
    """Add the console behind all routes that are there already."""
    app.router.routes.append(ConsoleRoute(folder))


def _endpoint(folder: Path) -> Any:
    def console(request: Request) -> Response:
        return answer(folder, request.path_params["path"], request.headers)

    return console


def answer(folder: Path, path: str, headers: Any) -> Response:
    """Return a built file, or the page for a path of the console's own routes."""
    root = folder.resolve()
    index = root / "index.html"
    if not index.is_file():
        return HTMLResponse(NOT_BUILT, 503, {**HEADERS, "Cache-Control": "no-store"})
    wanted = "/" + path
    try:
        found = (root / path).resolve()
        is_file = found.is_relative_to(root) and found.is_file() and found.suffix != ".gz"
    except (OSError, ValueError):  # a name that no file can have
        is_file = False
    if is_file and found != index:
        kept = "public, max-age=31536000, immutable" if wanted.startswith(ASSETS) else "no-cache"
        return _file(found, headers, kept)
    if wanted.startswith(ASSETS):
        # The page instead of a script would only be a riddle in the browser's log.
        return PlainTextResponse(
            "there is no such file; load the page again",
            404,
            {**HEADERS, "Cache-Control": "no-store"},
        )
    return _file(index, headers, "no-cache")


def _file(path: Path, headers: Any, kept: str) -> Response:
    """Send a file, compressed at build time where the browser takes that."""
    shown = {**HEADERS, "Cache-Control": kept, "Vary": "Accept-Encoding"}
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    packed = path.with_name(path.name + ".gz")
    if "gzip" in headers.get("accept-encoding", "") and packed.is_file():
        shown["Content-Encoding"] = "gzip"
        path = packed
    return FileResponse(path, headers=shown, media_type=kind)
