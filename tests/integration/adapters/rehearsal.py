"""The adapters' own view of a boundary in the rehearsal account, for tests.

The account is emulated; it enforces the role's policies, External ID and times: moto does not.
"""

from __future__ import annotations

from pathlib import Path

from controlplane.adapters.aws.account import Account
from controlplane.adapters.aws.sessions import RoleTarget, StsSessions
from tests.sandbox_aws.conftest import REGION, Boundary

PERSON, RUN = "sam@acme.test", "0192d3a0-run"


def sessions(boundary: Boundary) -> StsSessions:
    """Return STS as the vendor's control plane has it."""
    gate = boundary.gate
    return StsSessions(gate.root / "secrets/aws/vendor.json", gate.endpoint)


def target(boundary: Boundary, number: int = 1) -> RoleTarget:
    """Return the role of an opening."""
    return RoleTarget(boundary.role_arn(number), boundary.external_id, REGION, boundary.name)


def account(boundary: Boundary, number: int = 1) -> Account:
    """Return the account through one fresh session."""
    wanted = target(boundary, number)
    keys = sessions(boundary).assume(wanted, run=RUN, person=PERSON)
    return Account.fixed(wanted, keys, boundary.gate.endpoint)


def file_of(folder: Path, content: bytes) -> Path:
    """Write an artifact's file."""
    path = folder / "artifact.bin"
    path.write_bytes(content)
    return path
