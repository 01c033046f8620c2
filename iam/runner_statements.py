"""What the one role may do to run the runner inside the boundary's network: a checked-in table.

Rendered by `role_template` as a policy of its own, only for a boundary that is reached by a runner.
Apart from `role_statements`, because a customer whose cluster has a public endpoint must not grant
it.
"""

from __future__ import annotations

from iam.role_statements import IN_REQUEST, OURS, Table

REACH_PUBLIC = "public-cidr"
REACH_RUNNER = "in-vpc-runner"
SERVICE = "ecs-tasks.amazonaws.com"

_ECS = "arn:<partition>:ecs:*:<account>:"
_IAM = "arn:<partition>:iam::<account>:"
_CLUSTER = _ECS + "cluster/ringfence-<boundary>"
_DEFINITIONS = _ECS + "task-definition/ringfence-<boundary>-runner:*"
_TASKS = _ECS + "task/ringfence-<boundary>/*"
RUNNER_ROLES = [
    _IAM + "role/ringfence/<boundary>/ringfence-<boundary>-runner",
    _IAM + "role/ringfence/<boundary>/ringfence-<boundary>-runner-execution",
]
_HERE = {"ArnEquals": {"ecs:cluster": _CLUSTER}}

RUNNER: Table = [
    {
        "Sid": "DefineRunner",
        "Effect": "Allow",
        "Action": ["ecs:CreateCluster", "ecs:RegisterTaskDefinition"],
        "Resource": "*",
        "Condition": IN_REQUEST,
    },
    {
        "Sid": "RunRunner",
        "Effect": "Allow",
        "Action": "ecs:RunTask",
        "Resource": _DEFINITIONS,
        "Condition": _HERE,
    },
    {
        "Sid": "EndRunner",
        "Effect": "Allow",
        "Action": [
            "ecs:DeleteCluster", "ecs:DeleteTaskDefinitions", "ecs:DescribeTasks", "ecs:StopTask",
        ],
        "Resource": [_CLUSTER, _DEFINITIONS, _TASKS],
    },
    {
        "Sid": "ListRunners",
        "Effect": "Allow",
        "Action": "ecs:ListTasks",
        "Resource": "*",
        "Condition": _HERE,
    },
    # AWS knows neither a resource nor a condition for these two.
    {
        "Sid": "ForgetRunner",
        "Effect": "Allow",
        "Action": ["ecs:DeregisterTaskDefinition", "ecs:ListTaskDefinitions"],
        "Resource": "*",
    },
    {
        "Sid": "TagRunner",
        "Effect": "Allow",
        "Action": "ecs:TagResource",
        "Resource": [_CLUSTER, _DEFINITIONS, _TASKS],
        "Condition": {
            "StringEquals": {
                "aws:RequestTag/ringfence:boundary": OURS,
                "ecs:CreateAction": ["CreateCluster", "RegisterTaskDefinition", "RunTask"],
            }
        },
    },
    {
        "Sid": "PassRunnerRoles",
        "Effect": "Allow",
        "Action": "iam:PassRole",
        "Resource": RUNNER_ROLES,
        "Condition": {"StringEquals": {"iam:PassedToService": SERVICE}},
    },
    {
        "Sid": "RunnerServiceLinkedRole",
        "Effect": "Allow",
        "Action": "iam:CreateServiceLinkedRole",
        "Resource": _IAM + "role/aws-service-role/ecs.amazonaws.com/AWSServiceRoleForECS",
        "Condition": {"StringEquals": {"iam:AWSServiceName": "ecs.amazonaws.com"}},
    },
]  # fmt: skip
