"""Say a condition in words.

Read by the control plane, so that console, command line and API say the same. The operator and key
themselves stay beside the words in every answer.
"""

from __future__ import annotations

from collections.abc import Mapping

from iam.policy_atoms import ConditionTest

_KEYS: Mapping[str, str] = {
    "aws:currenttime": "the time",
    "aws:resourceaccount": "the account of the resource",
    "aws:tagkeys": "the tags named in the request",
    "ec2:createaction": "the call that creates it",
    "iam:awsservicename": "the service that gets the role",
    "iam:passedtoservice": "the service that the role is handed to",
    "iam:permissionsboundary": "the limit on the role (its permissions boundary)",
    "iam:policyarn": "the policy that is attached",
    "kms:grantisforawsresource": "that an AWS service is the one to use the key",
    "kms:viaservice": "the service that uses the key",
    "s3:if-none-match": "the demand that the name is new",
    "sts:externalid": "the External ID",
    "sts:sourceidentity": "the name of the person",
}
_TAGS: Mapping[str, str] = {
    "aws:resourcetag/": "the tag {} of the resource",
    "aws:requesttag/": "the tag {} in the request",
    "aws:principaltag/": "the tag {} of the session",
}
_OPERATORS: Mapping[str, str] = {
    "stringequals": "is",
    "stringequalsignorecase": "is, in any case,",
    "stringlike": "matches",
    "arnlike": "matches",
    "stringnotequals": "is not",
    "stringnotequalsignorecase": "is not, in any case,",
    "stringnotlike": "does not match",
    "arnnotlike": "does not match",
    "bool": "is",
    "binaryequals": "is",
    "ipaddress": "is in",
    "notipaddress": "is not in",
    "dateequals": "is",
    "datenotequals": "is not",
    "datelessthan": "is before",
    "datelessthanequals": "is at the latest",
    "dategreaterthan": "is after",
    "dategreaterthanequals": "is at the earliest",
    "numericequals": "is",
    "numericnotequals": "is not",
    "numericlessthan": "is less than",
    "numericlessthanequals": "is at most",
    "numericgreaterthan": "is more than",
    "numericgreaterthanequals": "is at least",
}


def in_words(test: ConditionTest) -> str:
    """Return a condition as a clause that follows "only if"."""
    subject = _key(test.key)
    if test.plain == "null":
        is_absent = test.values == ("true",)
        return f"{subject} is {'not given' if is_absent else 'given'}"
    verb = _OPERATORS.get(test.plain, test.operator)
    values = " or ".join(_value(one) for one in test.values)
    if test.operator.startswith("forallvalues:"):
        subject = f"each of {subject}"
    elif test.operator.startswith("foranyvalue:"):
        subject = f"one of {subject}"
    clause = f"{subject} {verb} {values}"
    return f"{clause}, if it is given" if test.operator.endswith("ifexists") else clause


def _key(key: str) -> str:
    for prefix, words in _TAGS.items():
        if key.startswith(prefix):
            return words.format(key.removeprefix(prefix))
    return _KEYS.get(key, key)


def _value(value: str) -> str:
    """Say a policy variable that is a whole value; leave everything else as it is written."""
    if value.startswith("${") and value.endswith("}") and value.count("${") == 1:
        return _key(value[2:-1].lower())
    return f"the {value.strip('<>')}" if value.startswith("<") else value
