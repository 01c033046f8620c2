"""Amazon ECR: repositories in moto, images in a real registry behind the gate's checks.

Called by the gate for allowed calls, those of ECR's API and those of the registry's protocol alike.
Emulation: an address is `localhost:<port>/<repository>`, where AWS has
`<account>.dkr.ecr.<region>.amazonaws.com`; clients of registries talk to localhost without TLS.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sandbox.aws.clock import Clock
from sandbox.aws.config import GateConfig
from sandbox.aws.ecr import distribution
from sandbox.aws.ecr.contents import Contents
from sandbox.aws.errors import AwsError
from sandbox.aws.keys import KeyStore
from sandbox.aws.messages import Call, Request, Response
from sandbox.aws.moto_store import MotoStore, StoreCall, backend
from sandbox.registry.process import Answer, RegistryProcess

TOKEN_LIFE = timedelta(hours=12)
# Manifests are small; AWS publishes 4 MiB as the most.
MANIFEST_BYTES = 4 << 20


class Ecr:
    """Repositories, tokens and images of every account."""

    def __init__(self, config: GateConfig, store: MotoStore, clock: Clock, keys: KeyStore) -> None:
        """Load what is in the repositories; the registry starts with its first request."""
        self.port = config.port
        self._store, self._clock, self._keys = store, clock, keys
        self._contents = Contents(config.data_dir)
        self._registry = RegistryProcess(config.data_dir / "registry")
        self._restored = 0
        self._restoring = threading.Lock()
        self._data: dict[str, Callable[[Call, str], Response]] = {
            "BatchGetImage": self._manifest,
            "PutImage": self._put_manifest,
            "BatchCheckLayerAvailability": self._layer,
            "GetDownloadUrlForLayer": self._layer,
            "InitiateLayerUpload": self._upload,
            "UploadLayerPart": self._upload,
            "CompleteLayerUpload": self._upload,
        }

    def stop(self) -> None:
        """End the registry's process."""
        self._registry.stop()

    @property
    def host(self) -> str:
        """Give the registry's name in references."""
        return f"localhost:{self.port}"

    def handle(self, call: Call) -> Response:
        """Answer one allowed call."""
        if call.protocol == distribution.PROTOCOL:
            return self._distribution(call)
        if call.operation == "GetAuthorizationToken":
            return self._token(call)
        if call.operation in self._data:
            text = f"{call.operation} is modelled by the registry's protocol only"
            raise AwsError("InvalidParameterException", text)
        name = str(call.params.get("repositoryName", ""))
        is_full = not self._contents.is_empty(_place(call, name))
        if call.operation == "DeleteRepository" and is_full and not call.params.get("force"):
            text = f"The repository with name '{name}' cannot be deleted, it has images"
            raise AwsError("RepositoryNotEmptyException", text)
        response = self._store.send(_store_call(call), record=call.mutating)
        if call.operation == "DeleteRepository" and response.status < 400:
            self._contents.forget(_place(call, name))
        # moto writes AWS's own names; ours lead to where the images are.
        aws = f"{call.account}.dkr.ecr.{call.region}.amazonaws.com"
        response.body = response.body.replace(aws.encode(), self.host.encode())
        return response

    def _token(self, call: Call) -> Response:
        """Give a token with the caller's own power, for twelve hours at most."""
        ends = self._clock.now() + TOKEN_LIFE
        token = base64.b64encode(f"AWS:{self._keys.registry_token(call.caller, ends)}".encode())
        data = {
            "authorizationToken": token.decode(),
            "expiresAt": ends.timestamp(),
            "proxyEndpoint": f"http://{self.host}",
        }
        headers = {"Content-Type": "application/x-amz-json-1.1"}
        return Response(200, headers, json.dumps({"authorizationData": [data]}).encode())

    def _distribution(self, call: Call) -> Response:
        """Answer one request of the registry's protocol in an existing repository."""
        name = str(call.params["repositoryName"])
        if name not in backend("ecr", call.account, call.region).repositories:
            text = (
                f"The repository with name '{name}' does not exist in the registry with id "
                f"'{call.account}'"
            )
            raise AwsError("NAME_UNKNOWN", text, 404)
        return self._data[call.operation](call, _place(call, name))

    def _manifest(self, call: Call, place: str) -> Response:
        """Give a manifest of the repository."""
        found = self._contents.find_manifest(place, str(call.params["reference"]))
        if found is None:
            raise AwsError("MANIFEST_UNKNOWN", "Requested image not found", 404)
        return self._forward(call, place, f"manifests/{found['digest']}")

    def _put_manifest(self, call: Call, place: str) -> Response:
        """Take a manifest whose parts are all in the repository."""
        reference, body = str(call.params["reference"]), call.request.body
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        tag = None if reference.startswith("sha256:") else reference
        if len(body) > MANIFEST_BYTES or (tag is None and reference != digest):
            text = f"The manifest is {digest}, not {reference}, or too large"
            raise AwsError("MANIFEST_INVALID", text)
        taken = self._contents.find_manifest(place, reference) if tag else None
        if taken is not None and self._is_immutable(call):
            text = f"The image tag '{tag}' already exists and cannot be overwritten"
            raise AwsError("TAG_INVALID", text)
        self._require_parts(place, body)
        response = self._forward(call, place, f"manifests/{reference}")
        if response.status < 300:
            kind = call.request.headers.get("content-type", "")
            self._contents.add_manifest(place, digest, kind, body.decode(), tag)
        return response

    def _require_parts(self, place: str, body: bytes) -> None:
        """Refuse a manifest that names what was not pushed into this repository."""
        try:
            manifest = json.loads(body)
            layers = [one["digest"] for one in manifest.get("layers", [])]
            layers += [manifest["config"]["digest"]] if "config" in manifest else []
            images = [one["digest"] for one in manifest.get("manifests", [])]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise AwsError("MANIFEST_INVALID", "The manifest cannot be read") from error
        missing = [one for one in layers if not self._contents.has_layer(place, one)]
        missing += [one for one in images if not self._contents.find_manifest(place, one)]
        if missing:
            text = f"Layers or images with digests {missing} do not exist in this repository"
            raise AwsError("BLOB_UNKNOWN", text, 404)

    def _is_immutable(self, call: Call) -> bool:
        store = backend("ecr", call.account, call.region)
        return bool(store.repositories[str(call.params["repositoryName"])].is_tag_immutable())

    def _layer(self, call: Call, place: str) -> Response:
        """Give a layer, or say whether it is there."""
        digest = str(call.params["digest"])
        if not self._contents.has_layer(place, digest):
            raise AwsError("BLOB_UNKNOWN", "blob unknown to registry", 404)
        return self._forward(call, place, f"blobs/{digest}")

    def _upload(self, call: Call, place: str) -> Response:
        """Take a part of a layer; with the last it is in the repository."""
        tail, query = f"blobs/uploads/{call.params.get('upload', '')}", ""
        if call.operation == "CompleteLayerUpload":
            query = f"?digest={call.params['digest']}"
        response = self._forward(call, place, tail + query)
        if call.operation == "CompleteLayerUpload" and response.status < 300:
            self._contents.add_layer(place, str(call.params["digest"]))
        return response

    def _forward(self, call: Call, place: str, tail: str) -> Response:
        """Ask the registry, in the place that it knows the repository by."""
        self._restore()
        request: Request = call.request
        answer = self._registry.ask(
            request.method, f"/v2/{place}/{tail}", request.headers, request.body
        )
        return _response(answer, place, str(call.params["repositoryName"]))

    def _restore(self) -> None:
        """Put the manifests back into a registry that was started anew; it has the blobs."""
        with self._restoring:
            self._registry.ask("GET", "/v2/")
            if self._restored == self._registry.started:
                return
            for place, digest, one in self._contents.all_manifests():
                kind = {"content-type": one["kind"]}
                target = f"/v2/{place}/manifests/{digest}"
                self._registry.ask("PUT", target, kind, one["text"].encode())
            self._restored = self._registry.started


def _place(call: Call, name: str) -> str:
    return f"{call.account}/{call.region}/{name}"


def _response(answer: Answer, place: str, name: str) -> Response:
    """Give the registry's answer in the names that the client knows."""
    kept = {
        header: text.replace(f"/v2/{place}/", f"/v2/{name}/")
        for header, text in answer.headers.items()
        if header in ("content-type", "docker-content-digest", "location", "range")
    }
    if "content-length" in answer.headers:
        kept["Content-Length"] = answer.headers["content-length"]
    return Response(answer.status, kept, answer.body)


def _store_call(call: Call) -> StoreCall:
    """Send a call to moto by its parameters."""
    headers = {
        "content-type": "application/x-amz-json-1.1",
        "x-amz-target": f"AmazonEC2ContainerRegistry_V20150921.{call.operation}",
    }
    body: Any = json.dumps(call.params).encode()
    return StoreCall(call.account, call.region, "ecr", "POST", "/", headers, body)
