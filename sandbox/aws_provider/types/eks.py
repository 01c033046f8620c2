"""EKS cluster: created, changed and deleted through its asynchronous updates."""

from typing import Any

from sandbox.aws_provider.cloud import Cloud, NotReadyError
from sandbox.aws_provider.schema import Kind, Prop, Properties, ResourceType
from sandbox.aws_provider.types.tagging import TAGS, split

GONE = ("ResourceNotFoundException",)
BUSY = ("ResourceInUseException",)
# IAM is eventually consistent: EKS refuses a role that was made a moment ago.
ROLE_LAG = ("InvalidParameterException",)


def set_tags(cloud: Cloud, arn: str, live: dict[str, str], new: Properties) -> None:
    """Make the tags of an EKS object equal to the inputs."""
    wanted, removed = split(live, new.get("tags") or {})
    if removed:
        cloud.call("eks", "UntagResource", resourceArn=arn, tagKeys=removed)
    if wanted:
        cloud.call("eks", "TagResource", resourceArn=arn, tags=wanted)


def wait_for_update(cloud: Cloud, answer: Properties, **names: str) -> None:
    """Wait until an update is Successful. Raises: NotReadyError with EKS's own errors."""
    update_id = answer["update"]["id"]
    last: Properties = {}

    def state() -> str:
        last.update(cloud.call("eks", "DescribeUpdate", updateId=update_id, **names)["update"])
        return str(last["status"])

    what = f"update {update_id} of {'/'.join(names.values())}"
    try:
        cloud.wait(what, state, ready=("Successful",), failed=("Failed", "Cancelled"))
    except NotReadyError as error:
        reasons = "; ".join(item.get("errorMessage", "") for item in last.get("errors", []))
        raise NotReadyError(f"{error}: {reasons}" if reasons else str(error)) from error


def _network(inputs: Properties) -> Properties:
    config = inputs["vpcConfig"]
    return {
        "subnetIds": config["subnetIds"],
        "securityGroupIds": config.get("securityGroupIds") or [],
        **_openness(config),
    }


def _openness(config: Properties) -> Properties:
    chosen: Properties = {
        "endpointPrivateAccess": config["endpointPrivateAccess"],
        "endpointPublicAccess": config["endpointPublicAccess"],
    }
    if config.get("publicAccessCidrs"):
        chosen["publicAccessCidrs"] = config["publicAccessCidrs"]
    return chosen


def _logging(kinds: list[str]) -> Properties:
    all_kinds = {"api", "audit", "authenticator", "controllerManager", "scheduler"}
    setup = [{"types": sorted(kinds), "enabled": True}] if kinds else []
    off = sorted(all_kinds - set(kinds))
    return {"clusterLogging": [*setup, {"types": off, "enabled": False}] if off else setup}


def _encryption(inputs: Properties) -> list[Any] | None:
    config = inputs.get("encryptionConfig")
    if not config:
        return None
    key = {"keyArn": config["provider"]["keyArn"]}
    return [{"resources": config["resources"], "provider": key}]


def _create_cluster(cloud: Cloud, inputs: Properties) -> str:
    access = inputs.get("accessConfig")
    parameters = {
        "name": inputs["name"],
        "version": inputs.get("version"),
        "roleArn": inputs["roleArn"],
        "resourcesVpcConfig": _network(inputs),
        "accessConfig": dict(access) if access else None,
        "encryptionConfig": _encryption(inputs),
        "bootstrapSelfManagedAddons": inputs["bootstrapSelfManagedAddons"],
        "logging": _logging(inputs.get("enabledClusterLogTypes") or []),
        "tags": inputs.get("tags"),
    }
    cloud.retry(
        ROLE_LAG, 20, lambda: cloud.call("eks", "CreateCluster", **parameters), about="role"
    )
    return str(inputs["name"])


def _find_cluster(cloud: Cloud, id_: str) -> Properties | None:
    answer = cloud.find("eks", "DescribeCluster", GONE, name=id_)
    return answer["cluster"] if answer else None


def _settle_cluster(cloud: Cloud, id_: str, inputs: Properties) -> None:
    def state() -> str:
        found = _find_cluster(cloud, id_)
        return str(found["status"]) if found else "not visible yet"

    cloud.wait(f"cluster {id_}", state, ready=("ACTIVE",), failed=("FAILED", "DELETING"))


def _read_cluster(cloud: Cloud, id_: str, known: Properties) -> Properties | None:
    cluster = _find_cluster(cloud, id_)
    if cluster is None or cluster["status"] == "DELETING":
        return None
    issuer = cluster.get("identity", {}).get("oidc", {}).get("issuer")
    return {
        **_live_inputs(cluster),
        "arn": cluster["arn"],
        "endpoint": cluster.get("endpoint"),
        "certificateAuthority": {"data": cluster.get("certificateAuthority", {}).get("data")},
        "identities": [{"oidcs": [{"issuer": issuer}]}] if issuer else [],
        "platformVersion": cluster.get("platformVersion"),
        "status": cluster["status"],
    }


def _live_inputs(cluster: Properties) -> Properties:
    network = cluster["resourcesVpcConfig"]
    logging = cluster.get("logging", {}).get("clusterLogging", [])
    live: Properties = {
        "name": cluster["name"],
        "roleArn": cluster["roleArn"],
        "version": cluster.get("version"),
        "vpcConfig": {
            "subnetIds": network.get("subnetIds", []),
            "securityGroupIds": network.get("securityGroupIds", []),
            "endpointPrivateAccess": network.get("endpointPrivateAccess", False),
            "endpointPublicAccess": network.get("endpointPublicAccess", True),
            "publicAccessCidrs": network.get("publicAccessCidrs", []),
            "vpcId": network.get("vpcId"),
            "clusterSecurityGroupId": network.get("clusterSecurityGroupId"),
        },
        "tags": dict(cluster.get("tags") or {}),
    }
    live["enabledClusterLogTypes"] = sorted(
        kind for setup in logging if setup.get("enabled") for kind in setup.get("types", [])
    )
    if access := cluster.get("accessConfig"):
        live["accessConfig"] = {
            "authenticationMode": access.get("authenticationMode"),
            "bootstrapClusterCreatorAdminPermissions": access.get(
                "bootstrapClusterCreatorAdminPermissions", False
            ),
        }
    for encryption in cluster.get("encryptionConfig") or []:
        key = {"keyArn": encryption.get("provider", {}).get("keyArn")}
        live["encryptionConfig"] = {"resources": encryption["resources"], "provider": key}
    return live


def _update_cluster(cloud: Cloud, id_: str, new: Properties, changed: frozenset[str]) -> None:
    live = _read_cluster(cloud, id_, new)
    if live is None:
        raise NotReadyError(f"cluster {id_} is gone; refresh the stack")
    if "version" in changed:
        _apply(cloud, id_, "UpdateClusterVersion", version=new["version"])
    # EKS takes one kind of change per call.
    if "vpcConfig" in changed:
        wanted = _openness(new["vpcConfig"])
        if any(live["vpcConfig"].get(name) != value for name, value in wanted.items()):
            _apply(cloud, id_, "UpdateClusterConfig", resourcesVpcConfig=wanted)
    if "enabledClusterLogTypes" in changed:
        logging = _logging(new.get("enabledClusterLogTypes") or [])
        _apply(cloud, id_, "UpdateClusterConfig", logging=logging)
    if "accessConfig" in changed:
        mode = {"authenticationMode": new["accessConfig"]["authenticationMode"]}
        _apply(cloud, id_, "UpdateClusterConfig", accessConfig=mode)
    if "tags" in changed:
        set_tags(cloud, live["arn"], live["tags"], new)


def _apply(cloud: Cloud, id_: str, operation: str, **parameters: Any) -> None:
    answer = cloud.retry(BUSY, 1800, lambda: cloud.call("eks", operation, name=id_, **parameters))
    wait_for_update(cloud, answer, name=id_)


def _delete_cluster(cloud: Cloud, id_: str, known: Properties) -> None:
    def state() -> str:
        found = _find_cluster(cloud, id_)
        return str(found["status"]) if found else "gone"

    if state() != "DELETING":
        cloud.retry(BUSY, 1800, lambda: cloud.find("eks", "DeleteCluster", GONE, name=id_))
    cloud.wait(f"cluster {id_}", state, ready=("gone",), failed=("FAILED",))


_VPC_FIELDS = {
    "subnetIds": Prop(Kind.SET, required=True, replace=True),
    "securityGroupIds": Prop(Kind.SET, replace=True),
    "endpointPrivateAccess": Prop(Kind.BOOLEAN, default=False),
    "endpointPublicAccess": Prop(Kind.BOOLEAN, default=True),
    "publicAccessCidrs": Prop(Kind.SET),
}
_ACCESS_FIELDS = {
    "authenticationMode": Prop(),
    "bootstrapClusterCreatorAdminPermissions": Prop(Kind.BOOLEAN, replace=True),
}
_ENCRYPTION_FIELDS = {
    "resources": Prop(Kind.SET, required=True, replace=True),
    "provider": Prop(
        Kind.OBJECT, required=True, fields={"keyArn": Prop(required=True, replace=True)}
    ),
}

ENTRIES = (
    ResourceType(
        type_name="aws:eks/cluster:Cluster",
        inputs={
            "name": Prop(required=True, replace=True),
            "roleArn": Prop(required=True, replace=True),
            "version": Prop(),
            "vpcConfig": Prop(Kind.OBJECT, required=True, fields=_VPC_FIELDS),
            "accessConfig": Prop(Kind.OBJECT, fields=_ACCESS_FIELDS),
            "encryptionConfig": Prop(Kind.OBJECT, replace=True, fields=_ENCRYPTION_FIELDS),
            "enabledClusterLogTypes": Prop(Kind.SET),
            "bootstrapSelfManagedAddons": Prop(Kind.BOOLEAN, replace=True, default=True),
            "tags": TAGS,
        },
        outputs=(
            "arn",
            "endpoint",
            "certificateAuthority",
            "identities",
            "platformVersion",
            "status",
        ),
        create=_create_cluster,
        settle=_settle_cluster,
        read=_read_cluster,
        update=_update_cluster,
        delete=_delete_cluster,
        named=True,
    ),
)
