"""Our reading of the engine's encryption against the engine itself, in both directions."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from controlplane.adapters.pulumi.secrets import Crypter, WrongPassphraseError
from sandbox.toolchain import find_program

SECRET, PASSPHRASE = "canary-4c1f-of-the-test", "a passphrase of this test only"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Make a project with one stack and one secret setting."""
    (tmp_path / "state").mkdir()
    (tmp_path / "passphrase").write_text(PASSPHRASE)
    (tmp_path / "Pulumi.yaml").write_text("name: handover\nruntime: python\n")
    pulumi(tmp_path, "stack", "init", "one", "--secrets-provider", "passphrase")
    pulumi(tmp_path, "config", "set", "--secret", "password", SECRET, "--stack", "one")
    return tmp_path


def pulumi(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [find_program("pulumi"), "--non-interactive", *arguments],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PULUMI_HOME": str(folder / "home"),
            "PULUMI_BACKEND_URL": f"file://{folder}/state",
            "PULUMI_CONFIG_PASSPHRASE_FILE": str(folder / "passphrase"),
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def settings(folder: Path) -> tuple[str, str]:
    """Return the salt and the encrypted setting that the engine wrote."""
    text = (folder / "Pulumi.one.yaml").read_text()
    salt = re.search(r"^encryptionsalt: (\S+)$", text, re.MULTILINE)
    cipher = re.search(r"^ *secure: (\S+)$", text, re.MULTILINE)
    assert salt is not None
    assert cipher is not None
    return salt[1], cipher[1]


def test_we_read_what_the_engine_encrypted_and_it_reads_what_we_did(project: Path) -> None:
    salt, cipher = settings(project)
    theirs = Crypter.of_state(PASSPHRASE.encode(), salt)
    assert theirs.decrypt(cipher) == SECRET.encode()
    with pytest.raises(WrongPassphraseError):
        Crypter.of_state(b"another", salt)

    ours = Crypter(b"the customer's own", b"8 bytes!")
    file = project / "Pulumi.one.yaml"
    text = file.read_text().replace(salt, ours.salt_text())
    file.write_text(text.replace(cipher, ours.encrypt(SECRET.encode(), "password")))
    (project / "passphrase").write_text("the customer's own")
    assert pulumi(project, "config", "get", "password", "--stack", "one") == SECRET
