"""Take our own power away, and prove it.

Called by the saga's steps `power-off` and `proof`, and by the scheduler after an early failure
(decision 5). Separate because it is the only code that writes to our own role, one thing once.
Evidence is a denied call, not a setting: what succeeded just before must be refused with the same
session. `sts:GetCallerIdentity` proves nothing, it always succeeds.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime

from botocore.exceptions import ClientError

from controlplane.adapters.aws.account import Account
from controlplane.adapters.aws.errors import DENIED, error_code, translated
from controlplane.adapters.aws.sessions import RoleSessions, RoleTarget
from controlplane.core.clock import now
from controlplane.core.errors import UnavailableError
from wire.agent import DeniedAttempt

# IAM is eventually consistent: AWS names seconds, sometimes more (IAM user guide, troubleshooting).
PROPAGATION_SECONDS = 180.0
_REPLAYED = "ec2:DescribeVpcs"


@dataclass(frozen=True)
class PowerOff:
    """When our power ended, and the call that shows it."""

    removed_at: datetime
    proof: DeniedAttempt


class StillAllowedError(UnavailableError):
    """A call that must be denied is still allowed; the close is not proven."""

    code = "still-allowed"


def power_off(account: Account, *, seconds: float = PROPAGATION_SECONDS) -> PowerOff:
    """Attach AWSDenyAll to the role of `account`'s session and wait until a replay is denied.

    Safe to repeat: when power is gone already, the replay is denied at once and nothing is written;
    then `proof.succeeded_before` is False. Raises: StillAllowedError; the classes of `translated`.
    """
    before = _replay(account)
    if before is not None:
        gone = DeniedAttempt(
            action=_REPLAYED, error_code=before, succeeded_before=False, denied_at=now(), attempts=1
        )
        return PowerOff(gone.denied_at, gone)
    target = account.target
    with translated("iam:AttachRolePolicy"):
        account.client("iam").attach_role_policy(
            RoleName=target.role_name,
            PolicyArn=f"arn:{target.partition}:iam::aws:policy/AWSDenyAll",
        )
    removed_at = now()
    deadline, attempts = time.monotonic() + seconds, 0
    while True:
        attempts += 1
        if code := _replay(account):
            proof = DeniedAttempt(
                action=_REPLAYED,
                error_code=code,
                succeeded_before=True,
                denied_at=now(),
                attempts=attempts,
            )
            return PowerOff(removed_at, proof)
        _pause(f"{_REPLAYED} with the last session", deadline, attempts)


def prove_no_entry(
    sessions: RoleSessions,
    target: RoleTarget,
    *,
    succeeded_before: bool,
    seconds: float = PROPAGATION_SECONDS,
) -> DeniedAttempt:
    """Try AssumeRole, with the right External ID, until it is denied.

    Call it when the role is deleted or its time is over; `succeeded_before` says that this run had
    assumed it. Raises: StillAllowedError.
    """
    deadline, attempts = time.monotonic() + seconds, 0
    while True:
        attempts += 1
        result = sessions.probe(target.role_arn, target.external_id, region=target.region)
        if not result.allowed:
            return DeniedAttempt(
                action="sts:AssumeRole",
                error_code=result.error_code or "AccessDenied",
                succeeded_before=succeeded_before,
                denied_at=result.at,
                attempts=attempts,
            )
        _pause("sts:AssumeRole", deadline, attempts)


def _replay(account: Account) -> str | None:
    """Return AWS's code when the call is denied, None when it is allowed."""
    with translated(_REPLAYED):
        try:
            account.client("ec2").describe_vpcs()
        except ClientError as error:
            code = error_code(error)
            if code not in DENIED:
                raise
            return code
    return None


def _pause(what: str, deadline: float, attempts: int) -> None:
    if time.monotonic() > deadline:
        raise StillAllowedError(
            f"{what} is still allowed after {attempts} attempts",
            fix="look whether the role still exists and what is attached to it",
        )
    time.sleep(min(0.1 * attempts, 2.0))
