"""ECR operations: those of its own API, and those that the registry's protocol stands for.

Source: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelasticcontainerregistry.html
A token cannot be narrowed to a repository; every other operation asks for one.
"""

from __future__ import annotations

from typing import Any

from sandbox.aws.messages import Call
from sandbox.aws.moto_store import backend
from sandbox.aws.operations.checks import (
    Asks,
    Check,
    ContextValues,
    on_anything,
    request_tags,
    resource_tags,
)

_ON_REPOSITORY = (
    "DeleteRepository", "PutImageTagMutability", "InitiateLayerUpload", "UploadLayerPart",
    "CompleteLayerUpload", "PutImage", "BatchCheckLayerAvailability", "BatchGetImage",
    "GetDownloadUrlForLayer",
)  # fmt: skip
_ON_ARN = ("ListTagsForResource", "TagResource", "UntagResource")


def repository_arn(call: Call, name: str) -> str:
    """Give the ARN of a repository of the caller's account."""
    return f"arn:aws:ecr:{call.region}:{call.account}:repository/{name}"


def _check(call: Call, name: str, extra: ContextValues | None = None) -> Check:
    """Make the check of the operation itself on a repository with the tags it has."""
    arn = repository_arn(call, name)
    store = backend("ecr", call.account, call.region)
    tags: dict[str, str] = store.tagger.get_tag_dict_for_resource(arn)
    return Check(f"ecr:{call.operation}", arn, {**resource_tags(tags, "ecr"), **(extra or {})})


def _tags_in(params: dict[str, Any]) -> dict[str, str]:
    return {str(one["Key"]): str(one.get("Value", "")) for one in params.get("tags") or []}


def _create(call: Call) -> list[Check]:
    """Ask for a repository by its name, and for tagging it."""
    name, tags = str(call.params.get("repositoryName", "")), request_tags(_tags_in(call.params))
    arn = repository_arn(call, name)
    extra = [Check("ecr:TagResource", arn, tags)] if tags else []
    return [Check("ecr:CreateRepository", arn, tags), *extra]


def _on_repository(call: Call) -> list[Check]:
    """Ask for an operation on one repository."""
    return [_check(call, str(call.params.get("repositoryName", "")))]


def _describe(call: Call) -> list[Check]:
    """Ask for each repository that is named, or for all."""
    names = call.params.get("repositoryNames") or ["*"]
    return [_check(call, str(name)) for name in names]


def _on_arn(call: Call) -> list[Check]:
    """Ask for the tags of one repository."""
    extra = request_tags(_tags_in(call.params))
    if call.operation == "UntagResource":
        extra["aws:TagKeys"] = [str(key) for key in call.params.get("tagKeys") or []]
    name = str(call.params.get("resourceArn", "")).partition(":repository/")[2]
    return [_check(call, name, extra)]


OPERATIONS: dict[str, Asks] = {
    "CreateRepository": _create,
    "DescribeRepositories": _describe,
    **dict.fromkeys(_ON_REPOSITORY, _on_repository),
    **dict.fromkeys(_ON_ARN, _on_arn),
    "GetAuthorizationToken": on_anything("ecr:GetAuthorizationToken"),
}
