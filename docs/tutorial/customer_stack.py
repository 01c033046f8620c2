"""The customer's stack operation in the rehearsal account, for the tutorial.

Takes the file of `ringfence connect template BOUNDARY` and creates or updates that stack with the
customer administrator's own credentials. In a real account the customer does the same with
`aws cloudformation create-stack` and `update-stack`, or in the console.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import boto3

REGION = "eu-central-1"


def main(file: str) -> None:
    """Create the stack of the file, or update it to the file's parameters."""
    document = json.loads(Path(file).read_text())
    cloudformation = _client()
    name = document["stack_name"]
    request = {
        "StackName": name,
        "TemplateBody": json.dumps(document["template"]),
        "Parameters": [
            {"ParameterKey": k, "ParameterValue": v} for k, v in document["parameters"].items()
        ],
        "Capabilities": ["CAPABILITY_NAMED_IAM"],
    }
    try:
        cloudformation.create_stack(**request)
        done = "stack_create_complete"
    except cloudformation.exceptions.AlreadyExistsException:
        cloudformation.update_stack(**request)
        done = "stack_update_complete"
    cloudformation.get_waiter(done).wait(StackName=name, WaiterConfig={"Delay": 1})
    until = document["parameters"]["GrantUntil"]
    print(f"{name}: {done}, GrantUntil={until}")


def _client() -> Any:
    default = Path.home() / ".local" / "state" / "ringfence"
    home = Path(os.environ.get("RINGFENCE_HOME") or default)
    keys = json.loads((home / "secrets" / "aws" / "customer-admin.json").read_text())
    context = json.loads((home / "context.json").read_text())
    return boto3.client(
        "cloudformation",
        endpoint_url=context["aws"]["endpoint_url"],
        region_name=REGION,
        aws_access_key_id=keys["access_key_id"],
        aws_secret_access_key=keys["secret_access_key"],
    )


if __name__ == "__main__":
    main(sys.argv[1])
