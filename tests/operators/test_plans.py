"""The pure parts: what each controller wants, and what it says about what it sees."""

from __future__ import annotations

import json
from typing import Any

import pytest

from operators import types
from operators.access.plan import GatewayState
from operators.access.plan import findings as access_findings
from operators.adapter.eligibility import Eligibility, judge
from operators.artifact import plan as artifact_plan
from operators.boundary import plan as boundary_plan
from operators.children import child_name
from operators.core.api import RawObject
from operators.core.conditions import Finding
from operators.engines.dialects import DIALECTS
from operators.engines.prober import Answer, Question
from operators.engines.protocol import Completion, MountedAdapter
from operators.instance import plan as instance_plan
from operators.instance import verdict
from operators.instance.verdict import Rollout
from operators.settings import Settings, SettingsError
from tests.operators.test_custom_resources import ENGINE, SOURCE, VALID
from wire.resources import (
    GatewayAccessSpec,
    InstanceFailure,
    ModelArtifactSpec,
    ModelInstanceSpec,
    SecurityBoundarySpec,
)

GOOD, BAD = "sha256:" + "a" * 64, "sha256:" + "b" * 64
SETTINGS = Settings("boundary-x", "ringfence-system", "ringfence/fetcher@" + GOOD, "me", "x")
ARTIFACT = ModelArtifactSpec.model_validate(VALID["ModelArtifact"])
INSTANCE = ModelInstanceSpec.model_validate(VALID["ModelInstance"])


def obj(kind: str, name: str, **more: Any) -> RawObject:
    known = types.custom(kind)
    metadata = {"name": name, "namespace": "boundary-x", "uid": f"uid-{name}", "generation": 1}
    return {"apiVersion": known.api_version, "kind": kind, "metadata": metadata, **more}


def reasons(findings: list[Finding]) -> dict[str, tuple[str, str]]:
    return {f.type: (f.status, str(f.reason)) for f in findings}


# --- artifacts -----------------------------------------------------------------------------------

VERDICTS: dict[str, tuple[dict[str, Any], tuple[str, str], tuple[str, str]]] = {
    "nothing was said yet": (
        {"verdict": None},
        ("False", "Fetching"),
        ("Unknown", "NotFetched"),
    ),
    "the right digest": (
        {"verdict": artifact_plan.Verdict(GOOD, None)},
        ("True", "Ready"),
        ("True", "DigestVerified"),
    ),
    "another digest": (
        {"verdict": artifact_plan.Verdict(BAD, "differs")},
        ("False", "DigestMismatch"),
        ("False", "DigestMismatch"),
    ),
    "another digest from a Job that claims success": (
        {"verdict": artifact_plan.Verdict(BAD, None)},
        ("False", "DigestMismatch"),
        ("False", "DigestMismatch"),
    ),
    "the Job gave up": (
        {"verdict": artifact_plan.Verdict(None, "404"), "gave_up": True},
        ("False", "FetchFailed"),
        ("Unknown", "NotFetched"),
    ),
    "verified before and the pod is gone": (
        {"verdict": None, "verified_before": True},
        ("True", "Ready"),
        ("True", "DigestVerified"),
    ),
    "no longer on the customer's list although verified before": (
        {"verdict": None, "verified_before": True, "allowed": False},
        ("False", "NotAllowed"),
        ("False", "NotAllowed"),
    ),
}


@pytest.mark.parametrize("name", VERDICTS)
def test_an_artifact_after(name: str) -> None:
    given, ready, verified = VERDICTS[name]
    defaults: dict[str, Any] = {
        "allowed": True,
        "base": None,
        "verdict": None,
        "gave_up": False,
        "verified_before": False,
    }
    found = reasons(artifact_plan.findings(ARTIFACT, **(defaults | given)))
    assert found["Ready"] == ready
    assert found["Verified"] == verified


def test_an_adapter_waits_for_its_base() -> None:
    spec = ModelArtifactSpec.model_validate(
        {"kind": "Adapter", "baseRef": {"name": "b"}, "source": SOURCE, "digest": GOOD, "size": 1}
    )
    given: dict[str, Any] = {
        "allowed": True,
        "verdict": artifact_plan.Verdict(GOOD, None),
        "gave_up": False,
        "verified_before": False,
    }
    missing = artifact_plan.findings(spec, base=None, **given)
    assert reasons(missing)["Ready"] == ("False", "BaseNotFound")
    an_adapter = obj("ModelArtifact", "b", spec={"kind": "Adapter"})
    assert reasons(artifact_plan.findings(spec, base=an_adapter, **given))["Ready"][0] == "False"
    a_base = obj("ModelArtifact", "b", spec={"kind": "Base"})
    assert reasons(artifact_plan.findings(spec, base=a_base, **given))["Ready"][0] == "True"


def test_the_fetch_job_has_its_own_account_no_api_token_and_stops_at_a_mismatch() -> None:
    job = artifact_plan.fetch_job(obj("ModelArtifact", "base"), ARTIFACT, SETTINGS)
    pod = job["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "fetcher"
    assert pod["automountServiceAccountToken"] is False
    rule = job["spec"]["podFailurePolicy"]["rules"][0]
    assert rule["action"] == "FailJob"
    assert rule["onExitCodes"]["values"] == [artifact_plan.MISMATCH_EXIT_CODE]
    assert f"--digest={GOOD}" in pod["containers"][0]["args"]


@pytest.mark.parametrize(
    ("message", "exit_code", "digest", "error"),
    [
        (json.dumps({"digest": GOOD, "size": 1}), 0, GOOD, None),
        ("noise\n" + json.dumps({"digest": BAD, "error": "differs"}), 3, BAD, "differs"),
        ("Traceback: boom", 1, None, "exit code 1: Traceback: boom"),
        ("", 137, None, "exit code 137: no message"),
        ('["a list"]', 1, None, 'exit code 1: ["a list"]'),
    ],
)
def test_the_last_words_of_a_fetch_are_understood(
    message: str, exit_code: int, digest: str | None, error: str | None
) -> None:
    ended = {"terminated": {"exitCode": exit_code, "message": message}}
    pod = {"status": {"containerStatuses": [{"state": ended}]}}
    found = artifact_plan.read_verdict([pod])
    assert found is not None
    assert (found.digest, found.error) == (digest, error)


# --- bindings ------------------------------------------------------------------------------------


def verified(name: str, **spec: Any) -> RawObject:
    condition = {
        "type": "Verified",
        "status": "True",
        "reason": "DigestVerified",
        "observedGeneration": 1,
    }
    return obj("ModelArtifact", name, spec=spec, status={"conditions": [condition]})


def binding(name: str = "b", alias: str = "style", created: str = "2026-01-02") -> RawObject:
    spec = {"artifactRef": {"name": "style"}, "instanceRef": {"name": "i"}, "alias": alias}
    found = obj("AdapterBinding", name, spec=spec)
    found["metadata"]["creationTimestamp"] = created
    return found


SERVED = obj(
    "ModelInstance",
    "i",
    spec={"artifactRef": {"name": "base"}, "serving": {"modelName": "tiny"}},
)
STYLE = verified("style", kind="Adapter", baseRef={"name": "base"})
JUDGEMENTS: dict[str, tuple[RawObject, RawObject | None, list[RawObject], Eligibility, str]] = {
    "verified and of this base": (binding(), STYLE, [], Eligibility.MOUNTED, "Loading"),
    "of another base": (
        binding(),
        verified("style", kind="Adapter", baseRef={"name": "other"}),
        [],
        Eligibility.REFUSED,
        "BaseMismatch",
    ),
    "a base model": (
        binding(),
        verified("style", kind="Base"),
        [],
        Eligibility.REFUSED,
        "NotAnAdapter",
    ),
    "unknown": (binding(), None, [], Eligibility.REFUSED, "ArtifactNotFound"),
    "not looked at yet": (
        binding(),
        obj("ModelArtifact", "style", spec=STYLE["spec"]),
        [],
        Eligibility.WAITING,
        "ArtifactNotReady",
    ),
    "named like the base model": (
        binding(alias="tiny"),
        STYLE,
        [],
        Eligibility.REFUSED,
        "AliasTaken",
    ),
    "named like an older binding": (
        binding(),
        STYLE,
        [binding("a", created="2026-01-01")],
        Eligibility.REFUSED,
        "AliasTaken",
    ),
    "named like a younger binding": (
        binding(),
        STYLE,
        [binding("c", created="2026-01-03")],
        Eligibility.MOUNTED,
        "Loading",
    ),
}


@pytest.mark.parametrize("name", JUDGEMENTS)
def test_an_adapter_that_is(name: str) -> None:
    bound, artifact, others, outcome, reason = JUDGEMENTS[name]
    found = judge(bound, SERVED, artifact, [bound, *others])
    assert (found.outcome, str(found.reason)) == (outcome, reason)


def test_a_verdict_about_an_older_generation_does_not_count() -> None:
    stale = verified("style", kind="Adapter", baseRef={"name": "base"})
    stale["metadata"]["generation"] = 2
    assert judge(binding(), SERVED, stale, []).outcome is not Eligibility.MOUNTED


# --- instances -----------------------------------------------------------------------------------

INPUTS = instance_plan.InstanceInputs(f"/models/{GOOD}", 10, (), 1)


def revision(**changes: Any) -> str:
    spec = ModelInstanceSpec.model_validate({**VALID["ModelInstance"], **changes})
    return instance_plan.revision(obj("ModelInstance", "i"), spec, INPUTS, SETTINGS)


def test_the_revision_changes_with_everything_a_pod_depends_on_and_with_nothing_else() -> None:
    same = revision()
    assert same == revision(scaling={"min": 2, "max": 2})
    other_image = {**ENGINE, "image": "ringfence/engine-llamacpp@" + BAD}
    changed = {
        revision(serving={"modelName": "other"}),
        revision(serving={"modelName": "tiny-coder", "contextLength": 512}),
        revision(engine=other_image),
        revision(profile={"name": "cpu", "count": 2}),
    }
    with_adapter = instance_plan.InstanceInputs(
        INPUTS.model_path, 10, (MountedAdapter("style", "/models/x"),), 1
    )
    changed.add(instance_plan.revision(obj("ModelInstance", "i"), INSTANCE, with_adapter, SETTINGS))
    assert same not in changed
    assert len(changed) == 5


def test_an_engine_can_be_called_by_gateway_and_operator_and_can_call_nobody() -> None:
    policy = instance_plan.network_policy(obj("ModelInstance", "i"), SETTINGS)["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in policy
    (rule,) = policy["ingress"]
    assert rule["ports"] == [{"port": 8000, "protocol": "TCP"}]
    callers = [peer["podSelector"]["matchLabels"][types.COMPONENT] for peer in rule["from"]]
    assert callers == ["gateway", "operator"]


def test_the_weights_are_mounted_read_only_without_an_api_token() -> None:
    wanted = instance_plan.deployment(obj("ModelInstance", "i"), INSTANCE, INPUTS, SETTINGS)
    pod = wanted["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    mounts = {m["name"]: m for m in pod["containers"][0]["volumeMounts"]}
    assert mounts["models"]["readOnly"] is True
    claim = next(v for v in pod["volumes"] if v["name"] == "models")["persistentVolumeClaim"]
    assert claim["readOnly"] is True


QUESTION = Question("llama.cpp", "r", ("http://x",), "tiny", ("tiny",), True)
FAILURE = InstanceFailure.model_validate(
    {"pod": "p", "reason": "CrashLoopBackOff", "time": "2026-01-01T00:00:00Z"}
)
DONE = Rollout(1, 1, True)
STATES: dict[str, tuple[Rollout, InstanceFailure | None, Answer | None, bool, str, str]] = {
    "rolling out": (Rollout(1, 0), None, None, False, "False", "RollingOut"),
    "failing": (Rollout(1, 0), FAILURE, None, False, "False", "PodFailing"),
    "refused by a quota": (
        Rollout(0, 0, False, "exceeded quota"),
        None,
        None,
        False,
        "False",
        "PodFailing",
    ),
    "rolled out and not asked": (DONE, None, None, False, "Unknown", "SmokePending"),
    "unhealthy": (
        DONE,
        None,
        Answer(QUESTION, False, error="503"),
        True,
        "False",
        "EngineUnhealthy",
    ),
    "healthy before the answer": (
        DONE,
        None,
        Answer(QUESTION, True, ("tiny",)),
        False,
        "Unknown",
        "SmokePending",
    ),
    "healthy without an answer": (
        DONE,
        None,
        Answer(QUESTION, True, ("tiny",), error="no token"),
        False,
        "False",
        "SmokeFailed",
    ),
    "answered": (
        DONE,
        None,
        Answer(QUESTION, True, ("tiny",), Completion("tiny", 8, 1.0)),
        True,
        "True",
        "Ready",
    ),
    "answered before the operator restarted": (DONE, None, None, True, "True", "Ready"),
    "answered with an old failure": (DONE, FAILURE, None, True, "True", "Ready"),
}


@pytest.mark.parametrize("name", STATES)
def test_an_instance_that_is(name: str) -> None:
    rollout, failure, answer, smoked, status, reason = STATES[name]
    found = verdict.running(rollout, failure, answer, smoked)
    assert reasons(found)["Ready"] == (status, reason)


@pytest.mark.parametrize(
    ("change", "complete"),
    [
        ({}, True),
        ({"observedGeneration": 1}, False),
        ({"updatedReplicas": 0}, False),
        ({"replicas": 2}, False),
        ({"readyReplicas": 0}, False),
    ],
)
def test_a_rollout_is_complete_only_for_the_wanted_generation_and_without_old_pods(
    change: dict[str, int], complete: bool
) -> None:
    status = {"observedGeneration": 2, "replicas": 1, "readyReplicas": 1, "updatedReplicas": 1}
    deployment = {
        "metadata": {"generation": 2},
        "spec": {"replicas": 1, "template": {"metadata": {"labels": {types.REVISION: "r"}}}},
        "status": status | change,
    }
    assert verdict.read_rollout(deployment, "r").complete is complete
    assert verdict.read_rollout(deployment, "other").complete is False


def test_vllm_gets_its_adapters_as_arguments_and_may_not_look_anything_up() -> None:
    dialect = DIALECTS["vllm"]
    adapters = (MountedAdapter("style", "/models/s"),)
    arguments = dialect.command(INSTANCE, "/models/m", adapters)
    assert arguments[-2:] == ["--lora-modules", "style=/models/s"]
    assert "--served-model-name=tiny-coder" in arguments
    assert dialect.environment()["HF_HUB_OFFLINE"] == "1"


# --- boundaries, access, names, settings ---------------------------------------------------------


def test_the_policy_hash_changes_with_a_rule_and_not_with_the_order() -> None:
    boundary = obj("SecurityBoundary", "x")
    spec = SecurityBoundarySpec.model_validate(VALID["SecurityBoundary"])
    policies = boundary_plan.network_policies(boundary, spec)
    assert boundary_plan.policy_hash(policies) == boundary_plan.policy_hash(policies[::-1])
    assert boundary_plan.policy_hash(policies) != boundary_plan.policy_hash(policies[:-1])


@pytest.mark.parametrize(
    ("gateway", "status", "reason"),
    [
        (GatewayState(False, None, 0), "False", "NoGateway"),
        (GatewayState(True, None, 0), "False", "GatewayNotReady"),
        (GatewayState(True, None, 1), "False", "NoAddress"),
        (GatewayState(True, "http://x", 1), "True", "Ready"),
    ],
)
def test_access_is_ready_when_a_gateway_enforces_it(
    gateway: GatewayState, status: str, reason: str
) -> None:
    spec = GatewayAccessSpec.model_validate(VALID["GatewayAccess"])
    found = reasons(access_findings(spec, gateway, set()))
    assert found["Ready"] == (status, reason)
    assert found["ResolvedModels"] == ("False", "UnknownModel")


def test_child_names_fit_and_stay_apart() -> None:
    long, longer = "a" * 63, "a" * 62 + "b"
    names = {child_name(long, "fetch"), child_name(longer, "fetch"), child_name("x", "fetch")}
    assert len(names) == 3
    assert all(len(name) <= 63 for name in names)
    assert "x-fetch" in names


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"OPERATOR_NAMESPACE": ""}, "OPERATOR_NAMESPACE"),
        ({"OPERATOR_BOUNDARY": ""}, "OPERATOR_BOUNDARY"),
        ({"OPERATOR_FETCHER_IMAGE": "ringfence/fetcher:latest"}, "OPERATOR_FETCHER_IMAGE"),
        ({"OPERATOR_ENGINE_PORT": "http"}, "OPERATOR_ENGINE_PORT"),
    ],
)
def test_a_wrong_setting_is_named(change: dict[str, str], named: str) -> None:
    environment = {
        "OPERATOR_NAMESPACE": "boundary-x",
        "OPERATOR_SYSTEM_NAMESPACE": "ringfence-system",
        "OPERATOR_FETCHER_IMAGE": "ringfence/fetcher@" + GOOD,
        "OPERATOR_IDENTITY": "pod",
        "OPERATOR_BOUNDARY": "x",
    }
    assert Settings.from_environment(environment).namespace == "boundary-x"
    with pytest.raises(SettingsError, match=named):
        Settings.from_environment(environment | change)
