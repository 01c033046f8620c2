"""The lives of tasks: provisioned for a scaled time, run in an emulated network, stopped.

Called by the ECS service. One thread moves all tasks on, so that no API call waits for a process.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from sandbox.aws.clock import Clock
from sandbox.aws.ecr.pulls import Pulls
from sandbox.aws.ecs.state import Record, State
from sandbox.aws.eks.service import Eks
from sandbox.aws.errors import AwsError
from sandbox.cluster.errors import ClusterError

TICK_SECONDS = 0.1
KEPT_SECONDS = 3600.0
"""How long ECS shows a task that has stopped. Source: the API reference of DescribeTasks."""
log = logging.getLogger("sandbox.aws.ecs")


class Lives:
    """Moves tasks from one status to the next."""

    def __init__(self, state: State, eks: Eks, clock: Clock, pulls: Pulls) -> None:
        """Take the tasks, the clusters in whose networks they run, and who gets their images."""
        self._state, self._eks, self._clock, self._pulls = state, eks, clock, pulls
        self._stop = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="ecs", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._ticker.start()

    def stop(self) -> None:
        """End the thread; tasks end with their networks."""
        self._stop.set()
        if self._ticker.is_alive():
            self._ticker.join()

    def _tick(self) -> None:
        while not self._stop.wait(TICK_SECONDS):
            try:
                self._turn()
            except (ClusterError, OSError):
                # A network that is starting or ending: the next turn sees what became of it.
                log.exception("tasks could not be looked at")

    def _turn(self) -> None:
        now = self._clock.now().timestamp()
        with self._state.lock:
            for arn, one in list(self._state.tasks.items()):
                if one["lastStatus"] == "STOPPED" and one["stoppedAt"] + KEPT_SECONDS < now:
                    del self._state.tasks[arn]
            open_tasks = [one for one in self._state.tasks.values() if one["stoppedAt"] is None]
        for task in open_tasks:
            self._move(task, now)

    def _move(self, task: Record, now: float) -> None:
        """Take a task's next step, if it is due."""
        if task["desiredStatus"] == "STOPPED":
            self._end(task)
        elif task["lastStatus"] == "PROVISIONING" and task["ready_at"] <= now:
            self._launch(task)
        elif task["lastStatus"] == "RUNNING":
            self._look(task)

    def _launch(self, task: Record) -> None:
        handle, vpc = self._network(task)
        if handle is None:
            self._stopped(task, None, "TaskFailedToStart", "the network's cluster does not run")
            return
        private = vpc["endpointPrivateAccess"] and (
            vpc["clusterSecurityGroupId"] in task["securityGroups"]
        )
        try:
            self._pulls.pull(str(task.get("executionRoleArn")), task["id"], task["image"])
            handle.run_task(
                task["id"],
                task["image"],
                task["environment"],
                task["credentials"],
                vpc["port"] if private else None,
            )
        except (AwsError, ClusterError, OSError) as error:
            self._stopped(task, None, "TaskFailedToStart", f"CannotPullContainerError: {error}")
            return
        with self._state.lock:
            task["lastStatus"], task["startedAt"] = "RUNNING", self._clock.now().timestamp()
            self._state.save()

    def _look(self, task: Record) -> None:
        """See whether the process still runs."""
        handle, _ = self._network(task)
        states = handle.task_states() if handle is not None else {}
        if task["id"] not in states:
            self._stopped(task, None, "TaskFailedToStart", "the task's host is gone")
        elif states[task["id"]] is not None:
            reason = "Essential container in task exited"
            self._stopped(task, states[task["id"]], "EssentialContainerExited", reason)

    def _end(self, task: Record) -> None:
        """Stop a task that a user wants stopped."""
        handle, _ = self._network(task)
        code: int | None = None
        if handle is not None and task["lastStatus"] == "RUNNING":
            handle.stop_task(task["id"])
            code = handle.task_states().get(task["id"])
        self._stopped(task, code, "UserInitiated", task["stoppedReason"])

    def _stopped(self, task: Record, code: int | None, kind: str, reason: str) -> None:
        with self._state.lock:
            task["lastStatus"] = task["desiredStatus"] = "STOPPED"
            task["stoppedAt"] = self._clock.now().timestamp()
            task["stopCode"], task["stoppedReason"], task["exitCode"] = kind, reason, code
            self._state.save()

    def _network(self, task: Record) -> tuple[Any, Record]:
        """Return the running cluster whose network a task is in, and how it is reached."""
        with self._eks.state.lock:
            cluster = self._eks.state.by_runtime_name(task["network"])
            if cluster is None:
                return None, {}
            vpc = {**cluster["vpc"], "port": cluster["port"]}
        return self._eks.runtime.handle(cluster), vpc
