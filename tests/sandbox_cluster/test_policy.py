"""NetworkPolicies, Services and images as pure functions: no cluster needed."""

from __future__ import annotations

from typing import Any

import pytest

from sandbox.net.policy import Match, PodFacts, Ports, compile_policies, selects
from sandbox.net.ruleset import Network, render
from sandbox.net.services import translations
from sandbox.node.environment import expand
from sandbox.node.images import IMAGES, ImageError, references, resolve

WEB = PodFacts("a", "web", "10.88.1.1", {"app": "web"}, {("tcp", "http"): 8080})
DB = PodFacts("a", "db", "10.88.1.2", {"app": "db"}, {("tcp", "http"): 9090})
FAR = PodFacts("b", "web", "10.88.1.3", {"app": "web"}, {})
NAMESPACES = {"a": {"team": "one"}, "b": {"team": "two"}}


def rules(spec: dict[str, Any]) -> tuple[tuple[Match, ...] | None, tuple[Match, ...] | None]:
    """Compile one policy of namespace `a` and return the rules of `web`."""
    policy = {"metadata": {"namespace": "a", "name": "p"}, "spec": spec}
    compiled = compile_policies([policy], [WEB, DB, FAR], NAMESPACES)
    return compiled[0].ingress, compiled[0].egress


def test_a_pod_no_policy_selects_is_open() -> None:
    assert rules({"podSelector": {"matchLabels": {"app": "other"}}}) == (None, None)


def test_policy_types_default_to_ingress_and_to_egress_where_it_has_rules() -> None:
    assert rules({"podSelector": {}}) == ((), None)
    assert rules({"podSelector": {}, "egress": [{}]}) == ((), (Match(),))
    assert rules({"podSelector": {}, "policyTypes": ["Egress"]}) == (None, ())


def test_a_policy_reaches_only_its_own_namespace() -> None:
    policy = {"metadata": {"namespace": "a", "name": "p"}, "spec": {"podSelector": {}}}
    compiled = compile_policies([policy], [WEB, FAR], NAMESPACES)
    assert [pod.ingress for pod in compiled] == [(), None]


def test_a_pod_selector_alone_means_the_same_namespace() -> None:
    peer = {"podSelector": {"matchLabels": {"app": "web"}}}
    ingress, _ = rules({"podSelector": {}, "ingress": [{"from": [peer]}]})
    assert ingress == (Match(("10.88.1.1",)),)


def test_both_selectors_in_one_peer_must_match() -> None:
    other = {"namespaceSelector": {"matchLabels": {"team": "two"}}}
    both = {**other, "podSelector": {"matchLabels": {"app": "db"}}}
    assert rules({"podSelector": {}, "ingress": [{"from": [both]}]})[0] == ()
    assert rules({"podSelector": {}, "ingress": [{"from": [other]}]})[0] == (Match(("10.88.1.3",)),)


def test_peers_that_select_nobody_allow_nobody() -> None:
    peer = {"podSelector": {"matchLabels": {"app": "nobody"}}}
    assert rules({"podSelector": {}, "ingress": [{"from": [peer]}]})[0] == ()


def test_a_block_keeps_its_exceptions_and_port_ranges() -> None:
    block = {"ipBlock": {"cidr": "10.88.0.0/24", "except": ["10.88.0.1/32"]}}
    ports = [{"port": 80, "endPort": 90}, {"protocol": "UDP"}]
    _, egress = rules({"podSelector": {}, "egress": [{"to": [block], "ports": ports}]})
    assert egress == (
        Match(
            ("10.88.0.0/24",), ("10.88.0.1/32",), (Ports("tcp", 80, 90), Ports("udp", None, None))
        ),
    )


def test_a_named_port_is_the_number_of_the_pod_that_is_reached() -> None:
    ports = [{"port": "http"}]
    ingress, _ = rules({"podSelector": {}, "ingress": [{"ports": ports}]})
    assert ingress == (Match(None, (), (Ports("tcp", 8080, 8080),)),)
    peer = {"podSelector": {"matchLabels": {"app": "db"}}}
    _, egress = rules({"podSelector": {}, "egress": [{"to": [peer], "ports": ports}]})
    assert egress == (Match(("10.88.1.2",), (), (Ports("tcp", 9090, 9090),)),)


@pytest.mark.parametrize(
    ("expression", "labels", "matches"),
    [
        ({"operator": "In", "values": ["x"]}, {"k": "x"}, True),
        ({"operator": "In", "values": ["x"]}, {}, False),
        ({"operator": "NotIn", "values": ["x"]}, {}, True),
        ({"operator": "NotIn", "values": ["x"]}, {"k": "x"}, False),
        ({"operator": "Exists"}, {"k": ""}, True),
        ({"operator": "DoesNotExist"}, {"k": ""}, False),
    ],
)
def test_label_expressions_match_as_documented(
    expression: dict[str, Any], labels: dict[str, str], matches: bool
) -> None:
    assert selects({"matchExpressions": [{"key": "k", **expression}]}, labels) is matches


def test_an_empty_selector_matches_everything_and_none_nothing() -> None:
    assert selects({}, {})
    assert not selects(None, {})


def test_an_empty_network_still_drops() -> None:
    text = render(Network())
    assert "hook forward priority 0; policy drop;" in text
    assert "hook input priority 0; policy drop;" in text


def test_only_ready_endpoints_of_the_right_port_are_behind_a_service() -> None:
    service = {
        "metadata": {"namespace": "a", "name": "s"},
        "spec": {
            "clusterIP": "10.96.0.5",
            "ports": [{"name": "http", "port": 80}, {"name": "other", "port": 81}],
        },
    }
    endpoints = {
        "metadata": {"namespace": "a", "labels": {"kubernetes.io/service-name": "s"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [
            {"addresses": ["10.88.1.1"]},
            {"addresses": ["10.88.1.2"], "conditions": {"ready": False}},
        ],
    }
    headless = {"metadata": {"namespace": "a", "name": "h"}, "spec": {"clusterIP": "None"}}
    found = translations([service, headless], [endpoints])
    assert [(port.port, port.endpoints) for port in found] == [
        (80, (("10.88.1.1", 8080),)),
        (81, ()),
    ]


def test_a_reference_is_resolved_by_name_and_digest() -> None:
    for name, reference in references().items():
        assert resolve(reference) is IMAGES[name]
    assert resolve("docker.io/ringfence/probe:1.0").name == "ringfence/probe"


@pytest.mark.parametrize(
    "reference", ["nginx", "ringfence/probe@sha256:" + "0" * 64, "localhost:5000/ringfence/probe"]
)
def test_a_reference_that_is_not_in_the_table_is_refused(reference: str) -> None:
    with pytest.raises(ImageError) as caught:
        resolve(reference)
    assert caught.value.reason == "ErrImagePull"


def test_references_to_variables_are_expanded_once() -> None:
    known = {"A": "$(B)", "B": "x"}
    assert expand("$(A) $(B) $$(B) $(C)", known) == "$(B) x $(B) $(C)"
