"""The controller core: cache, queue, conditions, comparing; and the reflector on a real server."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators import types
from operators.core.api import GoneError, KubernetesApi, RawObject
from operators.core.cache import Cache, Key
from operators.core.conditions import Finding, conditions
from operators.core.lease import Lease, Timing
from operators.core.metrics import Metrics
from operators.core.reflector import Reflector, Selection
from operators.core.workqueue import Priority, WorkQueue
from operators.core.writer import contains, stamped
from tests.operators.apiserver import ApiServer
from tests.operators.conftest import apply_resource, until
from tests.operators.test_custom_resources import VALID
from wire.resources import ModelArtifactStatus


def thing(name: str, version: int, **more: Any) -> RawObject:
    metadata = {"name": name, "namespace": "n", "resourceVersion": str(version), "uid": name}
    return {"metadata": metadata | more.pop("metadata", {}), **more}


# --- cache ---------------------------------------------------------------------------------------


def test_a_complete_list_replaces_the_cache_and_listeners_hear_what_is_gone() -> None:
    cache = Cache()
    heard: list[tuple[str, bool]] = []
    cache.listen(lambda old, new: heard.append(((new or old or {})["metadata"]["name"], bool(new))))
    cache.replace([thing("a", 1), thing("b", 2)], "2")
    cache.replace([thing("b", 2), thing("c", 4)], "5")
    assert heard == [("a", True), ("b", True), ("a", False), ("c", True)]
    assert cache.find(Key("n", "a")) is None


def test_an_older_event_does_not_undo_our_own_write() -> None:
    cache = Cache()
    cache.observe("ADDED", thing("a", 1, value="old"))
    cache.learn(thing("a", 5, value="ours"))
    cache.observe("MODIFIED", thing("a", 3, value="between"))
    found = cache.find(Key("n", "a"))
    assert found is not None
    assert found["value"] == "ours"


def test_the_answer_to_a_write_does_not_bring_back_what_was_deleted_meanwhile() -> None:
    cache = Cache()
    cache.observe("ADDED", thing("a", 1))
    cache.observe("DELETED", thing("a", 7))
    cache.learn(thing("a", 5))
    assert cache.find(Key("n", "a")) is None


def test_managed_fields_are_not_kept() -> None:
    cache = Cache()
    cache.observe("ADDED", thing("a", 1, metadata={"managedFields": [{"manager": "x"}]}))
    found = cache.find(Key("n", "a"))
    assert found is not None
    assert "managedFields" not in found["metadata"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ADDED", "MODIFIED", "DELETED", "LIST"]),
            st.sampled_from("abc"),
            st.sampled_from(["x", "y"]),
        )
    )
)
def test_an_index_always_agrees_with_the_objects(steps: list[tuple[str, str, str]]) -> None:
    cache = Cache({"colour": lambda obj: [obj["colour"]]})
    for version, (kind, name, colour) in enumerate(steps, start=1):
        obj = thing(name, version, colour=colour)
        if kind == "LIST":
            cache.replace([obj], str(version))
        else:
            cache.observe(kind, obj)
        for value in ("x", "y"):
            expected = {o["metadata"]["name"] for o in cache if o["colour"] == value}
            assert {o["metadata"]["name"] for o in cache.by_index("colour", value)} == expected


# --- queue ---------------------------------------------------------------------------------------


def test_a_key_is_handed_out_once_however_often_it_is_added_and_again_if_added_in_work() -> None:
    async def check() -> None:
        queue = WorkQueue("q", Metrics())
        a, b = Key("n", "a"), Key("n", "b")
        for _ in range(3):
            queue.add(a)
        queue.add(b)
        assert await queue.get() == a
        queue.add(a)
        assert await queue.get() == b
        queue.done(b)
        assert not queue.idle
        queue.done(a)
        assert await queue.get() == a
        queue.done(a)
        assert queue.idle

    asyncio.run(check())


def test_a_change_overtakes_a_resync_of_the_same_and_of_other_keys() -> None:
    async def check() -> None:
        queue = WorkQueue("q", Metrics())
        slow, fast = Key("n", "slow"), Key("n", "fast")
        queue.add(slow, Priority.RESYNC)
        queue.add(fast, Priority.RESYNC)
        queue.add(fast, Priority.CHANGE)
        assert await queue.get() == fast
        assert await queue.get() == slow
        queue.done(slow)
        queue.done(fast)
        assert queue.idle

    asyncio.run(check())


def test_failures_are_tried_again_later_and_later_until_one_goes_well() -> None:
    async def check() -> None:
        queue = WorkQueue("q", Metrics())
        key = Key("n", "a")
        delays = [queue.retry(key) for _ in range(12)]
        assert delays == sorted(delays)
        assert delays[0] == 0.1
        assert delays[-1] == 60.0
        queue.forget(key)
        assert queue.retry(key) == 0.1
        assert await asyncio.wait_for(queue.get(), 5) == key

    asyncio.run(check())


# --- conditions ----------------------------------------------------------------------------------


def test_the_transition_time_changes_only_with_the_status() -> None:
    first = datetime(2026, 1, 1, tzinfo=UTC)
    later = first + timedelta(hours=1)
    before = ModelArtifactStatus(
        conditions=conditions([Finding("Ready", "False", "Fetching", "0 %")], None, 1, first)
    )
    same = conditions([Finding("Ready", "False", "FetchFailed", "x")], before, 2, later)
    assert same[0].last_transition_time == first
    assert same[0].observed_generation == 2
    changed = conditions([Finding("Ready", "True", "Ready")], before, 2, later)
    assert changed[0].last_transition_time == later


# --- comparing -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("live", "desired", "equal"),
    [
        ({"a": 1, "defaulted": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ({"cpu": "1"}, {"cpu": "1000m"}, True),
        ({"memory": "1Gi"}, {"memory": "1024Mi"}, True),
        ({"memory": "1G"}, {"memory": "1Gi"}, False),
        (
            {"env": [{"name": "A", "value": "1", "x": 0}]},
            {"env": [{"name": "A", "value": "1"}]},
            True,
        ),
        ({"env": [{"name": "A", "value": "2"}]}, {"env": [{"name": "A", "value": "1"}]}, False),
        ({"args": ["a"]}, {"args": ["a", "b"]}, False),
        ({"args": ["a", "b"]}, {"args": ["a"]}, False),
        ({}, {"args": []}, True),
        ({}, {"args": ["a"]}, False),
        ({"types": ["Ingress"]}, {"types": ["Ingress", "Egress"]}, False),
    ],
)
def test_what_is_wanted_is_compared_with_what_is_stored(
    live: RawObject, desired: RawObject, equal: bool
) -> None:
    assert contains(live, desired) is equal


def test_a_field_that_is_no_longer_wanted_is_noticed_by_the_stamp() -> None:
    before = stamped({"metadata": {"name": "x"}, "spec": {"a": 1, "b": 2}})
    after = stamped({"metadata": {"name": "x"}, "spec": {"a": 1}})
    assert not contains(before, after)


# --- reflector and lease on a real API server ----------------------------------------------------


def config_map(namespace: str, name: str) -> RawObject:
    labels = {types.COMPONENT: "test"}
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"k": name}}


@pytest.mark.cluster
def test_after_410_the_list_is_taken_again_and_what_was_deleted_meanwhile_is_gone(
    cluster: ApiServer, namespace: str
) -> None:
    async def check() -> None:
        async with KubernetesApi(cluster.connection) as api:
            kind = types.custom("AdapterBinding")

            async def add(name: str) -> None:
                await apply_resource(api, kind.kind, name, namespace, VALID[kind.kind])

            await add("stays")
            await add("goes")
            cache = Cache()
            selection = Selection(kind, namespace)
            await Reflector(api, selection, cache, Metrics()).list()
            assert len(cache) == 2
            await api.delete(kind, namespace, "goes")
            await add("comes")
            # Version 1 is older than the kind itself: the server answers 410.
            with pytest.raises(GoneError):
                await anext(api.watch(selection.path, {"resourceVersion": "1"}, 10))
            reflector = Reflector(api, selection, cache, Metrics(), resource_version="1")
            task = asyncio.create_task(reflector.run())
            try:
                await until(lambda: reflector.lists == 1, what="a new list")
                assert {obj["metadata"]["name"] for obj in cache} == {"stays", "comes"}
                await add("later")
                await until(lambda: cache.find(Key(namespace, "later")), what="watching goes on")
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    asyncio.run(check())


@pytest.mark.cluster
def test_a_hundred_forced_lists_leave_no_stale_entry(cluster: ApiServer, namespace: str) -> None:
    async def check() -> None:
        async with KubernetesApi(cluster.connection) as api:
            cache = Cache({"component": lambda o: [o["metadata"]["labels"][types.COMPONENT]]})
            selection = Selection(types.CONFIG_MAP, namespace, types.COMPONENT)
            reflector = Reflector(api, selection, cache, Metrics())
            for turn in range(100):
                await api.apply(types.CONFIG_MAP, config_map(namespace, f"m{turn}"), "tests")
                if turn >= 3:
                    await api.delete(types.CONFIG_MAP, namespace, f"m{turn - 3}")
                await reflector.list()
                present = {o["metadata"]["name"] for o in cache}
                expected = {f"m{n}" for n in range(max(0, turn - 2), turn + 1)}
                assert present == expected
                assert {
                    o["metadata"]["name"] for o in cache.by_index("component", "test")
                } == expected

    asyncio.run(check())


@pytest.mark.cluster
def test_one_process_leads_and_the_next_takes_over_when_it_lets_go(
    cluster: ApiServer, namespace: str
) -> None:
    async def check() -> None:
        async with KubernetesApi(cluster.connection) as api:
            first = Lease(api, namespace, "operator", "first", Metrics())
            second = Lease(api, namespace, "operator", "second", Metrics())
            await asyncio.wait_for(first.acquire(), 5)
            waiting = asyncio.create_task(second.acquire())
            await asyncio.sleep(1.5)
            assert not waiting.done()
            await first.release()
            await asyncio.wait_for(waiting, 10)
            stored = await api.get(types.LEASE, namespace, "operator")
            assert stored["spec"]["holderIdentity"] == "second"
            assert stored["spec"]["leaseTransitions"] == 2

    asyncio.run(check())


class CutOff(KubernetesApi):
    """An API whose server cannot be reached any more once `cut` is set."""

    cut = False

    async def request(self, *args: Any, **kwargs: Any) -> RawObject:
        if self.cut:
            raise aiohttp.ClientConnectionError("the network is gone")
        return await super().request(*args, **kwargs)


@pytest.mark.cluster
def test_a_leader_that_cannot_renew_stops_before_another_can_take_over(
    cluster: ApiServer, namespace: str
) -> None:
    async def check() -> None:
        timing = Timing(duration=3, renew=0.3, stop=1.2)
        clock = asyncio.get_running_loop().time
        async with CutOff(cluster.connection) as lost, KubernetesApi(cluster.connection) as api:
            first = Lease(lost, namespace, "operator", "first", Metrics(), timing)
            second = Lease(api, namespace, "operator", "second", Metrics(), timing)
            await first.acquire()
            keeping = asyncio.create_task(first.keep())
            taking = asyncio.create_task(second.acquire())
            await asyncio.sleep(1)
            assert not keeping.done()
            assert not taking.done()
            lost.cut = True
            cut_at = clock()
            await asyncio.wait_for(keeping, 5)
            assert clock() - cut_at < timing.stop + timing.renew
            assert not taking.done()
            await asyncio.wait_for(taking, 10)
            assert clock() - cut_at > timing.duration - timing.renew

    asyncio.run(check())
