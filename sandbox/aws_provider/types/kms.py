"""KMS key and alias."""

from sandbox.aws_provider.cloud import Cloud
from sandbox.aws_provider.schema import Kind, Prop, Properties, ResourceType
from sandbox.aws_provider.types.tagging import TAGS, from_pairs, pairs, split

_GONE = ("NotFoundException",)
_TAG = ("TagKey", "TagValue")


def _create_key(cloud: Cloud, inputs: Properties) -> str:
    made = cloud.call(
        "kms",
        "CreateKey",
        Description=inputs["description"],
        KeyUsage=inputs["keyUsage"],
        Policy=inputs.get("policy"),
        Tags=pairs(inputs.get("tags"), *_TAG),
    )
    return str(made["KeyMetadata"]["KeyId"])


def _settle_key(cloud: Cloud, id_: str, inputs: Properties) -> None:
    if inputs["enableKeyRotation"]:
        cloud.call("kms", "EnableKeyRotation", KeyId=id_)


def _read_key(cloud: Cloud, id_: str, known: Properties) -> Properties | None:
    answer = cloud.find("kms", "DescribeKey", _GONE, KeyId=id_)
    if answer is None or answer["KeyMetadata"]["KeyState"] == "PendingDeletion":
        return None
    key = answer["KeyMetadata"]
    policy = cloud.call("kms", "GetKeyPolicy", KeyId=id_, PolicyName="default")
    rotation = cloud.call("kms", "GetKeyRotationStatus", KeyId=id_)
    tags = cloud.call("kms", "ListResourceTags", KeyId=id_)
    return {
        "description": key.get("Description", ""),
        "keyUsage": key["KeyUsage"],
        "policy": policy["Policy"],
        "enableKeyRotation": rotation["KeyRotationEnabled"],
        "tags": from_pairs(tags.get("Tags"), *_TAG),
        "arn": key["Arn"],
        "keyId": id_,
    }


def _update_key(cloud: Cloud, id_: str, new: Properties, changed: frozenset[str]) -> None:
    if "policy" in changed:
        ids = {"KeyId": id_, "PolicyName": "default"}
        cloud.call("kms", "PutKeyPolicy", Policy=new["policy"], **ids)
    if "description" in changed:
        cloud.call("kms", "UpdateKeyDescription", KeyId=id_, Description=new["description"])
    if "enableKeyRotation" in changed:
        operation = "EnableKeyRotation" if new["enableKeyRotation"] else "DisableKeyRotation"
        cloud.call("kms", operation, KeyId=id_)
    if "tags" in changed:
        live = cloud.call("kms", "ListResourceTags", KeyId=id_)
        wanted, removed = split(from_pairs(live.get("Tags"), *_TAG), new.get("tags") or {})
        if removed:
            cloud.call("kms", "UntagResource", KeyId=id_, TagKeys=removed)
        if wanted:
            cloud.call("kms", "TagResource", KeyId=id_, Tags=pairs(wanted, *_TAG))


def _delete_key(cloud: Cloud, id_: str, known: Properties) -> None:
    if _read_key(cloud, id_, known) is None:
        return
    days = known.get("deletionWindowInDays", 30)
    cloud.find("kms", "ScheduleKeyDeletion", _GONE, KeyId=id_, PendingWindowInDays=days)


def _create_alias(cloud: Cloud, inputs: Properties) -> str:
    cloud.call("kms", "CreateAlias", AliasName=inputs["name"], TargetKeyId=inputs["targetKeyId"])
    return str(inputs["name"])


def _read_alias(cloud: Cloud, id_: str, known: Properties) -> Properties | None:
    marker: str | None = None
    while True:
        page = cloud.call("kms", "ListAliases", Marker=marker)
        for alias in page["Aliases"]:
            if alias["AliasName"] == id_:
                target = alias.get("TargetKeyId", "")
                return {
                    "name": id_,
                    "targetKeyId": target,
                    "arn": alias["AliasArn"],
                    "targetKeyArn": cloud.arn("kms", f"key/{target}"),
                }
        if not page.get("Truncated"):
            return None
        marker = page["NextMarker"]


def _update_alias(cloud: Cloud, id_: str, new: Properties, changed: frozenset[str]) -> None:
    cloud.call("kms", "UpdateAlias", AliasName=id_, TargetKeyId=new["targetKeyId"])


def _delete_alias(cloud: Cloud, id_: str, known: Properties) -> None:
    cloud.find("kms", "DeleteAlias", _GONE, AliasName=id_)


ENTRIES = (
    ResourceType(
        type_name="aws:kms/key:Key",
        inputs={
            "description": Prop(default="Managed by Pulumi"),
            "keyUsage": Prop(replace=True, default="ENCRYPT_DECRYPT"),
            "policy": Prop(Kind.JSON),
            "enableKeyRotation": Prop(Kind.BOOLEAN, default=False),
            "deletionWindowInDays": Prop(Kind.INTEGER),
            "tags": TAGS,
        },
        outputs=("arn", "keyId"),
        create=_create_key,
        settle=_settle_key,
        read=_read_key,
        update=_update_key,
        delete=_delete_key,
    ),
    ResourceType(
        type_name="aws:kms/alias:Alias",
        inputs={
            "name": Prop(required=True, replace=True),
            "targetKeyId": Prop(required=True),
        },
        outputs=("arn", "targetKeyArn"),
        create=_create_alias,
        read=_read_alias,
        update=_update_alias,
        delete=_delete_alias,
        named=True,
    ),
)
