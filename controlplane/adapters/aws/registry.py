"""Copy images into the boundary's own repositories, each under the digest it has with us.

Called by the saga's step `images`, beside the creation of the cluster. Separate because it starts a
child process: the copy itself is made by `crane` (go-containerregistry), which keeps manifests and
layers byte for byte, indexes with all their platforms among them. The registry's token is in a
private file of a folder that goes with the call, never in arguments or environment. A copy may be
repeated: what is there is asked for first, and layers that have arrived are not sent again.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from controlplane.adapters.aws.account import Account
from controlplane.adapters.aws.errors import translated
from controlplane.adapters.handover import write_private
from controlplane.adapters.pulumi.cli import die_with_parent
from controlplane.adapters.redaction import MASK, redact
from controlplane.core.errors import (
    ConflictError,
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    QuotaError,
    RingfenceError,
    UnauthenticatedError,
    UnavailableError,
)

COPY_SECONDS = 900.0
"""How long one image may take: 10 GB at a tenth of what the worker's line is assumed to carry."""
_LOOK_SECONDS = 60.0
_POLL_SECONDS = 0.2
_ABSENT = ("MANIFEST_UNKNOWN", "404 Not Found")
_ENDED = ("token has expired", "token is invalid")
_ADDRESS = re.compile(r"\bhttps?://([^/\s]+)/")
_NO_WORDS = "HEAD responses have no body"


@dataclass(frozen=True)
class Image:
    """One image of ours and the repository that it belongs in."""

    name: str
    source: str
    """Our reference, with digest."""
    repository: str
    """`<registry>/<path>` in the customer's account."""

    @property
    def digest(self) -> str:
        """Return what it must be, here and there. Raises: InvalidRequestError."""
        digest = self.source.rpartition("@")[2]
        if not digest.startswith("sha256:"):
            raise InvalidRequestError(
                f"image {self.name}: {self.source} names no digest",
                code="no-digest",
                fix="write it as <repository>@sha256:<hex> in RINGFENCE_IMAGES_FILE",
            )
        return digest

    @property
    def reference(self) -> str:
        """Return how the boundary names it."""
        return f"{self.repository}@{self.digest}"


@dataclass(frozen=True)
class CopiedImage:
    """Where an image is now, seen there."""

    name: str
    digest: str
    reference: str
    size: int
    """Bytes of its layers and configurations, over all platforms."""
    copied: bool
    """False when it was there already."""


class _CraneError(Exception):
    """crane ended with an error; the text is its last words, without secrets."""


def copy_image(
    account: Account, crane: Path, work_dir: Path, image: Image, check: Callable[[], None]
) -> CopiedImage:
    """Copy one image and see it arrive under its digest; `check` is called while it is copied.

    Raises: what `check` raises, with the child ended; ForbiddenError, NotFoundError, QuotaError,
    UnauthenticatedError, UnavailableError or ConflictError, which name image and registry.
    """
    digest = image.digest
    with _signed_in(account, crane, work_dir, check) as tool:
        try:
            size = tool.find(image.repository, digest)
            if size is not None:
                return CopiedImage(image.name, digest, image.reference, size, copied=False)
            tool.run(COPY_SECONDS, "copy", image.source, image.reference)
            arrived = tool.find(image.repository, digest)
        except _CraneError as error:
            raise _translated(image, tool.in_words(image, str(error))) from error
    if arrived is None:
        raise ConflictError(
            f"image {image.name}: {image.repository} does not have {digest} after the copy",
            code="wrong-copy",
            fix="run the step again; look at who else deletes images of this repository",
        )
    return CopiedImage(image.name, digest, image.reference, arrived, copied=True)


@contextmanager
def _signed_in(
    account: Account, crane: Path, work_dir: Path, check: Callable[[], None]
) -> Iterator[_Crane]:
    """Give crane with a token of the role, in a folder that is removed afterwards."""
    with translated("ecr:GetAuthorizationToken"):
        data = account.client("ecr").get_authorization_token()["authorizationData"][0]
    host = str(data["proxyEndpoint"]).partition("://")[2]
    token = str(data["authorizationToken"])
    # One name, so that what a killed worker left is removed by the next attempt.
    folder = work_dir / "images"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    try:
        write_private(folder / "config.json", json.dumps({"auths": {host: {"auth": token}}}))
        yield _Crane(crane, folder, token, check)
    finally:
        shutil.rmtree(folder)


class _Crane:
    """The CLI with one registry's token."""

    def __init__(self, program: Path, folder: Path, token: str, check: Callable[[], None]) -> None:
        self._program, self._folder, self._token, self._check = program, folder, token, check

    def find(self, repository: str, digest: str) -> int | None:
        """Return the size of what the repository has under a digest; None when not all is there.

        Raises: _CraneError.
        """
        try:
            raw = self.run(_LOOK_SECONDS, "manifest", f"{repository}@{digest}")
        except _CraneError as error:
            if any(word in str(error) for word in _ABSENT):
                return None
            raise
        if f"sha256:{hashlib.sha256(raw).hexdigest()}" != digest:
            return None
        manifest = json.loads(raw)
        sizes = [self.find(repository, one["digest"]) for one in manifest.get("manifests", [])]
        own = [manifest["config"], *manifest["layers"]] if "layers" in manifest else []
        if any(size is None for size in sizes):
            return None
        return sum(size or 0 for size in sizes) + sum(int(one["size"]) for one in own)

    def in_words(self, image: Image, words: str) -> str:
        """Return what the registry says in full where crane only saw a status."""
        if _NO_WORDS not in words:
            return words
        try:
            self.find(image.repository, image.digest)
        except _CraneError as error:
            return str(error)
        return words

    def run(self, seconds: float, *arguments: str) -> bytes:
        """Run to the end and return what it printed. Raises: _CraneError, what `check` raises."""
        output, errors = self._folder / "output", self._folder / "errors"
        with output.open("wb") as out, errors.open("wb") as err:
            try:
                process = subprocess.Popen(
                    [str(self._program), *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    cwd=self._folder,
                    env={
                        "PATH": "/usr/bin:/bin",
                        "HOME": str(self._folder),
                        "DOCKER_CONFIG": str(self._folder),
                    },
                    # The thread that starts it also waits for it; no lock is taken before exec.
                    preexec_fn=die_with_parent,
                )
            except OSError as error:
                raise UnavailableError(
                    f"crane does not start: {type(error).__name__}",
                    fix="check RINGFENCE_TOOL_CRANE",
                ) from error
            code = self._wait(process, seconds)
        if code != 0:
            words = errors.read_text(errors="replace").strip()[-1500:]
            raise _CraneError(redact(words.replace(self._token, MASK)))
        return output.read_bytes()

    def _wait(self, process: subprocess.Popen[bytes], seconds: float) -> int:
        deadline = time.monotonic() + seconds
        try:
            while True:
                try:
                    return process.wait(timeout=_POLL_SECONDS)
                except subprocess.TimeoutExpired:
                    self._check()
                if time.monotonic() > deadline:
                    raise _CraneError(f"not done after {seconds:.0f} s")
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def _translated(image: Image, words: str) -> RingfenceError:
    """Return our error for crane's last words, with what it was about and what to do."""
    # The last address is that of the request which failed; a log line before it names both.
    *_, asked = ["", *_ADDRESS.findall(words)]
    is_theirs = asked == image.repository.partition("/")[0]
    about = f"image {image.name}, from {image.source} to {image.repository}: {words}"
    if "TOOMANYREQUESTS" in words or "429 Too Many" in words:
        return QuotaError(about, code="aws-throttled" if is_theirs else "registry-throttled")
    if any(word in words for word in _ENDED):
        return UnauthenticatedError(about, code="aws-session-ended")
    if "NAME_UNKNOWN" in words and is_theirs:
        return NotFoundError(
            about,
            code="no-repository",
            fix="let a run of the install bring its stack `foundation` to the plan",
        )
    if any(word in words for word in (*_ABSENT, "NAME_UNKNOWN")):
        return NotFoundError(
            about,
            code="image-not-found",
            fix="name an image that is there in RINGFENCE_IMAGES_FILE",
        )
    if is_theirs and ("DENIED" in words or "403 Forbidden" in words):
        return ForbiddenError(
            about,
            code="aws-denied",
            fix="see that the role's template is the one for `images: copied`",
        )
    if any(word in words for word in ("UNAUTHORIZED", "DENIED", "401 ", "403 ")):
        return ForbiddenError(
            about,
            code="registry-refused",
            fix="let the worker read the registry of RINGFENCE_IMAGES_FILE",
        )
    if "does not match" in words or "DIGEST_INVALID" in words:
        return ConflictError(
            about, code="wrong-digest", fix="the registry does not hold what it says; ask us"
        )
    return UnavailableError(about, code="registry-unavailable")
