"""What the provider is told, and what the control plane is told of it.

Called by `sandbox.parts`. Keys and password are made once per sandbox and stay: a restart is the
same provider.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from joserfc.jwk import RSAKey

from controlplane.adapters.oidc.client_key import ClientKey
from sandbox.home import Home, write_private
from sandbox.identity_provider.install import find_modules
from sandbox.people import EVERYBODY, ISSUER

HOST = "127.0.0.2"
"""Loopback too, and another host than the API's: cookies know no ports, so on one address the
provider would be sent the control plane's session."""
CLIENT_ID = "ringfence"
CLI_CLIENT_ID = "ringfence-cli"
PASSWORD = "identity-provider/password"  # noqa: S105 (the name of its file)


@dataclass(frozen=True)
class IdentityProviderFiles:
    """The files of one sandbox's provider."""

    config: Path
    """Read by the provider."""
    client_key: Path
    """The API's own key."""
    providers: Path
    """Read by the API."""
    password: Path


def address(port: int) -> str:
    """Return where the provider answers."""
    return f"http://{HOST}:{port}"


def files(home: Home) -> IdentityProviderFiles:
    """Return where the files are."""
    folder = home.secrets / "identity-provider"
    return IdentityProviderFiles(
        folder / "config.json",
        home.secrets / "sign-in-key.pem",
        folder / "providers.json",
        home.secrets / PASSWORD,
    )


def write_files(home: Home, port: int, api_url: str) -> IdentityProviderFiles:
    """Write what provider and API read at their start. Raises: IdentityProviderError."""
    found = files(home)
    if not found.client_key.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_private(found.client_key, pem.decode())
    config = {
        "issuer": ISSUER,
        "host": HOST,
        "port": port,
        "api_url": api_url,
        "modules": str(find_modules()),
        "state_file": str(home.data / "identity-provider" / "state.json"),
        "client_id": CLIENT_ID,
        "cli_client_id": CLI_CLIENT_ID,
        "client_keys": ClientKey.load(found.client_key).public_document(),
        "signing_key": _signing_key(found.config.with_name("signing-key.json")),
        "cookie_keys": [home.secret("identity-provider/cookie-key")],
        "password": home.secret(PASSWORD),
        "password_file": str(found.password),
        "people": [
            {
                "subject": person.subject,
                "role": person.role,
                "ready": person.ready,
                "claims": {
                    "name": person.display,
                    "groups": list(person.groups),
                    "employee_number": person.employee_number,
                },
            }
            for person in EVERYBODY
        ],
    }
    write_private(found.config, json.dumps(config, indent=2))
    provider = {
        "issuer": ISSUER,
        "metadata_url": f"{address(port)}/.well-known/openid-configuration",
        "client_id": CLIENT_ID,
        "cli_client_id": CLI_CLIENT_ID,
        "groups_claim": "groups",
        "person_key_claim": "employee_number",
        "scopes": ["openid", "profile"],
    }
    write_private(found.providers, json.dumps([provider], indent=2))
    return found


def _signing_key(path: Path) -> dict[str, Any]:
    """Return the key that signs tokens, making it at first start."""
    if not path.exists():
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        made = RSAKey.import_key(pem)
        document = {**made.as_dict(private=True), "use": "sig", "alg": "RS256"}
        write_private(path, json.dumps({**document, "kid": made.thumbprint()}, indent=2))
    document = json.loads(path.read_text())
    return dict(document)
