"""Manifests: what the command prints, what the model refuses, and that Pulumi is not needed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from blueprints.eks_model_stack import about
from blueprints.manifest import load, program_digest
from sandbox.aws_provider.types import RESOURCE_TYPES
from tests.blueprints.engine import ROOT
from wire.manifest import BlueprintManifest


def _values() -> dict[str, Any]:
    values: dict[str, Any] = json.loads(load("eks-model-stack").model_dump_json())
    return values


def _command(name: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "blueprints.manifest", name],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_the_command_prints_a_manifest_that_reads_back_the_same() -> None:
    done = _command("eks_model_stack")
    assert BlueprintManifest.model_validate_json(done.stdout) == load("eks_model_stack")


def test_an_unknown_blueprint_is_refused_with_the_known_names() -> None:
    done = _command("nothing")
    assert done.returncode == 1
    assert done.stderr.strip() == "no blueprint 'nothing'; known: eks_model_stack"


def test_reading_a_manifest_imports_no_pulumi() -> None:
    code = (
        "import sys, blueprints.manifest as m; m.load('eks_model_stack'); "
        "assert not [n for n in sys.modules if n.startswith('pulumi')]"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=30, check=True)


def test_the_digest_changes_with_any_byte_of_the_program(tmp_path: Path) -> None:
    folder = tmp_path / "program"
    shutil.copytree(about.FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
    before = program_digest(folder)
    assert before == load("eks-model-stack").digest
    with (folder / "policies.py").open("a") as file:
        file.write("\n")
    assert program_digest(folder) != before


def test_the_digest_changes_when_a_file_is_renamed(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.py").write_text("x = 1\n")
    assert program_digest(tmp_path / "one") != program_digest(tmp_path / "two")


def test_every_component_has_types_and_every_type_but_the_provider_has_one_component() -> None:
    manifest = load("eks-model-stack")
    for stack in manifest.stacks:
        covered = [
            kind
            for component in manifest.components
            if component.stack == stack.name
            for kind in component.resource_types
        ]
        assert sorted(covered) == sorted(set(stack.resource_types) - {"pulumi:providers:aws"})


def test_the_rehearsal_provider_knows_every_type_of_every_blueprint() -> None:
    for stack in load("eks-model-stack").stacks:
        assert set(stack.resource_types) - {"pulumi:providers:aws"} <= set(RESOURCE_TYPES)


def test_every_budget_covers_the_slow_resources_of_its_stack() -> None:
    manifest = load("eks-model-stack")
    for stack in manifest.stacks:
        slow = sum(item.p90_seconds for item in manifest.latencies if item.stack == stack.name)
        assert manifest.budgets[f"{stack.name}.up"] >= slow


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"extra": 1}, "Extra inputs are not permitted"),
        ({"manifest_version": 2}, "Input should be 1"),
        ({"digest": "sha256:abc"}, "String should match pattern"),
        ({"stacks": []}, "at least 1 item"),
        ({"budgets": {"nowhere.up": 5}}, "do not start with the name of a stack"),
        ({"budgets": {"cluster.up": 0}}, "greater than 0"),
    ],
)
def test_a_broken_manifest_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        BlueprintManifest.model_validate_json(json.dumps(_values() | change))


def test_a_stack_may_only_depend_on_one_before_it() -> None:
    values = _values()
    values["stacks"].reverse()
    with pytest.raises(ValidationError, match="'foundation'\\] must come before it"):
        BlueprintManifest.model_validate_json(json.dumps(values))


def test_outputs_are_checked_by_name_and_type() -> None:
    manifest = load("eks-model-stack")
    problems = manifest.output_problems(
        "foundation", {"vpc_id": 5, "private_subnet_ids": "subnet-1", "surprise": "x"}
    )
    assert "foundation.surprise: not an output of eks-model-stack" in problems
    assert "foundation.vpc_id: expected string, got int" in problems
    assert "foundation.private_subnet_ids: expected string_list, got str" in problems
    assert "foundation.kms_key_arn: missing" in problems


def test_the_reference_page_names_every_input_and_output() -> None:
    text = (ROOT / "docs/reference/blueprint-eks-model-stack.md").read_text()
    manifest = load("eks-model-stack")
    inputs = manifest.inputs_schema["properties"]
    assert isinstance(inputs, dict)
    rows = [f"| `{name}` |" for name in (*inputs, *(spec.name for spec in manifest.outputs))]
    assert [row for row in rows if row not in text] == []
