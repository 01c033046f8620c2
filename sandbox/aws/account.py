"""Put the account together: stores, services, gate; and the pages under /_rehearsal/.

Called by the command line and by tests that want the gate without a process.
"""

from __future__ import annotations

import json
import threading
from typing import Any

from sandbox.aws.authorize import Authorizer
from sandbox.aws.bootstrap import add_managed_policies, ensure_accounts
from sandbox.aws.clock import Clock, iso
from sandbox.aws.cloudformation.service import CloudFormation
from sandbox.aws.cloudformation.stacks import Stacks
from sandbox.aws.config import GateConfig
from sandbox.aws.ecr.pulls import Pulls
from sandbox.aws.ecr.service import Ecr
from sandbox.aws.ecs.service import CREDENTIALS_PATH, Ecs
from sandbox.aws.eks.service import Eks
from sandbox.aws.eks_auth import EksAuth
from sandbox.aws.errors import AwsError
from sandbox.aws.faults.injector import Faults
from sandbox.aws.faults.outside import Outside
from sandbox.aws.gate import Gate
from sandbox.aws.keys import KeyStore
from sandbox.aws.messages import Call, Request, Response
from sandbox.aws.moto_store import MotoStore, StoreCall
from sandbox.aws.repeats import Repeats
from sandbox.aws.storage import Quotas, Storage, json_response
from sandbox.aws.sts import Sts
from sandbox.aws.trail import Trail, trail_bucket


class Account:
    """The rehearsal account: every part of it, started and stopped together."""

    def __init__(self, config: GateConfig) -> None:
        """Load all state; nothing listens yet."""
        for folder in (config.data_dir, config.run_dir, config.secrets_dir):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.config = config
        self.clock = Clock(config.run_dir)
        self.keys = KeyStore(config.secrets_dir)
        add_managed_policies(config)
        self.store = MotoStore(config.data_dir)
        ensure_accounts(config, self.store, self.keys)
        self.trail = Trail(
            self.store, config.data_dir, self.clock, config.region, config.trail_flush_seconds
        )
        self.eks = Eks(config, self.clock, self.keys)
        authorizer = Authorizer(self.keys, self.clock, self.eks.tags_of)
        sts = Sts(self.keys, self.clock, authorizer)
        storage = Storage(self.store, self.clock, config.data_dir, config.pace)
        stacks = Stacks(self.store, authorizer, self.clock, config.data_dir)
        self.ecr = Ecr(config, self.store, self.clock, self.keys)
        pulls = Pulls(self.ecr, config.region, lambda call: self.gate.run(call))
        self.eks.pages.pulls = pulls
        self.ecs = Ecs(config, self.clock, self.eks, sts, self.trail, pulls)
        services = {
            **dict.fromkeys(("ec2", "iam", "s3", "kms"), storage.handle),
            "sts": sts.handle,
            "cloudformation": CloudFormation(stacks).handle,
            "servicequotas": Quotas().handle,
            "cloudtrail": self._cloudtrail,
            "eks": self.eks.handle,
            "eks-auth": EksAuth(self.eks, sts).handle,
            "ecr": self.ecr.handle,
            "ecs": self.ecs.handle,
        }
        outside = Outside(config.secrets_dir, config.accounts[0], config.region)
        self.faults = Faults(config.run_dir, config.pace, self.keys, self.clock, outside)
        self.gate = Gate(
            self.keys, self.clock, authorizer, self.trail, services, self._page, config.region,
            self.faults, Repeats(config.data_dir),
        )  # fmt: skip

    def start(self) -> None:
        """Begin delivering the trail, bring the clusters back."""
        self.trail.start()
        self.eks.start()
        self.ecs.start()
        threading.Thread(target=self._warm, name="warm", daemon=True).start()

    def _warm(self) -> None:
        """Load moto's services before the first caller waits for them (EC2 takes seconds)."""
        home = self.config.accounts[0]
        for service, body in (("ec2", b"Action=DescribeVpcs&Version=2016-11-15"), ("s3", b"")):
            headers = {"content-type": "application/x-www-form-urlencoded"} if body else {}
            method = "POST" if body else "GET"
            call = StoreCall(home, self.config.region, service, method, "/", headers, body)
            self.store.send(call, record=False)

    def stop(self) -> None:
        """Stop clusters, deliver the rest of the trail, close the journal."""
        self.ecs.stop()
        self.ecr.stop()
        self.eks.stop()
        self.trail.stop()
        self.store.close()

    def _page(self, request: Request) -> Response:
        """Answer the pages that are not AWS."""
        if request.path == "/_rehearsal/health" and request.method == "GET":
            return json_response(
                {
                    "status": "ok",
                    "emulation": True,
                    "time": iso(self.clock.now()),
                    "time_scale": self.config.time_scale,
                    "replayed_changes": self.store.replayed,
                    "clusters": self.eks.summary(),
                }
            )
        if request.path == "/_rehearsal/accounts" and request.method == "GET":
            return json_response({"accounts": self.config.all_accounts})
        if request.path.startswith("/_rehearsal/eks/"):
            return self.eks.pages.handle(request)
        if request.path.startswith(CREDENTIALS_PATH):
            return self.ecs.credentials(request)
        raise AwsError("NotFound", "No such page of the rehearsal account", 404)

    def _cloudtrail(self, call: Call) -> Response:
        """Answer CloudTrail's own API from the delivered records."""
        bucket = trail_bucket(call.account)
        if call.operation == "DescribeTrails":
            trail = {"Name": "rehearsal", "S3BucketName": bucket, "HomeRegion": call.region}
            return json_response({"trailList": [{**trail, "IsMultiRegionTrail": True}]})
        if call.operation == "GetTrailStatus":
            return json_response({"IsLogging": True})
        return json_response({"Events": self._looked_up(call)})

    def _looked_up(self, call: Call) -> list[dict[str, Any]]:
        """Find events by the attributes of LookupEvents, at most 50."""
        wanted = {
            one["AttributeKey"]: one["AttributeValue"]
            for one in call.params.get("LookupAttributes", [])
        }
        unknown = set(wanted) - {"EventName", "Username", "AccessKeyId", "EventId"}
        if unknown:
            raise AwsError("InvalidLookupAttributesException", f"{sorted(unknown)} not modelled")
        found = []
        for event in self.trail.events(call.account):
            identity = event["userIdentity"]
            values = {
                "EventName": event["eventName"],
                "Username": str(identity.get("arn", "")).rpartition("/")[2],
                "AccessKeyId": identity.get("accessKeyId", ""),
                "EventId": event["eventID"],
            }
            if event["eventCategory"] == "Management" and all(
                values[key] == value for key, value in wanted.items()
            ):
                found.append(
                    {
                        "EventId": event["eventID"],
                        "EventName": event["eventName"],
                        "EventSource": event["eventSource"],
                        "Username": values["Username"],
                        "CloudTrailEvent": json.dumps(event),
                    }
                )
        return found[:50]
