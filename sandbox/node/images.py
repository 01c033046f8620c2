"""The table of images the node agent can run, and their digests.

Called by the node agent when it starts a container, and by set-up (`python -m sandbox.node.images
--json`) to write the references that charts and catalogs use. Separate from the agent because the
table is read where no cluster runs.

Emulation: an image here is a process of this checkout, not a file system from a registry. Its
digest is that of a small real OCI image whose one file is the entry (`sandbox.registry.oci`), so a
changed entry is another digest, and registries hold, copy and check it as they do any image.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from functools import cached_property

from sandbox.registry.oci import OciImage, build


class ImageError(ValueError):
    """An image reference cannot be run; `reason` is the container's waiting reason."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Image:
    """One entry: what is run, as whom, and what of the checkout it may see."""

    name: str
    entrypoint: tuple[str, ...]
    """`python` stands for the interpreter the agent runs under."""
    packages: tuple[str, ...]
    """Top-level packages of the checkout that are visible inside the container."""
    user: int = 65532
    """The uid the process sees when the pod names none."""
    command: tuple[str, ...] = ()
    """Default arguments, replaced by the container's `args`."""
    stop_signal: str = "SIGTERM"

    @cached_property
    def oci(self) -> OciImage:
        """The image that registries hold for this entry."""
        return build(asdict(self), [*self.entrypoint, *self.command], self.user)

    @property
    def digest(self) -> str:
        return self.oci.digest

    @property
    def reference(self) -> str:
        return f"{self.name}@{self.digest}"


def _python(
    name: str, module: str, *packages: str, user: int = 65532, stop_signal: str = "SIGTERM"
) -> Image:
    return Image(name, ("python", "-m", module), packages, user, (), stop_signal)


_ENTRIES = (
    _python("ringfence/operator", "operators.main", "operators", "wire", "proof", "iam"),
    _python("ringfence/fetcher", "operators.fetcher", "operators", "wire", "proof", "iam"),
    _python("ringfence/agent", "agent.main", "agent", "wire", "proof", "iam"),
    _python("ringfence/runner", "runner.main", "runner", "wire", "proof"),
    _python("ringfence/gateway", "gateway.main", "gateway", "wire", "proof", "iam"),
    _python("ringfence/engine-llamacpp", "sandbox.engine.main", "sandbox", "wire"),
    # SIGTERM would wait for the clients to leave; the official image stops with SIGINT, too.
    _python(
        "ringfence/postgres", "sandbox.node.postgres", "sandbox", user=999, stop_signal="SIGINT"
    ),
    _python("ringfence/probe", "sandbox.node.probe", "sandbox"),
)
IMAGES: dict[str, Image] = {image.name: image for image in _ENTRIES}


def references() -> dict[str, str]:
    """Return name -> reference with digest, the content of `RINGFENCE_IMAGES_FILE`."""
    return {name: image.reference for name, image in IMAGES.items()}


def resolve(reference: str) -> Image:
    """Return the image of a reference `name[:tag][@sha256:…]`.

    Raises: ImageError with the kubelet's reason when it is unknown or the digest differs.
    """
    name, _, digest = reference.partition("@")
    head, _, tail = name.rpartition(":")
    # A colon before the last slash belongs to a registry's port, not to a tag.
    bare = head if head and "/" not in tail else name
    bare = bare.removeprefix("docker.io/")
    # A digest names an image whatever registry it comes from.
    image = next((one for one in IMAGES.values() if one.digest == digest), IMAGES.get(bare))
    if image is None:
        raise ImageError(
            "ErrImagePull",
            f"image {reference!r} is not in the sandbox's image table; known: "
            + ", ".join(sorted(IMAGES)),
        )
    if digest and digest != image.digest:
        raise ImageError(
            "ErrImagePull",
            f"image {bare!r} has digest {image.digest} in this sandbox, the reference asks for "
            f"{digest}; use the reference printed by: python -m sandbox.node.images --json",
        )
    return image


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m sandbox.node.images", description=__doc__)
    parser.add_argument("--json", action="store_true", help="name -> reference as one JSON object")
    options = parser.parse_args(argv)
    if options.json:
        print(json.dumps(references(), indent=2, sort_keys=True))
    else:
        for image in IMAGES.values():
            print(image.reference)
    return 0


if __name__ == "__main__":
    sys.exit(main())
