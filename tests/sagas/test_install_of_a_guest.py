"""A boundary that lives in another one's cluster: its way in, what it installs, what it leaves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb
from sqlalchemy import text

from controlplane.core.db import Scope
from controlplane.core.errors import ConflictError, InvalidRequestError
from controlplane.core.ids import new_id
from controlplane.domains.boundaries.repository import get_boundary
from controlplane.domains.connections.repository import get_for_boundary
from controlplane.domains.installs import hosting
from controlplane.sagas.install_deprovision import DEFINITION as REMOVAL
from controlplane.sagas.install_provision import DEFINITION
from controlplane.sagas.install_update import DEFINITION as UPDATE
from tests.sagas.bench import wait_until
from tests.sagas.fake_world import OUTPUTS
from tests.sagas.properties import failing
from tests.sagas.stage import Stage
from tests.sagas.test_install_by_runner import IMAGE
from tests.sagas.test_install_update import ask as ask_update

CLUSTER = "ringfence-payments"
GUEST_INPUTS = {"cluster": "existing", "host": "core"}
APPLIED = {"cidr": "10.20.0.0/16", "guests": ["payments"]}


def add_host(stage: Stage, inputs: dict[str, Any] = APPLIED) -> UUID:
    """Write a boundary `core` of the same organization whose install stands; return its id."""
    boundary, install, run = new_id(), new_id(), new_id()
    organization = stage.bench.tenant.organization_id
    person = stage.bench.tenant.requester.actor.principal_id
    target = {"account": "111122223333", "region": "eu-central-1"}
    stage.bench.change(
        "INSERT INTO boundary (organization_id, id, name, display_name, target, blueprint,"
        " blueprint_version, inputs) VALUES (%s, %s, 'core', 'Core', %s, 'eks-model-stack',"
        " '0.4.0', '{}')",
        organization, boundary, Jsonb(target),
    )  # fmt: skip
    stage.bench.change(
        "INSERT INTO install (organization_id, boundary_id, id, name, lifecycle, health, drift,"
        " access, created_by) VALUES (%s, %s, %s, 'main', 'installed', 'healthy', 'unknown',"
        " 'closed', %s)",
        organization, boundary, install, person,
    )  # fmt: skip
    stage.bench.change(
        "INSERT INTO run (organization_id, boundary_id, id, install_id, kind, state, params,"
        " requested_by, actor, request_id, finished_at) VALUES (%s, %s, %s, %s,"
        " 'install.provision', 'succeeded', %s, %s, '{}', 'r', now())",
        organization, boundary, run, install, Jsonb({"inputs": inputs}), person,
    )  # fmt: skip
    return boundary


@pytest.fixture
def guest(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A stage whose boundary is a guest of `core`, which lets it in."""
    monkeypatch.setitem(OUTPUTS["cluster"], "cluster_name", "ringfence-core")
    host = add_host(stage)
    stage.bench.change(
        "UPDATE boundary SET inputs = %s, target = %s WHERE name = 'payments'",
        Jsonb(GUEST_INPUTS), Jsonb({"account": "111122223333", "region": "eu-central-1"}),
    )  # fmt: skip
    stage.bench.change("UPDATE install_revision SET inputs = %s", Jsonb(GUEST_INPUTS))
    stage.bench.change(
        "UPDATE install SET host_boundary_id = %s WHERE boundary_id = %s",
        host, stage.bench.tenant.boundary_id,
    )  # fmt: skip
    settings = stage.ports.settings
    settings = replace(settings, images={**settings.images, "ringfence/runner": IMAGE})
    stage.ports = replace(stage.ports, settings=settings)
    return stage


def test_a_guest_comes_in_as_its_group_and_installs_nothing_of_the_whole_cluster(
    guest: Stage,
) -> None:
    run = guest.start()
    assert guest.go(run) == "succeeded"
    params = guest.bench.run(run)["params"]
    assert params["inputs"]["cidr"] == "10.20.0.0/16"
    assert params["inputs"]["reach"] == "in-vpc-runner"
    assert {stack["p90"] for stack in params["stacks"]} == {8.0}
    for way in guest.world.ways:
        assert way.cluster == "ringfence-core"
        assert way.runner is not None
        assert way.guest is not None
        assert (way.guest.group, way.guest.namespace) == (
            "ringfence-guest-payments", "ringfence-system-payments",
        )  # fmt: skip
    values = guest.world.values
    assert values["customResources"] == values["clusterScope"] == {"install": False}
    assert guest.world.release_namespace == "ringfence-system-payments"
    assert guest.bench.run(run)["plan"]["shared"] == {
        "cluster": "ringfence-core", "host": "core", "guests": [],
    }  # fmt: skip
    _, certificate = guest.certificate()
    assert (certificate.cluster, certificate.host) == ("ringfence-core", "core")


def test_an_unwound_guest_leaves_nothing_in_its_hosts_cluster(guest: Stage) -> None:
    run = guest.start()
    broken = failing(DEFINITION, "stack", after_action=True)
    assert guest.go(run, broken) == "closing"
    assert guest.world.emptied == ("boundary-payments", "ringfence-system-payments")
    assert guest.world.left() == set()


def test_a_guests_removal_empties_its_namespaces_and_leaves_the_cluster(guest: Stage) -> None:
    guest.world.things = {"foundation", "cluster", "release", "bucket", "eks"}
    guest.bench.change(
        "UPDATE install SET lifecycle = 'installed', health = 'healthy' WHERE boundary_id = %s",
        guest.bench.tenant.boundary_id,
    )
    run = guest.start(REMOVAL, {"reason": "the pilot is over", "purge": False})
    assert guest.go(run, REMOVAL) == "closing"
    assert guest.world.emptied == ("boundary-payments", "ringfence-system-payments")
    assert {way.cluster for way in guest.world.ways} == {"ringfence-core"}


def test_a_guest_is_not_taken_out_of_a_cluster_that_does_not_answer(guest: Stage) -> None:
    guest.world.things = {"foundation", "cluster", "release", "bucket", "eks"}
    guest.world.lost_cluster = True
    guest.bench.change(
        "UPDATE install SET lifecycle = 'installed', health = 'healthy' WHERE boundary_id = %s",
        guest.bench.tenant.boundary_id,
    )
    run = guest.start(REMOVAL, {"reason": "the pilot is over", "purge": False})
    guest.go(run, REMOVAL)
    assert guest.bench.steps(run)["reach_open"]["error_code"] == "cluster-unreachable"
    assert {"foundation", "cluster", "release"} <= guest.world.things


def test_a_host_lets_a_guest_in_by_an_update_that_upgrades_its_release_only(
    stage: Stage,
) -> None:
    assert stage.go(stage.start()) == "succeeded"
    assert "guests" not in stage.world.values
    stage.open_grant()
    stage.world.calls.clear()
    run = ask_update(stage, guests=["research"])
    assert stage.go(run, UPDATE) == "succeeded"
    assert stage.world.calls == []
    assert stage.world.values["guests"] == ["research"]
    plan = stage.bench.run(run)["plan"]
    assert plan["update"]["release"] is True
    assert plan["shared"] == {"cluster": CLUSTER, "host": None, "guests": ["research"]}


def test_an_update_of_a_guest_goes_in_by_its_own_way(guest: Stage) -> None:
    assert guest.go(guest.start()) == "succeeded"
    guest.open_grant()
    guest.world.ways.clear()
    run = ask_update(guest)
    assert guest.go(run, UPDATE) == "succeeded"
    assert guest.bench.run(run)["params"]["inputs"]["host"] == "core"
    assert all(way.guest is not None for way in guest.world.ways)


def ask(stage: Stage, inputs: dict[str, Any]) -> hosting.Host | None:
    """Ask for the host as an install does, in a transaction of the API."""
    with stage.bench.api.transaction(stage.bench.tenant.scope) as session:
        boundary = get_boundary(session, "payments")
        return hosting.require_host(
            session, boundary, get_for_boundary(session, boundary.id), inputs
        )


def test_a_host_that_stands_and_lets_the_boundary_in_gives_its_addresses(guest: Stage) -> None:
    host = ask(guest, GUEST_INPUTS)
    assert host is not None
    assert (host.name, host.cidr) == ("core", "10.20.0.0/16")


@pytest.mark.parametrize(
    ("inputs", "field"),
    [
        ({"cidr": "10.20.0.0/16"}, "inputs.cluster"),
        (GUEST_INPUTS | {"host": "ghost"}, "inputs.cluster"),
        (GUEST_INPUTS | {"cidr": "10.20.0.0/16"}, "inputs.cidr"),
        (GUEST_INPUTS | {"zones": ["a", "b"]}, "inputs.zones"),
    ],
    ids=["own-cluster", "another-host", "addresses", "zones"],
)
def test_inputs_that_do_not_fit_the_role_or_are_the_hosts_are_refused(
    guest: Stage, inputs: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        ask(guest, inputs)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("""UPDATE run SET params = '{"inputs": {"cidr": "10.20.0.0/16"}}'""", "not-let-in"),
        ("""UPDATE run SET params = '{"inputs": {"cluster": "existing"}}'""", "host-is-guest"),
        ("UPDATE install SET lifecycle = 'removed'", "host-not-ready"),
        ("UPDATE run SET state = 'failed'", "host-not-ready"),
        ("UPDATE run SET kind = 'install.deprovision', finished_at = NULL", "host-not-ready"),
    ],
    ids=["not-let-in", "a-guest-itself", "removed", "never-installed", "being-removed"],
)
def test_a_host_that_is_not_ready_is_refused_by_name(guest: Stage, change: str, code: str) -> None:
    guest.bench.change(change)
    with pytest.raises(ConflictError) as refused:
        ask(guest, GUEST_INPUTS)
    assert refused.value.stable_code == code
    assert "core" in refused.value.public_message


def test_a_host_cannot_go_nor_put_a_guest_out_while_it_lives_there(guest: Stage) -> None:
    (host,) = guest.bench.rows("SELECT id FROM boundary WHERE name = 'core'")
    scope = Scope.boundary(guest.bench.tenant.organization_id, host["id"])
    with guest.bench.api.transaction(scope) as session:
        with pytest.raises(ConflictError, match="payments lives in this cluster") as refused:
            hosting.require_no_guests(session, host["id"])
        assert refused.value.detail == {"guests": ["payments"]}
        with pytest.raises(InvalidRequestError, match="payments lives in this cluster"):
            hosting.require_guests_kept(session, host["id"], {"guests": ["other"]})
        hosting.require_guests_kept(session, host["id"], {"guests": ["payments", "other"]})
    guest.bench.change("UPDATE install SET lifecycle = 'removed'")
    with guest.bench.api.transaction(scope) as session:
        hosting.require_no_guests(session, host["id"])


def test_a_guest_waits_while_its_host_is_asked_to_go(guest: Stage) -> None:
    (host,) = guest.bench.rows("SELECT id FROM boundary WHERE name = 'core'")
    guest.bench.change("UPDATE install SET lifecycle = 'removed' WHERE lifecycle = 'requested'")
    scope = Scope.boundary(guest.bench.tenant.organization_id, host["id"])
    waiting = (
        "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database ="
        " (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    with ThreadPoolExecutor(1) as pool:
        with guest.bench.api.transaction(scope) as session:
            hosting.require_no_guests(session, host["id"])
            asked = pool.submit(ask, guest, GUEST_INPUTS)
            wait_until(lambda: bool(guest.bench.rows(waiting)), "the guest waits for its host")
            assert not asked.done()
            session.execute(
                text("UPDATE install SET lifecycle = 'removing' WHERE boundary_id = :host"),
                {"host": host["id"]},
            )
        with pytest.raises(ConflictError) as refused:
            asked.result(timeout=30)
    assert refused.value.stable_code == "host-not-ready"


def test_a_host_is_asked_about_by_its_own_guests_only(guest: Stage) -> None:
    (host,) = guest.bench.rows("SELECT id FROM boundary WHERE name = 'core'")
    tenant = guest.bench.tenant
    with (
        pytest.raises(Exception, match="not in the scope"),
        guest.bench.api.transaction(Scope.boundary(tenant.organization_id, host["id"])) as session,
    ):
        hosting.find_host(session, tenant.boundary_id, "core")
    with (
        pytest.raises(Exception, match="not in the scope"),
        guest.bench.api.transaction(tenant.scope) as session,
    ):
        hosting.guests_of(session, host["id"])
