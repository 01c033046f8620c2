"""What both stacks share: the provider, tags with the exact URN, and outputs of another stack."""

import asyncio
from typing import Any

import pulumi
import pulumi_aws as aws

from blueprints.eks_model_stack.inputs import Inputs
from blueprints.eks_model_stack.naming import Names


class UpstreamMissingError(RuntimeError):
    """A stack was applied without the outputs of the stack before it."""


class Stack:
    """One stack under construction: its names, its tags and its provider."""

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs
        self.names = Names(inputs)
        # The account is checked by the provider itself, before its first change.
        self._provider = aws.Provider(
            "aws", region=inputs.region, allowed_account_ids=[inputs.account]
        )

    def options(self, **more: Any) -> pulumi.ResourceOptions:
        """Return options that carry the provider."""
        return pulumi.ResourceOptions(provider=self._provider, **more)

    def tags(self, type_token: str, name: str, **extra: str) -> dict[str, str]:
        """Return the tags of the resource `name`.

        Resources have no parent but the stack: a component's type would enter the URN with a `$`,
        which AWS does not allow in the value of a tag.
        """
        urn = f"urn:pulumi:{pulumi.get_stack()}::{pulumi.get_project()}::{type_token}::{name}"
        return self.names.tags(urn, name, **extra)


class Upstream:
    """The outputs of the stack before this one; unknown while that one is only planned."""

    def __init__(self, values: dict[str, Any] | None) -> None:
        if values is None and not pulumi.runtime.is_dry_run():
            raise UpstreamMissingError(
                "upstream: apply foundation first and pass its outputs; None is for a plan only"
            )
        self._values = values

    def get(self, name: str) -> pulumi.Output[Any]:
        """Return one output. Raises: UpstreamMissingError when it is not among the outputs."""
        if self._values is None:
            return _unknown()
        if name not in self._values:
            raise UpstreamMissingError(f"upstream.{name}: not among {sorted(self._values)}")
        return pulumi.Output.from_input(self._values[name])


def _unknown() -> pulumi.Output[Any]:
    """Return an output that is known only after apply, as the engine understands it."""
    loop = asyncio.get_running_loop()
    value: asyncio.Future[Any] = loop.create_future()
    known: asyncio.Future[bool] = loop.create_future()
    value.set_result(None)
    known.set_result(False)
    return pulumi.Output(set(), value, known)
