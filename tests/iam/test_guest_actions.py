"""A guest's role in its host's cluster: every action is needed, once, and stops at the host's."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

import pytest

from iam.action_evidence import evidence_of
from iam.documents import parse_policy
from iam.evaluator import AccessRequest, PolicySet, Principal, evaluate
from iam.guest_statements import GUEST_TABLES, HOST_CLUSTER
from iam.role_statements import Table
from iam.runner_statements import RUNNER

ACCOUNT, HOST, GUEST = "111122223333", "payments", "research"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/ringfence-{GUEST}-g1"
CALLER = Principal(f"arn:aws:sts::{ACCOUNT}:assumed-role/ringfence-{GUEST}-g1/s", ACCOUNT, ROLE)
EKS = f"arn:aws:eks:eu-central-1:{ACCOUNT}:"
CLUSTER = f"{EKS}cluster/ringfence-{HOST}"
ASSOCIATION = f"{EKS}podidentityassociation/ringfence-{HOST}/a-1"
ENTRY = f"{EKS}access-entry/ringfence-{HOST}/role/{ACCOUNT}"
RUNNER_ROLE = f"ringfence/{GUEST}/ringfence-{GUEST}-runner"
OWN_TAG, HOSTS_TAG = ({"aws:ResourceTag/ringfence:boundary": name} for name in (GUEST, HOST))
TAGGED, TAGGED_AS_HOST = ({"aws:RequestTag/ringfence:boundary": name} for name in (GUEST, HOST))
ENTERING = {
    "eks:principalArn": f"arn:aws:iam::{ACCOUNT}:role/{RUNNER_ROLE}",
    "eks:accessEntryType": "STANDARD",
    "eks:kubernetesGroups": [f"ringfence-guest-{GUEST}"],
}
Call = tuple[str, Mapping[str, Any]]

CALLS: dict[str, tuple[Call, Call]] = {
    # action: what a guest's runs ask for, and what the same action must not do to its host.
    "eks:DescribeCluster": ((CLUSTER, {}), (f"{EKS}cluster/ringfence-other", {})),
    "eks:ListAccessEntries": ((CLUSTER, {}), (f"{EKS}cluster/ringfence-other", {})),
    "eks:ListPodIdentityAssociations": ((CLUSTER, {}), (f"{EKS}cluster/ringfence-other", {})),
    "eks:CreateAccessEntry": (
        (CLUSTER, ENTERING),
        (CLUSTER, {**ENTERING, "eks:kubernetesGroups": ["system:masters"]}),
    ),
    "eks:DeleteAccessEntry": (
        (f"{ENTRY}/ringfence-{GUEST}-runner/e-1", {}),
        (f"{ENTRY}/ringfence-{HOST}-g1/e-1", {}),
    ),
    "eks:CreatePodIdentityAssociation": ((CLUSTER, TAGGED), (CLUSTER, TAGGED_AS_HOST)),
    "eks:TagResource": ((ASSOCIATION, TAGGED), (CLUSTER, TAGGED)),
    "eks:DescribePodIdentityAssociation": (
        (ASSOCIATION, {}),
        (f"{EKS}podidentityassociation/ringfence-other/a-1", {}),
    ),
    "eks:DeletePodIdentityAssociation": ((ASSOCIATION, OWN_TAG), (ASSOCIATION, HOSTS_TAG)),
    "eks:UntagResource": ((ASSOCIATION, OWN_TAG), (ASSOCIATION, HOSTS_TAG)),
    "eks:UpdatePodIdentityAssociation": ((ASSOCIATION, OWN_TAG), (ASSOCIATION, HOSTS_TAG)),
}


def actions_of(table: Table) -> list[str]:
    """Return the actions that a table allows, each as often as it is there."""
    return [
        action
        for one in table
        if one["Effect"] == "Allow"
        for action in ([one["Action"]] if isinstance(one["Action"], str) else one["Action"])
    ]


def is_allowed(action: str, call: Call, table: Table) -> bool:
    """Ask as IAM would, with `table` in the place of the guest's table for its host's cluster."""
    tables = {**GUEST_TABLES, "host": table, "runner": RUNNER}
    text = json.dumps([one for part in tables.values() for one in part])
    filled = {"partition": "aws", "account": ACCOUNT, "boundary": GUEST, "host": HOST}
    for name, value in filled.items():
        text = text.replace(f"<{name}>", value)
    policy = parse_policy({"Version": "2012-10-17", "Statement": json.loads(text)})
    resource, context = call
    tags = {"aws:PrincipalTag/ringfence:boundary": GUEST}
    request = AccessRequest(action, resource, CALLER, {**tags, **context})
    return evaluate(request, PolicySet(identity=[policy])).allowed


def without(action: str) -> Table:
    """Return the table with one action taken out."""
    table = []
    for one in copy.deepcopy(HOST_CLUSTER):
        left = [found for found in actions_of([one]) if found != action]
        if left:
            table.append({**one, "Action": left})
    return table


def test_every_action_on_a_hosts_cluster_is_tried_and_given_once() -> None:
    assert sorted(actions_of(HOST_CLUSTER)) == sorted(CALLS)


@pytest.mark.parametrize("action", CALLS)
def test_what_a_guest_does_in_its_hosts_cluster_needs_this_action(action: str) -> None:
    own, _ = CALLS[action]
    assert is_allowed(action, own, HOST_CLUSTER)
    assert not is_allowed(action, own, without(action))
    assert evidence_of(action), "nothing is known to need it"


@pytest.mark.parametrize("action", CALLS)
def test_an_action_of_a_guest_stops_at_what_is_its_hosts(action: str) -> None:
    _, hosts = CALLS[action]
    assert not is_allowed(action, hosts, HOST_CLUSTER)
