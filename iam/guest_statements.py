"""What the one role of a guest may do in its host's cluster: a checked-in table.

Rendered by `role_template` in the place of the tables `network` and `cluster`, for a boundary that
lives in the cluster of another one (docs/adr/0040): it makes no network and no cluster, and has
no action that changes or deletes its host's. `<host>` is the host's name, from the boundary's
inputs. Apart from `role_statements`, whose tables give power over what the boundary itself makes.
"""

from __future__ import annotations

from iam.role_statements import IN_REQUEST, OURS, ROLE_TABLES, Table

_EKS = "arn:<partition>:eks:*:<account>:"
_HOST = _EKS + "cluster/ringfence-<host>"
_RUNNER = "role/ringfence/<boundary>/ringfence-<boundary>-runner"
# AWS documents an entry's ARN with the role's name and does not say what becomes of a path.
_ENTRIES = [
    _EKS + "access-entry/ringfence-<host>/role/<account>/ringfence-<boundary>-runner/*",
    _EKS + "access-entry/ringfence-<host>/role/<account>/ringfence/<boundary>/*",
]
_ASSOCIATIONS = _EKS + "podidentityassociation/ringfence-<host>/*"
_ON_OURS = {"StringEquals": {"aws:ResourceTag/ringfence:boundary": OURS}}

HOST_CLUSTER: Table = [
    {
        "Sid": "SeeHost",
        "Effect": "Allow",
        "Action": [
            "eks:DescribeCluster", "eks:ListAccessEntries", "eks:ListPodIdentityAssociations",
        ],
        "Resource": _HOST,
    },
    # One group, one principal, no name of its own choice: what the group may do inside, the host
    # says. There is no right to associate an access policy.
    {
        "Sid": "EnterHost",
        "Effect": "Allow",
        "Action": "eks:CreateAccessEntry",
        "Resource": _HOST,
        "Condition": {
            "ArnEquals": {"eks:principalArn": "arn:<partition>:iam::<account>:" + _RUNNER},
            "StringEquals": {"eks:accessEntryType": "STANDARD"},
            "ForAllValues:StringEquals": {"eks:kubernetesGroups": "ringfence-guest-<boundary>"},
            "Null": {"eks:username": "true"},
        },
    },
    {
        "Sid": "LeaveHost",
        "Effect": "Allow",
        "Action": "eks:DeleteAccessEntry",
        "Resource": _ENTRIES,
    },
    {
        "Sid": "GivePodsRoles",
        "Effect": "Allow",
        "Action": "eks:CreatePodIdentityAssociation",
        "Resource": _HOST,
        "Condition": IN_REQUEST,
    },
    {
        "Sid": "TagAssociations",
        "Effect": "Allow",
        "Action": "eks:TagResource",
        "Resource": _ASSOCIATIONS,
        "Condition": IN_REQUEST,
    },
    # Not by the tag: what was deleted by hand has none, and must be seen as gone.
    {
        "Sid": "SeeAssociations",
        "Effect": "Allow",
        "Action": "eks:DescribePodIdentityAssociation",
        "Resource": _ASSOCIATIONS,
    },
    {
        "Sid": "OwnAssociations",
        "Effect": "Allow",
        "Action": [
            "eks:DeletePodIdentityAssociation", "eks:UntagResource",
            "eks:UpdatePodIdentityAssociation",
        ],
        "Resource": _ASSOCIATIONS,
        "Condition": _ON_OURS,
    },
]  # fmt: skip

GUEST_TABLES: dict[str, Table] = {
    "reads": ROLE_TABLES["reads"],
    "storage": ROLE_TABLES["storage"],
    "host": HOST_CLUSTER,
    "roles": ROLE_TABLES["roles"],
    "guards": ROLE_TABLES["guards"],
}
"""All that a guest's role may do beside the runner's table, which it always has."""
