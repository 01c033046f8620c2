"""The latency table, its samples, and what the bench makes of a measured run."""

from __future__ import annotations

import pytest

from bench.install_time import cloud_seconds, own_seconds, played_seconds, simulate
from blueprints.manifest import load
from sandbox.aws.latencies import LATENCIES, Pace, weights_seconds


@pytest.mark.parametrize("step", sorted(LATENCIES))
def test_the_distribution_goes_through_both_published_points(step: str) -> None:
    latency = LATENCIES[step]
    assert latency.at(0.5) == pytest.approx(latency.p50)
    assert latency.at(0.9) == pytest.approx(latency.p90)
    assert latency.source


def test_a_figure_without_a_source_says_that_it_is_assumed() -> None:
    unsourced = {k for k, one in LATENCIES.items() if "http" not in one.source}
    assert unsourced == {k for k, one in LATENCIES.items() if one.is_assumed}
    assert "cluster" not in unsourced


def test_samples_repeat_with_their_seed_and_lie_between_p50_and_p90() -> None:
    first, again, other = Pace(0.01, seed=1), Pace(0.01, seed=1), Pace(0.01, seed=2)
    names = [f"object-{n}" for n in range(50)]
    drawn = [first.seconds("nodegroup", name) for name in names]
    assert drawn == [again.seconds("nodegroup", name) for name in names]
    assert drawn != [other.seconds("nodegroup", name) for name in names]
    assert len(set(drawn)) == len(names)
    assert all(1.30 <= seconds <= 2.40 for seconds in drawn)


def test_a_quantile_is_played_for_every_object_alike() -> None:
    assert Pace(0.5, 0.9).seconds("cluster", "a") == pytest.approx(971 * 0.5)
    assert Pace(0.5).seconds("cluster", "b") == pytest.approx(914 * 0.5)


def test_no_budget_of_the_blueprint_is_below_what_the_account_may_take() -> None:
    manifest = load("eks-model-stack")
    names = {
        "aws:eks/cluster:Cluster": "cluster",
        "aws:eks/nodeGroup:NodeGroup": "nodegroup",
        "aws:eks/addon:Addon": "addon",
        "aws:ec2/natGateway:NatGateway": "nat-gateway",
    }
    for one in manifest.latencies:
        assert one.p90_seconds >= LATENCIES[names[one.resource_type]].p90


def test_the_run_is_converted_to_scale_one_by_its_own_part() -> None:
    scale = 0.005
    played = played_seconds()
    assert played["cluster"] == 914 + 130 + 60
    measured = {"cluster": 7.0 + scale * played["cluster"], "foundation": 5.0 + scale * 110}
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
