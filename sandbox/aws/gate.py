"""The gate: signature → caller → operation → policy → service → trail, for every request.

The servers call `handle`; everything else of the account hangs on it. A request that is not signed
by a known key, or whose operation is unknown, goes no further.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from sandbox.aws.authorize import Authorizer
from sandbox.aws.clock import Clock
from sandbox.aws.ecr import distribution
from sandbox.aws.errors import PROTOCOLS, AwsError, meaning, render
from sandbox.aws.faults.injector import Faults
from sandbox.aws.keys import ExpiredSessionError, KeyStore, UnknownKeyError
from sandbox.aws.messages import Call, Caller, Request, Response
from sandbox.aws.operations.iam import find_role
from sandbox.aws.protocol import read_operation
from sandbox.aws.repeats import Repeats
from sandbox.aws.sigv4 import Signature, SignatureError, check_signature, read_signature
from sandbox.aws.trail import Trail

log = logging.getLogger("sandbox.aws.gate")
Service = Callable[[Call], Response]
Page = Callable[[Request], Response]


class Gate:
    """Answer requests to the account."""

    def __init__(
        self,
        keys: KeyStore,
        clock: Clock,
        authorizer: Authorizer,
        trail: Trail,
        services: Mapping[str, Service],
        pages: Page,
        region: str,
        faults: Faults,
        repeats: Repeats,
    ) -> None:
        """Take the services by signing name, and `pages` for everything under /_rehearsal/."""
        self._faults, self._repeats = faults, repeats
        self._keys, self._clock, self._authorizer = keys, clock, authorizer
        self._trail, self._services, self._pages = trail, services, pages
        self._region = region

    def handle(self, request: Request) -> Response:
        """Answer one request; the only place that turns a fault into a 500."""
        # The second is how Amazon ECS gives a task its credentials; no bucket can have that name.
        if request.path.startswith(("/_rehearsal/", "/v2/credentials/")):
            return self._guarded("rest-json", "rehearsal", lambda: self._pages(request))
        if distribution.is_distribution(request):
            return self._guarded(distribution.PROTOCOL, "ecr", lambda: self._registry(request))
        service = _guess_service(request)
        return self._guarded(
            PROTOCOLS.get(service, "rest-json"), service, lambda: self._aws(request)
        )

    def _guarded(self, protocol: str, service: str, run: Callable[[], Response]) -> Response:
        """Turn errors into the service's shape."""
        request_id = str(uuid.uuid4())
        try:
            return run()
        except AwsError as error:
            return render(error, protocol, service, request_id)
        except Exception:  # the process edge: a fault answers 500 and is logged without its request
            log.exception("a call to %s failed", service)
            fault = AwsError("InternalFailure", "The rehearsal account failed; see its log", 500)
            return render(fault, protocol, service, request_id)

    def _aws(self, request: Request) -> Response:
        """Authenticate, authorize, run and record one AWS call."""
        if _is_pod_identity(request):
            return self._pod_identity(request)
        caller, signature = self._authenticate(request)
        protocol = PROTOCOLS.get(signature.service)
        if protocol is None:
            raise meaning(
                "denied",
                f"The service {signature.service!r} is not modelled by the rehearsal account",
                "rest-json",
            )
        if signature.service == "s3":
            _decode_chunks(request)
        operation, params = read_operation(signature.service, request)
        call = Call(
            id=str(uuid.uuid4()),
            service=signature.service,
            protocol=protocol,
            operation=operation,
            region=signature.region,
            account=caller.account,
            caller=caller,
            params=params,
            request=request,
        )
        return self.run(call)

    def _pod_identity(self, request: Request) -> Response:
        """Run the one call that is not signed: a pod's token is its proof (see eks_auth.py)."""
        operation, params = read_operation("eks-auth", request)
        caller = Caller("service", "", "", "", "", "pods.eks.amazonaws.com")
        call = Call(
            id=str(uuid.uuid4()), service="eks-auth", protocol="rest-json", operation=operation,
            region=self._region, account="", caller=caller, params=params, request=request,
        )  # fmt: skip
        return self.run(call)

    def _registry(self, request: Request) -> Response:
        """Run one request of a registry's client: its token says who asks."""
        protocol = distribution.PROTOCOL
        token = distribution.read_token(request)
        try:
            caller = self._keys.registry_caller(token, self._clock.now())
        except UnknownKeyError as exc:
            raise meaning("unknown-key", "Your authorization token is invalid", protocol) from exc
        except ExpiredSessionError as exc:
            text = "Your authorization token has expired. Reauthenticate and try again."
            raise meaning("expired", text, protocol) from exc
        if not role_lives(caller):
            raise meaning("unknown-key", "Your authorization token is invalid", protocol)
        if distribution.is_ping(request):
            return distribution.pong()
        operation, params = distribution.read_request(request)
        call = Call(
            id=str(uuid.uuid4()), service="ecr", protocol=protocol, operation=operation,
            region=self._region, account=caller.account, caller=caller, params=params,
            request=request,
        )  # fmt: skip
        return self.run(call)

    def run(self, call: Call) -> Response:
        """Authorize, run and record one call; faults strike before and after."""
        response: Response | None = None
        try:
            self._faults.before(call)
            self._authorizer.require(call)
            if (known := self._repeats.find(call)) is not None:
                self._trail.record(call, known, None, repeated=True)
                return known
            response = self._services[call.service](call)
            self._repeats.keep(call, response)
            heard = self._faults.after(call, response)
        except AwsError as error:
            self._trail.record(call, response, error)
            raise
        self._trail.record(call, response, None)
        heard.headers.setdefault("x-amzn-RequestId", call.id)
        return heard

    def _authenticate(self, request: Request) -> tuple[Caller, Signature]:
        """Find who signed. Raises AwsError in the service's shape."""
        protocol = PROTOCOLS.get(_guess_service(request), "rest-json")
        try:
            signature = read_signature(request)
            if signature is None:
                raise meaning("unsigned", "Missing Authentication Token", protocol)
            now = self._clock.now()
            secret, caller = self._keys.resolve(signature.access_key, signature.token, now)
            check_signature(request, signature, secret, datetime.now(UTC))
        except SignatureError as exc:
            raise meaning(exc.kind, str(exc), protocol) from exc
        except UnknownKeyError as exc:
            text = "The security token included in the request is invalid."
            raise meaning("unknown-key", text, protocol) from exc
        except ExpiredSessionError as exc:
            text = "The security token included in the request is expired"
            raise meaning("expired", text, protocol) from exc
        if not role_lives(caller):
            text = "The security token included in the request is invalid."
            raise meaning("unknown-key", text, protocol)
        return caller, signature


def role_lives(caller: Caller) -> bool:
    """Tell whether the role behind a session still is the one that issued it."""
    if caller.kind != "session":
        return True
    role = find_role(caller.account, caller.name)
    return role is not None and getattr(role, "id", "") == caller.user_id.partition(":")[0]


def _is_pod_identity(request: Request) -> bool:
    """Tell whether this is the unsigned exchange of a pod's token."""
    parts = request.path.split("/")
    return (
        request.method == "POST"
        and len(parts) == 4
        and (parts[1], parts[3]) == ("clusters", "assume-role-for-pod-identity")
        and "authorization" not in request.headers
    )


def _guess_service(request: Request) -> str:
    """Find the service from the credential scope, for the shape of errors; S3 without one."""
    try:
        signature = read_signature(request)
    except SignatureError:
        signature = None
    if signature is not None:
        return signature.service
    if _is_pod_identity(request):
        return "eks-auth"
    target = request.headers.get("x-amz-target", "")
    if target:
        return "kms"
    form = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    return "sts" if form else "s3"


def _decode_chunks(request: Request) -> None:
    """Undo the aws-chunked encoding of an S3 upload; the signature was checked before."""
    if not request.headers.get("x-amz-content-sha256", "").startswith("STREAMING-"):
        return
    parts: list[bytes] = []
    rest = request.body
    while rest:
        head, _, rest = rest.partition(b"\r\n")
        size = int(head.split(b";")[0], 16)
        if size == 0:
            break
        parts.append(rest[:size])
        rest = rest[size + 2 :]
    request.body = b"".join(parts)
    encodings = [
        one.strip()
        for one in request.headers.pop("content-encoding", "").split(",")
        if one.strip() not in ("aws-chunked", "")
    ]
    if encodings:
        request.headers["content-encoding"] = ",".join(encodings)
    for name in ("x-amz-decoded-content-length", "x-amz-trailer"):
        request.headers.pop(name, None)
    request.headers["content-length"] = str(len(request.body))
