"""Get an ID token from an identity provider: by this machine's browser, or by a code for another.

Used by `ringfence.cli.sign_in`. The command line is a public client: it has no secret, so PKCE ties
the code to this process, and the state and nonce tie the answer to this attempt.
Source: RFC 8252 (native apps, loopback redirect), RFC 7636 (PKCE), RFC 8628 (device code).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2

BROWSER_SECONDS = 300.0
"""How long a person has in the browser."""
SHORTEST_POLL = 1.0
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
PAGE = (
    "<!doctype html><html lang=en><meta charset=utf-8><title>Ringfence</title>"
    "<p>{}</p><p>This page can be closed.</p></html>"
)


class SignInError(RuntimeError):
    """No ID token came of it; the message says why, and holds nothing secret."""


@dataclass(frozen=True)
class Provider:
    """What the control plane says of the identity provider."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    device_authorization_endpoint: str | None
    client_id: str
    scope: str

    @classmethod
    def of(cls, document: dict[str, Any]) -> Provider:
        """Return the API's answer as a provider. Raises: SignInError."""
        if not document["cli_client_id"]:
            raise SignInError("the organization has set up no sign-in for the command line")
        for name in ("authorization_endpoint", "token_endpoint", "device_authorization_endpoint"):
            if document[name] and not _is_safe(document[name]):
                raise SignInError(f"the provider's {name} is not an https address")
        return cls(
            document["issuer"],
            document["authorization_endpoint"],
            document["token_endpoint"],
            document["device_authorization_endpoint"],
            document["cli_client_id"],
            " ".join(document["scopes"]),
        )


def _is_safe(url: str) -> bool:
    parts = urlsplit(url)
    try:
        on_loopback = ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        on_loopback = False
    return parts.scheme == "https" or (parts.scheme == "http" and on_loopback)


def by_browser(
    provider: Provider, show: Callable[[str], None], seconds: float = BROWSER_SECONDS
) -> str:
    """Return an ID token after a person signed in at the address given to `show`.

    Raises: SignInError.
    """
    verifier, state, nonce = (secrets.token_urlsafe(32) for _ in range(3))
    digest = hashlib.sha256(verifier.encode()).digest()
    with _Listener(state) as listener:
        redirect_uri = f"http://127.0.0.1:{listener.port}/callback"
        query = {
            "client_id": provider.client_id,
            "response_type": "code",
            "redirect_uri": redirect_uri,
            "scope": provider.scope,
            "state": state,
            "nonce": nonce,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        joint = "&" if urlsplit(provider.authorization_endpoint).query else "?"
        show(f"{provider.authorization_endpoint}{joint}{urlencode(query)}")
        answer = listener.wait(seconds)
    if answer.get("iss", provider.issuer) != provider.issuer:
        raise SignInError("another identity provider answered than the one that was asked")
    if "code" not in answer:
        raise SignInError(f"the identity provider says: {_plain(answer.get('error'))}")
    _, document = _post(
        provider.token_endpoint,
        {
            "grant_type": "authorization_code",
            "client_id": provider.client_id,
            "code": answer["code"],
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        },
    )
    token = _id_token(document)
    # Who signed it is for the control plane to check; that it is for this attempt only we know.
    if not hmac.compare_digest(str(_claims(token).get("nonce")), nonce):
        raise SignInError("the identity provider's token is for another attempt")
    return token


def by_device(provider: Provider, show: Callable[[str, str], None]) -> str:
    """Return an ID token after a person typed the code given to `show`, on whatever device.

    Raises: SignInError.
    """
    if provider.device_authorization_endpoint is None:
        raise SignInError("this identity provider offers no sign-in by code; leave out --device")
    status, begun = _post(
        provider.device_authorization_endpoint,
        {"client_id": provider.client_id, "scope": provider.scope},
    )
    if status != 200 or "device_code" not in begun:
        raise SignInError(f"the identity provider says: {_plain(begun.get('error'))}")
    address = begun.get("verification_uri_complete") or begun["verification_uri"]
    show(str(address), str(begun["user_code"]))
    interval = max(SHORTEST_POLL, float(begun.get("interval", 5)))
    deadline = time.monotonic() + float(begun.get("expires_in", 600))
    form = {
        "grant_type": DEVICE_GRANT,
        "client_id": provider.client_id,
        "device_code": str(begun["device_code"]),
    }
    while time.monotonic() < deadline:
        time.sleep(interval)
        status, document = _post(provider.token_endpoint, form)
        error = document.get("error")
        if error == "slow_down":
            interval += 5
        elif error != "authorization_pending":
            return _id_token(document)
    raise SignInError("nobody signed in while the code was good")


class _Listener:
    """Waits on loopback for the browser to come back with our state."""

    def __init__(self, state: str) -> None:
        answers: list[dict[str, str]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = {k: v[0] for k, v in parse_qs(parts.query).items()}
                ours = hmac.compare_digest(query.get("state", "").encode(), state.encode())
                if parts.path != "/callback" or not ours:
                    self._page(404, "This is not what the command line waits for.")
                    return
                answers.append(query)
                words = "Signed in: go back to the command line."
                self._page(200, words if "code" in query else "You are not signed in.")

            def _page(self, status: int, words: str) -> None:
                content = PAGE.format(words).encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Content-Security-Policy", "default-src 'none'")
                self.send_header("Referrer-Policy", "no-referrer")
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                """Say nothing: the address has the code in it."""

        self._answers = answers
        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port

    def __enter__(self) -> _Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.server_close()

    def wait(self, seconds: float) -> dict[str, str]:
        """Return the parameters that came back. Raises: SignInError when none did in time."""
        deadline = time.monotonic() + seconds
        while not self._answers:
            left = deadline - time.monotonic()
            if left <= 0:
                raise SignInError(f"nobody came back from the browser within {seconds:.0f} s")
            self._server.timeout = left
            self._server.handle_request()
        return self._answers[0]


def _post(url: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
    try:
        answer = httpx2.post(url, data=form, timeout=20, headers={"Accept": "application/json"})
        document = answer.json()
    except httpx2.HTTPError as error:
        raise SignInError(f"the identity provider does not answer ({error})") from error
    except ValueError as error:
        raise SignInError("the identity provider's answer is not JSON") from error
    return answer.status_code, document if isinstance(document, dict) else {}


def _id_token(document: dict[str, Any]) -> str:
    token = document.get("id_token")
    if not isinstance(token, str):
        raise SignInError(f"the identity provider says: {_plain(document.get('error'))}")
    return token


def _claims(token: str) -> dict[str, Any]:
    """Return what a token says, without believing it."""
    try:
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError) as error:
        raise SignInError("the identity provider's token is malformed") from error
    return claims if isinstance(claims, dict) else {}


def _plain(error: object) -> str:
    """Return an error code of the provider, harmless on a terminal."""
    text = str(error or "no token")
    return "".join(sign if sign.isprintable() else "?" for sign in text)[:100]
