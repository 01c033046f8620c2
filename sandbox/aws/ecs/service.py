"""ECS operations: clusters, task definitions, and tasks on Fargate.

Called by the gate. What is asked beyond one container of the sandbox's image table on Fargate in
private subnets is refused by name.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable
from typing import Any

from sandbox.aws.clock import Clock
from sandbox.aws.config import GateConfig
from sandbox.aws.ecr.pulls import Pulls
from sandbox.aws.ecs.state import Record, State, bad_parameter, client_error
from sandbox.aws.ecs.tasks import Lives
from sandbox.aws.eks.service import Eks
from sandbox.aws.errors import AwsError
from sandbox.aws.messages import Call, Caller, Request, Response
from sandbox.aws.operations.ecs import SERVICE, ecs_arn, short_name
from sandbox.aws.operations.iam import find_role
from sandbox.aws.storage import json_response
from sandbox.aws.sts import Asked, Sts
from sandbox.aws.trail import Trail

CREDENTIALS_PATH = "/v2/credentials/"
SESSION_SECONDS = 3600
_OWN = (
    "account", "region", "environment", "credentials", "executionRoleArn", "network",
    "securityGroups", "image", "ready_at", "id", "exitCode", "container",
)  # fmt: skip


class Ecs:
    """Tasks, and what they are started from."""

    def __init__(
        self, config: GateConfig, clock: Clock, eks: Eks, sts: Sts, trail: Trail, pulls: Pulls
    ) -> None:
        """Load what exists."""
        self._clock, self._eks, self._sts, self._trail = clock, eks, sts, trail
        self._pace, self._region = config.pace, config.region
        self.state = State(config.data_dir)
        self._lives = Lives(self.state, eks, clock, pulls)
        self._operations: dict[str, Callable[[Call], dict[str, Any]]] = {
            "CreateCluster": self._create_cluster, "DescribeClusters": self._describe_clusters,
            "DeleteCluster": self._delete_cluster, "RegisterTaskDefinition": self._register,
            "DescribeTaskDefinition": self._describe_definition,
            "ListTaskDefinitions": self._list_definitions,
            "DeregisterTaskDefinition": self._deregister,
            "DeleteTaskDefinitions": self._delete_definitions,
            "RunTask": self._run, "DescribeTasks": self._describe_tasks,
            "ListTasks": self._list_tasks, "StopTask": self._stop_task,
        }  # fmt: skip

    def start(self) -> None:
        """Let tasks live."""
        self._lives.start()

    def stop(self) -> None:
        """End with the account; the networks' processes end their tasks."""
        self._lives.stop()

    def handle(self, call: Call) -> Response:
        """Answer one operation."""
        with self.state.lock:
            answer = self._operations[call.operation](call)
            if call.mutating:
                self.state.save()
        return json_response(answer)

    def credentials(self, request: Request) -> Response:
        """Answer a task that asks for its role's credentials, as Amazon ECS does on the host."""
        with self.state.lock:
            found = [
                one
                for one in self.state.tasks.values()
                if secrets.compare_digest(one["credentials"], request.path)
                and one["stoppedAt"] is None
            ]
        if not found or request.method != "GET" or not found[0]["taskRoleArn"]:
            raise AwsError("InvalidCredentials", "no task has these credentials", 404)
        task = found[0]
        caller = Caller("service", "", "", "", "", SERVICE)
        call = Call(
            id=str(uuid.uuid4()), service="sts", protocol="query", operation="AssumeRole",
            region=self._region, account=task["account"], caller=caller,
            params={"RoleArn": task["taskRoleArn"], "RoleSessionName": task["id"]},
            request=request,
        )  # fmt: skip
        # The session's name is the task's id: who is told of it knows which task spoke.
        asked = Asked(task["taskRoleArn"], task["id"], SESSION_SECONDS)
        given, session = self._sts.assume(call, asked, SERVICE)
        self._trail.record(call, None, None)
        return json_response(
            {
                "RoleArn": task["taskRoleArn"],
                "AccessKeyId": given["access_key_id"],
                "SecretAccessKey": given["secret_access_key"],
                "Token": given["session_token"],
                "Expiration": session.expires_at,
            }
        )

    # ---- Clusters

    def _create_cluster(self, call: Call) -> dict[str, Any]:
        """Create a cluster; one that exists is given."""
        name = short_name(call.params.get("clusterName"))
        arn = ecs_arn(call, "cluster", name)
        known = self.state.clusters.get(arn)
        if known is None or known["status"] != "ACTIVE":
            known = {
                "clusterArn": arn, "clusterName": name, "status": "ACTIVE",
                "account": call.account, "region": call.region,
                "tags": list(call.params.get("tags") or []),
            }  # fmt: skip
            self.state.clusters[arn] = known
        return {"cluster": self._shown_cluster(known)}

    def _describe_clusters(self, call: Call) -> dict[str, Any]:
        """Describe clusters; what is missing is a failure, not an error."""
        shown, failures = [], []
        for name in call.params.get("clusters") or ["default"]:
            try:
                shown.append(self._shown_cluster(self.state.cluster(call, name)))
            except AwsError:
                arn = ecs_arn(call, "cluster", short_name(name))
                failures.append({"arn": arn, "reason": "MISSING"})
        return {"clusters": shown, "failures": failures}

    def _delete_cluster(self, call: Call) -> dict[str, Any]:
        """Delete a cluster without tasks."""
        cluster = self.state.cluster(call, call.params.get("cluster"))
        if any(one["stoppedAt"] is None for one in self.state.tasks_in(cluster)):
            text = "The Cluster cannot be deleted while Tasks are active."
            raise AwsError("ClusterContainsTasksException", text, 400)
        cluster["status"] = "INACTIVE"
        return {"cluster": self._shown_cluster(cluster)}

    def _shown_cluster(self, cluster: Record) -> dict[str, Any]:
        statuses = [one["lastStatus"] for one in self.state.tasks_in(cluster)]
        return {
            **{key: cluster[key] for key in ("clusterArn", "clusterName", "status")},
            "runningTasksCount": statuses.count("RUNNING"),
            "pendingTasksCount": statuses.count("PROVISIONING"),
        }

    # ---- Task definitions

    def _register(self, call: Call) -> dict[str, Any]:
        """Register the next revision of a family."""
        family = str(call.params.get("family", ""))
        containers = call.params.get("containerDefinitions") or []
        if len(containers) != 1 or not containers[0].get("image"):
            raise client_error("The rehearsal account models one container with an image per task")
        if "FARGATE" not in (call.params.get("requiresCompatibilities") or []):
            raise client_error("The rehearsal account models FARGATE only")
        if call.params.get("networkMode") != "awsvpc":
            raise client_error("Fargate only supports network mode awsvpc.")
        for name in ("taskRoleArn", "executionRoleArn"):
            self._check_role(call, call.params.get(name))
        known = [one["revision"] for one in self.state.definitions.values()
                 if (one["account"], one["family"]) == (call.account, family)]  # fmt: skip
        revision = max(known, default=0) + 1
        arn = ecs_arn(call, "task-definition", f"{family}:{revision}")
        self.state.definitions[arn] = {
            "taskDefinitionArn": arn, "family": family, "revision": revision, "status": "ACTIVE",
            "containerDefinitions": containers, "networkMode": "awsvpc",
            "taskRoleArn": call.params.get("taskRoleArn"),
            "executionRoleArn": call.params.get("executionRoleArn"),
            "cpu": call.params.get("cpu"), "memory": call.params.get("memory"),
            "requiresCompatibilities": ["FARGATE"],
            "account": call.account, "region": call.region,
        }  # fmt: skip
        return {"taskDefinition": _shown(self.state.definitions[arn])}

    def _check_role(self, call: Call, arn: Any) -> None:
        if arn and find_role(call.account, str(arn).rpartition("/")[2]) is None:
            raise client_error(f"Role is not valid: {arn}")

    def _describe_definition(self, call: Call) -> dict[str, Any]:
        """Describe a definition."""
        found = self.state.definition(call, call.params.get("taskDefinition"))
        return {"taskDefinition": _shown(found)}

    def _list_definitions(self, call: Call) -> dict[str, Any]:
        """List definitions of a family prefix, active ones unless asked otherwise."""
        status = str(call.params.get("status", "ACTIVE"))
        prefix = str(call.params.get("familyPrefix", ""))
        return {
            "taskDefinitionArns": sorted(
                arn
                for arn, one in self.state.definitions.items()
                if (one["account"], one["region"]) == (call.account, call.region)
                and one["status"] == status
                and (not prefix or one["family"] == prefix)
            )
        }

    def _deregister(self, call: Call) -> dict[str, Any]:
        """Make a definition inactive: no new task starts from it."""
        found = self.state.definition(call, call.params.get("taskDefinition"))
        found["status"] = "INACTIVE"
        return {"taskDefinition": _shown(found)}

    def _delete_definitions(self, call: Call) -> dict[str, Any]:
        """Delete inactive definitions."""
        deleted = []
        for given in call.params["taskDefinitions"]:
            found = self.state.definition(call, given)
            if found["status"] != "INACTIVE":
                raise client_error("The specified task definition is still in ACTIVE status.")
            deleted.append(_shown(self.state.definitions.pop(found["taskDefinitionArn"])))
        return {"taskDefinitions": deleted, "failures": []}

    # ---- Tasks

    def _run(self, call: Call) -> dict[str, Any]:
        """Start one task; it is provisioned for the scaled time of a Fargate start."""
        params = call.params
        cluster = self.state.cluster(call, params.get("cluster"))
        definition = self.state.definition(call, params.get("taskDefinition"))
        if definition["status"] != "ACTIVE":
            raise client_error("TaskDefinition is inactive")
        if params.get("launchType") != "FARGATE" or int(params.get("count", 1)) != 1:
            raise bad_parameter("The rehearsal account models one task on FARGATE per call")
        network, groups = self._network(call)
        container = definition["containerDefinitions"][0]
        identifier = uuid.uuid4().hex
        arn = ecs_arn(call, "task", cluster["clusterName"], identifier)
        overrides = params.get("overrides") or {}
        self.state.tasks[arn] = {
            "taskArn": arn, "clusterArn": cluster["clusterArn"],
            "taskDefinitionArn": definition["taskDefinitionArn"], "launchType": "FARGATE",
            "lastStatus": "PROVISIONING", "desiredStatus": "RUNNING",
            "startedBy": params.get("startedBy"), "group": params.get("group"),
            "createdAt": self._clock.now().timestamp(), "startedAt": None, "stoppedAt": None,
            "stopCode": None, "stoppedReason": None, "overrides": overrides,
            "taskRoleArn": overrides.get("taskRoleArn") or definition["taskRoleArn"],
            "executionRoleArn": definition["executionRoleArn"],
            "account": call.account, "region": call.region, "id": identifier,
            "image": container["image"], "container": container["name"],
            "environment": _environment(container, overrides), "exitCode": None,
            "credentials": CREDENTIALS_PATH + secrets.token_urlsafe(24),
            "network": network, "securityGroups": groups,
            "ready_at": self._clock.now().timestamp() + self._pace.seconds("fargate-task", arn),
        }  # fmt: skip
        return {"tasks": [_shown_task(self.state.tasks[arn])], "failures": []}

    def _network(self, call: Call) -> tuple[str, list[str]]:
        """Find the emulated network of the subnets. Raises: AwsError InvalidParameterException."""
        given = (call.params.get("networkConfiguration") or {}).get("awsvpcConfiguration") or {}
        if not given.get("subnets"):
            raise bad_parameter("Network Configuration must be provided with subnets")
        if given.get("assignPublicIp", "DISABLED") != "DISABLED":
            raise bad_parameter("assignPublicIp: the rehearsal account models private tasks only")
        with self._eks.state.lock:
            for cluster in self._eks.state.clusters.values():
                if (cluster["account"], cluster["region"]) == (call.account, call.region) and set(
                    given["subnets"]
                ) <= set(cluster["vpc"]["subnetIds"]):
                    groups = [str(one) for one in given.get("securityGroups") or []]
                    return str(cluster["runtime_name"]), groups
        raise bad_parameter(
            "The rehearsal account's networks begin with an EKS cluster: no cluster is in "
            f"{', '.join(given['subnets'])}"
        )

    def _describe_tasks(self, call: Call) -> dict[str, Any]:
        """Describe tasks; what is missing is a failure, not an error."""
        cluster = self.state.cluster(call, call.params.get("cluster"))
        known = {one["id"]: one for one in self.state.tasks_in(cluster)}
        names = [short_name(one) for one in call.params["tasks"]]
        return {
            "tasks": [_shown_task(known[name]) for name in names if name in known],
            "failures": [
                {
                    "arn": ecs_arn(call, "task", cluster["clusterName"], name),
                    "reason": "MISSING",
                }
                for name in names
                if name not in known
            ],
        }

    def _list_tasks(self, call: Call) -> dict[str, Any]:
        """List tasks that are wanted to run, or to be stopped."""
        cluster = self.state.cluster(call, call.params.get("cluster"))
        status = call.params.get("desiredStatus", "RUNNING")
        wanted = {key: call.params[key] for key in ("startedBy", "family") if call.params.get(key)}
        return {
            "taskArns": [
                one["taskArn"]
                for one in self.state.tasks_in(cluster)
                if one["desiredStatus"] == status
                and wanted.get("startedBy") in (None, one["startedBy"])
                and f"/{wanted.get('family', '')}" in one["taskDefinitionArn"]
            ]
        }

    def _stop_task(self, call: Call) -> dict[str, Any]:
        """Ask for a task's end; it is told, and ended a moment later."""
        cluster = self.state.cluster(call, call.params.get("cluster"))
        name = short_name(call.params.get("task"))
        for one in self.state.tasks_in(cluster):
            if one["id"] == name:
                if one["stoppedAt"] is None:
                    one["desiredStatus"] = "STOPPED"
                    one["stoppedReason"] = str(call.params.get("reason", "stopped by a user"))
                return {"task": _shown_task(one)}
        raise AwsError("InvalidParameterException", "The referenced task was not found.", 400)


def _environment(container: Record, overrides: Record) -> dict[str, str]:
    """Merge a container's environment with that of the call."""
    entries = list(container.get("environment") or [])
    for one in overrides.get("containerOverrides") or []:
        if one.get("name") == container["name"]:
            entries += one.get("environment") or []
    return {str(one["name"]): str(one["value"]) for one in entries}


def _shown(record: Record) -> dict[str, Any]:
    """Leave out what is ours, and what has no value."""
    return {k: v for k, v in record.items() if k not in _OWN and v is not None}


def _shown_task(task: Record) -> dict[str, Any]:
    """Show a task with its one container."""
    container = {
        "name": task["container"], "image": task["image"], "lastStatus": task["lastStatus"],
        "taskArn": task["taskArn"],
        **({"exitCode": task["exitCode"]} if task["exitCode"] is not None else {}),
    }  # fmt: skip
    return {**_shown(task), "containers": [container]}
