"""Services whose state moto keeps: EC2, IAM, S3, KMS.

Called by the gate for allowed calls. It strips what belongs to the signature, sends the call to the
account that owns the resource, and adds the waiting that moto leaves out (NAT gateways, endpoints).
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from sandbox.aws.clock import Clock
from sandbox.aws.digests import check_digests
from sandbox.aws.errors import AwsError
from sandbox.aws.files import read_json, write_json
from sandbox.aws.latencies import Pace
from sandbox.aws.messages import Call, Response
from sandbox.aws.moto_store import MotoStore, StoreCall, backend, bucket_owner

_KEPT = (
    "content-type",
    "content-md5",
    "content-encoding",
    "content-length",
    "cache-control",
    "range",
)
_DROPPED = ("x-amz-security-token", "x-amz-content-sha256", "x-amz-date")
# Paths that moto's own server would not take as buckets.
_NOT_BUCKETS = ("/moto-api", "/latest/", "/favicon.ico", "/v20180820/")
_SLOW = {
    "CreateNatGateway": (
        re.compile(rb"<natGatewayId>(nat-[0-9a-f]+)</natGatewayId>"), "nat-gateway",
    ),
    "CreateVpcEndpoint": (
        re.compile(rb"<vpcEndpointId>(vpce-[0-9a-f]+)</vpcEndpointId>"), "vpc-endpoint",
    ),
}  # fmt: skip
_STATE = re.compile(rb"<state>available</state>")


class Storage:
    """Send allowed calls to moto."""

    def __init__(self, store: MotoStore, clock: Clock, data_dir: Path, pace: Pace) -> None:
        """Load which resources are still pending."""
        self._store, self._clock, self._pace = store, clock, pace
        self._file = data_dir / "pending.json"
        self._pending: dict[str, dict[str, Any]] = read_json(self._file, {})
        self._lock = threading.Lock()
        for identifier, one in self._pending.items():
            _set_state(one["account"], one["region"], identifier, "pending")

    def handle(self, call: Call) -> Response:
        """Run one call."""
        if call.service == "ec2":
            self._settle()
        if call.service == "s3" and call.request.path.startswith(_NOT_BUCKETS):
            raise AwsError("NoSuchBucket", "The specified bucket does not exist", 404)
        account = call.account
        bucket = call.params.get("Bucket") if call.service == "s3" else None
        if bucket and call.operation != "CreateBucket":
            account = bucket_owner(str(bucket)) or account
        if call.service == "s3":
            check_digests(call)
        response = self._store.send(_store_call(call, account), record=call.mutating)
        if call.operation in _SLOW and response.status < 400:
            return self._begin(call, response)
        return response

    def _begin(self, call: Call, response: Response) -> Response:
        """Mark a new resource as pending for its latency."""
        pattern, step = _SLOW[call.operation]
        found = pattern.search(response.body)
        if found is None:
            return response
        identifier = found.group(1).decode()
        # By where it stands and not by its id, which is another in each run.
        wait = self._pace.seconds(step, str(call.params.get("SubnetId", ""))) + call.fate.late
        if wait <= 0 and not call.fate.doom:
            return response
        with self._lock:
            self._pending[identifier] = {
                "account": call.account,
                "region": call.region,
                "ready_at": self._clock.now().timestamp() + wait,
                "doom": call.fate.doom,
            }
            write_json(self._file, self._pending)
        _set_state(call.account, call.region, identifier, "pending")
        response.body = _STATE.sub(b"<state>pending</state>", response.body)
        return response

    def _settle(self) -> None:
        """Make resources available whose time has come."""
        now = self._clock.now().timestamp()
        with self._lock:
            due = [one for one, entry in self._pending.items() if entry["ready_at"] <= now]
            for identifier in due:
                entry = self._pending.pop(identifier)
                state = "failed" if entry.get("doom") else "available"
                _set_state(entry["account"], entry["region"], identifier, state)
            if due:
                write_json(self._file, self._pending)


def _set_state(account: str, region: str, identifier: str, state: str) -> None:
    """Set the state of a NAT gateway or endpoint that still exists and is not going away."""
    store = backend("ec2", account, region)
    held = store.nat_gateways if identifier.startswith("nat-") else store.vpc_end_points
    found = held.get(identifier)
    if found is not None and found.state in ("available", "pending"):
        found.state = state


def _store_call(call: Call, account: str) -> StoreCall:
    """Take the signature off a request."""
    request = call.request
    query = [(k, v) for k, v in request.query() if not k.startswith("X-Amz-")]
    text = "&".join(f"{quote(k)}={quote(v)}" if v else quote(k) for k, v in query)
    target = request.raw_path + (f"?{text}" if text else "")
    headers = {
        name: value
        for name, value in request.headers.items()
        if (name in _KEPT or name.startswith(("x-amz-", "if-"))) and name not in _DROPPED
    }
    body = request.body
    if call.service in ("ec2", "iam"):
        form = parse_qsl(body.decode(), keep_blank_values=True)
        body = urlencode(form or list(call.params.items())).encode()
        headers["content-type"] = "application/x-www-form-urlencoded; charset=utf-8"
        headers.pop("content-length", None)
    return StoreCall(account, call.region, call.service, request.method, target, headers, body)


# Defaults of AWS for new accounts, looked up 2026 in the Service Quotas reference of each service.
_QUOTAS: dict[tuple[str, str], tuple[str, float]] = {
    ("vpc", "L-F678F1CE"): ("VPCs per Region", 5),
    ("vpc", "L-A4707A72"): ("Internet gateways per Region", 5),
    ("vpc", "L-FE5A380F"): ("NAT gateways per Availability Zone", 5),
    ("ec2", "L-0263D0A3"): ("EC2-VPC Elastic IPs", 5),
    ("ec2", "L-1216C47A"): ("Running On-Demand Standard instances", 5),
    ("eks", "L-1194D53C"): ("Clusters", 100),
    ("iam", "L-FE177D64"): ("Roles per account", 1000),
}


class Quotas:
    """Answer Service Quotas from AWS's published defaults."""

    def __init__(self) -> None:
        """Name the operations."""
        self._operations: dict[str, Callable[[Call], dict[str, Any]]] = {
            "ListServiceQuotas": self._list,
            "GetServiceQuota": self._get,
            "GetAWSDefaultServiceQuota": self._get,
        }

    def handle(self, call: Call) -> Response:
        """Answer one operation."""
        return json_response(self._operations[call.operation](call))

    def _list(self, call: Call) -> dict[str, Any]:
        """List the known quotas of a service."""
        service = str(call.params.get("ServiceCode", ""))
        return {"Quotas": [_quota(s, q) for s, q in _QUOTAS if s == service]}

    def _get(self, call: Call) -> dict[str, Any]:
        """Give one quota. Raises AwsError NoSuchResourceException."""
        key = (str(call.params.get("ServiceCode", "")), str(call.params.get("QuotaCode", "")))
        if key not in _QUOTAS:
            raise AwsError("NoSuchResourceException", f"The quota {key} is not modelled")
        return {"Quota": _quota(*key)}


def _quota(service: str, code: str) -> dict[str, Any]:
    """Write one quota."""
    name, value = _QUOTAS[service, code]
    return {
        "ServiceCode": service, "QuotaCode": code, "QuotaName": name, "Value": value,
        "Unit": "None", "Adjustable": True, "GlobalQuota": False,
    }  # fmt: skip


def json_response(value: Any, status: int = 200) -> Response:
    """Write a JSON answer."""
    kind = {"Content-Type": "application/x-amz-json-1.1"}
    return Response(status, kind, json.dumps(value).encode())
