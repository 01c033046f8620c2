"""Who the runner is: two keys of its own, and calls to STS that it signs but does not send.

Used by `runner.main` for the hello and by `runner.work` for the cluster's tokens. The same call
with another signed header is either of them: a token names one cluster, a hello one document.
"""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import urlsplit

from botocore.signers import RequestSigner
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from proof.canonical import digest
from proof.dsse import seal
from wire.envelope import Envelope
from wire.runner import ANSWER_TYPE, HELLO_HEADER, ProvenHello, RunnerAnswer, RunnerHello

TOKEN_SECONDS = 60
HELLO_SECONDS = 300
CLUSTER_HEADER = "x-k8s-aws-id"


class Identity:
    """The process's own keys, and the task's role."""

    def __init__(self, sts: Any, credentials: Any, region: str) -> None:
        """Make the keys; they are never written anywhere. `credentials` renew themselves."""
        self._sts, self._credentials, self._region = sts, credentials, region
        self.sealing = X25519PrivateKey.generate()
        self.signing = Ed25519PrivateKey.generate()

    def prove(self, hello: RunnerHello) -> ProvenHello:
        """Return the hello with a proof that fits it alone."""
        url = urlsplit(self._presigned({HELLO_HEADER: digest(hello.to_wire())}, HELLO_SECONDS))
        return ProvenHello(hello=hello, host=url.netloc, query=url.query)

    def token(self, cluster: str) -> str:
        """Return a bearer token that one cluster accepts, for 15 minutes."""
        url = self._presigned({CLUSTER_HEADER: cluster}, TOKEN_SECONDS)
        return "k8s-aws-v1." + base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")

    def sign(self, answer: RunnerAnswer) -> Envelope:
        """Return the answer under the key that the hello named."""
        return seal(self.signing, ANSWER_TYPE, answer.to_wire())

    def _presigned(self, headers: dict[str, str], seconds: int) -> str:
        host = urlsplit(self._sts.meta.endpoint_url)
        signer = RequestSigner(
            self._sts.meta.service_model.service_id,
            self._region,
            "sts",
            "v4",
            self._credentials,
            self._sts.meta.events,
        )
        url: str = signer.generate_presigned_url(
            {
                "method": "GET",
                "url": f"{host.scheme}://{host.netloc}/?Action=GetCallerIdentity"
                "&Version=2011-06-15",
                "body": {},
                "headers": headers,
                "context": {},
            },
            region_name=self._region,
            expires_in=seconds,
            operation_name="",
        )
        return url
