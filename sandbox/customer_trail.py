"""Read the rehearsal account's trail as the customer's auditor does, for a report's extract.

Called by `ringfence trail` and by tests. With a real account the customer copies the same files
from the trail's own bucket; nobody of ours can.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from sandbox.aws.trail import trail_bucket


def copy_trail(
    folder: Path, *, endpoint_url: str, credentials_file: Path, account: str, region: str
) -> int:
    """Copy every trail file of an account into a folder, under its own name; return how many."""
    keys = json.loads(credentials_file.read_text())
    s3: Any = boto3.client(
        "s3",
        endpoint_url=endpoint_url,
        region_name=region,
        aws_access_key_id=keys["access_key_id"],
        aws_secret_access_key=keys["secret_access_key"],
        config=Config(s3={"addressing_style": "path"}, proxies={}),
    )
    bucket, count = trail_bucket(account), 0
    folder.mkdir(parents=True, exist_ok=True)
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for one in page.get("Contents", []):
            body = s3.get_object(Bucket=bucket, Key=one["Key"])["Body"].read()
            (folder / one["Key"].rsplit("/", 1)[-1]).write_bytes(body)
            count += 1
    return count
