"""The routing table as a pure function: nothing outside the entitlement is ever reachable."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.keys import hash_key, is_key, new_key
from gateway.routing import Resources, RoutingTable, compile_table
from tests.gateway.parts import binding_spec, instance_spec, key_entry

NOW = datetime.now(UTC)
KEYS = [new_key() for _ in range(4)]
NAMES = ("alpha", "beta", "gamma", "delta")


def resource(name: str, spec: Any, status: Any = None) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": spec, "status": status or {}}


def instance(name: str, model: str, endpoint: str | None = "http://coder:8000") -> dict[str, Any]:
    return resource(name, instance_spec(model), {"endpoint": endpoint} if endpoint else {})


def access(keys: list[dict[str, Any]], groups: dict[str, list[str]]) -> dict[str, Any]:
    listed = [{"name": name, "models": models} for name, models in groups.items()]
    return resource("access", {"keys": keys, "groups": listed})


def one_key_table(models: list[str], *instances: dict[str, Any]) -> RoutingTable:
    entry = key_entry(KEYS[0], "pia@acme.test", "engineers")
    return compile_table(Resources((access([entry], {"engineers": models}),), instances))


def test_a_key_is_prefixed_random_and_kept_as_a_hash_only() -> None:
    assert len(set(KEYS)) == 4
    assert all(is_key(key) and key.startswith("rfk_") for key in KEYS)
    table = one_key_table(["alpha"], instance("i", "alpha"))
    assert KEYS[0] not in repr(table)
    assert set(table.callers) == {hash_key(KEYS[0])}


def test_a_persons_token_is_no_key_even_when_its_hash_is_listed() -> None:
    token = KEYS[0].replace("rfk_", "rfp_")
    entry = {**key_entry(KEYS[0], "pia@acme.test", "g"), "hash": hash_key(token)}
    table = compile_table(Resources((access([entry], {"g": []}),)))
    assert table.callers
    assert table.caller(token, NOW) is None


def test_an_empty_boundary_reaches_nothing() -> None:
    table = compile_table(Resources())
    assert table.caller(KEYS[0], NOW) is None


def test_a_listed_model_that_nothing_serves_does_not_exist() -> None:
    caller = one_key_table(["alpha", "beta"], instance("i", "alpha")).caller(KEYS[0], NOW)
    assert caller is not None
    assert set(caller.targets) == {"alpha"}


def test_a_name_that_two_instances_serve_is_used_by_neither() -> None:
    table = one_key_table(["alpha"], instance("i", "alpha"), instance("j", "alpha"))
    caller = table.caller(KEYS[0], NOW)
    assert caller is not None
    assert caller.target("alpha") is None
    assert "alpha" in " ".join(table.refused)


def test_an_expired_key_is_unknown_from_that_moment_on() -> None:
    table = one_key_table(["alpha"], instance("i", "alpha"))
    assert table.caller(KEYS[0], NOW) is not None
    assert table.caller(KEYS[0], NOW + timedelta(days=2)) is None


def test_one_key_in_two_access_lists_is_refused_in_both() -> None:
    first = access([key_entry(KEYS[0], "pia@acme.test", "a")], {"a": ["alpha"]})
    second = access([key_entry(KEYS[0], "eve@acme.test", "b")], {"b": ["beta"]})
    table = compile_table(Resources((first, second), (instance("i", "alpha"),)))
    assert table.caller(KEYS[0], NOW) is None


def test_a_groups_models_count_only_for_the_keys_of_its_own_list() -> None:
    first = access([key_entry(KEYS[0], "pia@acme.test", "g")], {"g": []})
    second = access([key_entry(KEYS[1], "rui@acme.test", "g")], {"g": ["alpha"]})
    table = compile_table(Resources((first, second), (instance("i", "alpha"),)))
    poor, rich = table.caller(KEYS[0], NOW), table.caller(KEYS[1], NOW)
    assert poor is not None
    assert rich is not None
    assert (set(poor.targets), set(rich.targets)) == (set(), {"alpha"})


def test_a_resource_with_an_unknown_field_is_left_out_whole() -> None:
    odd = instance("i", "alpha")
    odd["spec"]["surprise"] = True
    caller = one_key_table(["alpha"], odd).caller(KEYS[0], NOW)
    assert caller is not None
    assert not caller.targets


def test_a_resource_that_is_being_deleted_is_gone() -> None:
    leaving = instance("i", "alpha")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    caller = one_key_table(["alpha"], leaving).caller(KEYS[0], NOW)
    assert caller is not None
    assert not caller.targets


@pytest.mark.parametrize(
    "endpoint",
    [
        *("https://models.example.com", "http://user:pw@coder:8000", "http://coder", "file:///x"),
        *("http://coder:8000/v1", "http://coder:8000?x=1", "http://[", "", 7, "http://coder:x"),
    ],
)
def test_an_endpoint_that_is_not_a_plain_address_inside_the_cluster_is_no_endpoint(
    endpoint: Any,
) -> None:
    resource = instance("i", "alpha")
    resource["status"] = {"endpoint": endpoint}
    caller = one_key_table(["alpha"], resource).caller(KEYS[0], NOW)
    assert caller is not None
    target = caller.target("alpha")
    assert target is not None
    assert target.endpoint is None


groups = st.sampled_from(("g1", "g2", "g3"))
names = st.sampled_from(NAMES)
accesses = st.lists(
    st.tuples(
        st.lists(st.tuples(st.sampled_from(KEYS), groups, st.floats(-2, 2)), max_size=4),
        st.dictionaries(groups, st.lists(names, max_size=3, unique=True), max_size=3),
    ),
    max_size=3,
)
instances = st.lists(st.tuples(st.sampled_from(("i1", "i2", "i3")), names), max_size=3)
bindings = st.lists(st.tuples(st.sampled_from(("i1", "i2", "i4")), names), max_size=3)
damage = st.sampled_from(("none", "drop spec", "unknown field", "no name", "wrong type"))


def spoil(item: dict[str, Any], how: str) -> dict[str, Any]:
    item = copy.deepcopy(item)
    if how == "drop spec":
        del item["spec"]
    elif how == "unknown field":
        item["spec"]["extra"] = 1
    elif how == "no name":
        item["metadata"] = {}
    elif how == "wrong type":
        item["spec"] = [item["spec"]]
    return item


@given(accesses, instances, bindings, st.lists(damage, min_size=3, max_size=3))
def test_no_pair_outside_the_entitlement_is_ever_reachable(
    wanted: list[tuple[list[tuple[str, str, float]], dict[str, list[str]]]],
    served: list[tuple[str, str]],
    bound: list[tuple[str, str]],
    broken: list[str],
) -> None:
    lists = [
        access([key_entry(key, f"o-{key[:6]}", group, days) for key, group, days in keys], models)
        for keys, models in wanted
    ]
    engines = [instance(name, model) for name, model in served]
    adapters = [resource(f"b{i}", binding_spec(a, n)) for i, (n, a) in enumerate(bound)]
    for group, how in zip((lists, engines, adapters), broken, strict=True):
        if group:
            group[0] = spoil(group[0], how)
    table = compile_table(Resources(tuple(lists), tuple(engines), tuple(adapters)))
    now = datetime.now(UTC)
    for key in KEYS:
        entitled = {
            model
            for keys, models in wanted
            for listed, group, days in keys
            if listed == key and days > 0
            for model in models.get(group, [])
        }
        caller = table.caller(key, now)
        reachable = set(caller.targets) if caller else set()
        assert reachable <= entitled
        assert reachable <= {model for _, model in served} | {alias for _, alias in bound}
