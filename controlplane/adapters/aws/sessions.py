"""Sessions of the boundary's one role, and clients made from them.

Called by the sagas, the credential broker and every module beside it. Separate so that there is one
place where AssumeRole is called and one where an AWS client is made: from explicit credentials and
settings, never from the ambient chain of environment, files and metadata services.
"""

from __future__ import annotations

import functools
import json
import os
import re
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

from controlplane.adapters.aws.errors import DENIED, error_code, translated
from controlplane.core.clock import now
from controlplane.core.errors import InternalError

SESSION_SECONDS = 900
PROBE_NAME = "ringfence-probe"
"""Session name and source identity of a probe, which is thrown away."""
_NAME = re.compile(r"[^\w+=,.@-]")


@dataclass(frozen=True)
class Credentials:
    """Keys of one caller; its text form shows none of them."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None
    expires_at: datetime | None = None
    principal_arn: str = ""
    request_id: str = ""
    """STS's id of the call that made them, by which the customer's trail names it."""

    def __repr__(self) -> str:
        return f"Credentials(of={self.principal_arn!r}, expires_at={self.expires_at})"


@dataclass(frozen=True)
class RoleTarget:
    """The role of one opening of one boundary, as its connection row has it."""

    role_arn: str
    external_id: str
    region: str
    boundary: str
    """The boundary's name: the session tag that policies compare with resource tags."""

    def __repr__(self) -> str:
        return f"RoleTarget({self.role_arn!r}, region={self.region!r})"

    @property
    def partition(self) -> str:
        return self.role_arn.split(":")[1]

    @property
    def account(self) -> str:
        return self.role_arn.split(":")[4]

    @property
    def role_name(self) -> str:
        return self.role_arn.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class ProbeResult:
    """One attempt to assume the role; `error_code` is AWS's own."""

    allowed: bool
    error_code: str | None
    at: datetime
    request_id: str = ""


class RoleSessions(Protocol):
    """What others need of STS."""

    def assume(self, target: RoleTarget, *, run: str, person: str) -> Credentials: ...

    def probe(self, role_arn: str, external_id: str | None, *, region: str) -> ProbeResult: ...


def vendor_credentials(path: Path) -> Credentials:
    """Read the control plane's own keys from a 0600 JSON file. Raises: InternalError."""
    try:
        if path.stat().st_mode & 0o077:
            raise InternalError(
                f"{path} is readable by others", fix=f"chmod 600 {path}", code="insecure-file"
            )
        document = json.loads(path.read_text())
        return Credentials(
            access_key_id=document["access_key_id"],
            secret_access_key=document["secret_access_key"],
            session_token=document.get("session_token"),
            principal_arn=document["arn"],
        )
    except (OSError, ValueError, KeyError) as error:
        raise InternalError(
            f"{path} does not hold AWS credentials ({type(error).__name__})",
            fix="write access_key_id, secret_access_key and arn as JSON, mode 0600",
        ) from error


@functools.cache
def _sealed_session() -> botocore.session.Session:
    """Return the one maker of clients of this process; it never holds anybody's credentials.

    One, since a new one costs more than a client: the services' models are megabytes of JSON, and
    its several hundred handlers are registered anew.
    """
    # (configuration file key, environment variable, default, conversion): no variable, no file.
    sealed: dict[str, Any] = {
        "profile": (None, None, None, None),
        "config_file": (None, None, os.devnull, None),
        "credentials_file": (None, None, os.devnull, None),
        "ca_bundle": ("ca_bundle", None, None, None),
    }
    return botocore.session.Session(session_vars=sealed)


_making = threading.Lock()
"""A client may be used by many threads, its maker by one. Source: boto3, "Session", threads."""


def client(service: str, credentials: Credentials, *, region: str, endpoint_url: str | None) -> Any:
    """Return an AWS client of `credentials`; a GovCloud region uses FIPS endpoints."""
    config = Config(
        retries={"mode": "standard", "max_attempts": 5},
        connect_timeout=10,
        read_timeout=60,
        ignore_configured_endpoint_urls=True,
        use_fips_endpoint=region.startswith("us-gov-") and endpoint_url is None,
        s3={"addressing_style": "path" if endpoint_url else "virtual"},
        proxies={} if endpoint_url else None,
        user_agent_extra="ringfence-control-plane",
    )
    with _making:
        return _sealed_session().create_client(
            service,
            region_name=region,
            endpoint_url=endpoint_url,
            aws_access_key_id=credentials.access_key_id,
            aws_secret_access_key=credentials.secret_access_key,
            aws_session_token=credentials.session_token,
            config=config,
        )


class StsSessions:
    """Sessions by `sts:AssumeRole` with the connection's External ID."""

    def __init__(self, credentials_file: Path, endpoint_url: str | None) -> None:
        self._vendor = vendor_credentials(credentials_file)
        self._endpoint_url = endpoint_url
        # Of the vendor's own keys, which do not change while this process lives.
        self._sts = functools.cache(self._open_sts)

    @property
    def endpoint_url(self) -> str | None:
        return self._endpoint_url

    def assume(self, target: RoleTarget, *, run: str, person: str) -> Credentials:
        """Return 900 s of the role, with person and run in the customer's own trail.

        Raises: ForbiddenError `aws-denied` while the role is closed, deleted or not ours.
        """
        with translated("sts:AssumeRole"):
            answer = self._sts(target.region).assume_role(
                RoleArn=target.role_arn,
                ExternalId=target.external_id,
                DurationSeconds=SESSION_SECONDS,
                RoleSessionName=session_name(run),
                SourceIdentity=session_name(person),
                Tags=[
                    {"Key": "ringfence:boundary", "Value": target.boundary},
                    {"Key": "ringfence:run", "Value": run},
                ],
            )
        keys = answer["Credentials"]
        return Credentials(
            access_key_id=keys["AccessKeyId"],
            secret_access_key=keys["SecretAccessKey"],
            session_token=keys["SessionToken"],
            expires_at=keys["Expiration"].astimezone(UTC),
            principal_arn=answer["AssumedRoleUser"]["Arn"],
            request_id=_request_id(answer),
        )

    def probe(self, role_arn: str, external_id: str | None, *, region: str) -> ProbeResult:
        """Try the role and throw the session away; `external_id` None sends none.

        Raises: UnavailableError when STS gave no answer about access at all.
        """
        parameters: dict[str, Any] = {
            "RoleArn": role_arn,
            "RoleSessionName": PROBE_NAME,
            "SourceIdentity": PROBE_NAME,
            "DurationSeconds": SESSION_SECONDS,
        }
        if external_id is not None:
            parameters["ExternalId"] = external_id
        with translated("sts:AssumeRole"):
            try:
                answer = self._sts(region).assume_role(**parameters)
            except ClientError as error:
                code = error_code(error)
                if code not in DENIED:
                    raise
                return ProbeResult(False, code, now(), _request_id(error.response))
        return ProbeResult(True, None, now(), _request_id(answer))

    def _open_sts(self, region: str) -> Any:
        return client("sts", self._vendor, region=region, endpoint_url=self._endpoint_url)


def _request_id(answer: Any) -> str:
    return str(answer.get("ResponseMetadata", {}).get("RequestId", ""))


def session_name(text: str) -> str:
    """Return a session's or person's name as STS takes it and the customer's trail shows it."""
    # STS takes 2 to 64 characters of [\w+=,.@-] for both names.
    return _NAME.sub("-", text)[:64].ljust(2, "-")
