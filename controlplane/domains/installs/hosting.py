"""A boundary in another one's cluster: who its host is, whether it lets it in, who lives in one.

Called where an install, an update or a removal is asked for, and by the sagas for what a guest
takes over from its host. Separate because it is the one place that looks beyond a boundary's
walls: two functions of the database answer it, with no more than it needs (docs/adr/0040).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from controlplane.core.errors import ConflictError, InvalidRequestError
from controlplane.tables.organizations import Boundary, CloudConnection

EXISTING = "existing"
HOSTS_OWN = ("cidr", "zones")
"""Inputs that the host's cluster has already."""


@dataclass(frozen=True)
class Host:
    """The boundary in whose cluster another one lives."""

    boundary_id: UUID
    name: str
    lifecycle: str | None
    """Of its install; None without one."""
    is_leaving: bool
    """Whether its removal is asked for."""
    applied: Mapping[str, Any] | None
    """Of the inputs that a run applied last `cidr`, `guests`, `cluster`; None before the first."""
    account: str
    region: str

    @property
    def cidr(self) -> str:
        """Return the addresses of its network; only of one that stands."""
        assert self.applied is not None
        return str(self.applied["cidr"])


def host_named(inputs: Mapping[str, Any]) -> str | None:
    """Return the host that inputs name; None for a boundary with a cluster of its own."""
    if inputs.get("cluster") != EXISTING:
        return None
    return str(inputs.get("host") or "")


def find_host(session: Session, guest_id: UUID, name: str) -> Host | None:
    """Return a boundary of the guest's organization as its guest may know it, or None."""
    row = session.execute(
        text("SELECT * FROM host_of_guest(:guest, :host)"), {"guest": guest_id, "host": name}
    ).one_or_none()
    if row is None:
        return None
    return Host(
        boundary_id=row.boundary_id,
        name=name,
        lifecycle=row.lifecycle,
        is_leaving=bool(row.is_leaving),
        applied=row.applied,
        account=str(row.account),
        region=str(row.region),
    )


def guests_of(session: Session, boundary_id: UUID) -> list[str]:
    """Return the names of the boundaries that live in a boundary's cluster."""
    rows = session.execute(text("SELECT name FROM guests_of_host(:host)"), {"host": boundary_id})
    return [str(row.name) for row in rows]


def require_host(
    session: Session,
    boundary: Boundary,
    connection: CloudConnection,
    inputs: Mapping[str, Any],
    *,
    field: str = "inputs",
) -> Host | None:
    """Return the host that inputs name, if it stands and lets the boundary in; None without one.

    Raises: InvalidRequestError for inputs that do not fit the boundary's file or its host;
    ConflictError for a host that is not ready.
    """
    described, named = host_named(boundary.inputs), host_named(inputs)
    if described != named:
        raise InvalidRequestError(
            f"the role of boundary {boundary.name} was made for {_place(described)}, the inputs"
            f" are for {_place(named)}",
            field=f"{field}.cluster",
            fix="give the inputs of the organization's file",
        )
    if named is None:
        return None
    for name in HOSTS_OWN:
        if name in inputs:
            raise InvalidRequestError(
                f"{name!r} of a guest is its host's", field=f"{field}.{name}", fix="leave it out"
            )
    host = find_host(session, boundary.id, named)
    _require_fitting(host, boundary, connection, named, f"{field}.host")
    assert host is not None
    _require_ready(host, boundary, f"{field}.host")
    return host


def _place(host: str | None) -> str:
    return f"the cluster of {host!r}" if host is not None else "a cluster of its own"


def _require_fitting(
    host: Host | None, boundary: Boundary, connection: CloudConnection, named: str, field: str
) -> None:
    if host is None or host.boundary_id == boundary.id:
        raise InvalidRequestError(
            f"there is no other boundary {named!r} in this organization",
            field=field,
            fix="name the boundary whose cluster it is",
        )
    if (host.account, host.region) != (connection.account, connection.region):
        raise InvalidRequestError(
            f"the cluster of {named} is in {host.account} {host.region}, boundary {boundary.name}"
            f" in {connection.account} {connection.region}",
            field=field,
            fix="name a host in the same account and region",
        )


def _require_ready(host: Host, boundary: Boundary, field: str) -> None:
    applied = host.applied
    if applied is None or host.lifecycle in ("removing", "removed", "failed") or host.is_leaving:
        now = "leaving" if host.is_leaving else host.lifecycle or "not installed"
        raise ConflictError(
            f"host {host.name} is {now}: it has no cluster to live in",
            code="host-not-ready",
            field=field,
            fix="install the host first",
        )
    if applied["cluster"] == EXISTING:
        raise ConflictError(
            f"{host.name} is a guest itself",
            code="host-is-guest",
            field=field,
            fix="name the boundary whose cluster it is",
        )
    if boundary.name not in applied["guests"]:
        raise ConflictError(
            f"host {host.name} has not let {boundary.name} in",
            code="not-let-in",
            field=field,
            fix=f"add {boundary.name!r} to `guests` of {host.name} and update its install",
        )


def require_guests_kept(session: Session, boundary_id: UUID, inputs: Mapping[str, Any]) -> None:
    """Refuse inputs that would put out who lives in the cluster. Raises: InvalidRequestError."""
    kept = set(inputs.get("guests") or ())
    out = [name for name in guests_of(session, boundary_id) if name not in kept]
    if out:
        raise InvalidRequestError(
            f"{', '.join(out)} live{'s' if len(out) == 1 else ''} in this cluster",
            code="has-guests",
            field="inputs.guests",
            fix=f"keep {', '.join(out)} in `guests`, or remove the install there first",
        )


def require_no_guests(session: Session, boundary_id: UUID) -> None:
    """Refuse the removal of a cluster in which others live. Raises: ConflictError naming them."""
    guests = guests_of(session, boundary_id)
    if guests:
        raise ConflictError(
            f"{', '.join(guests)} live{'s' if len(guests) == 1 else ''} in this cluster",
            code="has-guests",
            fix="remove the installs there first",
            detail={"guests": guests},
        )
