"""Bucket and its separate settings: versioning, encryption, public access, policy."""

from collections.abc import Callable
from typing import Any

from sandbox.aws_provider.cloud import Cloud, CloudError
from sandbox.aws_provider.schema import Kind, Prop, Properties, ResourceType
from sandbox.aws_provider.types.tagging import TAGS, from_pairs, pairs

_GONE = ("NoSuchBucket", "404", "NotFound")
_BUCKET = Prop(required=True, replace=True)


def _create_bucket(cloud: Cloud, inputs: Properties) -> str:
    place = None
    if cloud.region != "us-east-1":  # which S3 refuses as a location constraint
        place = {"LocationConstraint": cloud.region}
    cloud.call("s3", "CreateBucket", Bucket=inputs["bucket"], CreateBucketConfiguration=place)
    return str(inputs["bucket"])


def _settle_bucket(cloud: Cloud, id_: str, inputs: Properties) -> None:
    # S3 takes tags only after the bucket exists.
    if inputs.get("tags"):
        _put_tags(cloud, id_, inputs)


def _put_tags(cloud: Cloud, id_: str, inputs: Properties) -> None:
    tags = {"TagSet": pairs(inputs.get("tags")) or []}
    cloud.retry(_GONE, 60, lambda: cloud.call("s3", "PutBucketTagging", Bucket=id_, Tagging=tags))


def _read_bucket(cloud: Cloud, id_: str, known: Properties) -> Properties | None:
    if cloud.find("s3", "HeadBucket", _GONE, Bucket=id_) is None:
        return None
    tags = cloud.find("s3", "GetBucketTagging", ("NoSuchTagSet",), Bucket=id_) or {}
    arn = f"arn:{cloud.partition}:s3:::{id_}"
    return {
        "bucket": id_,
        "tags": from_pairs(tags.get("TagSet")),
        "arn": arn,
        "bucketRegion": cloud.region,
        "bucketDomainName": f"{id_}.s3.amazonaws.com",
        "bucketRegionalDomainName": f"{id_}.s3.{cloud.region}.amazonaws.com",
    }


def _update_bucket(cloud: Cloud, id_: str, new: Properties, changed: frozenset[str]) -> None:
    if "tags" in changed:
        _put_tags(cloud, id_, new)


def _delete_bucket(cloud: Cloud, id_: str, known: Properties) -> None:
    try:
        cloud.find("s3", "DeleteBucket", _GONE, Bucket=id_)
    except CloudError as error:
        if error.code != "BucketNotEmpty" or not known.get("forceDestroy"):
            raise
        _empty(cloud, id_)
        cloud.find("s3", "DeleteBucket", _GONE, Bucket=id_)


def _empty(cloud: Cloud, bucket: str) -> None:
    """Delete every version and delete marker of a bucket."""
    while True:
        page = cloud.call("s3", "ListObjectVersions", Bucket=bucket)
        found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
        if not found:
            return
        keys = [{"Key": item["Key"], "VersionId": item["VersionId"]} for item in found]
        answer = cloud.call("s3", "DeleteObjects", Bucket=bucket, Delete={"Objects": keys})
        for refused in answer.get("Errors", []):
            raise CloudError(
                "s3:DeleteObjects", refused["Code"], f"{refused['Key']}: {refused['Message']}", "-"
            )


def _creator(put: Callable[[Cloud, str, Properties], None]) -> Callable[[Cloud, Properties], str]:
    """Return a create function for a setting whose id is its bucket's name."""

    def create(cloud: Cloud, inputs: Properties) -> str:
        id_ = str(inputs["bucket"])
        # Two settings put at once make S3 answer with a conflict that goes away by itself.
        cloud.retry(("OperationAborted", *_GONE), 60, lambda: put(cloud, id_, inputs))
        return id_

    return create


# --- Versioning ---


def _put_versioning(cloud: Cloud, id_: str, inputs: Properties) -> None:
    status = {"Status": inputs["versioningConfiguration"]["status"]}
    cloud.call("s3", "PutBucketVersioning", Bucket=id_, VersioningConfiguration=status)


def _read_versioning(cloud: Cloud, id_: str, known: Properties) -> Properties | None:
    answer = cloud.find("s3", "GetBucketVersioning", _GONE, Bucket=id_)
    if answer is None or not answer.get("Status"):
        return None
    return {"bucket": id_, "versioningConfiguration": {"status": answer["Status"]}}


def _delete_versioning(cloud: Cloud, id_: str, known: Properties) -> None:
    # A bucket that had versions can only be suspended, never set back.
    status = {"Status": "Suspended"}
    cloud.find("s3", "PutBucketVersioning", _GONE, Bucket=id_, VersioningConfiguration=status)


# --- Encryption ---


def _put_encryption(cloud: Cloud, id_: str, inputs: Properties) -> None:
    rules: list[Any] = []
    for rule in inputs["rules"]:
        chosen = rule["applyServerSideEncryptionByDefault"]
        default = {"SSEAlgorithm": chosen["sseAlgorithm"]}
        if chosen.get("kmsMasterKeyId"):
            default["KMSMasterKeyID"] = chosen["kmsMasterKeyId"]
        rules.append(
            {
                "ApplyServerSideEncryptionByDefault": default,
                "BucketKeyEnabled": rule.get("bucketKeyEnabled", False),
            }
        )
    settings = {"Rules": rules}
    cloud.call("s3", "PutBucketEncryption", Bucket=id_, ServerSideEncryptionConfiguration=settings)


def _read_encryption(cloud: Cloud, id_: str, known: Properties) -> Properties | None:
    gone = (*_GONE, "ServerSideEncryptionConfigurationNotFoundError")
    answer = cloud.find("s3", "GetBucketEncryption", gone, Bucket=id_)
    if answer is None:
        return None
    rules: list[Any] = []
    for rule in answer["ServerSideEncryptionConfiguration"]["Rules"]:
        chosen = rule["ApplyServerSideEncryptionByDefault"]
        default = {
            "sseAlgorithm": chosen["SSEAlgorithm"],
            "kmsMasterKeyId": chosen.get("KMSMasterKeyID"),
        }
        rules.append(
            {
                "applyServerSideEncryptionByDefault": default,
                "bucketKeyEnabled": rule.get("BucketKeyEnabled", False),
            }
        )
    return {"bucket": id_, "rules": rules}


def _delete_encryption(cloud: Cloud, id_: str, known: Properties) -> None:
    cloud.find("s3", "DeleteBucketEncryption", _GONE, Bucket=id_)


# --- Public access block ---

_SWITCHES = {
    "blockPublicAcls": "BlockPublicAcls",
    "blockPublicPolicy": "BlockPublicPolicy",
    "ignorePublicAcls": "IgnorePublicAcls",
    "restrictPublicBuckets": "RestrictPublicBuckets",
}


def _put_block(cloud: Cloud, id_: str, inputs: Properties) -> None:
    switches = {api: inputs[name] for name, api in _SWITCHES.items()}
    cloud.call("s3", "PutPublicAccessBlock", Bucket=id_, PublicAccessBlockConfiguration=switches)


def _read_block(cloud: Cloud, id_: str, known: Properties) -> Properties | None:
    gone = (*_GONE, "NoSuchPublicAccessBlockConfiguration")
    answer = cloud.find("s3", "GetPublicAccessBlock", gone, Bucket=id_)
    if answer is None:
        return None
    switches = answer["PublicAccessBlockConfiguration"]
    live = {name: switches.get(api, False) for name, api in _SWITCHES.items()}
    return {"bucket": id_, **live}


def _delete_block(cloud: Cloud, id_: str, known: Properties) -> None:
    cloud.find("s3", "DeletePublicAccessBlock", _GONE, Bucket=id_)


# --- Policy ---


def _put_policy(cloud: Cloud, id_: str, inputs: Properties) -> None:
    cloud.call("s3", "PutBucketPolicy", Bucket=id_, Policy=inputs["policy"])


def _read_policy(cloud: Cloud, id_: str, known: Properties) -> Properties | None:
    answer = cloud.find("s3", "GetBucketPolicy", (*_GONE, "NoSuchBucketPolicy"), Bucket=id_)
    return {"bucket": id_, "policy": answer["Policy"]} if answer else None


def _delete_policy(cloud: Cloud, id_: str, known: Properties) -> None:
    cloud.find("s3", "DeleteBucketPolicy", _GONE, Bucket=id_)


_DEFAULT_KEY = Prop(
    Kind.OBJECT,
    required=True,
    fields={"sseAlgorithm": Prop(required=True), "kmsMasterKeyId": Prop()},
)

ENTRIES = (
    ResourceType(
        type_name="aws:s3/bucket:Bucket",
        inputs={
            "bucket": _BUCKET,
            "forceDestroy": Prop(Kind.BOOLEAN, default=False),
            "tags": TAGS,
        },
        outputs=("arn", "bucketRegion", "bucketDomainName", "bucketRegionalDomainName"),
        create=_create_bucket,
        settle=_settle_bucket,
        read=_read_bucket,
        update=_update_bucket,
        delete=_delete_bucket,
        named=True,
    ),
    ResourceType(
        type_name="aws:s3/bucketVersioning:BucketVersioning",
        inputs={
            "bucket": _BUCKET,
            "versioningConfiguration": Prop(
                Kind.OBJECT, required=True, fields={"status": Prop(required=True)}
            ),
        },
        outputs=(),
        create=_creator(_put_versioning),
        read=_read_versioning,
        update=lambda cloud, id_, new, changed: _put_versioning(cloud, id_, new),
        delete=_delete_versioning,
        named=True,
    ),
    ResourceType(
        type_name=(
            "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
        ),
        inputs={
            "bucket": _BUCKET,
            "rules": Prop(
                Kind.OBJECTS,
                required=True,
                fields={
                    "applyServerSideEncryptionByDefault": _DEFAULT_KEY,
                    "bucketKeyEnabled": Prop(Kind.BOOLEAN, default=False),
                },
            ),
        },
        outputs=(),
        create=_creator(_put_encryption),
        read=_read_encryption,
        update=lambda cloud, id_, new, changed: _put_encryption(cloud, id_, new),
        delete=_delete_encryption,
        named=True,
    ),
    ResourceType(
        type_name="aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
        inputs={
            "bucket": _BUCKET,
            **{name: Prop(Kind.BOOLEAN, default=False) for name in _SWITCHES},
        },
        outputs=(),
        create=_creator(_put_block),
        read=_read_block,
        update=lambda cloud, id_, new, changed: _put_block(cloud, id_, new),
        delete=_delete_block,
        named=True,
    ),
    ResourceType(
        type_name="aws:s3/bucketPolicy:BucketPolicy",
        inputs={"bucket": _BUCKET, "policy": Prop(Kind.JSON, required=True)},
        outputs=(),
        create=_creator(_put_policy),
        read=_read_policy,
        update=lambda cloud, id_, new, changed: _put_policy(cloud, id_, new),
        delete=_delete_policy,
        named=True,
    ),
)
