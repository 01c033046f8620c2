"""S3 operations; several carry another name as an action than as an API call.

Source: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
"""

from __future__ import annotations

from xml.etree import ElementTree as ET

from iam.documents import Policy, parse_policy
from sandbox.aws.messages import Call
from sandbox.aws.moto_store import backend, bucket_owner
from sandbox.aws.operations.checks import Asks, Check, ContextValues
from sandbox.aws.operations.kms import key_check

_BUCKET = {
    "CreateBucket": "CreateBucket",
    "DeleteBucket": "DeleteBucket",
    "HeadBucket": "ListBucket",
    "ListObjects": "ListBucket",
    "ListObjectsV2": "ListBucket",
    "ListObjectVersions": "ListBucketVersions",
    "ListMultipartUploads": "ListBucketMultipartUploads",
    "GetBucketLocation": "GetBucketLocation",
    "GetBucketTagging": "GetBucketTagging",
    "PutBucketTagging": "PutBucketTagging",
    "DeleteBucketTagging": "PutBucketTagging",
    "GetBucketVersioning": "GetBucketVersioning",
    "PutBucketVersioning": "PutBucketVersioning",
    "GetBucketEncryption": "GetEncryptionConfiguration",
    "PutBucketEncryption": "PutEncryptionConfiguration",
    "DeleteBucketEncryption": "PutEncryptionConfiguration",
    "GetPublicAccessBlock": "GetBucketPublicAccessBlock",
    "PutPublicAccessBlock": "PutBucketPublicAccessBlock",
    "DeletePublicAccessBlock": "PutBucketPublicAccessBlock",
    "GetBucketPolicy": "GetBucketPolicy",
    "GetBucketPolicyStatus": "GetBucketPolicyStatus",
    "PutBucketPolicy": "PutBucketPolicy",
    "DeleteBucketPolicy": "DeleteBucketPolicy",
    "GetBucketAcl": "GetBucketAcl",
    "GetBucketOwnershipControls": "GetBucketOwnershipControls",
    "PutBucketOwnershipControls": "PutBucketOwnershipControls",
}
_OBJECT = {
    "GetObject": "GetObject",
    "HeadObject": "GetObject",
    "GetObjectAttributes": "GetObject",
    "PutObject": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "CompleteMultipartUpload": "PutObject",
    "AbortMultipartUpload": "AbortMultipartUpload",
    "ListParts": "ListMultipartUploadParts",
    "DeleteObject": "DeleteObject",
    "GetObjectTagging": "GetObjectTagging",
}
_WRITES = ("PutObject", "CreateMultipartUpload", "UploadPart", "CopyObject")
_VERSIONED = {
    "GetObject": "GetObjectVersion",
    "HeadObject": "GetObjectVersion",
    "DeleteObject": "DeleteObjectVersion",
}


def bucket_policies(bucket: str) -> tuple[Policy, ...]:
    """Read the policy of a bucket; none is an empty tuple."""
    owner = bucket_owner(bucket)
    if owner is None:
        return ()
    stored = backend("s3", owner, "aws").buckets.get(bucket)
    document = getattr(stored, "policy", None)
    if not document:
        return ()
    text = document.decode() if isinstance(document, bytes) else document
    return (parse_policy(text, f"bucket {bucket}"),)


def _check(call: Call, action: str, resource: str) -> Check:
    """Make a check on a bucket or an object with owner, bucket policy and listing keys."""
    bucket = str(call.params["Bucket"])
    owner = bucket_owner(bucket) or call.account
    context: ContextValues = {"aws:ResourceAccount": owner, "s3:ResourceAccount": owner}
    if "prefix" in call.params:
        context["s3:prefix"] = str(call.params["prefix"])
    once = call.request.headers.get("if-none-match")
    if once and call.operation in ("PutObject", "CompleteMultipartUpload"):
        context["s3:if-none-match"] = once
    sse = call.request.headers.get("x-amz-server-side-encryption")
    if sse:
        context["s3:x-amz-server-side-encryption"] = sse
    return Check(f"s3:{action}", resource, context, bucket_policies(bucket), owner)


def _key_checks(call: Call) -> list[Check]:
    """Ask for the key of an encrypted bucket or object: S3 uses it with the caller's permission.

    Source: https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
    """
    bucket = str(call.params["Bucket"])
    owner = bucket_owner(bucket)
    stored = backend("s3", owner, "aws").buckets.get(bucket) if owner else None
    if stored is None:
        return []
    via: ContextValues = {"kms:ViaService": f"s3.{call.region}.amazonaws.com"}
    if call.operation in _WRITES:
        rule = (stored.encryption or {}).get("Rule", {})
        key = rule.get("ApplyServerSideEncryptionByDefault", {}).get("KMSMasterKeyID")
        key = call.request.headers.get("x-amz-server-side-encryption-aws-kms-key-id") or key
        return [key_check(call, "kms:GenerateDataKey", str(key), via)] if key else []
    if call.operation == "GetObject":
        found = stored.keys.get(str(call.params["Key"]))
        key = getattr(found, "kms_key_id", None)
        return [key_check(call, "kms:Decrypt", str(key), via)] if key else []
    return []


def _on_bucket(call: Call) -> list[Check]:
    """Ask for an operation on a bucket."""
    arn = f"arn:aws:s3:::{call.params['Bucket']}"
    return [_check(call, _BUCKET[call.operation], arn)]


def _on_object(call: Call) -> list[Check]:
    """Ask for an operation on an object, or on one version of it."""
    arn = f"arn:aws:s3:::{call.params['Bucket']}/{call.params['Key']}"
    versioned = "versionId" in call.params and call.operation in _VERSIONED
    action = (_VERSIONED if versioned else _OBJECT)[call.operation]
    return [_check(call, action, arn), *_key_checks(call)]


def _delete_many(call: Call) -> list[Check]:
    """Ask for each object of a bulk deletion."""
    root = ET.fromstring(call.request.body)  # noqa: S314 (expat refuses external entities)
    checks = []
    for one in root.iter():
        if one.tag.rpartition("}")[2] != "Object":
            continue
        parts = {child.tag.rpartition("}")[2]: child.text or "" for child in one}
        action = "DeleteObjectVersion" if parts.get("VersionId") else "DeleteObject"
        arn = f"arn:aws:s3:::{call.params['Bucket']}/{parts.get('Key', '')}"
        checks.append(_check(call, action, arn))
    return checks


def _copy(call: Call) -> list[Check]:
    """Ask for reading the source and writing the target."""
    source = call.request.headers.get("x-amz-copy-source", "").lstrip("/")
    bucket = source.partition("/")[0]
    owner = bucket_owner(bucket) or call.account
    read = Check(
        "s3:GetObject",
        f"arn:aws:s3:::{source.partition('?')[0]}",
        {"aws:ResourceAccount": owner},
        bucket_policies(bucket),
        owner,
    )
    target = f"arn:aws:s3:::{call.params['Bucket']}/{call.params['Key']}"
    return [read, _check(call, "PutObject", target), *_key_checks(call)]


def _list_all(call: Call) -> list[Check]:
    """Ask for the list of the account's buckets."""
    return [Check("s3:ListAllMyBuckets")]


OPERATIONS: dict[str, Asks] = {
    **dict.fromkeys(_BUCKET, _on_bucket),
    **dict.fromkeys(_OBJECT, _on_object),
    "DeleteObjects": _delete_many,
    "CopyObject": _copy,
    "ListBuckets": _list_all,
}
