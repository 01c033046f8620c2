"""Two custodians at one terminal: each gives the own part, and neither is shown the other's."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest

from controlplane import break_glass
from ringfence.cli.output import Exit
from tests.cli.conftest import ROOT, Cli
from tests.postgres import DatabaseUrls

REASON = "the identity provider is down"
CUSTODIANS = ("omar@acme.test", "max@acme.test")
ANSWER_SECONDS = 30.0


@pytest.fixture
def parts(acme: Cli, cli_database: DatabaseUrls) -> tuple[str, str]:
    """The two parts of a secret that is sealed now."""
    made = break_glass.new_parts()
    break_glass.seal(cli_database.owner, CUSTODIANS, made)
    return made


class Terminal:
    """The command on a terminal of its own, as two people sit before it."""

    def __init__(self, home: Path, *words: str) -> None:
        master, slave = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ringfence.cli.main", *words],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True, cwd=ROOT,
            env={**os.environ, "RINGFENCE_HOME": str(home), "TERM": "dumb"},
        )  # fmt: skip
        os.close(slave)
        self._master = master
        self.shown = ""

    def wait_for(self, text: str) -> None:
        """Read what is shown until it has a text."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown
            self._read()

    def _read(self) -> bool:
        try:
            data = os.read(self._master, 65536)
        except OSError:  # the other side has ended
            return False
        self.shown += data.decode()
        return bool(data)

    def type(self, text: str) -> None:
        """Type a line."""
        os.write(self._master, f"{text}\n".encode())

    def end(self) -> int:
        """Read to the end and return the exit code."""
        while self._read():
            pass
        code = self._process.wait(timeout=ANSWER_SECONDS)
        os.close(self._master)
        return code


def test_each_custodian_types_the_own_part_and_the_screen_shows_neither(
    acme: Cli, parts: tuple[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "token"
    terminal = Terminal(acme.home, "break-glass", "open", "--reason", REASON, "--file", str(file))
    terminal.wait_for("Part of the first custodian")
    terminal.type(parts[1])
    terminal.wait_for("Part of the second custodian")
    terminal.type(parts[0])
    assert terminal.end() == 0, terminal.shown
    assert not [part for part in parts if part in terminal.shown]
    token = file.read_text().strip()
    assert token.startswith("rfb_")
    assert file.stat().st_mode & 0o777 == 0o600
    assert token not in terminal.shown
    shown = acme("break-glass", "status", "--as", "ana@acme.test")
    assert f"by omar@acme.test, max@acme.test: {REASON}" in shown.out


def test_files_are_taken_from_those_who_alone_can_read_them(
    acme: Cli,
    parts: tuple[str, str],
    tmp_path: Path,
    api_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = [tmp_path / "omar.part", tmp_path / "max.part"]
    for file, part in zip(files, parts, strict=True):
        file.touch(mode=0o600)
        file.write_text(f"{part}\n")
    words = ("break-glass", "open", "--reason", REASON)
    given = [word for file in files for word in ("--part", str(file))]
    files[1].chmod(0o644)
    refused = acme(*words, *given)
    assert refused.code == Exit.USAGE
    assert "can be read by others" in refused.err
    files[1].chmod(0o600)
    one = acme(*words, *given[:2])
    assert (one.code, one.out) == (Exit.USAGE, "")
    assert "two files are needed" in one.err
    twice = acme(*words, *given[:2], *given[:2])
    assert twice.code == Exit.FORBIDDEN
    assert "not the two parts" in twice.err
    opened = acme(*words, *given)
    assert opened.code == 0, opened.err
    assert opened.out.startswith("rfb_")
    token = tmp_path / "opened"
    token.write_text(opened.out)
    monkeypatch.setenv("RINGFENCE_TOKEN_FILE", str(token))
    monkeypatch.setenv("RINGFENCE_API_URL", api_url)
    assert "closed; seal a new secret" in acme("break-glass", "close").err
    again = acme(*words, *given)
    assert again.code == Exit.FORBIDDEN
    assert not [p for p in parts for ran in (refused, one, twice, opened, again) if p in ran.err]


def test_a_part_is_neither_an_argument_nor_read_from_a_pipe(
    acme: Cli, parts: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(parts)))
    piped = acme("break-glass", "open", "--reason", REASON)
    assert (piped.code, piped.out) == (Exit.USAGE, "")
    assert "on a terminal" in piped.err
    given = [word for part in parts for word in ("--part", part)]
    argument = acme("break-glass", "open", "--reason", REASON, *given)
    assert (argument.code, argument.out) == (Exit.USAGE, "")
    assert "never the part itself" in argument.err
    assert not [part for part in parts if part in argument.err]
