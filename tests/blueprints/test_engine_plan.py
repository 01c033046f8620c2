"""The blueprint under the control plane's own engine process, and its plan as a constraint.

What a person approves is made before the foundation exists. The previews of the real apply, which
know more, must satisfy it, or every install would stop and ask again.
"""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from controlplane.adapters.pulumi import constraint
from controlplane.adapters.pulumi.messages import (
    UNKNOWN,
    Command,
    FromChild,
    Line,
    OpenSpec,
    Result,
)
from controlplane.adapters.pulumi.messages import ProgramRef as Reference
from tests.blueprints.engine import INPUTS, PROGRAM, ROOT, Engine

pytestmark = pytest.mark.slow


class _Child:
    """The engine's child process, on a state in files."""

    def __init__(self, engine: Engine) -> None:
        work = engine.home / "work"
        work.mkdir(exist_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "controlplane.adapters.pulumi.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=engine.environment() | {"AWS_REGION": INPUTS["region"]},
            text=True,
        )
        self._send(
            OpenSpec(
                project="payments",
                backend_url=f"file://{engine.home}/state",
                pulumi=str(engine.pulumi),
                work_dir=str(work),
                pulumi_home=str(engine.home),
                parallel=16,
            )
        )

    def run(
        self,
        operation: Any,
        stack: str,
        upstream: dict[str, Any] | None = None,
        *,
        refresh: bool = False,
        exists: bool = False,
        **inputs: Any,
    ) -> Result:
        """Run one operation of the blueprint and return its result."""
        program = Reference(root=str(ROOT), entry=f"{PROGRAM}:{stack}")
        self._send(
            Command(
                operation=operation,
                stack=stack,
                program=program,
                inputs={**INPUTS, **inputs},
                upstream=upstream,
                refresh=refresh,
                exists=exists,
            )
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = FromChild.validate_json(line)
            if isinstance(answer, Result):
                assert answer.ok, answer.error
                return answer
        raise AssertionError("the child ended without a result")

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def _send(self, line: Line) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.model_dump_json() + "\n")
        self._process.stdin.flush()


@pytest.fixture
def child(engine: Engine) -> Iterator[_Child]:
    """Start the child and end it."""
    started = _Child(engine)
    yield started
    started.close()


def test_what_becomes_known_after_the_foundation_satisfies_the_approved_plan(child: _Child) -> None:
    approved = constraint.build(
        [child.run("preview", "foundation"), child.run("preview", "cluster")]
    )
    assert approved.counts() == {"foundation": {"create": 19}, "cluster": {"create": 16}}
    assert constraint.satisfies(approved, child.run("preview", "foundation")) == []
    made = child.run("up", "foundation")
    assert made.complete
    fresh = child.run("preview", "cluster", made.outputs)
    assert constraint.satisfies(approved, fresh) == []
    assert made.outputs["kms_key_arn"] in fresh.model_dump_json()
    child.run("destroy", "foundation")


def test_a_refreshed_plan_names_what_was_changed_outside_and_its_apply_sets_it_right(
    child: _Child, engine: Engine
) -> None:
    made = child.run("up", "foundation")
    ec2 = engine.client("ec2")
    ec2.create_tags(
        Resources=[made.outputs["vpc_id"]], Tags=[{"Key": "ringfence:boundary", "Value": "theirs"}]
    )
    of_it = [{"Name": "vpc-id", "Values": [made.outputs["vpc_id"]]}]
    (endpoint,) = ec2.describe_vpc_endpoints(Filters=of_it)["VpcEndpoints"]
    ec2.delete_vpc_endpoints(VpcEndpointIds=[endpoint["VpcEndpointId"]])
    seen = child.run("preview", "foundation", exists=True, refresh=True)
    doing = {r.urn.rsplit("::", 1)[-1]: r.op for r in seen.plan if r.op != "same"}
    assert doing == {"vpc": "update", "s3": "create"}
    approved = constraint.build([seen])
    (changed,) = constraint.changes([seen]).values()
    assert [(c["old"], c["new"]) for c in changed] == [("theirs", "payments")]
    assert seen.outputs == made.outputs
    again = child.run("preview", "foundation", exists=True, refresh=True)
    assert constraint.satisfies(approved, again) == []
    assert child.run("up", "foundation", exists=True, refresh=True).complete
    other = child.run("preview", "foundation", exists=True, refresh=True, cidr="10.30.0.0/16")
    assert {r.urn.rsplit("::", 1)[-1] for r in other.plan if r.op == "create"} == set()
    assert "vpc" in {r.urn.rsplit("::", 1)[-1] for r in other.plan if r.op == "replace"}
    assert other.outputs["vpc_id"] == UNKNOWN
    assert other.outputs["kms_key_arn"] == made.outputs["kms_key_arn"]
    child.run("destroy", "foundation", exists=True)
