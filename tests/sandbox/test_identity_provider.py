"""Installing the identity provider's packages: cached by lock file, whole or not at all.

npm is a script here, so that every outcome can be had in no time; that the pinned packages install
is shown by set-up itself.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sandbox.identity_provider import install
from sandbox.identity_provider.install import IdentityProviderError

GOOD_NPM = """#!/bin/sh
echo "$PWD $*" >>"$NPM_CALLS"
mkdir -p node_modules/oidc-provider
"""
BAD_NPM = """#!/bin/sh
seq 1 40 | sed 's/^/note /' >&2
mkdir -p node_modules/half
echo 'npm error code EINTEGRITY' >&2
exit 1
"""


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, a copy of the lock file, and a PATH with the base system only."""
    source = tmp_path / "source"
    source.mkdir()
    for name in install.LOCKED:
        (source / name).write_text((install.FOLDER / name).read_text())
    monkeypatch.setattr(install, "FOLDER", source)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("NPM_CALLS", str(tmp_path / "calls"))
    return tmp_path


def test_the_packages_are_installed_once_and_without_their_scripts(place: Path) -> None:
    script(place / "bin" / "npm", GOOD_NPM)
    install.ensure()
    install.ensure()
    (call,) = (place / "calls").read_text().splitlines()
    assert " ci " in call
    assert "--ignore-scripts" in call
    assert install.find_modules().is_dir()


@pytest.mark.parametrize("name", install.LOCKED)
def test_a_changed_lock_is_another_entry_of_the_cache(place: Path, name: str) -> None:
    before = install.folder()
    path = install.FOLDER / name
    path.write_text(path.read_text() + "\n")
    assert install.folder() != before


def test_a_failed_install_names_the_command_and_its_last_lines_and_leaves_nothing(
    place: Path,
) -> None:
    script(place / "bin" / "npm", BAD_NPM)
    with pytest.raises(IdentityProviderError) as failed:
        install.ensure()
    text = str(failed.value)
    assert "npm ci --ignore-scripts" in text
    assert "EINTEGRITY" in text
    assert "note 1\n" not in text
    with pytest.raises(IdentityProviderError, match="run: make prepare"):
        install.find_modules()
    assert [p.name for p in install.folder().parent.iterdir()] == [".lock"]


def test_a_host_without_npm_is_told_what_to_install(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(place / "bin"))
    with pytest.raises(IdentityProviderError, match=r"install Node\.js"):
        install.ensure()


def test_an_old_node_is_not_taken(place: Path) -> None:
    script(place / "bin" / "npm", GOOD_NPM)
    install.ensure()
    script(place / "bin" / "node", "#!/bin/sh\necho v20.20.2\n")
    with pytest.raises(IdentityProviderError, match="22 or newer"):
        install.find_node()
    script(place / "bin" / "node", "#!/bin/sh\necho v24.1.0\n")
    assert install.find_node() == place / "bin" / "node"


def test_the_lock_file_names_versions_and_hashes_but_no_registry() -> None:
    text = (install.FOLDER / "package-lock.json").read_text()
    assert not re.search(r'"resolved"|https?://(?!(www\.)?(github|opencollective|tidelift))', text)
    packages = json.loads(text)["packages"]
    assert all("integrity" in entry for name, entry in packages.items() if name)
