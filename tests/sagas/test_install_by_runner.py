"""An install whose endpoint never is public: each step goes in by the runner, and says so."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from controlplane.sagas.install_deprovision import DEFINITION as REMOVAL
from controlplane.sagas.install_provision import DEFINITION
from tests.sagas.properties import failing
from tests.sagas.stage import Stage

IMAGE = "registry.test/ringfence/runner@sha256:" + "d" * 64


@pytest.fixture
def by_runner(stage: Stage) -> Stage:
    """A stage on which the architect chose the runner, and the deployment has its image."""
    stage.bench.change("""UPDATE boundary SET target = target || '{"reach": "in-vpc-runner"}'""")
    settings = stage.ports.settings
    settings = replace(settings, images={**settings.images, "ringfence/runner": IMAGE})
    stage.ports = replace(stage.ports, settings=settings)
    return stage


def test_every_step_goes_in_by_the_runner_with_the_runs_fence_and_the_grants_end(
    by_runner: Stage,
) -> None:
    run = by_runner.start()
    assert by_runner.go(run) == "succeeded"
    assert len(by_runner.world.ways) == 3
    for way in by_runner.world.ways:
        assert way.runner is not None
        assert way.runner.image == IMAGE
        assert way.runner.bucket == "ringfence-payments-111122223333-artifacts"
        assert way.runner.fence >= 1
        assert way.runner.signer.public == by_runner.signer_public
        ends = by_runner.grant()["grant_until"]
        assert abs(way.runner.grant_until - ends) < timedelta(seconds=1)
    closed = by_runner.bench.steps(run)["reach_close"]["output"]
    assert closed["way_in"]["way"] == "in-vpc-runner"
    told = [str(event) for event in by_runner.bench.events(run)]
    assert any("the way in is shut" in one and "in-vpc-runner" in one for one in told)


def test_without_the_input_the_way_is_the_public_endpoint(stage: Stage) -> None:
    run = stage.start()
    assert stage.go(run) == "succeeded"
    assert [way.runner for way in stage.world.ways] == [None, None, None]
    closed = stage.bench.steps(run)["reach_close"]["output"]
    assert closed["way_in"]["way"] == "public-cidr"


def test_a_deployment_without_the_runners_image_says_so_before_the_first_resource(
    by_runner: Stage,
) -> None:
    settings = by_runner.ports.settings
    images = {k: v for k, v in settings.images.items() if k != "ringfence/runner"}
    by_runner.ports = replace(by_runner.ports, settings=replace(settings, images=images))
    run = by_runner.start()
    assert by_runner.bench.execute(run, DEFINITION, by_runner.ports) == "closing"
    preflight = by_runner.bench.steps(run)["preflight"]
    assert preflight["error_code"] == "no-runner-image"
    assert by_runner.world.calls == []


def test_a_failed_install_is_unwound_by_the_runner(by_runner: Stage) -> None:
    run = by_runner.start()
    broken = failing(DEFINITION, "stack", after_action=True)
    assert by_runner.go(run, broken) == "closing"
    assert by_runner.world.left() == set()
    assert by_runner.world.ways
    assert all(way.runner is not None for way in by_runner.world.ways)


def test_a_removal_goes_in_by_the_runner_too(by_runner: Stage) -> None:
    by_runner.world.things = {"foundation", "cluster", "release", "vpc", "bucket", "eks"}
    by_runner.bench.change("UPDATE install SET lifecycle = 'installed', health = 'healthy'")
    run = by_runner.start(REMOVAL, {"reason": "the pilot is over", "purge": False})
    assert by_runner.go(run, REMOVAL) == "closing"
    assert "release" not in by_runner.world.things
    assert by_runner.world.ways
    assert all(way.runner is not None for way in by_runner.world.ways)
