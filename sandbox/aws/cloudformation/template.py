"""Templates: parameters, conditions and intrinsic functions, resolved to plain values.

Called by the stack engine; apart from it because it touches nothing but the template.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from sandbox.aws.errors import AwsError

_SUB = re.compile(r"\$\{(!?)([^}]+)\}")
_SECTIONS = {
    "AWSTemplateFormatVersion", "Description", "Metadata", "Parameters", "Conditions", "Resources",
    "Outputs",
}  # fmt: skip


def invalid(message: str) -> AwsError:
    """Make CloudFormation's validation error."""
    return AwsError("ValidationError", message)


@dataclass
class Template:
    """A parsed template with the values of its parameters."""

    body: dict[str, Any]
    parameters: dict[str, str]
    pseudo: Mapping[str, str]
    physical: dict[str, str] = field(default_factory=dict)
    attributes: Callable[[str, str], str] = lambda name, attribute: ""

    def conditions(self) -> Mapping[str, Any]:
        """Give the Conditions section."""
        found: Mapping[str, Any] = self.body.get("Conditions", {})
        return found

    def holds(self, name: str) -> bool:
        """Evaluate a condition by name."""
        if name not in self.conditions():
            raise invalid(f"Template error: unresolved condition dependency {name}")
        return bool(self._condition(self.conditions()[name]))

    def _condition(self, value: Any) -> bool:
        """Evaluate a condition expression."""
        if not isinstance(value, dict) or len(value) != 1:
            raise invalid("Template error: a condition is one Fn::Equals, Not, And, Or, Condition")
        (name, argument), *_ = value.items()
        if name == "Fn::Equals":
            return str(self.resolve(argument[0])) == str(self.resolve(argument[1]))
        if name == "Fn::Not":
            return not self._condition(argument[0])
        if name == "Fn::And":
            return all(self._condition(one) for one in argument)
        if name == "Fn::Or":
            return any(self._condition(one) for one in argument)
        if name == "Condition":
            return self.holds(argument)
        raise invalid(f"Template error: {name} is not a condition function")

    def resolve(self, value: Any) -> Any:
        """Resolve intrinsic functions in a value; AWS::NoValue drops the entry."""
        if isinstance(value, list):
            return [one for one in map(self.resolve, value) if one is not _NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            (name, argument), *_ = value.items()
            if name == "Ref":
                return self._ref(argument)
            if name.startswith("Fn::"):
                return self._function(name, argument)
        resolved = {key: self.resolve(one) for key, one in value.items()}
        return {key: one for key, one in resolved.items() if one is not _NO_VALUE}

    def _ref(self, name: str) -> Any:
        """Resolve Ref to a pseudo parameter, a parameter or a resource."""
        if name == "AWS::NoValue":
            return _NO_VALUE
        for source in (self.pseudo, self.parameters, self.physical):
            if name in source:
                return source[name]
        raise invalid(f"Template format error: Unresolved resource dependencies [{name}]")

    def _function(self, name: str, argument: Any) -> Any:
        """Resolve one intrinsic function."""
        if name == "Fn::Sub":
            text, extra = (argument, {}) if isinstance(argument, str) else argument
            extra = {key: self.resolve(one) for key, one in extra.items()}
            return _SUB.sub(lambda m: self._substitute(m, extra), text)
        if name == "Fn::GetAtt":
            logical, _, attribute = (
                argument.partition(".")
                if isinstance(argument, str)
                else (argument[0], "", argument[1])
            )
            return self._attribute(logical, attribute)
        if name == "Fn::Join":
            return str(argument[0]).join(str(one) for one in self.resolve(argument[1]))
        if name == "Fn::If":
            return self.resolve(argument[1] if self.holds(argument[0]) else argument[2])
        raise invalid(f"Template error: {name} is not modelled by the rehearsal account")

    def _substitute(self, match: re.Match[str], extra: Mapping[str, Any]) -> str:
        """Resolve one ${…} of Fn::Sub; ${!…} stays as ${…}."""
        literal, name = match.group(1), match.group(2)
        if literal:
            return "${" + name + "}"
        if name in extra:
            return str(extra[name])
        if "." in name and "::" not in name:
            logical, _, attribute = name.partition(".")
            return self._attribute(logical, attribute)
        return str(self._ref(name))

    def _attribute(self, logical: str, attribute: str) -> str:
        """Resolve an attribute of a resource."""
        if logical not in self.body["Resources"]:
            raise invalid(f"Template error: instance of Fn::GetAtt references undefined {logical}")
        return self.attributes(logical, attribute)


_NO_VALUE = object()


def parse_template(text: str) -> dict[str, Any]:
    """Parse a JSON or YAML template. Raises AwsError ValidationError."""
    if len(text) > 51200:
        raise invalid("Template may not exceed 51200 bytes in size")
    try:
        body = json.loads(text) if text.lstrip().startswith("{") else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as exc:
        raise invalid(f"Template format error: not well-formed ({exc})") from exc
    if not isinstance(body, dict) or not body.get("Resources"):
        raise invalid("Template format error: At least one Resources member must be defined")
    unknown = set(body) - _SECTIONS
    if unknown:
        raise invalid(f"Template format error: Invalid template property {sorted(unknown)}")
    return body


def parameter_values(
    body: dict[str, Any], given: dict[str, str], previous: dict[str, str], use_previous: set[str]
) -> dict[str, str]:
    """Check and complete the parameters. Raises AwsError ValidationError."""
    declared: dict[str, Any] = body.get("Parameters", {})
    unknown = (set(given) | use_previous) - set(declared)
    if unknown:
        raise invalid(f"Parameters: {sorted(unknown)} do not exist in the template")
    values: dict[str, str] = {}
    for name, rules in declared.items():
        if name in given:
            values[name] = given[name]
        elif name in use_previous and name in previous:
            values[name] = previous[name]
        elif "Default" in rules:
            values[name] = str(rules["Default"])
        else:
            raise invalid(f"Parameters: [{name}] must have values")
        _check_value(name, values[name], rules)
    return values


def _check_value(name: str, value: str, rules: dict[str, Any]) -> None:
    """Check one parameter against its rules."""
    if rules.get("Type") == "Number":
        if not re.fullmatch(r"-?\d+(\.\d+)?", value):
            raise invalid(f"Parameter '{name}' must be a number")
        if "MinValue" in rules and float(value) < float(rules["MinValue"]):
            raise invalid(f"Parameter '{name}' must be at least {rules['MinValue']}")
    allowed = rules.get("AllowedValues")
    if allowed and value not in [str(one) for one in allowed]:
        raise invalid(f"Parameter '{name}' must be one of AllowedValues")
    pattern = rules.get("AllowedPattern")
    if pattern and not re.fullmatch(pattern, value):
        raise invalid(f"Parameter '{name}' must match pattern {pattern}")


def creation_order(body: dict[str, Any]) -> list[str]:
    """Order resources so that each follows those it refers to. Raises AwsError on a cycle."""
    resources = body["Resources"]
    needs = {name: _mentions(one, set(resources)) - {name} for name, one in resources.items()}
    order: list[str] = []
    while needs:
        ready = [name for name, wanted in needs.items() if wanted <= set(order)]
        if not ready:
            raise invalid(f"Circular dependency between resources: {sorted(needs)}")
        order += ready
        for name in ready:
            del needs[name]
    return order


def _mentions(value: Any, names: set[str]) -> set[str]:
    """Collect the resources a value refers to."""
    if isinstance(value, list):
        return set().union(*(_mentions(one, names) for one in value)) if value else set()
    if not isinstance(value, dict):
        return set()
    found: set[str] = set()
    for key, one in value.items():
        if key in ("Ref", "DependsOn"):
            found |= set(one if isinstance(one, list) else [one]) & names
        elif key == "Fn::GetAtt":
            found |= {one if isinstance(one, str) else "" for one in [one[0] if isinstance(one, list) else one.partition(".")[0]]} & names  # fmt: skip # noqa: E501
        elif key == "Fn::Sub":
            text = one if isinstance(one, str) else one[0]
            found |= {m.group(2).partition(".")[0] for m in _SUB.finditer(text)} & names
            found |= _mentions(one, names) if isinstance(one, list) else set()
        else:
            found |= _mentions(one, names)
    return found
