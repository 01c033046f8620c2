"""The registry's own protocol: which ECR action each request is, and how it is answered.

Called by the gate for requests below /v2/ and by the ECR service. Separate from ECR's API because
this is the protocol of the OCI distribution specification, with its paths, challenges and errors.
Source of the mapping: https://docs.aws.amazon.com/AmazonECR/latest/userguide/image-push-iam.html
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any

from sandbox.aws.errors import AwsError
from sandbox.aws.messages import Request, Response

BASE = "/v2/"
PROTOCOL = "oci"
_REPOSITORY = r"(?P<repository>[a-z0-9]+(?:[._/-][a-z0-9]+)*)"
_DIGEST = r"sha256:[0-9a-f]{64}"
_ROUTES = tuple(
    (method, re.compile(f"^/v2/{_REPOSITORY}/{tail}$"), operation)
    for method, tail, operation in (
        ("HEAD", r"manifests/(?P<reference>[\w.:-]+)", "BatchGetImage"),
        ("GET", r"manifests/(?P<reference>[\w.:-]+)", "BatchGetImage"),
        ("PUT", r"manifests/(?P<reference>[\w.:-]+)", "PutImage"),
        ("HEAD", rf"blobs/(?P<digest>{_DIGEST})", "BatchCheckLayerAvailability"),
        ("GET", rf"blobs/(?P<digest>{_DIGEST})", "GetDownloadUrlForLayer"),
        ("POST", "blobs/uploads/?", "InitiateLayerUpload"),
        ("PATCH", r"blobs/uploads/(?P<upload>\w+)", "UploadLayerPart"),
        ("PUT", r"blobs/uploads/(?P<upload>\w+)", "CompleteLayerUpload"),
    )
)


def is_distribution(request: Request) -> bool:
    """Tell whether a request speaks the registry's protocol; no bucket can be named v2."""
    return request.path == "/v2" or request.path.startswith(BASE)


def is_ping(request: Request) -> bool:
    """Tell whether a client only asks whether it may come in."""
    return request.path in ("/v2", BASE)


def read_token(request: Request) -> str:
    """Give the token of `Basic AWS:<token>`. Raises: AwsError where there is none."""
    kind, _, value = request.headers.get("authorization", "").partition(" ")
    try:
        user, _, token = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        user, token = "", ""
    if kind.lower() != "basic" or user != "AWS" or not token:
        raise AwsError("UNAUTHORIZED", "Not Authorized", 401)
    return token


def read_request(request: Request) -> tuple[str, dict[str, Any]]:
    """Give operation and parameters. Raises: AwsError for what no action stands for."""
    for method, pattern, operation in _ROUTES:
        found = pattern.match(request.path) if request.method == method else None
        if found is not None:
            named = {name: text for name, text in found.groupdict().items() if text}
            params: dict[str, Any] = {"repositoryName": named.pop("repository"), **named}
            if operation == "CompleteLayerUpload":
                params["digest"] = dict(request.query()).get("digest", "")
            return operation, params
    raise AwsError("UNSUPPORTED", f"{request.method} {request.path} is not an action of ECR", 405)


def pong() -> Response:
    """Answer a client that may come in."""
    return Response(200, {"Docker-Distribution-Api-Version": "registry/2.0"}, b"{}")
