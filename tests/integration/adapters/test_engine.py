"""The engine against a real CLI, a real PostgreSQL and moto."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from controlplane.adapters.pulumi import constraint
from controlplane.adapters.pulumi.engine import StackProgram
from controlplane.adapters.pulumi.errors import (
    EngineFailedError,
    EngineStoppedError,
    ProgramFailedError,
    StateLockedError,
)
from controlplane.adapters.pulumi.messages import EngineEvent, ProgramRef, Result
from controlplane.adapters.pulumi.process import Limits, ProcessIdentity
from controlplane.sagas.provisioning.drift import compare
from controlplane.sagas.provisioning.stacks import protect, resources_of
from tests.integration.adapters.support import PROJECT, Bench, ignore, stack, until

CANARY = "canary-7f3a9c-must-not-travel"


def session_members(session: int) -> list[str]:
    found = subprocess.run(
        ["ps", "-o", "pid=", "--sid", str(session)], capture_output=True, text=True, check=False
    )
    return found.stdout.split()


def test_one_child_previews_applies_and_destroys_a_stack(bench: Bench) -> None:
    events: list[EngineEvent] = []
    bench.state.claim(bench.boundary_id, bench.run_id, 1)
    identities: list[ProcessIdentity] = []
    with (
        bench.broker() as broker,
        bench.engine().open(bench.run(broker), identities.append) as session,
    ):
        plan = session.preview(stack("network", cidr="10.41.0.0/16"), ignore)
        assert plan.changes == {"create": 4}
        assert bench.vpcs("10.41.0.0/16") == []
        done = session.up(stack("network", cidr="10.41.0.0/16"), events.append)
        assert bench.vpcs("10.41.0.0/16") == [done.outputs["vpc_id"]]
        again = session.preview(stack("network", cidr="10.41.0.0/16"), ignore)
        assert again.changes == {"same": 4}
        session.destroy("network", ignore)
    assert bench.vpcs("10.41.0.0/16") == []
    assert done.complete
    assert [event.seq for event in events] == sorted({event.seq for event in events})
    created = {event.urn for event in events if event.event == "resource.done"}
    assert len(created) == 5
    assert session_members(identities[0].pid) == []


def test_a_session_says_what_it_took_of_the_host(bench: Bench) -> None:
    bench.state.claim(bench.boundary_id, bench.run_id, 1)
    with (
        capture_logs() as logs,
        bench.broker() as broker,
        bench.engine().open(bench.run(broker)) as session,
    ):
        session.up(stack("network", cidr="10.47.0.0/16"), ignore)
        session.destroy("network", ignore)
    (said,) = [line for line in logs if line["event"] == "engine.closed"]
    assert said["run_id"] == str(bench.run_id)
    assert said["resources"] == 4
    for part in ("child", "engine", "plugin"):
        assert said[f"{part}_peak_mib"] > 10
        assert said[f"{part}_cpu_seconds"] > 0


def test_what_is_protected_stays_with_what_it_needs_and_the_rest_goes(bench: Bench) -> None:
    bench.state.claim(bench.boundary_id, bench.run_id, 1)
    with bench.broker() as broker, bench.engine().open(bench.run(broker)) as session:
        session.up(stack("network", cidr="10.46.0.0/16"), ignore)
        deployment = session.export("network")
        (vpc,) = [r["urn"] for r in resources_of(deployment) if r["type"] == "aws:ec2/vpc:Vpc"]
        assert protect(deployment, {vpc})
        assert not protect(deployment, {vpc})
        session.import_state("network", deployment)
        with pytest.raises(EngineFailedError, match="protect"):
            session.destroy("network", ignore)
        session.destroy("network", ignore, keep_protected=True)
        left = [r["urn"] for r in resources_of(session.export("network"))]
        assert left == [vpc]
        assert len(bench.vpcs("10.46.0.0/16")) == 1
        # Once only the protected is left, another removal is no error.
        session.destroy("network", ignore, keep_protected=True)
        last = session.export("network")
        assert protect(last, set())
        session.import_state("network", last)
        session.destroy("network", ignore)
        assert resources_of(session.export("network")) == []
    assert bench.vpcs("10.46.0.0/16") == []


def test_what_was_deleted_by_hand_is_no_error_of_a_destruction(bench: Bench) -> None:
    bench.state.claim(bench.boundary_id, bench.run_id, 1)
    with bench.broker() as broker, bench.engine().open(bench.run(broker)) as session:
        session.up(stack("network", cidr="10.47.0.0/16"), ignore)
        (vpc,) = bench.vpcs("10.47.0.0/16")
        ec2 = bench.aws("ec2")
        wanted = [{"Name": "vpc-id", "Values": [vpc]}]
        for subnet in ec2.describe_subnets(Filters=wanted)["Subnets"]:
            ec2.delete_subnet(SubnetId=subnet["SubnetId"])
        session.destroy("network", ignore)
        assert resources_of(session.export("network")) == []
    assert bench.vpcs("10.47.0.0/16") == []


def test_a_scratch_engine_shows_what_changed_outside_and_keeps_nothing(bench: Bench) -> None:
    bench.state.claim(bench.boundary_id, bench.run_id, 1)
    with bench.broker() as broker, bench.engine().open(bench.run(broker)) as session:
        session.up(stack("network", cidr="10.48.0.0/16", secret="s3cret-value"), ignore)
    (vpc,) = bench.vpcs("10.48.0.0/16")
    bench.aws("ec2").create_tags(Resources=[vpc], Tags=[{"Key": "owner", "Value": "them"}])
    writer, bench.run_id = bench.run_id, uuid4()
    before = bench.state.export_stack(bench.boundary_id, PROJECT, "network")
    assert before is not None
    with bench.broker() as broker, bench.engine().open_scratch(bench.run(broker)) as session:
        session.import_state("network", before)
        session.refresh("network", ignore)
        (found,) = compare("network", before, session.export("network"))
    assert (found.cloud_id, found.change) == (vpc, "changed")
    assert [p.document() for p in found.properties] == [
        {"path": "tags.owner", "was": "(not set)", "is": "them"}
    ]
    assert bench.state.export_stack(bench.boundary_id, PROJECT, "network") == before
    # The run that wrote still holds the state: nothing was claimed beside it.
    bench.state.claim(bench.boundary_id, writer, 1)
    assert not (bench.engine().folder(bench.run_id).root / "scratch").exists()


def test_outputs_and_secrets_survive_a_fresh_work_folder(bench: Bench) -> None:
    target = stack("network", cidr="10.42.0.0/16", secret="s3cret-value")
    bench.state.claim(bench.boundary_id, bench.run_id, 1)
    with bench.broker() as broker:
        with bench.engine().open(bench.run(broker)) as session:
            events: list[EngineEvent] = []
            session.up(target, events.append)
        assert "s3cret-value" not in "".join(event.model_dump_json() for event in events)
        bench.engine().folder(bench.run_id).remove()
        bench.run_id = type(bench.run_id)(int=bench.run_id.int + 1)
        bench.state.claim(bench.boundary_id, bench.run_id, 1)
        with bench.engine().open(bench.run(broker)) as session:
            assert session.outputs("network")["password"] == "s3cret-value"
            assert session.up(target, ignore).changes == {"same": 4}
            exported = session.export("network")
    assert "s3cret-value" not in str(exported)


def test_the_child_gets_nothing_of_the_workers_environment(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RINGFENCE_CANARY", CANARY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    monkeypatch.setenv("AWS_PROFILE", CANARY)
    bench.state.claim(bench.boundary_id, bench.run_id, 1)
    seen: list[bytes] = []
    with bench.broker() as broker:

        def look(identity: ProcessIdentity) -> None:
            seen.append(Path(f"/proc/{identity.pid}/environ").read_bytes())
            seen.append(Path(f"/proc/{identity.pid}/cmdline").read_bytes())

        with bench.engine().open(bench.run(broker), look) as session:
            done = session.up(stack("show_environment"), ignore)
    environment = done.outputs["environment"]
    assert CANARY not in str(environment)
    assert CANARY.encode() not in b"".join(seen)
    assert not {name for name in environment if name.startswith("RINGFENCE_")}
    assert "AWS_SECRET_ACCESS_KEY" not in environment
    assert environment["PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION"] == "true"


def test_no_password_reaches_arguments_environment_or_files_left_behind(bench: Bench) -> None:
    bench.state.claim(bench.boundary_id, bench.run_id, 1)
    password = bench.state.pgpass_line().strip().rsplit(":", 1)[1]
    passphrase = (bench.root / "passphrase").read_text()
    seen = bytearray()
    with bench.broker() as broker, bench.engine().open(bench.run(broker)) as session:

        def look(_: EngineEvent) -> None:
            for name in os.listdir("/proc"):
                if name.isdigit() and _is_ours(name, bench):
                    for part in ("environ", "cmdline"):
                        seen.extend(_read(Path(f"/proc/{name}/{part}")))

        session.up(stack("network", cidr="10.43.0.0/16"), look)
        session.destroy("network", ignore)
    assert b"PULUMI_BACKEND_URL" in seen
    for secret in (password, passphrase):
        assert secret.encode() not in seen
    left = [path for path in (bench.root / "runs").rglob("*") if path.is_file()]
    assert not [path for path in left if password.encode() in path.read_bytes()]


def _is_ours(pid: str, bench: Bench) -> bool:
    return str(bench.root).encode() in _read(Path(f"/proc/{pid}/environ"))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_program_that_does_not_exist_is_named(bench: Bench) -> None:
    bench.state.claim(bench.boundary_id, bench.run_id, 1)
    wrong = StackProgram("x", ProgramRef(root="/nowhere", entry="absent:run"), {})
    with (
        bench.engine().open(bench.run(None)) as session,
        pytest.raises(ProgramFailedError, match="cannot import absent from /nowhere"),
    ):
        session.preview(wrong, ignore)


def test_a_refused_resource_is_named_with_the_providers_reason(bench: Bench) -> None:
    bench.state.claim(bench.boundary_id, bench.run_id, 1)
    with (
        bench.broker() as broker,
        bench.engine().open(bench.run(broker)) as session,
        pytest.raises(EngineFailedError, match=r"vpc: .*CreateVpc") as caught,
    ):
        session.up(stack("network", cidr="10.0.0.0/8"), ignore)
    assert [item.urn for item in caught.value.diagnostics if item.urn]


def test_without_a_lease_the_engine_gets_no_credentials(bench: Bench) -> None:
    bench.state.claim(bench.boundary_id, bench.run_id, 1)
    bench.lease_held = False
    with (
        bench.broker() as broker,
        bench.engine().open(bench.run(broker)) as session,
        pytest.raises(EngineFailedError),
    ):
        session.up(stack("network", cidr="10.44.0.0/16"), ignore)
    assert bench.vpcs("10.44.0.0/16") == []


def test_a_program_that_hangs_is_stopped_by_the_clock_and_leaves_no_process(bench: Bench) -> None:
    bench.state.claim(bench.boundary_id, bench.run_id, 1)
    identities: list[ProcessIdentity] = []
    limits = Limits(wall_clock_seconds=6, grace_seconds=2)
    with (
        pytest.raises(EngineStoppedError) as caught,
        bench.engine(limits).open(bench.run(None), identities.append) as session,
    ):
        session.preview(stack("hang"), ignore)
    assert caught.value.stable_code == "engine-timeout"
    assert session_members(identities[0].pid) == []


def test_a_program_that_grows_is_stopped_by_its_memory(bench: Bench) -> None:
    bench.state.claim(bench.boundary_id, bench.run_id, 1)
    limits = Limits(memory_bytes=900 << 20)
    with (
        pytest.raises(EngineStoppedError) as caught,
        bench.engine(limits).open(bench.run(None)) as session,
    ):
        session.preview(stack("grow", bytes=1 << 30), ignore)
    assert caught.value.stable_code == "engine-memory"


def test_an_error_in_the_reader_stops_the_engine_and_comes_through(bench: Bench) -> None:
    bench.state.claim(bench.boundary_id, bench.run_id, 1)

    def fail(event: EngineEvent) -> None:
        raise LookupError(f"lease lost at event {event.seq}")

    limits = Limits(grace_seconds=10)
    with (
        bench.broker() as broker,
        pytest.raises(LookupError, match="lease lost"),
        bench.engine(limits).open(bench.run(broker)) as session,
    ):
        session.up(stack("buckets", count=30, prefix="reader-fails"), fail)
    names = {bucket["Name"] for bucket in bench.aws("s3").list_buckets()["Buckets"]}
    assert "reader-fails-29" not in names


def test_the_plan_is_satisfied_by_a_fresh_preview_and_by_the_rest_of_a_half_done_apply(
    bench: Bench,
) -> None:
    bench.state.claim(bench.boundary_id, bench.run_id, 1)
    full, few = stack("network", cidr="10.45.0.0/16"), stack("network", cidr="10.45.0.0/16", few=1)
    with bench.broker() as broker, bench.engine().open(bench.run(broker)) as session:
        approved = constraint.build([session.preview(full, ignore)])
        assert approved.holes() >= 2
        fresh = session.preview(full, ignore)
        assert constraint.satisfies(approved, fresh) == []
        assert constraint.build([fresh]).digest == approved.digest
        session.up(few, ignore)
        rest = session.preview(full, ignore)
        assert rest.changes == {"same": 3, "create": 1}
        assert constraint.satisfies(approved, rest) == []
        other = session.preview(stack("network", cidr="10.46.0.0/16"), ignore)
        session.destroy("network", ignore)
    rules = {violation.rule for violation in constraint.satisfies(approved, other)}
    assert "other-operation" in rules or "value" in rules


def test_a_replacement_is_planned_as_one_with_its_new_values_and_what_forces_it(
    bench: Bench,
) -> None:
    bench.state.claim(bench.boundary_id, bench.run_id, 1)
    with bench.broker() as broker, bench.engine().open(bench.run(broker)) as session:
        session.up(stack("network", cidr="10.48.0.0/16"), ignore)
        preview = session.preview(stack("network", cidr="10.49.0.0/16"), ignore)
        again = session.preview(stack("network", cidr="10.49.0.0/16"), ignore)
        session.destroy("network", ignore)
    vpc = next(item for item in preview.plan if item.type == "aws:ec2/vpc:Vpc")
    assert (vpc.op, vpc.inputs["cidrBlock"]) == ("replace", "10.49.0.0/16")
    told = {change["path"]: change for change in constraint.changes([preview])[vpc.urn]}
    assert told["cidrBlock"] == {
        "path": "cidrBlock", "kind": "update-replace",
        "old": "10.48.0.0/16", "new": "10.49.0.0/16",
    }  # fmt: skip
    approved = constraint.build([preview])
    assert constraint.satisfies(approved, again) == []
    assert constraint.build([again]).digest == approved.digest


def test_a_lock_left_by_another_engine_is_told_apart(bench: Bench) -> None:
    bench.state.claim(bench.boundary_id, bench.run_id, 1)
    with bench.broker() as broker, bench.engine().open(bench.run(broker)) as session:
        session.up(stack("network", cidr="10.47.0.0/16"), ignore)
        _plant_lock(bench)
        with pytest.raises(StateLockedError):
            session.up(stack("network", cidr="10.47.0.0/16"), ignore)
        assert bench.state.clear_locks(bench.boundary_id, bench.run_id, 1) == 1
        result: Result = session.destroy("network", ignore)
    assert result.ok


def _plant_lock(bench: Bench) -> None:
    import psycopg

    url = bench.state.backend_url(bench.boundary_id, bench.run_id, 1)
    password = bench.state.pgpass_line().strip().rsplit(":", 1)[1]
    database = url.split("?")[0].rsplit("/", 1)[1]
    key = f"{database}/.pulumi/locks/organization/acme-payments/network/0000.json"
    with psycopg.connect(url.replace("@", f":{password}@", 1)) as connection:
        connection.execute(
            "INSERT INTO pulumi_state (key, data) VALUES (%s, %s)",
            [key, '{"data": "eyJwaWQiOiAxfQ=="}'],
        )


def test_the_childs_death_takes_the_cli_along(bench: Bench) -> None:
    bench.state.claim(bench.boundary_id, bench.run_id, 1)
    identities: list[ProcessIdentity] = []
    killed: list[int] = []

    def kill(event: EngineEvent) -> None:
        if event.op == "create" and not killed:
            killed.append(identities[0].pid)
            os.kill(identities[0].pid, 9)

    with (
        bench.broker() as broker,
        bench.engine().open(bench.run(broker), identities.append) as session,
    ):
        with pytest.raises(EngineStoppedError) as caught:
            session.up(stack("buckets", count=40, prefix="child-dies"), kill)
        until(lambda: not _clis(bench), seconds=5, what="the end of the CLI")
    assert caught.value.stable_code == "engine-died"


def _clis(bench: Bench) -> list[str]:
    return [
        name
        for name in os.listdir("/proc")
        if name.isdigit()
        and _is_ours(name, bench)
        and b"/pulumi\0" in _read(Path(f"/proc/{name}/cmdline"))
    ]
