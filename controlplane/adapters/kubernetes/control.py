"""A cluster as EKS has it: where its endpoint is, and who may enter.

Used by both ways in, `reach.py` and `reach_runner.py`. Separate from them because an access entry
is the same whoever comes through the door.
"""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from controlplane.adapters.aws.account import Account
from controlplane.adapters.aws.errors import error_code, translated
from controlplane.adapters.kubernetes.endpoint import Endpoint

# Who we are inside while the grant lasts; the chart and the agent's rights need an administrator.
_ADMIN = "AmazonEKSClusterAdminPolicy"


class ClusterControl:
    """One cluster's EKS side, through the account of one step."""

    def __init__(self, account: Account, cluster: str) -> None:
        self._account, self.name = account, cluster

    def describe(self) -> dict[str, Any]:
        """Return the cluster. Raises: NotFoundError when there is none."""
        with translated("eks:DescribeCluster"):
            found = self._account.client("eks").describe_cluster(name=self.name)
        cluster: dict[str, Any] = found["cluster"]
        return cluster

    def endpoint(self) -> Endpoint:
        """Return where the API server is."""
        cluster = self.describe()
        return Endpoint(cluster["endpoint"], cluster["certificateAuthority"]["data"])

    def ensure_entry(self, principal: str, token: str) -> None:
        """Make an administrator of a role; `token` makes a repeated call the same request."""
        eks, target = self._account.client("eks"), self._account.target
        self._create_entry(principal, token)
        with translated("eks:AssociateAccessPolicy"):
            eks.associate_access_policy(
                clusterName=self.name,
                principalArn=principal,
                policyArn=f"arn:{target.partition}:eks::aws:cluster-access-policy/{_ADMIN}",
                accessScope={"type": "cluster"},
            )

    def ensure_guest_entry(self, principal: str, token: str, group: str) -> None:
        """Let a role in as a member of one group; what that may is for the cluster's owner to say.

        One call and no access policy: the guest's role has no right to associate one.
        """
        self._create_entry(principal, token, kubernetesGroups=[group])

    def _create_entry(self, principal: str, token: str, **more: Any) -> None:
        with translated("eks:CreateAccessEntry"):
            try:
                self._account.client("eks").create_access_entry(
                    clusterName=self.name,
                    principalArn=principal,
                    type="STANDARD",
                    clientRequestToken=token,
                    **more,
                )
            except ClientError as error:
                if error_code(error) != "ResourceInUseException":
                    raise

    def delete_entry(self, principal: str) -> None:
        """Take a role's entry away; one that is gone is fine."""
        with translated("eks:DeleteAccessEntry"):
            try:
                self._account.client("eks").delete_access_entry(
                    clusterName=self.name, principalArn=principal
                )
            except ClientError as error:
                if error_code(error) != "ResourceNotFoundException":
                    raise

    def entries(self) -> list[str]:
        """Return every principal with an access entry."""
        with translated("eks:ListAccessEntries"):
            pages = self._account.client("eks").get_paginator("list_access_entries")
            return [
                principal
                for page in pages.paginate(clusterName=self.name)
                for principal in page["accessEntries"]
            ]

    def endpoint_changes(self) -> list[str]:
        """Return the updates that changed who may reach the endpoint, since the cluster is."""
        eks = self._account.client("eks")
        with translated("eks:ListUpdates"):
            pages = eks.get_paginator("list_updates").paginate(name=self.name)
            updates = [one for page in pages for one in page["updateIds"]]
        changes = []
        for update in updates:
            with translated("eks:DescribeUpdate"):
                found = eks.describe_update(name=self.name, updateId=update)["update"]
            if found["type"] == "EndpointAccessUpdate":
                changes.append(str(update))
        return changes
