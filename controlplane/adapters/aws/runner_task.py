"""The runner's task in the customer's account: its roles, its definition, its start and its end.

Called by `kubernetes/reach_runner.py`. Everything here belongs to a run, as our access entry does
(decision 9): made when the way in is opened, gone when it is shut, in no state of the engine. Each
call may be repeated. Amazon ECS on Fargate: no host to patch, a role of its own, and one task that
accepts no connection (docs/adr/0038).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from botocore.exceptions import ClientError

from controlplane.adapters.aws.account import Account
from controlplane.adapters.aws.errors import error_code, translated
from controlplane.core.errors import ConflictError
from wire.runner import run_prefix

CONTAINER = "runner"
CPU, MEMORY = "512", "1024"
"""The smallest that takes helm with the chart's values."""
_SERVICE = "ecs-tasks.amazonaws.com"
_PULL = (
    "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetAuthorizationToken",
    "ecr:GetDownloadUrlForLayer",
)  # fmt: skip
_ENDED = frozenset({"STOPPED", "DEPROVISIONING", "STOPPING", "DEACTIVATING"})


@dataclass(frozen=True)
class TaskPlace:
    """Whose runner it is, and what it may touch."""

    run_id: UUID
    bucket: str
    image: str


@dataclass(frozen=True)
class RunnerTask:
    """One task as ECS has it."""

    arn: str
    status: str
    reason: str
    """Why it stopped; empty while it runs."""
    environment: dict[str, str]
    """What its start gave it: the mailbox and the deadline."""

    @property
    def identifier(self) -> str:
        """Return the task's id: the name of its role's sessions."""
        return self.arn.rpartition("/")[2]

    @property
    def has_ended(self) -> bool:
        return self.status in _ENDED

    def ends_at(self) -> datetime:
        """Return when it ends by itself."""
        return datetime.fromisoformat(self.environment["RUNNER_DEADLINE"])


class RunnerTasks:
    """The runner's parts of one boundary."""

    def __init__(self, account: Account, place: TaskPlace) -> None:
        self._account, self._place = account, place
        self._name = f"ringfence-{account.target.boundary}"
        self._family = f"{self._name}-runner"
        self._arn = (
            f"arn:{account.target.partition}:iam::{account.target.account}:role/ringfence/"
            f"{account.target.boundary}/{self._family}"
        )

    @property
    def role_arn(self) -> str:
        """Return the role that the runner acts with."""
        return self._arn

    def ensure(self) -> None:
        """Make the cluster of tasks and the two roles. Raises: the classes of `translated`."""
        with translated("ecs:CreateCluster"):
            self._ecs.create_cluster(clusterName=self._name, tags=self._tags("key", "value"))
        self._ensure_role(self._family, self._work_policy())
        self._ensure_role(f"{self._family}-execution", _allow(list(_PULL), "*"))

    def start(self, subnets: Sequence[str], group: str, environment: dict[str, str]) -> RunnerTask:
        """Start a task in the cluster's own private subnets, under its own security group."""
        with translated("ecs:RegisterTaskDefinition"):
            definition = self._ecs.register_task_definition(
                family=self._family,
                taskRoleArn=self._arn,
                executionRoleArn=f"{self._arn}-execution",
                networkMode="awsvpc",
                requiresCompatibilities=["FARGATE"],
                cpu=CPU,
                memory=MEMORY,
                containerDefinitions=[
                    {"name": CONTAINER, "image": self._place.image, "essential": True}
                ],
                tags=self._tags("key", "value"),
            )["taskDefinition"]["taskDefinitionArn"]
        network = {
            "subnets": list(subnets),
            "securityGroups": [group],
            "assignPublicIp": "DISABLED",
        }
        pairs = [{"name": name, "value": value} for name, value in environment.items()]
        with translated("ecs:RunTask"):
            answer = self._ecs.run_task(
                cluster=self._name,
                taskDefinition=definition,
                launchType="FARGATE",
                count=1,
                startedBy=str(self._place.run_id),
                networkConfiguration={"awsvpcConfiguration": network},
                overrides={"containerOverrides": [{"name": CONTAINER, "environment": pairs}]},
                tags=self._tags("key", "value"),
            )
        if not answer["tasks"]:
            why = "; ".join(str(one.get("reason")) for one in answer["failures"])
            raise ConflictError(
                f"ECS did not start the runner: {why}",
                code="runner-not-started",
                fix="look at the account's Fargate quota and the private subnets",
            )
        return _read(answer["tasks"][0])

    def running(self) -> list[RunnerTask]:
        """Return the tasks of this run that are wanted to run."""
        return self._listed(startedBy=str(self._place.run_id))

    def left(self) -> list[RunnerTask]:
        """Return every task of the boundary that has not ended, whichever run started it."""
        asked_to_end = self._listed(desiredStatus="STOPPED")
        return [task for task in [*self._listed(), *asked_to_end] if task.status != "STOPPED"]

    def find(self, arn: str) -> RunnerTask | None:
        """Return a task as it is now; None when ECS has forgotten it."""
        with translated("ecs:DescribeTasks"):
            found = self._ecs.describe_tasks(cluster=self._name, tasks=[arn])["tasks"]
        return _read(found[0]) if found else None

    def stop_all(self) -> None:
        """Ask for the end of every task of the boundary."""
        for task in self._listed():
            with translated("ecs:StopTask"):
                self._ecs.stop_task(
                    cluster=self._name, task=task.arn, reason="the way into the cluster is shut"
                )

    def delete(self) -> None:
        """Delete definitions, cluster and roles; what is gone already is fine."""
        for status in ("ACTIVE", "INACTIVE"):
            with translated("ecs:ListTaskDefinitions"):
                found = self._ecs.list_task_definitions(familyPrefix=self._family, status=status)
            for arn in found["taskDefinitionArns"]:
                self._forget(arn, active=status == "ACTIVE")
        with translated("ecs:DeleteCluster"):
            try:
                self._ecs.delete_cluster(cluster=self._name)
            except ClientError as error:
                if error_code(error) != "ClusterNotFoundException":
                    raise
        there = self._role_names()
        for name in (self._family, f"{self._family}-execution"):
            if name in there:
                self._delete_role(name)

    @property
    def _ecs(self) -> Any:
        return self._account.client("ecs")

    def _tags(self, key: str, value: str) -> list[dict[str, str]]:
        return [{key: "ringfence:boundary", value: self._account.target.boundary}]

    def _listed(self, **wanted: str) -> list[RunnerTask]:
        with translated("ecs:ListTasks"):
            try:
                arns = self._ecs.list_tasks(cluster=self._name, **wanted)["taskArns"]
            except ClientError as error:
                if error_code(error) != "ClusterNotFoundException":
                    raise
                return []
        if not arns:
            return []
        with translated("ecs:DescribeTasks"):
            found = self._ecs.describe_tasks(cluster=self._name, tasks=arns)["tasks"]
        return [_read(one) for one in found]

    def _forget(self, arn: str, *, active: bool) -> None:
        if active:
            with translated("ecs:DeregisterTaskDefinition"):
                self._ecs.deregister_task_definition(taskDefinition=arn)
        with translated("ecs:DeleteTaskDefinitions"):
            self._ecs.delete_task_definitions(taskDefinitions=[arn])

    def _ensure_role(self, name: str, policy: str) -> None:
        target, iam = self._account.target, self._account.client("iam")
        base = f"arn:{target.partition}:iam::{target.account}"
        with translated("iam:CreateRole"):
            try:
                iam.create_role(
                    RoleName=name,
                    Path=f"/ringfence/{target.boundary}/",
                    Description="The runner of one run; it goes when the way in is shut",
                    AssumeRolePolicyDocument=_trust(target.account),
                    PermissionsBoundary=f"{base}:policy/{self._name}-boundary",
                    Tags=self._tags("Key", "Value"),
                )
            except ClientError as error:
                if error_code(error) != "EntityAlreadyExists":
                    raise
        with translated("iam:PutRolePolicy"):
            iam.put_role_policy(RoleName=name, PolicyName="work", PolicyDocument=policy)

    def _role_names(self) -> set[str]:
        """Return the boundary's roles; asking for one that is gone is denied, not answered."""
        with translated("iam:ListRoles"):
            pages = self._account.client("iam").get_paginator("list_roles")
            return {
                role["RoleName"]
                for page in pages.paginate(
                    PathPrefix=f"/ringfence/{self._account.target.boundary}/"
                )
                for role in page["Roles"]
            }

    def _delete_role(self, name: str) -> None:
        iam = self._account.client("iam")
        with translated("iam:DeleteRolePolicy"):
            _unless_absent(lambda: iam.delete_role_policy(RoleName=name, PolicyName="work"))
        with translated("iam:DeleteRole"):
            _unless_absent(lambda: iam.delete_role(RoleName=name))

    def _work_policy(self) -> str:
        """Return what the runner may do: its own run's prefix, and no more of the bucket."""
        target = self._account.target
        bucket = f"arn:{target.partition}:s3:::{self._place.bucket}"
        keys = f"arn:{target.partition}:kms:{target.region}:{target.account}"
        prefix = run_prefix(self._place.run_id)
        return _document(
            {
                **_statement(["s3:ListBucket"], bucket),
                "Condition": {"StringLike": {"s3:prefix": f"{prefix}*"}},
            },
            _statement(
                ["s3:GetObject"], [f"{bucket}/{prefix}*/orders/*", f"{bucket}/{prefix}charts/*"]
            ),
            _statement(
                ["s3:PutObject"],
                [f"{bucket}/{prefix}*/hello.json", f"{bucket}/{prefix}*/answers/*"],
            ),
            {
                **_statement(["kms:Decrypt", "kms:GenerateDataKey"], f"{keys}:key/*"),
                "Condition": {
                    "StringEquals": {
                        "aws:ResourceTag/ringfence:boundary": self._account.target.boundary
                    }
                },
            },
        )


def _unless_absent(call: Callable[[], Any]) -> None:
    try:
        call()
    except ClientError as error:
        if error_code(error) != "NoSuchEntity":
            raise


def _read(task: dict[str, Any]) -> RunnerTask:
    return RunnerTask(
        arn=task["taskArn"],
        status=task["lastStatus"],
        reason=_why(task),
        environment=dict(_environment(task)),
    )


def _why(task: dict[str, Any]) -> str:
    codes = [one["exitCode"] for one in task.get("containers", ()) if "exitCode" in one]
    parts = [str(task.get("stopCode") or ""), str(task.get("stoppedReason") or "")]
    parts += [f"exit code {code}" for code in codes]
    return ", ".join(part for part in parts if part)[:500]


def _environment(task: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for override in task.get("overrides", {}).get("containerOverrides", ()):
        for pair in override.get("environment", ()):
            yield pair["name"], pair["value"]


def _trust(account: str) -> str:
    return _document(
        {
            "Effect": "Allow",
            "Principal": {"Service": _SERVICE},
            "Action": "sts:AssumeRole",
            "Condition": {"StringEquals": {"aws:SourceAccount": account}},
        }
    )


def _allow(actions: list[str], resource: str) -> str:
    return _document(_statement(actions, resource))


def _statement(actions: list[str], resource: str | list[str]) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": actions, "Resource": resource}


def _document(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
