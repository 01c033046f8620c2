"""An OpenID Connect issuer on a loopback port that is strict itself and can be told to misbehave.

It checks what the control plane sends (PKCE, client assertion, redirect address, one use of a code)
as a certified provider does; what it answers is bent by the test, one attack at a time.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

ISSUER = "https://sandbox.ringfence.dev"
CLIENT = "ringfence"
CLI_CLIENT = "ringfence-cli"
ALGORITHMS = ["RS256", "ES256", "HS256", "none"]

Bend = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass
class Grant:
    """A code that was given out, with what it is bound to."""

    subject: str
    nonce: str
    challenge: str
    redirect_uri: str
    client_id: str
    used: bool = False


@dataclass
class Misbehaviour:
    """How the next answers differ from honest ones."""

    claims: Bend = lambda claims: claims
    token: Callable[[dict[str, Any]], str] | None = None
    """Makes the whole token from the claims, instead of the honest signature."""
    metadata: Bend = lambda document: document
    skips_checks: bool = False
    """Redeems any code any number of times: the client's own defences must hold alone."""
    is_away: bool = False


@dataclass
class Issuer:
    """The issuer's state; the server calls it."""

    client_keys: Callable[[], dict[str, Any]]
    issuer: str = ISSUER
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"use": "sig"}))
    grants: dict[str, Grant] = field(default_factory=dict)
    people: dict[str, dict[str, Any]] = field(default_factory=dict)
    bent: Misbehaviour = field(default_factory=Misbehaviour)
    key_fetches: int = 0
    port: int = 0

    @property
    def url(self) -> str:
        """The address of the server."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def metadata_url(self) -> str:
        """Where the metadata is."""
        return f"{self.url}/.well-known/openid-configuration"

    def key_id(self) -> str:
        """The id of the key that signs now."""
        return self.key.thumbprint()

    def rotate(self) -> None:
        """Sign with a new key from now on."""
        self.key = RSAKey.generate_key(2048, {"use": "sig"})

    def metadata(self) -> dict[str, Any]:
        """The honest metadata, bent."""
        return self.bent.metadata(
            {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/keys",
                "device_authorization_endpoint": f"{self.url}/device",
                "end_session_endpoint": f"{self.url}/end",
                "authorization_response_iss_parameter_supported": True,
            }
        )

    def keys(self) -> dict[str, Any]:
        """The public keys."""
        self.key_fetches += 1
        public = self.key.as_dict(private=False)
        return {"keys": [{**public, "kid": self.key_id(), "use": "sig", "alg": "RS256"}]}

    def authorize(self, url: str, subject: str) -> dict[str, str]:
        """Let a person in and return the parameters that the browser brings back."""
        query = {k: v[0] for k, v in parse_qs(urlsplit(url).query).items()}
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self.grants[code] = Grant(
            subject,
            query["nonce"],
            query["code_challenge"],
            query["redirect_uri"],
            query["client_id"],
        )
        return {"code": code, "state": query["state"], "iss": self.issuer}

    def claims(self, subject: str, audience: str, nonce: str | None = None) -> dict[str, Any]:
        """Return honest claims."""
        now = int(time.time())
        claims = {"iss": self.issuer, "sub": subject, "aud": audience, "iat": now, "exp": now + 300}
        claims |= {"nonce": nonce} if nonce is not None else {}
        return {**claims, **self.people.get(subject, {})}

    def sign(self, claims: dict[str, Any], header: dict[str, Any] | None = None) -> str:
        """Return claims signed as honest tokens are."""
        head = {"alg": "RS256", "kid": self.key_id(), **(header or {})}
        return jwt.encode(head, claims, self.key, algorithms=ALGORITHMS)

    def redeem(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        """Answer the token endpoint."""
        grant = self.grants.get(form.get("code", ""))
        if grant is None or (not self.bent.skips_checks and not self._is_sound(grant, form)):
            return 400, {"error": "invalid_grant"}
        grant.used = True
        claims = self.bent.claims(self.claims(grant.subject, grant.client_id, grant.nonce))
        token = self.bent.token(claims) if self.bent.token else self.sign(claims)
        return 200, {"access_token": "x", "token_type": "Bearer", "id_token": token}

    def _is_sound(self, grant: Grant, form: dict[str, str]) -> bool:
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        keys = [ECKey.import_key(key) for key in self.client_keys()["keys"]]
        proof = jwt.decode(form["client_assertion"], keys[0], algorithms=["ES256"]).claims
        return (
            not grant.used
            and challenge == grant.challenge
            and form["redirect_uri"] == grant.redirect_uri
            and proof["sub"] == proof["iss"] == grant.client_id
            and proof["aud"] == self.issuer
            and proof["exp"] > time.time()
        )


class IssuerServer:
    """Serves an issuer until it is closed."""

    def __init__(self, issuer: Issuer) -> None:
        handler = type("Handler", (_Handler,), {"issuer": issuer})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        issuer.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    issuer: Issuer

    def do_GET(self) -> None:
        documents = {
            "/.well-known/openid-configuration": self.issuer.metadata,
            "/keys": self.issuer.keys,
        }
        found = documents.get(urlsplit(self.path).path)
        if found is None or self.issuer.bent.is_away:
            self._answer(503, {"error": "away"})
        else:
            self._answer(200, found())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = {k: v[0] for k, v in parse_qs(body).items()}
        if self.issuer.bent.is_away:
            self._answer(503, {"error": "away"})
        else:
            self._answer(*self.issuer.redeem(form))

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        content = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
