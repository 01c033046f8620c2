"""What belongs to an EKS cluster: node group, add-on and pod identity association."""

from collections.abc import Callable
from typing import Any

from sandbox.aws_provider.cloud import Cloud, NotReadyError
from sandbox.aws_provider.schema import Kind, Prop, Properties, ResourceType
from sandbox.aws_provider.types.eks import BUSY, GONE, ROLE_LAG, set_tags, wait_for_update
from sandbox.aws_provider.types.tagging import TAGS


def _key(id_: str) -> tuple[str, str]:
    """Return cluster and name from an id `CLUSTER:NAME`."""
    cluster, _, name = id_.partition(":")
    return cluster, name


def _state(find: Callable[[], Properties | None]) -> Callable[[], str]:
    def state() -> str:
        found = find()
        return str(found["status"]) if found else "gone"

    return state


# --- Node group ---


def _create_group(cloud: Cloud, inputs: Properties) -> str:
    cluster, name = inputs["clusterName"], inputs["nodeGroupName"]
    parameters = {
        "clusterName": cluster,
        "nodegroupName": name,
        "nodeRole": inputs["nodeRoleArn"],
        "subnets": inputs["subnetIds"],
        "scalingConfig": inputs["scalingConfig"],
        "amiType": inputs.get("amiType"),
        "capacityType": inputs.get("capacityType"),
        "diskSize": inputs.get("diskSize"),
        "instanceTypes": inputs.get("instanceTypes"),
        "labels": inputs.get("labels"),
        "updateConfig": inputs.get("updateConfig"),
        "version": inputs.get("version"),
        "tags": inputs.get("tags"),
    }
    cloud.retry(
        ROLE_LAG, 20, lambda: cloud.call("eks", "CreateNodegroup", **parameters), about="role"
    )
    return f"{cluster}:{name}"


def _find_group(cloud: Cloud, id_: str) -> Properties | None:
    cluster, name = _key(id_)
    names = {"clusterName": cluster, "nodegroupName": name}
    answer = cloud.find("eks", "DescribeNodegroup", GONE, **names)
    return answer["nodegroup"] if answer else None


def _settle_group(cloud: Cloud, id_: str, inputs: Properties) -> None:
    state = _state(lambda: _find_group(cloud, id_))
    failed = ("CREATE_FAILED", "DEGRADED", "DELETING", "DELETE_FAILED")
    try:
        cloud.wait(f"node group {id_}", state, ready=("ACTIVE",), failed=failed)
    except NotReadyError as error:
        issues = (_find_group(cloud, id_) or {}).get("health", {}).get("issues", [])
        reasons = "; ".join(f"{item.get('code')}: {item.get('message')}" for item in issues)
        raise NotReadyError(f"{error}: {reasons}" if reasons else str(error)) from error


def _read_group(cloud: Cloud, id_: str, known: Properties) -> Properties | None:
    group = _find_group(cloud, id_)
    if group is None or group["status"] == "DELETING":
        return None
    scaling = group["scalingConfig"]
    return {
        "clusterName": group["clusterName"],
        "nodeGroupName": group["nodegroupName"],
        "nodeRoleArn": group["nodeRole"],
        "subnetIds": group["subnets"],
        "scalingConfig": {
            "desiredSize": scaling["desiredSize"],
            "minSize": scaling["minSize"],
            "maxSize": scaling["maxSize"],
        },
        "amiType": group.get("amiType"),
        "capacityType": group.get("capacityType"),
        "diskSize": group.get("diskSize"),
        "instanceTypes": group.get("instanceTypes"),
        "labels": dict(group.get("labels") or {}),
        "version": group.get("version"),
        "tags": dict(group.get("tags") or {}),
        "arn": group["nodegroupArn"],
        "status": group["status"],
    } | ({"updateConfig": group["updateConfig"]} if group.get("updateConfig") else {})


def _update_group(cloud: Cloud, id_: str, new: Properties, changed: frozenset[str]) -> None:
    live = _read_group(cloud, id_, new)
    if live is None:
        raise NotReadyError(f"node group {id_} is gone; refresh the stack")
    cluster, name = _key(id_)
    parameters: Properties = {}
    if "scalingConfig" in changed:
        parameters["scalingConfig"] = new["scalingConfig"]
    if "updateConfig" in changed:
        parameters["updateConfig"] = new.get("updateConfig")
    if "labels" in changed:
        wanted = new.get("labels") or {}
        removed = sorted(set(live["labels"]) - set(wanted))
        parameters["labels"] = {"addOrUpdateLabels": wanted, "removeLabels": removed}
    if parameters:
        ids = {"clusterName": cluster, "nodegroupName": name}
        answer = cloud.retry(
            BUSY, 1800, lambda: cloud.call("eks", "UpdateNodegroupConfig", **ids, **parameters)
        )
        wait_for_update(cloud, answer, name=cluster, nodegroupName=name)
    if "tags" in changed:
        set_tags(cloud, live["arn"], live["tags"], new)


def _delete_group(cloud: Cloud, id_: str, known: Properties) -> None:
    cluster, name = _key(id_)
    names = {"clusterName": cluster, "nodegroupName": name}
    state = _state(lambda: _find_group(cloud, id_))
    if state() not in ("DELETING", "gone"):
        cloud.retry(BUSY, 1800, lambda: cloud.find("eks", "DeleteNodegroup", GONE, **names))
    cloud.wait(f"node group {id_}", state, ready=("gone",), failed=("DELETE_FAILED",))


# --- Add-on ---


def _create_addon(cloud: Cloud, inputs: Properties) -> str:
    cluster, name = inputs["clusterName"], inputs["addonName"]
    parameters = {
        "clusterName": cluster,
        "addonName": name,
        "addonVersion": inputs.get("addonVersion"),
        "resolveConflicts": inputs.get("resolveConflictsOnCreate"),
        "tags": inputs.get("tags"),
    }
    cloud.retry(BUSY, 60, lambda: cloud.call("eks", "CreateAddon", **parameters))
    return f"{cluster}:{name}"


def _find_addon(cloud: Cloud, id_: str) -> Properties | None:
    cluster, name = _key(id_)
    answer = cloud.find("eks", "DescribeAddon", GONE, clusterName=cluster, addonName=name)
    return answer["addon"] if answer else None


def _settle_addon(cloud: Cloud, id_: str, inputs: Properties) -> None:
    state = _state(lambda: _find_addon(cloud, id_))
    failed = ("CREATE_FAILED", "UPDATE_FAILED", "DEGRADED", "DELETING", "DELETE_FAILED")
    cloud.wait(f"add-on {id_}", state, ready=("ACTIVE",), failed=failed, seconds=1200)


def _read_addon(cloud: Cloud, id_: str, known: Properties) -> Properties | None:
    addon = _find_addon(cloud, id_)
    if addon is None or addon["status"] == "DELETING":
        return None
    return {
        "clusterName": addon["clusterName"],
        "addonName": addon["addonName"],
        "addonVersion": addon.get("addonVersion"),
        "tags": dict(addon.get("tags") or {}),
        "arn": addon["addonArn"],
    }


def _update_addon(cloud: Cloud, id_: str, new: Properties, changed: frozenset[str]) -> None:
    live = _read_addon(cloud, id_, new)
    if live is None:
        raise NotReadyError(f"add-on {id_} is gone; refresh the stack")
    cluster, name = _key(id_)
    if "addonVersion" in changed:
        cloud.call(
            "eks",
            "UpdateAddon",
            clusterName=cluster,
            addonName=name,
            addonVersion=new.get("addonVersion"),
            resolveConflicts=new.get("resolveConflictsOnUpdate"),
        )
    if "tags" in changed:
        set_tags(cloud, live["arn"], live["tags"], new)


def _delete_addon(cloud: Cloud, id_: str, known: Properties) -> None:
    cluster, name = _key(id_)
    names = {"clusterName": cluster, "addonName": name}
    state = _state(lambda: _find_addon(cloud, id_))
    if state() not in ("DELETING", "gone"):
        cloud.retry(BUSY, 600, lambda: cloud.find("eks", "DeleteAddon", GONE, **names))
    cloud.wait(f"add-on {id_}", state, ready=("gone",), failed=("DELETE_FAILED",), seconds=1200)


# --- Pod identity association ---


def _create_association(cloud: Cloud, inputs: Properties) -> str:
    answer = cloud.retry(
        ROLE_LAG,
        20,
        lambda: cloud.call(
            "eks",
            "CreatePodIdentityAssociation",
            clusterName=inputs["clusterName"],
            namespace=inputs["namespace"],
            serviceAccount=inputs["serviceAccount"],
            roleArn=inputs["roleArn"],
            tags=inputs.get("tags"),
        ),
        about="role",
    )
    return str(answer["association"]["associationId"])


def _association_names(id_: str, known: Properties) -> dict[str, Any]:
    """Return the call's names, from the state or from an import id `CLUSTER,ASSOCIATION`."""
    if "clusterName" in known:
        return {"clusterName": known["clusterName"], "associationId": id_.rpartition(",")[2]}
    cluster, _, association = id_.partition(",")
    return {"clusterName": cluster, "associationId": association}


def _read_association(cloud: Cloud, id_: str, known: Properties) -> Properties | None:
    names = _association_names(id_, known)
    answer = cloud.find("eks", "DescribePodIdentityAssociation", GONE, **names)
    if answer is None:
        return None
    association = answer["association"]
    return {
        "clusterName": association["clusterName"],
        "namespace": association["namespace"],
        "serviceAccount": association["serviceAccount"],
        "roleArn": association["roleArn"],
        "tags": dict(association.get("tags") or {}),
        "associationArn": association["associationArn"],
        "associationId": association["associationId"],
    }


def _update_association(cloud: Cloud, id_: str, new: Properties, changed: frozenset[str]) -> None:
    if "roleArn" in changed:
        names = _association_names(id_, new)
        cloud.call("eks", "UpdatePodIdentityAssociation", roleArn=new["roleArn"], **names)
    if "tags" in changed:
        live = _read_association(cloud, id_, new)
        if live is None:
            raise NotReadyError(f"pod identity association {id_} is gone; refresh the stack")
        set_tags(cloud, live["associationArn"], live["tags"], new)


def _delete_association(cloud: Cloud, id_: str, known: Properties) -> None:
    names = _association_names(id_, known)
    cloud.find("eks", "DeletePodIdentityAssociation", GONE, **names)


_SCALING_FIELDS = {
    name: Prop(Kind.INTEGER, required=True) for name in ("desiredSize", "minSize", "maxSize")
}
_CLUSTER = Prop(required=True, replace=True)

ENTRIES = (
    ResourceType(
        type_name="aws:eks/nodeGroup:NodeGroup",
        inputs={
            "clusterName": _CLUSTER,
            "nodeGroupName": Prop(required=True, replace=True),
            "nodeRoleArn": Prop(required=True, replace=True),
            "subnetIds": Prop(Kind.SET, required=True, replace=True),
            "scalingConfig": Prop(Kind.OBJECT, required=True, fields=_SCALING_FIELDS),
            "amiType": Prop(replace=True),
            "capacityType": Prop(replace=True),
            "diskSize": Prop(Kind.INTEGER, replace=True),
            "instanceTypes": Prop(Kind.LIST, replace=True),
            "labels": Prop(Kind.MAP),
            "updateConfig": Prop(Kind.OBJECT, fields={"maxUnavailable": Prop(Kind.INTEGER)}),
            "version": Prop(replace=True),
            "tags": TAGS,
        },
        outputs=("arn", "status"),
        create=_create_group,
        settle=_settle_group,
        read=_read_group,
        update=_update_group,
        delete=_delete_group,
        named=True,
    ),
    ResourceType(
        type_name="aws:eks/addon:Addon",
        inputs={
            "clusterName": _CLUSTER,
            "addonName": Prop(required=True, replace=True),
            "addonVersion": Prop(),
            "resolveConflictsOnCreate": Prop(),
            "resolveConflictsOnUpdate": Prop(),
            "tags": TAGS,
        },
        outputs=("arn",),
        create=_create_addon,
        settle=_settle_addon,
        read=_read_addon,
        update=_update_addon,
        delete=_delete_addon,
        named=True,
    ),
    ResourceType(
        type_name="aws:eks/podIdentityAssociation:PodIdentityAssociation",
        inputs={
            "clusterName": _CLUSTER,
            "namespace": Prop(required=True, replace=True),
            "serviceAccount": Prop(required=True, replace=True),
            "roleArn": Prop(required=True),
            "tags": TAGS,
        },
        outputs=("associationArn", "associationId"),
        create=_create_association,
        read=_read_association,
        update=_update_association,
        delete=_delete_association,
        named=True,
    ),
)
