"""What the customer's administrator does in the demo, with the customer's own credentials.

Used by `sandbox.demo.story`. Each act is a call to the rehearsal account's own API that a real
customer would make in their console: create the role's stack, open it, read the pins back.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from sandbox.home import Home


@dataclass(frozen=True)
class Customer:
    """The customer's administrator in one account."""

    endpoint_url: str
    credentials_file: Path
    region: str

    @classmethod
    def of(cls, home: Home, endpoint_url: str, region: str) -> Customer:
        return cls(endpoint_url, home.secrets / "aws" / "customer-admin.json", region)

    def client(self, service: str) -> Any:
        """Return a boto3 client of the customer's administrator."""
        keys = json.loads(self.credentials_file.read_text())
        return boto3.client(
            service,
            endpoint_url=self.endpoint_url,
            region_name=self.region,
            aws_access_key_id=keys["access_key_id"],
            aws_secret_access_key=keys["secret_access_key"],
            config=Config(s3={"addressing_style": "path"}),
        )

    def create_stack(
        self, boundary: str, template: dict[str, Any], parameters: dict[str, str]
    ) -> None:
        """Create the stack of the one role, closed; one that is there already is left as it is."""
        cloudformation = self.client("cloudformation")
        name = f"ringfence-{boundary}"
        try:
            cloudformation.create_stack(
                StackName=name,
                TemplateBody=json.dumps(template),
                Parameters=_parameters(parameters),
                Capabilities=["CAPABILITY_NAMED_IAM"],
            )
        except cloudformation.exceptions.AlreadyExistsException:
            return
        cloudformation.get_waiter("stack_create_complete").wait(
            StackName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )

    def open_role(self, boundary: str, parameters: dict[str, str]) -> None:
        """Update the stack with the grant's number and end: the approval that counts."""
        cloudformation = self.client("cloudformation")
        cloudformation.update_stack(
            StackName=f"ringfence-{boundary}",
            UsePreviousTemplate=True,
            Parameters=_parameters(parameters),
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        cloudformation.get_waiter("stack_update_complete").wait(
            StackName=f"ringfence-{boundary}", WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )

    def pinned_key(self, boundary: str) -> str:
        """Return the fingerprint of our key that the customer's template pins."""
        answer = self.client("iam").list_role_tags(RoleName=f"ringfence-{boundary}-closer")
        tags = {tag["Key"]: tag["Value"] for tag in answer["Tags"]}
        pin: str = tags["ringfence:control-plane-key"]
        return pin

    def agent_key(self, boundary: str, bucket: str) -> str:
        """Return the agent's public key from the customer's own bucket."""
        answer = self.client("s3").get_object(Bucket=bucket, Key=f"agent/{boundary}.pub")
        key: str = answer["Body"].read().decode()
        return key


def _parameters(values: dict[str, str]) -> list[dict[str, str]]:
    return [{"ParameterKey": k, "ParameterValue": v} for k, v in sorted(values.items())]
