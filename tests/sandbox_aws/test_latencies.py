"""The latency table, its samples, and what the bench makes of a measured run."""

from __future__ import annotations

import pytest

from bench.guest_install_time import report as guest_report
from bench.install_time import (
    REACHES,
    Cloud,
    cloud_seconds,
    own_seconds,
    report,
    simulate,
)
from blueprints.manifest import load
from controlplane.sagas.install_provision import DEFINITION
from sandbox.aws.latencies import (
    CLUSTER_SOURCES,
    GUEST_STEP_WAITS,
    LATENCIES,
    Pace,
    played_seconds,
    pooled,
    step_seconds,
    weights_seconds,
)
from sandbox.aws.published_times import PUBLISHED
from sandbox.demo.facts import cloud_seconds as demo_seconds


@pytest.mark.parametrize("step", sorted(LATENCIES))
def test_the_distribution_goes_through_both_published_points(step: str) -> None:
    latency = LATENCIES[step]
    assert latency.at(0.5) == pytest.approx(latency.p50)
    assert latency.at(0.9) == pytest.approx(latency.p90)
    assert latency.source


def test_a_figure_without_a_source_says_that_it_is_assumed() -> None:
    unsourced = {k for k, one in LATENCIES.items() if "http" not in one.source}
    assert unsourced == {k for k, one in LATENCIES.items() if one.is_assumed}
    assert not unsourced & {"cluster", "nodegroup", "nat-gateway"}


def test_a_pool_is_its_median_and_its_ninetieth_percentile_outlier_included() -> None:
    found = pooled(PUBLISHED["cluster"])
    seconds = sorted(sample.seconds for sample in found.samples)
    assert seconds[-1] > 3 * seconds[0], "the published outlier was left out"
    assert found.p50 == seconds[len(seconds) // 2]
    assert sum(one <= found.p90 for one in seconds) == round(0.9 * len(seconds))
    assert all(sample.url in found.source for sample in found.samples)


def test_a_pool_of_few_takes_its_upper_figure_from_nobody_and_says_so() -> None:
    few = PUBLISHED["nat-gateway"]
    assert pooled(few, 150).source.endswith("p90 assumed")
    for wrong in (None, 20.0):
        with pytest.raises(ValueError, match="does not fit 2 samples"):
            pooled(few, wrong)


@pytest.mark.parametrize("step", sorted(PUBLISHED))
def test_every_published_pool_is_what_its_step_is_simulated_with(step: str) -> None:
    assert LATENCIES[step].samples == PUBLISHED[step]
    assert all(sample.url.startswith("https://") for sample in PUBLISHED[step])


def test_samples_repeat_with_their_seed_and_lie_between_p50_and_p90() -> None:
    first, again, other = Pace(0.01, seed=1), Pace(0.01, seed=1), Pace(0.01, seed=2)
    names = [f"object-{n}" for n in range(50)]
    drawn = [first.seconds("nodegroup", name) for name in names]
    assert drawn == [again.seconds("nodegroup", name) for name in names]
    assert drawn != [other.seconds("nodegroup", name) for name in names]
    assert len(set(drawn)) == len(names)
    assert all(1.155 <= seconds <= 1.445 for seconds in drawn)


def test_a_quantile_is_played_for_every_object_alike() -> None:
    assert Pace(0.5, 0.9).seconds("cluster", "a") == pytest.approx(780 * 0.5)
    assert Pace(0.5).seconds("cluster", "b") == pytest.approx(606 * 0.5)


def test_the_blueprint_tells_the_same_times_as_the_account_plays() -> None:
    manifest = load("eks-model-stack")
    names = {
        "aws:eks/cluster:Cluster": "cluster",
        "aws:eks/nodeGroup:NodeGroup": "nodegroup",
        "aws:eks/addon:Addon": "addon",
        "aws:ec2/natGateway:NatGateway": "nat-gateway",
    }
    for one in manifest.latencies:
        latency = LATENCIES[names[one.resource_type]]
        assert (one.p50_seconds, one.p90_seconds) == (latency.p50, latency.p90)


def test_the_run_is_converted_to_scale_one_by_its_own_part() -> None:
    scale = 0.005
    played = played_seconds()
    # The NAT gateway stands beside the control plane, the add-on beside the nodes.
    assert played["cluster"] == 606 + 115.5
    assert played["foundation"] == 6
    measured = {"cluster": 7.0 + scale * played["cluster"], "foundation": 5.0 + scale * 6}
    assert own_seconds(measured, scale) == pytest.approx({"cluster": 7.0, "foundation": 5.0})


def test_overhead_is_wall_without_the_same_latencies_and_nothing_else() -> None:
    size = 15_000_000_000
    none = simulate({}, size, draws=200)
    assert none.overhead == 0
    assert none.wall == none.cloud
    cloud = cloud_seconds(None, size)
    path = sum(cloud.get(step, 0.0) for step in none.path)
    some = simulate({"cluster": 60.0}, size, draws=200)
    assert some.overhead == pytest.approx(60 / (path + 60))
    assert some.wall[0] == pytest.approx(none.wall[0] + 60)


def test_weights_are_copied_beside_the_cluster_and_count_only_when_they_take_longer() -> None:
    small, huge = simulate({}, 10**9, draws=50), simulate({}, 10**12, draws=50)
    assert "cluster" in small.path
    assert "weights" in huge.path
    assert huge.wall[0] - small.wall[0] < weights_seconds(10**12)


def test_a_runner_in_the_network_saves_the_change_of_the_endpoint_and_nothing_else() -> None:
    size = 15_000_000_000
    public, inside = (
        simulate({}, size, draws=50, cloud=Cloud(without=REACHES[reach]))
        for reach in ("public-cidr", "in-vpc-runner")
    )
    saved = sum(cloud_seconds(None, size).values()) - sum(
        cloud_seconds(None, size, Cloud(without=REACHES["in-vpc-runner"])).values()
    )
    assert saved == LATENCIES["endpoint-access"].p50
    assert public.wall[0] > inside.wall[0]
    assert "reach_close" in inside.path


def test_a_guest_waits_for_no_cluster_and_its_report_tells_both_ways_an_image_comes() -> None:
    assert set(GUEST_STEP_WAITS) <= {step.key for step in DEFINITION.steps}
    met = {name for waits in GUEST_STEP_WAITS.values() for beside in waits for name in beside}
    assert not met & {"cluster", "nodegroup", "nat-gateway", "vpc", "endpoint-access"}
    assert played_seconds(GUEST_STEP_WAITS)["reach_open"] == LATENCIES["fargate-task"].p50
    figures = guest_report({"reach_open": 2.0 + 0.005 * 40, "approval": 900.0}, 0.005, 10**9)
    assert figures["own_seconds"] == {"reach_open": 2.0}
    quick, slow = figures["engine_image_on_the_node"], figures["engine_image_pulled"]
    assert slow["cloud_p50_seconds"] > quick["cloud_p50_seconds"]
    assert quick["wall_p50_seconds"] == pytest.approx(quick["cloud_p50_seconds"] + 2, abs=1)
    assert figures["holds"] == {"p50": True}
    late = guest_report({"ready": 200.0}, 0.005, 10**9)
    assert late["holds"] == {"p50": False}


def test_the_report_gives_the_whole_under_each_single_source_of_the_control_plane() -> None:
    steps = [{"key": "cluster", "seconds": 12.0}, {"key": "approval", "seconds": 900.0}]
    played = {"time_scale": 0.005, "boundaries": [{"name": "payments", "steps": steps}]}
    figures = report(played, 15_000_000_000)
    found = figures["by_source_of_the_control_plane"]
    assert set(found) == {"pool", *CLUSTER_SOURCES}
    assert found["pool"]["wall_p50_seconds"] == figures["wall_p50_seconds"]
    walls = [found[name]["wall_p50_seconds"] for name in ("vendors-average", "pool")]
    assert walls[0] < walls[1] < found["third-party-21-regions"]["wall_p50_seconds"]


def test_the_demo_tells_the_same_whole_as_the_bench() -> None:
    scale = 0.005
    bench = simulate({}, 1_700_000, draws=50)
    path = sum(cloud_seconds(None, 1_700_000).get(step, 0.0) for step in bench.path)
    assert step_seconds() == path
    assert demo_seconds(scale) == pytest.approx(path - scale * sum(played_seconds().values()))
