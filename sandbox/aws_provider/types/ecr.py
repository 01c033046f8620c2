"""ECR repository."""

from typing import Any

from sandbox.aws_provider.cloud import Cloud
from sandbox.aws_provider.schema import Kind, Prop, Properties, ResourceType
from sandbox.aws_provider.types.tagging import TAGS, from_pairs, pairs, split

_GONE = ("RepositoryNotFoundException",)


def _create(cloud: Cloud, inputs: Properties) -> str:
    made = cloud.call(
        "ecr",
        "CreateRepository",
        repositoryName=inputs["name"],
        imageTagMutability=inputs["imageTagMutability"],
        encryptionConfiguration=_encryption(inputs),
        tags=pairs(inputs.get("tags")),
    )
    return str(made["repository"]["repositoryName"])


def _encryption(inputs: Properties) -> dict[str, Any] | None:
    for one in inputs.get("encryptionConfigurations") or []:
        given = {"encryptionType": one["encryptionType"], "kmsKey": one.get("kmsKey")}
        return {name: value for name, value in given.items() if value is not None}
    return None


def _read(cloud: Cloud, id_: str, known: Properties) -> Properties | None:
    answer = cloud.find("ecr", "DescribeRepositories", _GONE, repositoryNames=[id_])
    if answer is None:
        return None
    found = answer["repositories"][0]
    tags = cloud.find("ecr", "ListTagsForResource", _GONE, resourceArn=found["repositoryArn"]) or {}
    encryption = found.get("encryptionConfiguration") or {"encryptionType": "AES256"}
    return {
        "name": id_,
        "imageTagMutability": found["imageTagMutability"],
        "encryptionConfigurations": [encryption],
        "tags": from_pairs(tags.get("tags")),
        "arn": found["repositoryArn"],
        "registryId": found["registryId"],
        "repositoryUrl": found["repositoryUri"],
    }


def _update(cloud: Cloud, id_: str, new: Properties, changed: frozenset[str]) -> None:
    if "imageTagMutability" in changed:
        wanted = {"imageTagMutability": new["imageTagMutability"]}
        cloud.call("ecr", "PutImageTagMutability", repositoryName=id_, **wanted)
    if "tags" in changed:
        arn = cloud.arn("ecr", f"repository/{id_}")
        live = cloud.call("ecr", "ListTagsForResource", resourceArn=arn)
        tags, removed = split(from_pairs(live.get("tags")), new.get("tags") or {})
        if removed:
            cloud.call("ecr", "UntagResource", resourceArn=arn, tagKeys=removed)
        if tags:
            cloud.call("ecr", "TagResource", resourceArn=arn, tags=pairs(tags))


def _delete(cloud: Cloud, id_: str, known: Properties) -> None:
    force = bool(known.get("forceDelete"))
    cloud.find("ecr", "DeleteRepository", _GONE, repositoryName=id_, force=force)


ENTRIES = (
    ResourceType(
        type_name="aws:ecr/repository:Repository",
        inputs={
            "name": Prop(required=True, replace=True),
            "imageTagMutability": Prop(default="MUTABLE"),
            "encryptionConfigurations": Prop(
                Kind.OBJECTS,
                replace=True,
                fields={"encryptionType": Prop(), "kmsKey": Prop()},
            ),
            "forceDelete": Prop(Kind.BOOLEAN, default=False),
            "tags": TAGS,
        },
        outputs=("arn", "registryId", "repositoryUrl"),
        create=_create,
        read=_read,
        update=_update,
        delete=_delete,
        named=True,
    ),
)
