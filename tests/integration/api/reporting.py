"""A report from request to files: through the API, the real job, the real key and typesetter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from controlplane.adapters.signing.control_plane_key import ControlPlaneKey
from controlplane.adapters.typesetting.report import TypstTypesetter
from controlplane.core.db import Database
from controlplane.domains.reports.tasks import Maker, generate_report
from tests.integration.api.people import Person
from tests.postgres import DatabaseUrls

VENDOR = "arn:aws:iam::999988887777:role/ringfence-control-plane"


def make_maker(key: Ed25519PrivateKey, folder: Path) -> Maker:
    """Return the worker's parts that make reports, with the tests' control-plane key."""
    path = folder / "control-plane-key.pem"
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return Maker(ControlPlaneKey(path), TypstTypesetter(), folder, VENDOR)


@dataclass(frozen=True)
class Reporting:
    """Asks for reports and lets the worker's job make them."""

    urls: DatabaseUrls
    maker: Maker

    def make(self, person: Person, body: dict[str, Any]) -> dict[str, Any]:
        """Return a report once its job has run."""
        asked = person.post("/v1/reports", body)
        assert asked.status_code == 202, asked.text
        self.work(asked.json()["id"])
        shown: dict[str, Any] = person.get(f"/v1/reports/{asked.json()['id']}").json()
        return shown

    def work(self, report_id: str) -> None:
        """Run the job of a report as the worker's database role, reading as the auditor's."""
        database = Database.connect(self.urls.worker, pool_size=2)
        reading = Database.connect(self.urls.auditor, pool_size=1)
        try:
            generate_report(database, reading, self.maker, report_id=report_id)
        finally:
            reading.close()
            database.close()

    def files(self, person: Person, report: dict[str, Any]) -> dict[str, bytes]:
        """Return every file of a finished report as the API hands it out."""
        found: dict[str, bytes] = {}
        for name in ("json", "csv", "pdf", "manifest"):
            answer = person.get(f"/v1/reports/{report['id']}/files/{name}")
            assert answer.status_code == 200, answer.text
            found[name] = answer.content
        return found

    def rows(self, person: Person, report: dict[str, Any]) -> list[dict[str, str]]:
        """Return all rows as the API pages them out."""
        rows: list[dict[str, str]] = []
        after: int | None = 0
        while after is not None:
            page = person.get(f"/v1/reports/{report['id']}/rows?after={after}&limit=7").json()
            rows += page["rows"]
            after = page["next_after"]
        return rows

    def execute(self, statement: str, *values: object) -> None:
        """Write to the database as its administrator: what no route of the API does."""
        with psycopg.connect(self.urls.admin) as connection:
            connection.execute(statement, values)
