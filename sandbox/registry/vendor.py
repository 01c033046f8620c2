"""The vendor's registry of the sandbox: from it nodes pull, or the worker copies; read only.

Served as a part of the sandbox (`python -m sandbox.registry --port N --folder DIR`) and by tests.
The real registry behind it holds the images of the image table, pushed at its start; through the
front nobody changes anything. Emulation: what a release publishes stands here in small.
"""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType

from sandbox.aws.messages import Request, Response
from sandbox.aws.server import TcpServer
from sandbox.node.images import IMAGES
from sandbox.registry.oci import INDEX, MANIFEST, OciImage, index
from sandbox.registry.process import RegistryProcess, RegistryUnavailableError

_READS = frozenset({"GET", "HEAD"})
_SHOWN = frozenset({"content-type", "docker-content-digest"})


class VendorRegistry:
    """A registry that can be read on a port of loopback."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        """Listen on a port; 0 takes a free one."""
        self._registry = RegistryProcess(folder)
        self._server = TcpServer(port, self._handle)
        self.port: int = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def host(self) -> str:
        """Return the registry's name in references."""
        return f"localhost:{self.port}"

    def publish(self, name: str, image: OciImage) -> str:
        """Put an image in and return its reference."""
        for digest, content in image.blobs.items():
            begun = self._expect("POST", f"/v2/{name}/blobs/uploads/", 202)
            self._expect("PUT", f"{begun}?digest={digest}", 201, content)
        target = f"/v2/{name}/manifests/{image.digest}"
        self._expect("PUT", target, 201, image.manifest, MANIFEST)
        return f"{self.host}/{name}@{image.digest}"

    def publish_as(self, name: str, digest: str, image: OciImage) -> None:
        """Put an image in under a digest that is not its own, as a broken registry might."""
        self.publish(name, image)
        self._expect("PUT", f"/v2/{name}/manifests/{digest}", 201, image.manifest, MANIFEST)

    def publish_index(self, name: str, images: dict[str, OciImage]) -> str:
        """Put an image for several architectures in and return its reference."""
        for image in images.values():
            self.publish(name, image)
        whole = OciImage(index(images), {})
        self._expect("PUT", f"/v2/{name}/manifests/{whole.digest}", 201, whole.manifest, INDEX)
        return f"{self.host}/{name}@{whole.digest}"

    def publish_all(self) -> None:
        """Put every image of the table in."""
        for name, image in IMAGES.items():
            self.publish(name, image.oci)

    def stop(self) -> None:
        """End front and registry."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._registry.stop()

    def __enter__(self) -> VendorRegistry:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _expect(
        self, method: str, target: str, status: int, body: bytes = b"", kind: str = ""
    ) -> str:
        headers = {"content-type": kind or "application/octet-stream"}
        answer = self._registry.ask(method, target, headers, body)
        if answer.status != status:
            raise RegistryUnavailableError(f"{method} {target}: {answer.status}, not {status}")
        return answer.headers.get("location", "")

    def _handle(self, request: Request) -> Response:
        if request.method not in _READS:
            text = b'{"errors":[{"code":"UNSUPPORTED","message":"this registry is read only"}]}'
            return Response(405, {"Content-Type": "application/json"}, text)
        try:
            answer = self._registry.ask(request.method, request.target, request.headers)
        except RegistryUnavailableError:
            return Response(503)
        shown = {name: text for name, text in answer.headers.items() if name in _SHOWN}
        if "content-length" in answer.headers:
            shown["Content-Length"] = answer.headers["content-length"]
        return Response(answer.status, shown, answer.body)


def references(host: str) -> dict[str, str]:
    """Return name -> reference of every image of the table as this registry has it."""
    return {name: f"{host}/{image.reference}" for name, image in IMAGES.items()}


def last_manifest() -> str:
    """Return the path of what is published last: once it is there, everything is."""
    *_, image = IMAGES.values()
    return f"/v2/{image.name}/manifests/{image.digest}"
