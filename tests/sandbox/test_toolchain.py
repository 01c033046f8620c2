"""The toolchain: what a cached program is named by, what is used instead, and how builds fail.

The compiler is a script here, so that every outcome can be had in no time; that the pinned modules
compile is shown by set-up itself.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sandbox import toolchain
from sandbox.toolchain import ROOT, Tool, ToolchainError

TOOL = Tool("spanner", "1.2.3", {"spanner": "example.test/spanner/v2/cmd/spanner"})
GOOD_COMPILER = """#!/bin/sh
# The stage folder follows -o.
while [ "$1" != "-o" ]; do shift; done
echo "$$ begins" >>"$BUILDS"
sleep "${COMPILE_SECONDS:-0}"
printf '#!/bin/sh\\necho spanner 1.2.3\\n' >"$2/spanner"
chmod +x "$2/spanner"
echo "$$ ends" >>"$BUILDS"
"""
BAD_COMPILER = """#!/bin/sh
seq 1 40 | sed 's/^/note /' >&2
echo 'main.go:7: undefined: torque' >&2
exit 2
"""


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module folder, an empty cache, and a PATH with nothing but the base system."""
    module = tmp_path / "modules" / "spanner"
    module.mkdir(parents=True)
    (module / "go.mod").write_text("module example.test/build\n")
    (module / "go.sum").write_text("example.test/spanner v1.2.3 h1:abc=\n")
    monkeypatch.setattr(toolchain, "MODULES", tmp_path / "modules")
    monkeypatch.setattr(toolchain, "TOOLS", (TOOL,))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("BUILDS", str(tmp_path / "builds"))
    # The compiler beside this Python is another tool's wheel.
    monkeypatch.setattr(sys, "executable", str(tmp_path / "nowhere" / "python"))
    return tmp_path


@pytest.mark.parametrize("file", ["go.mod", "go.sum"])
def test_a_changed_pin_is_another_entry_of_the_cache(place: Path, file: str) -> None:
    before = TOOL.cache_key()
    path = place / "modules" / "spanner" / file
    path.write_text(path.read_text() + "// changed\n")
    assert TOOL.cache_key() != before


def test_other_link_flags_and_another_version_are_other_entries_of_the_cache(place: Path) -> None:
    flagged = Tool("spanner", "1.2.3", TOOL.packages, extra_flags={"main.size": "17"})
    newer = Tool("spanner", "1.2.4", TOOL.packages)
    keys = {tool.cache_key() for tool in (TOOL, flagged, newer)}
    assert len(keys) == 3
    assert TOOL.cache_key() == Tool("spanner", "1.2.3", TOOL.packages).cache_key()


def test_a_built_program_is_found_and_not_built_again(place: Path) -> None:
    script(place / "bin" / "go", GOOD_COMPILER)
    toolchain.ensure([])
    toolchain.ensure([])
    found = toolchain.find_program("spanner")
    assert found.is_relative_to(place / "cache" / "ringfence" / "toolchain" / TOOL.cache_key())
    assert (place / "builds").read_text().count("begins") == 1


def test_a_failed_build_names_tool_command_and_last_lines_and_leaves_nothing(place: Path) -> None:
    script(place / "bin" / "go", BAD_COMPILER)
    with pytest.raises(ToolchainError) as caught:
        toolchain.ensure(["spanner"])
    text = str(caught.value)
    assert "spanner 1.2.3 could not be built (exit 2)" in text
    assert "build -trimpath -mod=readonly" in text
    assert "example.test/spanner/v2/cmd/spanner" in text
    assert str(place / "modules" / "spanner") in text
    assert "undefined: torque" in text
    assert "note 40" in text
    assert "note 1\n" not in text, "only the last lines"
    left = [p.name for p in (place / "cache" / "ringfence" / "toolchain").iterdir()]
    assert left == [".lock"]


def test_a_failed_build_is_one_message_and_exit_code_one(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script(place / "bin" / "go", BAD_COMPILER)
    assert toolchain.main(["ensure"]) == 1
    assert "error: spanner 1.2.3 could not be built" in capsys.readouterr().err


def test_exactly_the_pinned_version_on_path_is_used(place: Path) -> None:
    own = script(place / "bin" / "spanner", "#!/bin/sh\necho 'spanner version v1.2.3+local'\n")
    assert toolchain.find_program("spanner") == own


@pytest.mark.parametrize("said", ["1.2.30", "1.2.4", "11.2.3", "unknown"])
def test_another_version_on_path_is_not_used(place: Path, said: str) -> None:
    script(place / "bin" / "spanner", f"#!/bin/sh\necho 'spanner {said}'\n")
    with pytest.raises(ToolchainError, match=r"spanner 1\.2\.3 is not built; run: make prepare"):
        toolchain.find_program("spanner")


def test_a_program_that_is_none_of_the_toolchains_is_named(place: Path) -> None:
    with pytest.raises(ToolchainError, match="wrench is not a program of the toolchain"):
        toolchain.find_program("wrench")


def test_without_a_go_compiler_the_message_says_what_to_do(place: Path) -> None:
    with pytest.raises(ToolchainError, match=r"no Go compiler: put go .* on PATH, or install"):
        toolchain.ensure([])


def test_the_compiler_of_the_wheel_beside_python_is_used_when_path_has_none(place: Path) -> None:
    beside = script(place / "nowhere" / "go", GOOD_COMPILER)
    assert toolchain.go_program() == str(beside)


def test_two_builders_exclude_each_other_and_the_second_finds_the_first_ones_result(
    place: Path,
) -> None:
    script(place / "bin" / "go", GOOD_COMPILER)
    program = (
        "import sys; from pathlib import Path; from sandbox import toolchain as t; "
        "t.MODULES = Path(sys.argv[1]); "
        "t.TOOLS = (t.Tool('spanner', '1.2.3', "
        "{'spanner': 'example.test/spanner/v2/cmd/spanner'}),); t.ensure([])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COMPILE_SECONDS": "0.5"}
    # sys.executable is replaced by the fixture.
    python = Path(sys.prefix) / "bin" / "python"
    started = time.monotonic()
    builders = [
        subprocess.Popen(
            [str(python), "-c", program, str(place / "modules")],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [builder.communicate(timeout=60)[1] for builder in builders]
    assert [builder.returncode for builder in builders] == [0, 0], said
    assert time.monotonic() - started >= 0.5
    assert (place / "builds").read_text().count("begins") == 1
    assert sorted("cached" in text for text in said) == [False, True]
