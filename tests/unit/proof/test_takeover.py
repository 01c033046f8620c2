"""Take-over kits: reproducible, sealed to one key, and nothing in them can be changed unseen."""

import base64
import gzip
import io
import json
import secrets
import tarfile
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from blueprints.manifest import load
from proof import dsse
from proof.keys import encode_public as encode_signer
from proof.keys import fingerprint
from proof.sealing import (
    SealingError,
    create_key,
    encode_public,
    key_of_passphrase,
    load_key,
    read_passphrase,
    salt_of,
    seal,
    unseal,
)
from proof.takeover import (
    MANIFEST,
    KitError,
    listed,
    pack,
    program_digest,
    unpack,
    verify_folder,
)
from tests.architecture.sources import ROOT
from wire.certificate import CERTIFICATE_TYPE
from wire.takeover import TAKEOVER_TYPE, KitStack, Recipient, TakeoverFile, TakeoverManifest

SIGNER = Ed25519PrivateKey.generate()
PIN = fingerprint(SIGNER)
FILES = {"takeover.py": b"print()\n", "state/foundation.json": b"{}\n", "RUNBOOK.md": b"# x\n"}
RECIPIENT = Recipient(public=encode_public(X25519PrivateKey.generate()))


def manifest(files: dict[str, bytes]) -> TakeoverManifest:
    return TakeoverManifest(
        organization="acme",
        boundary="payments",
        boundary_id=UUID(int=1),
        install_id=UUID(int=2),
        account="111122223333",
        region="eu-central-1",
        cluster="ringfence-payments",
        host=None,
        project="ringfence-payments",
        blueprint="eks-model-stack",
        blueprint_version="1",
        blueprint_digest="sha256:0",
        revision=1,
        stacks=(
            KitStack(
                name="foundation",
                entry="a.b:c",
                resources=1,
                state_at="2026-01-01T00:00:00Z",
            ),
        ),
        bundle_sequence=None,
        has_certificate=False,
        emulated=True,
        recipient=RECIPIENT,
        tools=(),
        files=listed(files),
    )


def kit(files: dict[str, bytes], kind: str = TAKEOVER_TYPE) -> dict[str, bytes]:
    envelope = dsse.seal(SIGNER, kind, manifest(files).to_wire())
    file = TakeoverFile(envelope=envelope, keys={PIN: encode_signer(SIGNER)})
    return {**files, MANIFEST: json.dumps(file.to_wire()).encode()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    unpack(pack(kit(FILES)), tmp_path / "kit")
    return tmp_path / "kit"


def test_the_archive_depends_on_names_and_contents_only() -> None:
    backwards = dict(reversed(list(FILES.items())))
    assert pack(FILES) == pack(backwards)
    assert pack(FILES) != pack({**FILES, "RUNBOOK.md": b"# y\n"})


def test_what_was_packed_is_unpacked_for_its_owner_only(folder: Path) -> None:
    for path, data in FILES.items():
        assert (folder / path).read_bytes() == data
        assert not (folder / path).stat().st_mode & 0o077


def test_a_whole_kit_verifies_and_says_what_it_is(folder: Path) -> None:
    verdict = verify_folder(folder, PIN)
    assert verdict.manifest.boundary == "payments"


def test_a_kit_of_before_there_were_kits_of_guests_verifies_on(tmp_path: Path) -> None:
    raw = manifest(FILES).to_wire() | {"version": 1}
    del raw["host"]
    envelope = dsse.seal(SIGNER, TAKEOVER_TYPE, raw)
    file = TakeoverFile(envelope=envelope, keys={PIN: encode_signer(SIGNER)})
    unpack(pack({**FILES, MANIFEST: json.dumps(file.to_wire()).encode()}), tmp_path / "kit")
    found = verify_folder(tmp_path / "kit", PIN).manifest
    assert (found.version, found.host) == (2, None)


def test_the_scripts_own_folder_may_hold_anything(folder: Path) -> None:
    (folder / "work").mkdir()
    (folder / "work/passphrase").write_text("x")
    verify_folder(folder, PIN)


def test_another_pin_is_refused(folder: Path) -> None:
    with pytest.raises(KitError, match="not signed by the pinned key"):
        verify_folder(folder, "SHA256:" + "A" * 43)


def test_a_key_under_a_foreign_fingerprint_is_refused(folder: Path) -> None:
    document = json.loads((folder / MANIFEST).read_text())
    other = Ed25519PrivateKey.generate()
    document["keys"] = {PIN: encode_signer(other)}
    (folder / MANIFEST).write_text(json.dumps(document))
    with pytest.raises(KitError, match="has the fingerprint"):
        verify_folder(folder, PIN)


def test_an_envelope_of_another_kind_does_not_pass_for_a_manifest(tmp_path: Path) -> None:
    unpack(pack(kit(FILES, CERTIFICATE_TYPE)), tmp_path / "kit")
    with pytest.raises(KitError, match="expected a"):
        verify_folder(tmp_path / "kit", PIN)


def _change(folder: Path) -> None:
    (folder / "state/foundation.json").write_bytes(b"[]\n")


def _remove(folder: Path) -> None:
    (folder / "RUNBOOK.md").unlink()


def _add(folder: Path) -> None:
    (folder / "state/more.json").write_bytes(b"{}")


def _link(folder: Path) -> None:
    (folder / "work").symlink_to("/")


def _sign_more(folder: Path) -> None:
    document = json.loads((folder / MANIFEST).read_text())
    payload = json.loads(base64.b64decode(document["envelope"]["payload"]))
    payload["files"][0]["digest"] = "sha256:00"
    document["envelope"]["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
    (folder / MANIFEST).write_text(json.dumps(document))


def _no_json(folder: Path) -> None:
    (folder / MANIFEST).write_bytes(b"\xff")


@pytest.mark.parametrize("tamper", [_change, _remove, _add, _link, _sign_more, _no_json])
def test_a_kit_that_was_changed_is_refused(folder: Path, tamper: Callable[[Path], None]) -> None:
    tamper(folder)
    with pytest.raises(KitError):
        verify_folder(folder, PIN)


def _archive(name: str, kind: bytes = tarfile.REGTYPE) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, "/etc/passwd" if kind != tarfile.REGTYPE else ""
        tar.addfile(entry, io.BytesIO(b""))
    return gzip.compress(plain.getvalue())


@pytest.mark.parametrize(
    "archive",
    [
        _archive("../outside"),
        _archive("/absolute"),
        _archive("a/../../b"),
        _archive(".hidden"),
        _archive("link", tarfile.SYMTYPE),
        b"no archive",
    ],
    ids=["parent", "absolute", "through", "hidden", "link", "garbage"],
)
def test_an_archive_that_reaches_elsewhere_is_refused(archive: bytes, tmp_path: Path) -> None:
    with pytest.raises(KitError):
        unpack(archive, tmp_path / "kit")
    assert not list(tmp_path.rglob("*"))


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    with pytest.raises(KitError, match="not empty"):
        unpack(pack(kit(FILES)), tmp_path)


def test_programs_have_the_digest_of_the_blueprints_manifest() -> None:
    folder = ROOT / "blueprints/eks_model_stack"
    programs = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.py")}
    assert program_digest(programs) == load("eks-model-stack").digest


# Sealing ---------------------------------------------------------------------------------------


def test_a_sealed_secret_opens_with_the_key_and_with_no_other() -> None:
    key = X25519PrivateKey.generate()
    sealed = seal(b"secret", Recipient(public=encode_public(key)), secrets.token_bytes(32))
    assert unseal(sealed, key) == b"secret"
    with pytest.raises(SealingError, match="not the one"):
        unseal(sealed, X25519PrivateKey.generate())


def test_a_wrong_key_under_the_right_name_opens_nothing() -> None:
    key, other = X25519PrivateKey.generate(), X25519PrivateKey.generate()
    sealed = seal(b"secret", Recipient(public=encode_public(key)), secrets.token_bytes(32))
    renamed = sealed.model_copy(update={"recipient": Recipient(public=encode_public(other))})
    with pytest.raises(SealingError, match="was changed"):
        unseal(renamed, other)


def test_a_changed_ciphertext_opens_nothing() -> None:
    key = X25519PrivateKey.generate()
    sealed = seal(b"secret", Recipient(public=encode_public(key)), secrets.token_bytes(32))
    data = bytearray(base64.b64decode(sealed.ciphertext))
    data[0] ^= 1
    changed = sealed.model_copy(update={"ciphertext": base64.b64encode(bytes(data)).decode()})
    with pytest.raises(SealingError, match="was changed"):
        unseal(changed, key)


def test_sealing_is_reproducible_from_its_seed_and_differs_by_it() -> None:
    assert seal(b"s", RECIPIENT, b"1" * 32) == seal(b"s", RECIPIENT, b"1" * 32)
    assert seal(b"s", RECIPIENT, b"1" * 32) != seal(b"s", RECIPIENT, b"2" * 32)


def test_a_key_that_agrees_on_nothing_is_refused() -> None:
    zero = Recipient(public=base64.b64encode(bytes(32)).decode())
    with pytest.raises(SealingError, match="agrees on nothing"):
        seal(b"s", zero, secrets.token_bytes(32))


def test_a_passphrase_gives_the_same_key_again_and_another_passphrase_another() -> None:
    salt = salt_of("an-install")
    first = key_of_passphrase(b"correct horse battery staple", salt)
    again = key_of_passphrase(b"correct horse battery staple", salt)
    other = key_of_passphrase(b"correct horse battery stapla", salt)
    assert encode_public(first) == encode_public(again) != encode_public(other)


def test_key_files_that_others_may_read_are_refused(tmp_path: Path) -> None:
    key = create_key(tmp_path / "key.pem")
    assert encode_public(load_key(tmp_path / "key.pem")) == encode_public(key)
    (tmp_path / "key.pem").chmod(0o644)
    with pytest.raises(SealingError, match="chmod 600"):
        load_key(tmp_path / "key.pem")


def test_a_short_passphrase_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "passphrase"
    file.write_text("short\n")
    file.chmod(0o600)
    with pytest.raises(SealingError, match="fewer than 20"):
        read_passphrase(file)
