"""Pack a take-over kit reproducibly, unpack it safely, and verify it offline.

Used by the worker (pack), by `ringfence install takeover` (unpack), by `ringfence takeover verify`
and by the rehearsal. The reader brings the pin; nothing in a kit is trusted because it says so.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from proof.canonical import bytes_digest
from proof.dsse import SignatureError, open_envelope
from proof.keys import KeyFileError, decode_public, fingerprint
from wire.takeover import TAKEOVER_TYPE, KitFile, TakeoverFile, TakeoverManifest
from wire.version import UnsupportedVersionError

MANIFEST = "manifest.json"
WORK = "work"
"""The only folder of an unpacked kit that may hold more than the manifest names: the script's."""
LARGEST_KIT = 256 * 1024 * 1024
_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]*(/[A-Za-z0-9_][A-Za-z0-9_.\-]*)*")


class KitError(ValueError):
    """The kit is not what its manifest says, or not from whom the reader trusts."""


@dataclass(frozen=True)
class Verdict:
    """A kit whose signature and files all hold."""

    manifest: TakeoverManifest
    control_plane_key: str


def listed(files: Mapping[str, bytes]) -> tuple[KitFile, ...]:
    """Return what a manifest says of files."""
    return tuple(
        KitFile(path=path, digest=bytes_digest(data), size_bytes=len(data))
        for path, data in sorted(files.items())
    )


def program_digest(programs: Mapping[str, bytes]) -> str:
    """Return the digest of a blueprint's programs, as its manifest has it (`blueprints.manifest`).

    Shapes: path below the blueprint's folder -> content, Python files only.
    """
    digest = hashlib.sha256()
    for path, data in sorted(programs.items()):
        digest.update(f"{path}\0{len(data)}\0".encode())
        digest.update(data)
    return f"sha256:{digest.hexdigest()}"


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return a tar.gz that depends on paths and contents only: no time, no owner."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, data in sorted(files.items()):
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            entry.mode = 0o755 if path.endswith("takeover.py") else 0o644
            tar.addfile(entry, io.BytesIO(data))
    return gzip.compress(plain.getvalue(), compresslevel=9, mtime=0)


def unpack(archive: bytes, folder: Path) -> None:
    """Write a kit into a folder that does not exist or is empty. Raises: KitError, OSError."""
    if folder.exists() and any(folder.iterdir()):
        raise KitError(f"{folder} is not empty")
    files = _contents(archive)
    for path, data in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        target.write_bytes(data)
        target.chmod(0o700 if path.endswith("takeover.py") else 0o600)


def _contents(archive: bytes) -> dict[str, bytes]:
    """Return the files of an archive: regular ones with plain names, and not without end."""
    found: dict[str, bytes] = {}
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(archive)) as packed:
            plain = packed.read(LARGEST_KIT + 1)
        if len(plain) > LARGEST_KIT:
            raise KitError(f"the archive holds more than {LARGEST_KIT} bytes")
        with tarfile.open(fileobj=io.BytesIO(plain), mode="r:") as tar:
            for entry in tar:
                data = tar.extractfile(entry) if entry.isreg() else None
                if data is None or _PATH.fullmatch(entry.name) is None or entry.name in found:
                    raise KitError(f"the archive holds {entry.name!r}, which no kit does")
                found[entry.name] = data.read()
    except (OSError, EOFError, tarfile.TarError) as error:
        raise KitError("this is not a take-over kit's archive") from error
    return found


def verify_folder(folder: Path, pin: str) -> Verdict:
    """Return the verdict once signature and every file hold; `pin` is the vendor's fingerprint.

    Raises: KitError that says which check failed.
    """
    manifest = verify_manifest(_read(folder / MANIFEST, MANIFEST), pin)
    for entry in manifest.files:
        data = _read(folder / entry.path, entry.path)
        if len(data) != entry.size_bytes or bytes_digest(data) != entry.digest:
            raise KitError(f"{entry.path} was changed: it is not what the manifest signs")
    known = {MANIFEST, *(entry.path for entry in manifest.files)}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        is_ours = name in known or name.split("/", 1)[0] == WORK
        if path.is_symlink() or (not path.is_dir() and not is_ours):
            raise KitError(f"{name} is not in the manifest: remove it, or use the kit's {WORK}/")
    return Verdict(manifest, pin)


def verify_manifest(data: bytes, pin: str) -> TakeoverManifest:
    """Return a manifest that the pinned key signed. Raises: KitError."""
    try:
        file = TakeoverFile.from_wire(json.loads(data))
        if pin not in file.keys:
            carried = ", ".join(file.keys) or "no key"
            raise KitError(f"it is not signed by the pinned key {pin}; it carries: {carried}")
        key = decode_public(file.keys[pin])
        if fingerprint(key) != pin:
            raise KitError(f"the key {pin} in it has the fingerprint {fingerprint(key)}")
        document = open_envelope(file.envelope, TAKEOVER_TYPE, {"control plane": key})
        return TakeoverManifest.from_wire(document)
    except (SignatureError, KeyFileError) as error:
        raise KitError(str(error)) from error
    except (ValidationError, UnsupportedVersionError, TypeError, AttributeError) as error:
        raise KitError(f"{MANIFEST} is not a kit's manifest") from error
    except ValueError as error:
        if isinstance(error, KitError):
            raise
        raise KitError(f"{MANIFEST} is not JSON") from error


def _read(path: Path, name: str) -> bytes:
    if path.is_symlink() or not path.is_file():
        raise KitError(f"{name} is missing")
    return path.read_bytes()
