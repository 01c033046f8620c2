"""An install whose images lie in the customer's registry: copied once, and named from there."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest

from controlplane.core.clock import now
from controlplane.sagas.install_deprovision import DEFINITION as REMOVAL
from controlplane.sagas.install_provision import DEFINITION
from controlplane.sagas.install_update import DEFINITION as UPDATE
from tests.sagas.fake_world import OUTPUTS, FakeState
from tests.sagas.properties import failing, twice
from tests.sagas.stage import Stage
from tests.sagas.test_install_update import ask

ENGINE, RUNNER = "ringfence/engine-llamacpp", "ringfence/runner"
OURS = {
    ENGINE: f"registry.test/{ENGINE}@sha256:" + "c" * 64,
    RUNNER: f"registry.test/{RUNNER}@sha256:" + "d" * 64,
}
REPOSITORIES = {
    name: f"111122223333.dkr.ecr.test/ringfence/payments/{name.partition('/')[2]}" for name in OURS
}
THEIRS = {name: f"{REPOSITORIES[name]}@{OURS[name].partition('@')[2]}" for name in OURS}


@pytest.fixture
def copying(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A stage on which the architect chose copies, and the deployment has what copies."""
    wanted = json.dumps({"images": "copied", "reach": "in-vpc-runner"})
    stage.bench.change("UPDATE boundary SET target = target || %s::jsonb", wanted)
    settings = replace(stage.ports.settings, images=OURS, crane=Path("/crane"))
    stage.ports = replace(stage.ports, settings=settings)
    monkeypatch.setitem(OUTPUTS["foundation"], "image_repositories", REPOSITORIES)
    return stage


def engine_image(stage: Stage) -> str:
    (row,) = stage.bench.rows("SELECT envelope FROM bundle ORDER BY sequence DESC LIMIT 1")
    resources = json.loads(base64.b64decode(row["envelope"]["payload"]))["resources"]
    (instance,) = [one for one in resources if one["kind"] == "ModelInstance"]
    return str(instance["spec"]["engine"]["image"])


def test_images_are_copied_beside_the_cluster_and_everything_names_the_copies(
    copying: Stage,
) -> None:
    run = copying.start()
    assert copying.go(run) == "succeeded"
    params = copying.bench.run(run)["params"]
    assert params["inputs"]["images"] == "copied"
    assert params["inputs"]["image_names"] == sorted(OURS)
    images = copying.bench.steps(run)["images"]
    assert images["after"] == ["foundation"]
    assert {one["name"]: one["reference"] for one in images["output"]["images"]} == THEIRS
    assert copying.world.values["images"] == THEIRS
    assert engine_image(copying) == THEIRS[ENGINE]
    assert {way.runner.image for way in copying.world.ways if way.runner} == {THEIRS[RUNNER]}
    _, told = copying.certificate()
    assert told.image_digests == {k: v.partition("@")[2] for k, v in OURS.items()}


def test_without_the_input_nothing_is_copied_and_nodes_pull_from_us(stage: Stage) -> None:
    run = stage.start()
    assert stage.go(run) == "succeeded"
    assert stage.bench.steps(run)["images"]["state"] == "skipped"
    assert not [thing for thing in stage.world.things if thing.startswith("image:")]
    assert stage.world.values["images"] == stage.ports.settings.images


def test_a_deployment_without_the_program_says_so_before_the_first_resource(
    copying: Stage,
) -> None:
    settings = replace(copying.ports.settings, crane=None)
    copying.ports = replace(copying.ports, settings=settings)
    run = copying.start()
    assert copying.bench.execute(run, DEFINITION, copying.ports) == "closing"
    assert copying.bench.steps(run)["preflight"]["error_code"] == "no-crane"
    assert copying.world.calls == []


def test_a_copy_is_played_again_without_copying_again(copying: Stage) -> None:
    run = copying.start()
    definition = twice(DEFINITION)
    assert copying.go(run, definition) == "succeeded"
    told = [e["detail"] for e in copying.bench.events(run) if e["detail"].get("kind") == "image"]
    assert [one["copied"] for one in told] == [True, True, False, False]


def test_a_removal_goes_in_with_the_copy_as_long_as_the_repositories_stand(
    copying: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = {"image_repositories": REPOSITORIES}
    resources = [{"type": "pulumi:pulumi:Stack", "urn": "urn:1", "outputs": outputs}]
    held = ({"resources": resources}, now())
    monkeypatch.setattr(FakeState, "read_stack", lambda *_: held)
    copying.world.things = {"foundation", "cluster", "release", "vpc", "bucket", "eks"}
    copying.bench.change("UPDATE install SET lifecycle = 'installed', health = 'healthy'")
    run = copying.start(REMOVAL, {"reason": "the pilot is over", "purge": False})
    assert copying.go(run, REMOVAL) == "closing"
    used = [way.runner.image for way in copying.world.ways if way.runner]
    # The close is after the repositories' end: a runner that had to be started anew is ours.
    assert used[:-1] == [THEIRS[RUNNER]] * (len(used) - 1)
    assert (len(used) > 2, used[-1]) == (True, OURS[RUNNER])


def test_an_update_moves_a_standing_install_to_the_copies(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(stage.ports.settings, images=OURS)
    stage.ports = replace(stage.ports, settings=settings)
    assert stage.go(stage.start()) == "succeeded"
    assert engine_image(stage) == OURS[ENGINE]
    stage.open_grant()
    stage.bench.change("""UPDATE boundary SET target = target || '{"images": "copied"}'""")
    monkeypatch.setitem(OUTPUTS["foundation"], "image_repositories", REPOSITORIES)
    refused = ask(stage)
    assert stage.go(refused, UPDATE) != "succeeded"
    assert stage.bench.steps(refused)["preflight"]["error_code"] == "no-crane"
    stage.open_grant()
    stage.ports = replace(stage.ports, settings=replace(settings, crane=Path("/crane")))
    run = ask(stage)
    assert stage.go(run, UPDATE) == "succeeded"
    changed = {one["name"] for one in stage.bench.run(run)["plan"]["update"]["inputs"]}
    assert {"images", "image_names"} <= changed
    assert stage.world.values["images"] == THEIRS
    assert engine_image(stage) == THEIRS[ENGINE]


def test_a_copy_that_fails_unwinds_the_install(copying: Stage) -> None:
    run = copying.start()
    assert copying.go(run, failing(DEFINITION, "images", after_action=True)) == "closing"
    assert copying.world.things & {"vpc", "bucket", "eks"} == set()
