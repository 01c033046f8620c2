"""Store, countersign and hand out install certificates.

Called by the saga's last step and by the router. Signing is the worker's: no key is here.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from controlplane.core import audit
from controlplane.core.actor import OpContext
from controlplane.core.errors import NotFoundError
from controlplane.core.ids import new_id
from controlplane.tables.agents import Agent
from controlplane.tables.installs import Certificate, Install
from wire.certificate import CertificateFile
from wire.envelope import Envelope


def find_envelope(session: Session, run_id: UUID) -> Envelope | None:
    """Return the certificate of a run, None while there is none."""
    raw = session.execute(
        select(Certificate.envelope).where(Certificate.run_id == run_id)
    ).scalar_one_or_none()
    return None if raw is None else Envelope.model_validate(raw)


def store(
    session: Session,
    ctx: OpContext,
    *,
    organization_id: UUID,
    boundary_id: UUID,
    install_id: UUID,
    run_id: UUID,
    envelope: Envelope,
) -> None:
    """Keep the certificate of a run; a second one for the same run is ignored."""
    made = session.execute(
        insert(Certificate)
        .values(
            organization_id=organization_id,
            boundary_id=boundary_id,
            id=new_id(),
            install_id=install_id,
            run_id=run_id,
            envelope=envelope.model_dump(mode="json"),
        )
        .on_conflict_do_nothing(index_elements=["boundary_id", "run_id"])
        .returning(Certificate.id)
    ).scalar_one_or_none()
    if made is not None:
        _audit(session, ctx, "certificate.issued", made, boundary_id, envelope)


def add_countersignature(
    session: Session, ctx: OpContext, run_id: UUID, envelope: Envelope
) -> None:
    """Keep the envelope with the agent's signature added."""
    row = session.execute(
        update(Certificate)
        .where(Certificate.run_id == run_id)
        .values(envelope=envelope.model_dump(mode="json"), countersigned_at=func.now())
        .returning(Certificate.id, Certificate.boundary_id)
        .execution_options(synchronize_session=False)
    ).one()
    _audit(session, ctx, "certificate.countersigned", row.id, row.boundary_id, envelope)


def certificate_file(
    session: Session, install_id: UUID, control_plane_key: tuple[str, str]
) -> CertificateFile:
    """Return the newest certificate of an install with the keys that signed it.

    Shapes: `control_plane_key` is (fingerprint, public key). Raises: NotFoundError.
    """
    install = session.execute(select(Install).where(Install.id == install_id)).scalar_one_or_none()
    if install is None:
        raise NotFoundError(f"there is no install {install_id}")
    raw = session.execute(
        select(Certificate.envelope)
        .where(Certificate.install_id == install_id)
        .order_by(Certificate.issued_at.desc())
        .limit(1)
    ).scalar_one_or_none()
    if raw is None:
        raise NotFoundError(
            f"install {install.name} has no certificate yet; it is {install.lifecycle}",
            fix="wait until its run has ended",
        )
    envelope = Envelope.model_validate(raw)
    signers = [signature.keyid for signature in envelope.signatures]
    known = session.execute(
        select(Agent.fingerprint, Agent.public_key).where(Agent.fingerprint.in_(signers))
    ).all()
    keys = {row.fingerprint: row.public_key for row in known}
    fingerprint, public = control_plane_key
    if fingerprint in signers:
        keys[fingerprint] = public
    return CertificateFile(envelope=envelope, keys=keys)


def _audit(
    session: Session,
    ctx: OpContext,
    code: str,
    certificate_id: UUID,
    boundary_id: UUID,
    envelope: Envelope,
) -> None:
    audit.append(
        session,
        ctx,
        code,
        target=f"certificate/{certificate_id}",
        boundary_id=boundary_id,
        detail={"signers": [signature.keyid for signature in envelope.signatures]},
    )
