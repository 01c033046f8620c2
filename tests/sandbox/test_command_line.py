"""The sandbox's commands where something is wrong: one message, what to do, nothing left behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sandbox import cli
from sandbox.home import Home, HomeError, port_is_free
from tests.architecture.sources import ROOT


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("RINGFENCE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return Home.current()


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, list(arguments))


@pytest.mark.parametrize("command", ["up", "down", "reset", "status", "logs"])
def test_every_command_explains_itself(command: str) -> None:
    shown = invoke(command, "--help")
    assert shown.exit_code == 0
    words = " ".join(shown.output.split())
    callbacks = [c.callback for c in cli.app.registered_commands if c.callback]
    callback = next(c for c in callbacks if c.__name__ == command)
    assert " ".join((callback.__doc__ or "").split())[:40] in words


def test_a_home_that_cannot_be_written_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RINGFENCE_HOME", str(tmp_path / "file" / "home"))
    shown = invoke("up")
    assert shown.exit_code == 1
    assert "cannot use" in shown.output
    assert str(tmp_path / "file") in shown.output
    assert "set RINGFENCE_HOME to a folder that you can write" in shown.output


def test_a_folder_of_sockets_that_somebody_put_a_link_in_place_of_is_refused(
    home: Home, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o755)
    home.run.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HomeError, match="is not a folder of this user: remove it"):
        home.create()
    assert (tmp_path / "elsewhere").stat().st_mode & 0o777 == 0o755


def test_sockets_have_short_paths_however_long_the_temporary_folder_is(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 80)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert len(str(home.run / ".s.PGSQL.32000.lock")) < 108
    home.create()
    home.remove_sockets()
    assert not home.run.exists()


def test_a_host_without_user_namespaces_is_refused_with_the_settings_to_change(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "namespaces_available", lambda: False)
    shown = invoke("up")
    assert shown.exit_code == 1
    assert "user namespaces" in shown.output
    assert "user.max_user_namespaces" in shown.output
    assert home.read_record() is None


def test_a_host_without_a_base_command_is_told_its_name(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "missing_commands", lambda: ["nsenter"])
    shown = invoke("up")
    assert shown.exit_code == 1
    assert "lacks nsenter; run: make prepare" in shown.output


def test_what_was_not_prepared_is_one_message_without_a_traceback(home: Home) -> None:
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": os.environ["HOME"],
        "RINGFENCE_HOME": str(home.root),
        "XDG_CACHE_HOME": str(home.root / "empty-cache"),
        "TMPDIR": str(home.root.parent),
        "PYTHONPATH": str(ROOT),
        "NO_COLOR": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "ringfence.cli.main", "up"],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "; run: make prepare" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_without_a_sandbox_each_command_says_how_to_start_one(home: Home) -> None:
    shown = invoke("status")
    assert (shown.exit_code, "start it: ringfence up" in shown.output) == (1, True)
    as_json = invoke("status", "--json")
    assert json.loads(as_json.stdout) == {"state": "stopped", "parts": []}
    assert "no sandbox is running" in invoke("down").output
    logs = invoke("logs", "api")
    assert logs.exit_code == 2
    assert "no log of 'api'; there are: none" in logs.output


def test_an_unknown_part_is_answered_with_the_known_ones(home: Home) -> None:
    home.create()
    (home.logs / "worker.log").write_text("first\nsecond\nthird\n")
    assert "there are: worker" in invoke("logs", "wroker").output
    shown = invoke("logs", "worker", "--lines", "2")
    assert shown.output == "second\nthird\n"


def test_the_process_of_another_program_with_an_old_id_is_no_sandbox(home: Home) -> None:
    home.create()
    record = {"pid": os.getpid(), "state": "ready", "parts": []}
    home.record_file.write_text(json.dumps(record))
    assert "no sandbox is running" in invoke("down").output


def test_resetting_asks_first_and_erases_nothing_without_a_yes(home: Home) -> None:
    home.create()
    assert CliRunner().invoke(cli.app, ["reset"], input="n\n").exit_code != 0
    assert home.secrets.is_dir()
    assert invoke("reset", "--yes").exit_code == 0
    assert not home.root.exists()
    assert not home.run.exists()


def test_a_taken_port_is_passed_over_and_two_sandboxes_never_share_one(tmp_path: Path) -> None:
    homes = [Home(tmp_path / name) for name in ("one", "two")]
    held = [home.listener("api", 28_400) for home in homes]
    try:
        ports = [listener.getsockname()[1] for listener in held]
        assert len(set(ports)) == 2
        assert not any(port_is_free(port) for port in ports)
    finally:
        for listener in held:
            listener.close()
    again = homes[1].listener("api", 28_400)
    assert again.getsockname()[1] == ports[1], "a sandbox keeps its address"
    again.close()


def test_a_part_gets_another_port_when_something_took_its_own(tmp_path: Path) -> None:
    home = Home(tmp_path)
    before = home.port("redis")
    assert home.port("redis") == before
    with Home(tmp_path / "other").listener("any", before):
        assert home.port("redis") != before
