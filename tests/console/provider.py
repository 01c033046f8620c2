"""The identity provider of the console's tests: a login page in front of the strict test issuer."""

from __future__ import annotations

from html import escape
from http.server import BaseHTTPRequestHandler
from typing import Any, Protocol, cast
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.integration.sign_in.issuer import Issuer, IssuerServer


class _Served(Protocol):
    issuer: Issuer


class LoginServer(IssuerServer):
    """Serves an issuer, and a page on which a person says who they are."""

    def __init__(self, issuer: Issuer, subjects: list[str]) -> None:
        super().__init__(issuer)
        handler = cast(Any, self._server.RequestHandlerClass)
        self._server.RequestHandlerClass = type("Login", (_Login, handler), {"subjects": subjects})


class _Login(BaseHTTPRequestHandler):
    subjects: list[str]

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        issuer = cast(_Served, self).issuer
        if asked.path == "/authorize":
            links = "".join(
                f'<li><a href="/login?{escape(urlencode({"as": s, "for": self.path}))}">{s}</a>'
                for s in self.subjects
            )
            self._send(200, f"<!doctype html><title>Who are you?</title><ul>{links}</ul>")
        elif asked.path == "/login":
            query = parse_qs(asked.query)
            back = parse_qs(urlsplit(query["for"][0]).query)["redirect_uri"][0]
            answer = issuer.authorize(query["for"][0], query["as"][0])
            self._send(303, "", Location=f"{back}?{urlencode(answer)}")
        else:
            cast(Any, super()).do_GET()

    def _send(self, status: int, page: str, **headers: str) -> None:
        content = page.encode()
        self.send_response(status)
        for name, value in {"Content-Type": "text/html", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
