"""Tags, in the shapes the services want; used by every taggable type."""

from typing import Any

from sandbox.aws_provider.cloud import Cloud
from sandbox.aws_provider.schema import Kind, Prop, Properties

TAGS = Prop(Kind.MAP)


def pairs(tags: dict[str, str] | None, key: str = "Key", value: str = "Value") -> list[Any] | None:
    """Return tags as a list of pairs, or None when there are none."""
    return [{key: name, value: text} for name, text in (tags or {}).items()] or None


def from_pairs(tags: Any, key: str = "Key", value: str = "Value") -> dict[str, str]:
    """Return a list of pairs as a dict, without the service's own `aws:` tags."""
    return {item[key]: item[value] for item in tags or [] if not str(item[key]).startswith("aws:")}


def ec2_specification(kind: str, inputs: Properties) -> list[Any] | None:
    """Return the TagSpecifications of an EC2 create call."""
    tags = pairs(inputs.get("tags"))
    return [{"ResourceType": kind, "Tags": tags}] if tags else None


def split(old: dict[str, str], new: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return the tags to set and the names of the tags to remove."""
    return {k: v for k, v in new.items() if old.get(k) != v}, sorted(set(old) - set(new))


def set_ec2_tags(cloud: Cloud, resource_id: str, live: dict[str, str], new: Properties) -> None:
    """Make the tags of an EC2 object equal to the inputs."""
    wanted, removed = split(live, new.get("tags") or {})
    if removed:
        keys = [{"Key": name} for name in removed]
        cloud.call("ec2", "DeleteTags", Resources=[resource_id], Tags=keys)
    if wanted:
        cloud.call("ec2", "CreateTags", Resources=[resource_id], Tags=pairs(wanted))
