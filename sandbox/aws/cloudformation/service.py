"""CloudFormation's answers in its own XML."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from xml.sax.saxutils import escape

from sandbox.aws.cloudformation.stacks import Stack, Stacks, template_text
from sandbox.aws.cloudformation.template import parse_template
from sandbox.aws.errors import XMLNS
from sandbox.aws.messages import Call, Response


class CloudFormation:
    """Answer CloudFormation calls."""

    def __init__(self, stacks: Stacks) -> None:
        """Take the stacks."""
        self._stacks = stacks
        self._operations: dict[str, Callable[[Call], str]] = {
            "CreateStack": lambda call: _tag("StackId", stacks.create(call)["id"]),
            "UpdateStack": lambda call: _tag("StackId", stacks.update(call)["id"]),
            "DeleteStack": self._delete,
            "DescribeStacks": lambda call: _members("Stacks", map(_stack, stacks.visible(call))),
            "ListStacks": lambda call: _members(
                "StackSummaries", map(_summary, stacks.visible(call))
            ),
            "DescribeStackEvents": self._events,
            "DescribeStackResources": lambda call: _members(
                "StackResources", map(_resource, stacks.get(call)["resources"].values())
            ),
            "ListStackResources": lambda call: _members(
                "StackResourceSummaries", map(_resource, stacks.get(call)["resources"].values())
            ),
            "GetTemplate": lambda call: _tag("TemplateBody", template_text(stacks.get(call))),
            "ValidateTemplate": self._validate,
        }

    def handle(self, call: Call) -> Response:
        """Answer one operation."""
        name = call.operation
        inner = self._operations[name](call)
        space = XMLNS["cloudformation"]
        body = (
            f'<{name}Response xmlns="{space}"><{name}Result>{inner}</{name}Result>'
            f"<ResponseMetadata><RequestId>{call.id}</RequestId></ResponseMetadata>"
            f"</{name}Response>"
        )
        return Response(200, {"Content-Type": "text/xml"}, body.encode())

    def _delete(self, call: Call) -> str:
        """Delete a stack; the answer is empty."""
        self._stacks.delete(call)
        return ""

    def _events(self, call: Call) -> str:
        """List events, the newest first."""
        stack = self._stacks.get(call)
        return _members("StackEvents", (_event(stack, one) for one in reversed(stack["events"])))

    def _validate(self, call: Call) -> str:
        """Check a template's form."""
        body = parse_template(str(call.params.get("TemplateBody", "")))
        names = (_tag("ParameterKey", one) for one in body.get("Parameters", {}))
        return _members("Parameters", names) + _tag("Description", body.get("Description", ""))


def _tag(name: str, value: Any) -> str:
    """Write one element; nothing for an empty value."""
    return f"<{name}>{escape(str(value))}</{name}>" if value else ""


def _members(name: str, items: Any) -> str:
    """Write a list."""
    return f"<{name}>{''.join(f'<member>{one}</member>' for one in items)}</{name}>"


def _summary(stack: Stack) -> str:
    """Write what every view of a stack has."""
    return "".join(
        [
            _tag("StackId", stack["id"]),
            _tag("StackName", stack["name"]),
            _tag("CreationTime", stack["created"]),
            _tag("LastUpdatedTime", stack["updated"]),
            _tag("StackStatus", stack["status"]),
            _tag("StackStatusReason", stack["reason"]),
        ]
    )


def _stack(stack: Stack) -> str:
    """Write a stack with parameters and outputs."""
    parameters = (
        _tag("ParameterKey", key) + _tag("ParameterValue", value)
        for key, value in stack["parameters"].items()
    )
    outputs = (
        _tag("OutputKey", key) + _tag("OutputValue", value)
        for key, value in stack["outputs"].items()
    )
    return _summary(stack) + _members("Parameters", parameters) + _members("Outputs", outputs)


def _event(stack: Stack, event: dict[str, Any]) -> str:
    """Write an event."""
    return "".join(
        [
            _tag("StackId", stack["id"]),
            _tag("StackName", stack["name"]),
            _tag("EventId", event["id"]),
            _tag("LogicalResourceId", event["logical"]),
            _tag("PhysicalResourceId", event["physical"]),
            _tag("ResourceType", event["type"]),
            _tag("ResourceStatus", event["status"]),
            _tag("ResourceStatusReason", event["reason"]),
            _tag("Timestamp", event["at"]),
        ]
    )


def _resource(one: dict[str, Any]) -> str:
    """Write a resource."""
    return "".join(
        [
            _tag("LogicalResourceId", one["logical"]),
            _tag("PhysicalResourceId", one["physical"]),
            _tag("ResourceType", one["type"]),
            _tag("ResourceStatus", one["status"]),
            _tag("Timestamp", one["at"]),
            _tag("LastUpdatedTimestamp", one["at"]),
        ]
    )
