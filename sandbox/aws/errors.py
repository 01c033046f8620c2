"""Errors in each service's own shape, so that every AWS client understands them.

Used by the gate and by our own service implementations; apart because five protocols differ.
"""

from __future__ import annotations

import json
from xml.sax.saxutils import escape

from sandbox.aws.messages import Response

XMLNS = {
    "sts": "https://sts.amazonaws.com/doc/2011-06-15/",
    "iam": "https://iam.amazonaws.com/doc/2010-05-08/",
    "cloudformation": "http://cloudformation.amazonaws.com/doc/2010-05-15/",
}
PROTOCOLS = {
    "ec2": "ec2",
    "iam": "query",
    "sts": "query",
    "cloudformation": "query",
    "s3": "rest-xml",
    "kms": "json",
    "servicequotas": "json",
    "cloudtrail": "json",
    "eks": "rest-json",
    "eks-auth": "rest-json",
    "ecs": "json",
    "ecr": "json",
}

# One meaning → code and status per protocol.
_CODES: dict[str, dict[str, tuple[str, int]]] = {
    "denied": {
        "query": ("AccessDenied", 403),
        "ec2": ("UnauthorizedOperation", 403),
        "rest-xml": ("AccessDenied", 403),
        "json": ("AccessDeniedException", 400),
        "rest-json": ("AccessDeniedException", 403),
        "oci": ("DENIED", 403),
    },
    "unknown-key": {
        "query": ("InvalidClientTokenId", 403),
        "ec2": ("AuthFailure", 401),
        "rest-xml": ("InvalidAccessKeyId", 403),
        "json": ("UnrecognizedClientException", 400),
        "rest-json": ("UnrecognizedClientException", 403),
        "oci": ("DENIED", 403),
    },
    "expired": {
        "query": ("ExpiredToken", 403),
        "ec2": ("RequestExpired", 400),
        "rest-xml": ("ExpiredToken", 400),
        "json": ("ExpiredTokenException", 400),
        "rest-json": ("ExpiredTokenException", 403),
        "oci": ("DENIED", 403),
    },
    "bad-signature": {
        "query": ("SignatureDoesNotMatch", 403),
        "ec2": ("AuthFailure", 401),
        "rest-xml": ("SignatureDoesNotMatch", 403),
        "json": ("InvalidSignatureException", 400),
        "rest-json": ("InvalidSignatureException", 403),
    },
    "unsigned": {
        "query": ("MissingAuthenticationToken", 403),
        "ec2": ("MissingAuthenticationToken", 403),
        "rest-xml": ("AccessDenied", 403),
        "json": ("MissingAuthenticationTokenException", 400),
        "rest-json": ("MissingAuthenticationTokenException", 403),
    },
}


# How a registry names what every service may answer, where its clients know a word for it.
_OCI = {"ThrottlingException": ("TOOMANYREQUESTS", 429)}


class AwsError(Exception):
    """A refusal in AWS's terms: code, message, status; `kind` names a meaning of its own code."""

    def __init__(self, code: str, message: str, status: int = 400, kind: str = "") -> None:
        """Keep the parts; the message goes to the client and into the trail."""
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.status, self.kind = code, message, status, kind


def meaning(kind: str, message: str, protocol: str) -> AwsError:
    """Make the error that a protocol uses for denied, unknown-key, expired and the like."""
    code, status = _CODES[kind][protocol]
    return AwsError(code, message, status, kind)


def render(error: AwsError, protocol: str, service: str, request_id: str) -> Response:
    """Write an error as the service would."""
    if protocol == "oci":
        return _render_oci(error, request_id)
    if protocol in ("json", "rest-json"):
        body: dict[str, str] = {"message": error.message}
        kind = "application/x-amz-json-1.1" if protocol == "json" else "application/json"
        if protocol == "json":
            body = {"__type": error.code, "message": error.message}
        headers = {
            "Content-Type": kind,
            "x-amzn-ErrorType": error.code,
            "x-amzn-RequestId": request_id,
        }
        return Response(error.status, headers, json.dumps(body).encode())
    code, message = escape(error.code), escape(error.message)
    if protocol == "ec2":
        text = (
            f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error>"
            f"</Errors><RequestID>{request_id}</RequestID></Response>"
        )
    elif protocol == "rest-xml":
        text = (
            f"<Error><Code>{code}</Code><Message>{message}</Message>"
            f"<RequestId>{request_id}</RequestId><HostId>rehearsal</HostId></Error>"
        )
    else:
        text = (
            f'<ErrorResponse xmlns="{XMLNS.get(service, "")}"><Error><Type>Sender</Type>'
            f"<Code>{code}</Code><Message>{message}</Message></Error>"
            f"<RequestId>{request_id}</RequestId></ErrorResponse>"
        )
    headers = {"Content-Type": "text/xml", "x-amzn-RequestId": request_id}
    return Response(
        error.status, headers, b'<?xml version="1.0" encoding="UTF-8"?>' + text.encode()
    )


def _render_oci(error: AwsError, request_id: str) -> Response:
    """Write an error as the distribution specification has it, with ECR's challenge."""
    code, status = _OCI.get(error.code, (error.code, error.status))
    headers = {"Content-Type": "application/json", "x-amzn-RequestId": request_id}
    if status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="rehearsal",service="ecr.amazonaws.com"'
    body = {"errors": [{"code": code, "message": error.message}]}
    return Response(status, headers, json.dumps(body).encode())
