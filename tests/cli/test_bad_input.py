"""An organization file with mistakes: all of them at once, each with its place, nothing created."""

from __future__ import annotations

import json
from pathlib import Path

import httpx2
import pytest

from tests.cli.conftest import ROOT, Cli
from tests.integration.api.people import token_of

EXAMPLE = (ROOT / "examples/acme/organization.yaml").read_text()


def broken(path: Path) -> dict[str, int]:
    """Write a file with every mistake; return the field of each and its line."""
    second = EXAMPLE.index("  - name: research\n    display_name")
    head, tail = EXAMPLE[:second], EXAMPLE[second:]
    head = head.replace("display_name: Acme Industries", "display_name: Acme\nlogo: acme.png")
    head = head.replace('account: "111122223333"', 'account: "123456789012"')
    tail = tail.replace("- name: research", "- name: payments", 1)
    tail = tail.replace("blueprint: eks-model-stack", "blueprint: gke-model-stack")
    tail = tail.replace("10.30.0.0/16", "10.20.128.0/17")
    tail += "    version: 0.9.0\n"
    text = head + tail
    path.write_text(text)
    lines = text.splitlines()

    def line(part: str, last: bool = False) -> int:
        found = [number for number, content in enumerate(lines, 1) if part in content]
        return found[-1 if last else 0]

    return {
        "logo": line("logo:"),
        "accounts[0].account": line("123456789012"),
        # The boundary that it names is gone with the wrong name.
        "role_mappings[1].boundary": line("boundary: research"),
        "boundaries[1].name": line("- name: payments", last=True),
        "boundaries[1].blueprint": line("gke-model-stack"),
        "boundaries[1].inputs.cidr": line("10.20.128.0/17"),
        "boundaries[1].version": line("version: 0.9.0"),
    }


def seen_by_everyone(url: str) -> list[object]:
    """Return what the API shows of organization and boundaries to the demo's people."""
    found: list[object] = []
    for person in ("sam@acme.test", "max@acme.test", "omar@acme.test"):
        headers = {"Authorization": f"Bearer {token_of(person)}"}
        with httpx2.Client(base_url=url, headers=headers, trust_env=False) as client:
            answer = client.get("/v1/boundaries")
            # Without an organization nobody has a role in one, and so nothing to list.
            assert answer.json()["error"]["code"] == "forbidden" or answer.is_success, answer.text
            found += answer.json().get("boundaries", [])
            assert client.get("/v1/organizations/acme").status_code in (403, 404)
    return found


def test_every_mistake_of_a_file_is_named_at_once_and_nothing_is_created(
    cli: Cli, api_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "organization.yaml"
    places = broken(file)
    ran = cli("organization", "apply", str(file))
    assert ran.code == 2
    assert ran.out == ""
    for field, line in places.items():
        named = [text for text in ran.err.splitlines() if f": {field}: " in text]
        assert len(named) == 1, f"{field}:\n{ran.err}"
        assert named[0].startswith(f"{file}:{line}: ")
        assert "(fix: " in named[0]
    assert "7 problems; nothing was changed" in ran.err
    assert seen_by_everyone(api_url) == []


def test_problems_as_json_have_file_line_field_message_and_fix(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "organization.yaml"
    places = broken(file)
    ran = cli("organization", "validate", str(file), "--json")
    assert ran.code == 2
    problems = json.loads(ran.out)["problems"]
    assert {p["field"]: p["line"] for p in problems} == places
    assert all(p["file"] == str(file) and p["message"] and p["fix"] for p in problems)


def test_a_key_that_stands_twice_is_named_also_when_nothing_else_is_wrong(
    cli: Cli, api_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "organization.yaml"
    file.write_text(EXAMPLE + "organization: other\n")
    ran = cli("organization", "apply", str(file))
    assert ran.code == 2
    assert "organization: this key stands in line" in ran.err
    assert "1 problem; nothing was changed" in ran.err
    assert seen_by_everyone(api_url) == []


def test_wrong_types_are_named_with_what_belongs_there(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "organization.yaml"
    file.write_text(
        "version: 1\norganization: [1]\naccounts:\n  - {name: a, account: 111122223333}\n"
        "people: 2020-01-01\nboundaries: 3\nidentity_provider: .nan\n"
    )
    ran = cli("organization", "apply", str(file))
    assert ran.code == 2
    assert f"{file}:2: organization: 'organization' must be text" in ran.err
    assert (
        f"{file}:4: accounts[0].account: 'account' must be text (fix: put it in quotes" in ran.err
    )
    assert f"{file}:5: people: 'people' must be a mapping" in ran.err
    assert f"{file}:6: boundaries: 'boundaries' must be a list" in ran.err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ":1: the file is empty"),
        (b"# only a comment\n", ":1: the file is empty"),
        (b"organization: [a\nb: c\n", ": not YAML: "),
        (b"- a\n- b\n", ":1: the file is not a mapping"),
        (b"just text", ":1: the file is not a mapping"),
        (b"a: 1\n---\nb: 2\n", ":2: not YAML: expected a single document"),
        (b"\xff\xfe\x00", ":1: not text in UTF-8"),
        (b"a: \x07\n", ":1: not YAML: "),
        (b"a: &a [1,1,1,1,1,1,1,1,1]\n" + b"".join(
            b"%c: &%c [%s]\n" % (c + 1, c + 1, b",".join([b"*%c" % c] * 9)) for c in range(97, 106)
        ), ":1: nested too deeply"),
    ],
    ids=["empty", "comment", "no-yaml", "list", "text", "two", "binary", "bell", "bomb"],
)  # fmt: skip
def test_what_is_no_organization_file_is_refused_with_its_line_and_a_fix(
    offline: Cli, tmp_path: Path, content: bytes, message: str
) -> None:
    file = tmp_path / "organization.yaml"
    file.write_bytes(content)
    ran = offline("organization", "apply", str(file))
    assert ran.code == 2
    assert message in ran.err
    assert ran.err.startswith(f"error: {file}:")
    assert "  fix: " in ran.err


def test_a_missing_file_is_named(offline: Cli, tmp_path: Path) -> None:
    ran = offline("organization", "apply", str(tmp_path / "nothing.yaml"))
    assert ran.code == 2
    assert f"{tmp_path / 'nothing.yaml'}: No such file or directory" in ran.err
