"""What is in each repository: layers and manifests by digest, durable.

Kept by the ECR service beside the registry that holds the bytes. That one shares its blobs between
all repositories and forgets manifests with its process; here stands which repository has which, so
that one sees nothing of another and a deleted one is empty when it is made again.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from sandbox.aws.files import read_json, write_json


class Contents:
    """Layers and manifests per repository; `place` is account/region/name."""

    def __init__(self, data_dir: Path) -> None:
        """Load `ecr-contents.json`."""
        self._file = data_dir / "ecr-contents.json"
        self._lock = threading.Lock()
        self._held: dict[str, dict[str, Any]] = read_json(self._file, {})

    def has_layer(self, place: str, digest: str) -> bool:
        """Tell whether a layer was pushed into a repository."""
        with self._lock:
            return digest in self._held.get(place, {}).get("layers", [])

    def find_manifest(self, place: str, reference: str) -> dict[str, str] | None:
        """Give media type, digest and text of a manifest, by digest or tag."""
        with self._lock:
            held = self._held.get(place, {})
            digest = held.get("tags", {}).get(reference, reference)
            found = held.get("manifests", {}).get(digest)
        return {**found, "digest": digest} if found else None

    def add_layer(self, place: str, digest: str) -> None:
        """Note that a repository has a layer."""
        with self._lock:
            layers = self._repository(place)["layers"]
            if digest not in layers:
                layers.append(digest)
                write_json(self._file, self._held)

    def add_manifest(self, place: str, digest: str, kind: str, text: str, tag: str | None) -> None:
        """Note that a repository has a manifest."""
        with self._lock:
            held = self._repository(place)
            held["manifests"][digest] = {"kind": kind, "text": text}
            if tag is not None:
                held["tags"][tag] = digest
            write_json(self._file, self._held)

    def is_empty(self, place: str) -> bool:
        """Tell whether a repository has no image."""
        with self._lock:
            return not self._held.get(place, {}).get("manifests")

    def forget(self, place: str) -> None:
        """Drop all of a repository."""
        with self._lock:
            if self._held.pop(place, None) is not None:
                write_json(self._file, self._held)

    def all_manifests(self) -> list[tuple[str, str, dict[str, str]]]:
        """List place, digest and manifest of all, parts before the indexes that name them."""
        with self._lock:
            found = [
                (place, digest, dict(one))
                for place, held in self._held.items()
                for digest, one in held.get("manifests", {}).items()
            ]
        return sorted(
            found, key=lambda item: "index" in item[2]["kind"] or "list" in item[2]["kind"]
        )

    def _repository(self, place: str) -> dict[str, Any]:
        return self._held.setdefault(place, {"layers": [], "manifests": {}, "tags": {}})
