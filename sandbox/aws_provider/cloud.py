"""The account as the resource types see it: calls, errors with their names, and waiting.

Made once per configured provider. Separate from the protocol so that a type's functions are plain
code over boto3, and so that boto3 is imported only when the first call is made: a preview of a new
stack makes none.
"""

import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

RETRIES = 8
CONFIG_KEYS = frozenset(
    {
        "region",
        "accessKey",
        "secretKey",
        "token",
        "profile",
        "allowedAccountIds",
        "endpoints",
        "s3UsePathStyle",
        "maxRetries",
        "version",
        "skipCredentialsValidation",
        "skipRequestingAccountId",
        "skipMetadataApiCheck",
        "skipRegionValidation",
    }
)


class CloudError(Exception):
    """A call was refused; the message carries action, code, message and request id."""

    def __init__(self, action: str, code: str, message: str, request_id: str) -> None:
        super().__init__(f"{action} failed with {code}: {message} (request {request_id})")
        self.action = action
        self.code = code


class CancelledError(Exception):
    """The engine asked the provider to stop."""


class NotReadyError(Exception):
    """An object reached a state from which it cannot become ready, or took too long."""


class Cloud:
    """One account and region, through boto3's own credential chain."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.region: str = config.get("region") or os.environ.get("AWS_REGION") or ""
        self._config = config
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._session: Any = None
        self._account = ""
        self.cancelled = threading.Event()

    @property
    def account(self) -> str:
        """Return the account number of the caller, after checking that it is an allowed one."""
        self._client("sts")
        return self._account

    @property
    def partition(self) -> str:
        """Return the partition of the configured region."""
        self._client("sts")
        return str(self._session.get_partition_for_region(self.region))

    def arn(self, service: str, resource: str) -> str:
        """Return the ARN of a regional resource of this account."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.account}:{resource}"

    def call(self, service: str, operation: str, **parameters: Any) -> dict[str, Any]:
        """Call one operation, named as in the AWS API. Raises: CloudError, CancelledError."""
        if self.cancelled.is_set():
            raise CancelledError(f"{service}:{operation} was not called: the run is stopping")
        return self._raw_call(self._client(service), service, operation, parameters)

    def find(
        self, service: str, operation: str, gone: Sequence[str], **parameters: Any
    ) -> dict[str, Any] | None:
        """Call as `call`, but return None when the error code is one of `gone`."""
        try:
            return self.call(service, operation, **parameters)
        except CloudError as error:
            if error.code in gone:
                return None
            raise

    def retry(
        self, codes: Sequence[str], seconds: float, action: Callable[[], Any], *, about: str = ""
    ) -> Any:
        """Repeat `action` while it fails with one of `codes`; the last error comes through.

        With `about`, only an error whose message has that word is repeated.
        """
        deadline = time.monotonic() + seconds
        pause = 0.05
        while True:
            try:
                return action()
            except CloudError as error:
                passing = error.code in codes and about in str(error).lower()
                if not passing or time.monotonic() > deadline:
                    raise
            self._pause(pause)
            pause = min(pause * 1.5, 1.0)

    def wait(
        self,
        what: str,
        state: Callable[[], str],
        *,
        ready: Sequence[str],
        failed: Sequence[str] = (),
        seconds: float = 3600,
    ) -> None:
        """Poll until `state()` is in `ready`, every 50 to 500 ms.

        Raises: NotReadyError when the state is in `failed` or time is up; CancelledError.
        """
        deadline = time.monotonic() + seconds
        pause = 0.05
        while True:
            current = state()
            if current in ready:
                return
            if current in failed:
                raise NotReadyError(f"{what} is {current}, expected {' or '.join(ready)}")
            if time.monotonic() > deadline:
                raise NotReadyError(
                    f"{what} is still {current} after {seconds:.0f} s, "
                    f"expected {' or '.join(ready)}"
                )
            self._pause(pause)
            pause = min(pause * 1.2, 0.5)

    def _pause(self, seconds: float) -> None:
        if self.cancelled.wait(seconds):
            raise CancelledError("stopped while waiting")

    def _client(self, service: str) -> Any:
        # The lock covers construction: boto3's session is not safe to share while it builds one.
        with self._lock:
            if self._session is None:
                self._open_session()
            if service not in self._clients:
                self._clients[service] = self._new_client(service)
            return self._clients[service]

    def _open_session(self) -> None:
        # Without credentials boto3 would ask a metadata service that does not exist here.
        os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
        import boto3
        from botocore.exceptions import BotoCoreError

        if not self.region:
            raise CloudError(
                "configure", "MissingRegion", "set the provider's region or AWS_REGION", "none"
            )
        session = boto3.session.Session(
            aws_access_key_id=self._config.get("accessKey"),
            aws_secret_access_key=self._config.get("secretKey"),
            aws_session_token=self._config.get("token"),
            profile_name=self._config.get("profile"),
            region_name=self.region,
        )
        try:
            _renew_late(session.get_credentials())
        except BotoCoreError as error:
            name = type(error).__name__
            raise CloudError("credentials", name, str(error), "none") from error
        sts = self._new_client("sts", session)
        self._account = self._check_account(sts)
        # Only now, so that credentials which were refused once are refused for every call.
        self._clients["sts"] = sts
        self._session = session

    def _new_client(self, service: str, session: Any = None) -> Any:
        from botocore.config import Config

        endpoint = _endpoint(self._config, service)
        return (session or self._session).client(
            service,
            endpoint_url=endpoint,
            config=Config(
                retries={"mode": "standard", "max_attempts": RETRIES},
                s3={"addressing_style": "path"},
                connect_timeout=10,
                read_timeout=60,
                max_pool_connections=32,
                user_agent_extra="ringfence-rehearsal-provider/7.34.0",
            ),
        )

    def _check_account(self, sts: Any) -> str:
        identity = self._raw_call(sts, "sts", "GetCallerIdentity", {})
        account = str(identity["Account"])
        allowed = self._config.get("allowedAccountIds") or []
        if allowed and account not in allowed:
            raise CloudError(
                "configure",
                "AccountNotAllowed",
                f"the credentials belong to account {account}; allowedAccountIds is {allowed}",
                "none",
            )
        return account

    def _raw_call(
        self, client: Any, service: str, operation: str, parameters: dict[str, Any]
    ) -> dict[str, Any]:
        from botocore import xform_name
        from botocore.exceptions import BotoCoreError, ClientError

        given = {key: value for key, value in parameters.items() if value is not None}
        try:
            result = getattr(client, xform_name(operation))(**given)
        except ClientError as error:
            details = error.response.get("Error", {})
            request = error.response.get("ResponseMetadata", {}).get("RequestId", "unknown")
            raise CloudError(
                f"{service}:{operation}",
                str(details.get("Code", "Unknown")),
                str(details.get("Message", "")),
                request,
            ) from error
        except BotoCoreError as error:
            name = type(error).__name__
            raise CloudError(f"{service}:{operation}", name, str(error), "none") from error
        return dict(result)


def _renew_late(credentials: Any) -> None:
    """Let a session be used until two minutes before its end.

    boto3 begins to renew 15 minutes before the end. A run's sessions last 15 minutes, so it would
    ask the credential broker before every single call.
    """
    if hasattr(credentials, "_advisory_refresh_timeout"):
        credentials._advisory_refresh_timeout = 120
        credentials._mandatory_refresh_timeout = 60


def _endpoint(config: dict[str, Any], service: str) -> str | None:
    """Return the configured endpoint; None leaves AWS_ENDPOINT_URL to boto3."""
    for entry in config.get("endpoints") or []:
        if entry.get(service):
            return str(entry[service])
    return None
