"""`GET /v1/installs/{install_id}/certificate`."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request

from controlplane.core.http import Transaction, TransactionRoute
from controlplane.domains.certificates import service
from proof.keys import decode_public, fingerprint

router = APIRouter(prefix="/v1", tags=["certificates"], route_class=TransactionRoute)


async def _control_plane_key(request: Request) -> tuple[str, str]:
    public: str = request.app.state.settings.control_plane_public_key
    return fingerprint(decode_public(public)), public


@router.get("/installs/{install_id}/certificate", operation_id="certificate_show")
def certificate_show(
    session: Transaction,
    install_id: UUID,
    key: Annotated[tuple[str, str], Depends(_control_plane_key)],
) -> dict[str, Any]:
    """Hand out the newest certificate with the public keys that signed it.

    The answer is a `ringfence.certificate-file` (`wire.certificate.CertificateFile`), as
    `ringfence certificate verify` reads it.
    """
    return service.certificate_file(session, install_id, key).to_wire()
