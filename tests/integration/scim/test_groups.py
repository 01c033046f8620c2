"""Groups over SCIM: they carry the file's roles, and neither undoes the other's word."""

from __future__ import annotations

from typing import Any

from tests.integration.api.conftest import PersonOf
from tests.integration.api.people import organization
from tests.integration.scim.conftest import GROUP, Scim

GROUPS = "/v1/organizations/acme/groups"


def groups(acme: PersonOf) -> dict[str, Any]:
    """Return the organization's groups by name."""
    return {g["name"]: g for g in acme("max").get(GROUPS).json()["groups"]}


def test_a_pushed_group_of_the_files_name_gives_the_files_role(acme: PersonOf, scim: Scim) -> None:
    rui = scim.user("rui@acme.test")
    assert acme("rui").get("/v1/boundaries/payments").status_code == 404
    made = scim.group("payments-admins", rui)
    assert acme("rui").get("/v1/boundaries/payments/gateway-keys").status_code == 200
    members = groups(acme)["payments-admins"]["members"]
    assert [(m["subject"], m["sources"]) for m in members] == [
        ("bea@acme.test", ["file"]),
        ("rui@acme.test", ["scim"]),
    ]
    # SCIM sees its own word only.
    shown = scim.call("GET", f"/Groups/{made['id']}").json()["members"]
    assert [m["value"] for m in shown] == [rui["id"]]
    assert scim.call("GET", f"/Users/{rui['id']}").json()["groups"][0]["value"] == made["id"]


def test_members_are_added_and_removed_in_every_form(acme: PersonOf, scim: Scim) -> None:
    one, two, three = (scim.user(f"{n}@acme.test") for n in ("one", "two", "three"))
    path = f"/Groups/{scim.group('team', one)['id']}"

    def values() -> set[str]:
        return {m["value"] for m in scim.call("GET", path).json().get("members", [])}

    add = [{"value": two["id"]}, {"value": three["id"]}]
    assert scim.patch(path, {"op": "Add", "path": "members", "value": add}).status_code == 200
    assert values() == {one["id"], two["id"], three["id"]}
    scim.patch(path, {"op": "remove", "path": f'members[value eq "{one["id"]}"]'})
    assert values() == {two["id"], three["id"]}
    # As Microsoft Entra sends it.
    scim.patch(path, {"op": "Remove", "path": "members", "value": [{"value": two["id"]}]})
    assert values() == {three["id"]}
    scim.patch(path, {"op": "replace", "path": "members", "value": [{"value": one["id"]}]})
    assert values() == {one["id"]}
    body = {"schemas": [GROUP], "displayName": "team", "members": [{"value": two["id"]}]}
    assert scim.call("PUT", path, body).status_code == 200
    assert values() == {two["id"]}
    scim.patch(path, {"op": "remove", "path": "members"})
    assert values() == set()


def test_the_file_applied_again_leaves_pushed_members(acme: PersonOf, scim: Scim) -> None:
    rui = scim.user("rui@acme.test")
    scim.group("payments-admins", rui)
    assert acme("sam").put("/v1/organizations/acme", organization()).status_code == 200
    assert acme("rui").get("/v1/boundaries/payments/gateway-keys").status_code == 200


def test_a_deleted_group_ends_what_it_gave_and_leaves_the_files_members(
    acme: PersonOf, scim: Scim
) -> None:
    made = scim.group("payments-admins", scim.user("rui@acme.test"))
    assert scim.call("DELETE", f"/Groups/{made['id']}").status_code == 204
    assert acme("rui").get("/v1/boundaries/payments").status_code == 404
    assert acme("bea").get("/v1/boundaries/payments").status_code == 200
    assert scim.call("GET", f"/Groups/{made['id']}").status_code == 404
    own = scim.group("team")
    assert groups(acme)["team"]["source"] == "scim"
    scim.call("DELETE", f"/Groups/{own['id']}")
    assert "team" not in groups(acme)
    assert scim.group("team")["id"] == own["id"]


def test_a_group_of_the_file_keeps_its_name_and_a_taken_one_is_refused(
    acme: PersonOf, scim: Scim
) -> None:
    adopted = scim.group("payments-admins")
    own = scim.group("team")
    for made, name, status in (
        (adopted, "other", 400),
        (own, "research-admins", 409),
        (own, "renamed", 200),
    ):
        operation = {"op": "replace", "path": "displayName", "value": name}
        assert scim.patch(f"/Groups/{made['id']}", operation).status_code == status
    again = scim.call("POST", "/Groups", {"schemas": [GROUP], "displayName": "payments-admins"})
    assert (again.status_code, again.json()["scimType"]) == (409, "uniqueness")


def test_a_member_that_is_not_a_known_person_is_refused_and_nothing_is_written(
    acme: PersonOf, scim: Scim
) -> None:
    for value in ("no-id", "0192aaaa-0000-7000-8000-000000000000", scim.group("inner")["id"]):
        body = {"schemas": [GROUP], "displayName": "team", "members": [{"value": value}]}
        answer = scim.call("POST", "/Groups", body)
        assert (answer.status_code, answer.json()["scimType"]) == (400, "invalidValue")
    assert "team" not in groups(acme)


def test_a_group_is_found_by_name_and_by_member(acme: PersonOf, scim: Scim) -> None:
    rui, pia = scim.user("rui@acme.test"), scim.user("pia@acme.test")
    team = scim.group("team", rui)
    scim.group("other", pia)
    for wanted in (
        'displayName eq "team"',
        f'members.value eq "{rui["id"]}"',
        f'members[value eq "{rui["id"]}"]',
        f'id eq "{team["id"]}" and members eq "{rui["id"]}"',
    ):
        found = scim.call("GET", f"/Groups?filter={wanted}&excludedAttributes=members").json()
        assert [g["id"] for g in found["Resources"]] == [team["id"]], wanted
        assert "members" not in found["Resources"][0]
