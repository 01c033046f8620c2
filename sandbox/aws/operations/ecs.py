"""ECS operations of short-lived tasks, with the roles they pass.

Source: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerservice.html
Definitions of tasks cannot be scoped by AWS when they are registered, listed, described or
deregistered; tasks and clusters can.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox.aws.messages import Call
from sandbox.aws.operations.checks import Asks, Check, ContextValues, on_anything, request_tags
from sandbox.aws.operations.eks import pass_role

SERVICE = "ecs-tasks.amazonaws.com"


def ecs_arn(call: Call, kind: str, *parts: str) -> str:
    """Give the ARN of an ECS resource of the caller's account."""
    return f"arn:aws:ecs:{call.region}:{call.account}:{kind}/{'/'.join(parts)}"


def short_name(value: Any) -> str:
    """Give the name in a parameter that may be a name or an ARN."""
    text = str(value or "default")
    return text.rpartition("/")[2] if text.startswith("arn:") else text


def tags_in(params: Mapping[str, Any]) -> dict[str, str]:
    """Read the tags of a request."""
    return {str(one["key"]): str(one.get("value", "")) for one in params.get("tags") or []}


def _tagging(call: Call, arn: str) -> list[Check]:
    tags = tags_in(call.params)
    if not tags:
        return []
    context: ContextValues = {**request_tags(tags), "ecs:CreateAction": call.operation}
    return [Check("ecs:TagResource", arn, context)]


def _create_cluster(call: Call) -> list[Check]:
    """Ask for the cluster and its tags; AWS scopes the creation by the tags alone."""
    arn = ecs_arn(call, "cluster", short_name(call.params.get("clusterName")))
    tags = request_tags(tags_in(call.params))
    return [Check("ecs:CreateCluster", "*", tags), *_tagging(call, arn)]


def _on_cluster(call: Call) -> list[Check]:
    """Ask for an operation on one cluster, or on each of several."""
    names = call.params.get("clusters") or [call.params.get("cluster")]
    action = f"ecs:{call.operation}"
    return [Check(action, ecs_arn(call, "cluster", short_name(name))) for name in names]


def _register(call: Call) -> list[Check]:
    """Ask for a definition and each role that it hands to tasks."""
    arn = ecs_arn(call, "task-definition", f"{call.params.get('family')}:*")
    roles = [call.params.get(name) for name in ("taskRoleArn", "executionRoleArn")]
    return [
        Check("ecs:RegisterTaskDefinition", "*", request_tags(tags_in(call.params))),
        *(pass_role(call, str(role), SERVICE) for role in roles if role),
        *_tagging(call, arn),
    ]


def _delete_definitions(call: Call) -> list[Check]:
    """Ask for each definition."""
    return [Check("ecs:DeleteTaskDefinitions", str(x)) for x in call.params["taskDefinitions"]]


def _run(call: Call) -> list[Check]:
    """Ask for the definition in this cluster; overridden roles are passed, too."""
    given = str(call.params.get("taskDefinition", ""))
    arn = given if given.startswith("arn:") else ecs_arn(call, "task-definition", given)
    cluster = short_name(call.params.get("cluster"))
    overrides = call.params.get("overrides") or {}
    roles = [overrides.get(name) for name in ("taskRoleArn", "executionRoleArn")]
    in_cluster: ContextValues = {"ecs:cluster": ecs_arn(call, "cluster", cluster)}
    return [
        Check("ecs:RunTask", arn, {**in_cluster, **request_tags(tags_in(call.params))}),
        *(pass_role(call, str(role), SERVICE) for role in roles if role),
        *_tagging(call, ecs_arn(call, "task", cluster, "*")),
    ]


def _on_tasks(call: Call) -> list[Check]:
    """Ask for each task."""
    cluster = short_name(call.params.get("cluster"))
    context: ContextValues = {"ecs:cluster": ecs_arn(call, "cluster", cluster)}
    names = call.params.get("tasks") or [call.params.get("task")]
    action = f"ecs:{call.operation}"
    return [
        Check(action, ecs_arn(call, "task", cluster, short_name(name)), context) for name in names
    ]


def _list_tasks(call: Call) -> list[Check]:
    """Ask for the tasks of a cluster: AWS knows the cluster as a condition only."""
    cluster = short_name(call.params.get("cluster"))
    return [Check("ecs:ListTasks", "*", {"ecs:cluster": ecs_arn(call, "cluster", cluster)})]


OPERATIONS: dict[str, Asks] = {
    "CreateCluster": _create_cluster,
    "DescribeClusters": _on_cluster,
    "DeleteCluster": _on_cluster,
    "RegisterTaskDefinition": _register,
    "DeleteTaskDefinitions": _delete_definitions,
    "RunTask": _run,
    "DescribeTasks": _on_tasks,
    "StopTask": _on_tasks,
    "ListTasks": _list_tasks,
    **{
        name: on_anything(f"ecs:{name}")
        for name in ("DeregisterTaskDefinition", "ListTaskDefinitions", "DescribeTaskDefinition")
    },
}
