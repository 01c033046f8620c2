"""People, files and calls of the API tests; everything goes through the real bootstrap and HTTP."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import yaml
from starlette.testclient import TestClient

from controlplane import bootstrap
from tests.postgres import DatabaseUrls

ROOT = Path(__file__).parents[3]
ISSUER = "https://sandbox.ringfence.dev"
PEOPLE = {
    "sam@acme.test": "solution-architect",
    "ana@acme.test": "approver",
    "omar@acme.test": "auditor",
    "max@acme.test": "platform-admin",
    "bea@acme.test": "boundary-admin",
    "pia@acme.test": "engineer",
    "ren@acme.test": "boundary-admin",
    "rui@acme.test": "engineer",
}
ADMINS = {"bea@acme.test": "payments", "ren@acme.test": "research"}
"""Administrators of one boundary each, through the group that the demo's file maps."""
MODELS = [
    {"name": "tiny-coder", "kind": "Base", "digest": "sha256:" + "a" * 64, "size": 10,
     "format": "gguf", "base_digest": None},
    {"name": "payments-style", "kind": "Adapter", "digest": "sha256:" + "b" * 64, "size": 5,
     "format": "gguf", "base_digest": "sha256:" + "a" * 64},
    {"name": "research-style", "kind": "Adapter", "digest": "sha256:" + "c" * 64, "size": 5,
     "format": "gguf", "base_digest": "sha256:" + "a" * 64},
]  # fmt: skip


def token_of(subject: str) -> str:
    """Return a person's token: long enough, and recognisable as a canary in logs."""
    return f"rfp_canary-{subject.split('@')[0]}-{'x' * 40}"


def manifest() -> dict[str, Any]:
    """Return the manifest of the demo's blueprint, as its own package writes it."""
    from blueprints.manifest import load

    return load("eks-model-stack").model_dump(mode="json")


def register(urls: DatabaseUrls, folder: Path) -> None:
    """Run the real bootstrap with the demo's people, blueprint and models."""
    people = folder / "people.json"
    people.touch(mode=0o600)
    rows = [
        {
            "issuer": ISSUER,
            "subject": subject,
            "display": subject.split("@")[0].title(),
            "role": role,
            "organization": "acme",
            "boundary": None,
            "token": token_of(subject),
        }
        for subject, role in {**PEOPLE, **dict.fromkeys(ADMINS, "boundary-admin")}.items()
    ]
    people.write_text(json.dumps(rows))
    manifests = folder / "blueprints.json"
    manifests.write_text(json.dumps([manifest()]))
    models = folder / "models.json"
    models.write_text(json.dumps({"artifacts": MODELS}))
    bootstrap.run(urls.owner, people, manifests, models)


def organization() -> dict[str, Any]:
    """Return the demo organization's file, fresh."""
    text = (ROOT / "examples" / "acme" / "organization.yaml").read_text()
    document: dict[str, Any] = yaml.safe_load(text)
    return copy.deepcopy(document)


class Person:
    """One person calling the API."""

    def __init__(self, client: TestClient, token: str) -> None:
        self._client = client
        self._headers = {"Authorization": f"Bearer {token}"}

    def get(self, path: str) -> Any:
        """GET a path."""
        return self._client.get(path, headers=self._headers)

    def post(self, path: str, body: Any = None) -> Any:
        """POST a JSON body."""
        return self._client.post(path, json=body if body is not None else {}, headers=self._headers)

    def post_bytes(self, path: str, data: bytes) -> Any:
        """POST a gzip file."""
        headers = {**self._headers, "Content-Type": "application/gzip"}
        return self._client.post(path, content=data, headers=headers)

    def put(self, path: str, body: Any) -> Any:
        """PUT a JSON body."""
        return self._client.put(path, json=body, headers=self._headers)
