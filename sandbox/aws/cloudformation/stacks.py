"""Stacks: create, update with replacement, delete, and their events.

An operation finishes before its call returns, which AWS does not promise: clients poll anyway, and
find it done at the first look. State is one JSON file.
"""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sandbox.aws.authorize import Authorizer
from sandbox.aws.clock import Clock, iso
from sandbox.aws.cloudformation.resources import IamResources, check_type, needs_replacement
from sandbox.aws.cloudformation.template import (
    Template,
    creation_order,
    invalid,
    parameter_values,
    parse_template,
)  # fmt: skip
from sandbox.aws.errors import AwsError
from sandbox.aws.files import read_json, write_json
from sandbox.aws.messages import Call
from sandbox.aws.moto_store import MotoStore

Stack = dict[str, Any]
_NAME = re.compile(r"^[a-zA-Z][-a-zA-Z0-9]{0,127}$")


class Stacks:
    """The stacks of all accounts."""

    def __init__(
        self, store: MotoStore, authorizer: Authorizer, clock: Clock, data_dir: Path
    ) -> None:
        """Load the stacks."""
        self._store, self._authorizer, self._clock = store, authorizer, clock
        self._file = data_dir / "stacks.json"
        self._stacks: dict[str, Stack] = read_json(self._file, {})
        self._lock = threading.RLock()

    def create(self, call: Call) -> Stack:
        """Create a stack; a failing resource rolls everything back. Raises AwsError."""
        with self._lock:
            name = str(call.params.get("StackName", ""))
            if not _NAME.match(name):
                raise invalid("StackName must match [a-zA-Z][-a-zA-Z0-9]*")
            if self._find(call, name):
                raise AwsError("AlreadyExistsException", f"Stack [{name}] already exists")
            body, parameters = self._read(call, {})
            identifier = (
                f"arn:aws:cloudformation:{call.region}:{call.account}:stack/{name}/{uuid.uuid4()}"
            )
            stack: Stack = {
                "id": identifier, "name": name, "account": call.account, "region": call.region,
                "template": body, "parameters": parameters, "resources": {}, "outputs": {},
                "events": [], "created": iso(self._clock.now()), "updated": "", "reason": "",
            }  # fmt: skip
            self._stacks[identifier] = stack
            self._status(stack, "CREATE_IN_PROGRESS", "User Initiated")
            try:
                self._apply(call, stack, body, parameters)
                self._status(stack, "CREATE_COMPLETE")
            except AwsError as error:
                self._status(stack, "ROLLBACK_IN_PROGRESS", error.message)
                self._remove_all(call, stack)
                self._status(stack, "ROLLBACK_COMPLETE", error.message)
            self._save()
            return stack

    def update(self, call: Call) -> Stack:
        """Update a stack; on failure the earlier template is put back. Raises AwsError."""
        with self._lock:
            stack = self.get(call)
            if stack["status"] not in (
                "CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE",
            ):  # fmt: skip
                raise invalid(
                    f"Stack:{stack['id']} is in {stack['status']} state and can not be updated."
                )
            body, parameters = self._read(call, stack)
            if body == stack["template"] and parameters == stack["parameters"]:
                raise invalid("No updates are to be performed.")
            earlier = (stack["template"], stack["parameters"])
            self._status(stack, "UPDATE_IN_PROGRESS", "User Initiated")
            try:
                self._apply(call, stack, body, parameters)
                self._status(stack, "UPDATE_COMPLETE")
            except AwsError as error:
                self._status(stack, "UPDATE_ROLLBACK_IN_PROGRESS", error.message)
                try:
                    self._apply(call, stack, *earlier)
                    self._status(stack, "UPDATE_ROLLBACK_COMPLETE", error.message)
                except AwsError as second:
                    self._status(stack, "UPDATE_ROLLBACK_FAILED", second.message)
            stack["updated"] = iso(self._clock.now())
            self._save()
            return stack

    def delete(self, call: Call) -> None:
        """Delete a stack; one that does not exist is fine, as in AWS."""
        with self._lock:
            stack = self._find(call, str(call.params.get("StackName", "")))
            if stack is None:
                return
            self._status(stack, "DELETE_IN_PROGRESS", "User Initiated")
            failures = self._remove_all(call, stack)
            if failures:
                text = f"The following resource(s) failed to delete: {failures}"
                self._status(stack, "DELETE_FAILED", text)
            else:
                self._status(stack, "DELETE_COMPLETE")
            self._save()

    def get(self, call: Call) -> Stack:
        """Find the stack of a call. Raises AwsError ValidationError."""
        name = str(call.params.get("StackName", ""))
        stack = self._find(call, name)
        if stack is None:
            raise invalid(f"Stack with id {name} does not exist")
        return stack

    def visible(self, call: Call) -> list[Stack]:
        """List the caller's stacks; deleted ones only where named by id."""
        if call.params.get("StackName"):
            return [self.get(call)]
        return [
            one
            for one in self._stacks.values()
            if (one["account"], one["region"]) == (call.account, call.region)
            and one["status"] != "DELETE_COMPLETE"
        ]

    def _find(self, call: Call, name: str) -> Stack | None:
        """Find by name (living) or by id (any) in the caller's account and region."""
        for stack in reversed(list(self._stacks.values())):
            if (stack["account"], stack["region"]) != (call.account, call.region):
                continue
            if name == stack["id"]:
                return stack
            if name == stack["name"] and stack["status"] != "DELETE_COMPLETE":
                return stack
        return None

    def _read(self, call: Call, stack: Stack) -> tuple[dict[str, Any], dict[str, str]]:
        """Read template and parameters of a call and check them."""
        capabilities = {str(v) for k, v in call.params.items() if k.startswith("Capabilities.")}
        if "CAPABILITY_NAMED_IAM" not in capabilities:
            raise AwsError(
                "InsufficientCapabilitiesException",
                "Requires capabilities : [CAPABILITY_NAMED_IAM]",
            )
        if call.params.get("UsePreviousTemplate") == "true" and stack:
            body = stack["template"]
        elif "TemplateBody" in call.params:
            body = parse_template(str(call.params["TemplateBody"]))
        else:
            raise invalid("Either TemplateBody or UsePreviousTemplate must be given")
        given, keep = _parameters(call.params)
        values = parameter_values(body, given, stack.get("parameters", {}), keep)
        for logical, one in body["Resources"].items():
            check_type(logical, str(one.get("Type")), one.get("Properties", {}))
        creation_order(body)
        return body, values

    def _apply(
        self, call: Call, stack: Stack, body: dict[str, Any], parameters: dict[str, str]
    ) -> None:
        """Bring the stack's resources to a template; replaced and dropped ones go last."""
        iam = IamResources(self._store, self._authorizer, call)
        resources: dict[str, Any] = stack["resources"]
        template = Template(body, parameters, _pseudo(stack))
        template.physical = {name: one["physical"] for name, one in resources.items()}
        template.attributes = _attributes(iam, resources)
        leftovers: list[dict[str, Any]] = []
        for logical in creation_order(body):
            declared = body["Resources"][logical]
            if "Condition" in declared and not template.holds(declared["Condition"]):
                continue
            wanted = template.resolve(declared.get("Properties", {}))
            self._apply_one(stack, iam, logical, declared["Type"], wanted, leftovers)
            template.physical[logical] = resources[logical]["physical"]
        for logical in [one for one in resources if one not in body["Resources"]]:
            leftovers.append(resources.pop(logical))
        # Depended-on resources were replaced first, so the reverse order is safe.
        for one in reversed(leftovers):
            self._clean_up(stack, iam, one)
        stack["template"], stack["parameters"] = body, parameters
        stack["outputs"] = {
            name: str(template.resolve(one["Value"]))
            for name, one in body.get("Outputs", {}).items()
        }

    def _apply_one(
        self, stack: Stack, iam: IamResources, logical: str, kind: str, wanted: dict[str, Any],
        leftovers: list[dict[str, Any]],
    ) -> None:  # fmt: skip
        """Create, update or replace one resource."""
        resources = stack["resources"]
        known = resources.get(logical)
        verb = "CREATE" if known is None else "UPDATE"
        try:
            if known is None or needs_replacement(kind, known["properties"], wanted):
                physical = iam.create(kind, wanted)
                if known is not None:
                    leftovers.append(known)
            elif known["properties"] != wanted:
                physical = known["physical"]
                iam.update(kind, physical, known["properties"], wanted)
            else:
                return
        except AwsError as error:
            self._event(stack, logical, kind, "", f"{verb}_FAILED", error.message)
            raise
        resources[logical] = {
            "logical": logical, "type": kind, "physical": physical, "properties": wanted,
            "at": iso(self._clock.now()), "status": f"{verb}_COMPLETE",
        }  # fmt: skip
        self._event(stack, logical, kind, physical, f"{verb}_COMPLETE")

    def _clean_up(self, stack: Stack, iam: IamResources, one: dict[str, Any]) -> None:
        """Delete a replaced resource; a failure leaves it behind and is only an event."""
        try:
            iam.delete(one["type"], one["physical"], one["properties"])
            self._event(stack, one["logical"], one["type"], one["physical"], "DELETE_COMPLETE")
        except AwsError as error:
            self._event(
                stack, one["logical"], one["type"], one["physical"], "DELETE_FAILED", error.message
            )

    def _remove_all(self, call: Call, stack: Stack) -> list[str]:
        """Delete every resource in reverse order; give the names that could not be."""
        iam = IamResources(self._store, self._authorizer, call)
        order = [one for one in creation_order(stack["template"]) if one in stack["resources"]]
        failed = []
        for logical in reversed(order):
            one = stack["resources"][logical]
            try:
                iam.delete(one["type"], one["physical"], one["properties"])
            except AwsError as error:
                failed.append(logical)
                self._event(
                    stack, logical, one["type"], one["physical"], "DELETE_FAILED", error.message
                )
                continue
            self._event(stack, logical, one["type"], one["physical"], "DELETE_COMPLETE")
            del stack["resources"][logical]
        return failed

    def _status(self, stack: Stack, status: str, reason: str = "") -> None:
        """Set the stack's status with an event."""
        stack["status"], stack["reason"] = status, reason
        self._event(stack, stack["name"], "AWS::CloudFormation::Stack", stack["id"], status, reason)

    def _event(
        self, stack: Stack, logical: str, kind: str, physical: str, status: str, reason: str = ""
    ) -> None:
        """Append an event."""
        stack["events"].append(
            {
                "id": str(uuid.uuid4()), "logical": logical, "type": kind, "physical": physical,
                "status": status, "reason": reason, "at": iso(self._clock.now()),
            }
        )  # fmt: skip

    def _save(self) -> None:
        """Write the stacks."""
        write_json(self._file, self._stacks)


def _attributes(iam: IamResources, resources: dict[str, Any]) -> Callable[[str, str], str]:
    """Make the look-up behind Fn::GetAtt."""

    def attribute(logical: str, name: str) -> str:
        one = resources[logical]
        return iam.attribute(one["type"], one["physical"], name)

    return attribute


def _pseudo(stack: Stack) -> dict[str, str]:
    """Give the pseudo parameters."""
    return {
        "AWS::Partition": "aws",
        "AWS::AccountId": stack["account"],
        "AWS::Region": stack["region"],
        "AWS::StackName": stack["name"],
        "AWS::StackId": stack["id"],
        "AWS::URLSuffix": "amazonaws.com",
    }


def _parameters(params: dict[str, Any]) -> tuple[dict[str, str], set[str]]:
    """Read Parameters.member.N; the second value names those that keep their value."""
    given: dict[str, str] = {}
    keep: set[str] = set()
    for key, name in params.items():
        if not re.match(r"^Parameters\.member\.\d+\.ParameterKey$", key):
            continue
        place = key.rpartition(".")[0]
        if params.get(f"{place}.UsePreviousValue") == "true":
            keep.add(str(name))
        else:
            given[str(name)] = str(params.get(f"{place}.ParameterValue", ""))
    return given, keep


def template_text(stack: Stack) -> str:
    """Write a stack's template."""
    return json.dumps(stack["template"])
