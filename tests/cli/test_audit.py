"""`ringfence audit`: whatever is done to a chain with the database's own superuser is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg.types.json import Jsonb

from controlplane.adapters.signing.control_plane_key import ControlPlaneKey
from controlplane.core.audit import PLATFORM_CHAIN
from controlplane.core.db import Database
from controlplane.core.ids import new_id
from controlplane.domains.audit.tasks import sign_checkpoint
from controlplane.domains.identity.tokens import new_token, token_hash
from proof.audit_chain import event_hash
from proof.keys import create_private_key, fingerprint
from tests.cli.conftest import Cli, Ran
from tests.postgres import DatabaseUrls
from tests.unit.proof.audit_exports import make_checkpoints, make_export

CHAIN = "boundary/payments"


@pytest.fixture
def key(tmp_path: Path) -> ControlPlaneKey:
    """The key that signs in these tests."""
    path = tmp_path / "signing.pem"
    create_private_key(path)
    return ControlPlaneKey(path)


def as_omar(cli: Cli, *arguments: str) -> Ran:
    """Run an audit command as the auditor."""
    return cli("audit", *arguments, "--as", "omar@acme.test")


class Vault:
    """The chain `boundary/payments` in the hands of the worker, and of somebody with SQL."""

    def __init__(self, cli: Cli, urls: DatabaseUrls, key: ControlPlaneKey, folder: Path) -> None:
        self.cli = cli
        self.urls = urls
        self.key = key
        self.anchors = folder / "kept.ndjson"

    def change(self, statement: str, *values: Any) -> None:
        """Run SQL as the server's superuser."""
        with psycopg.connect(self.urls.admin) as connection:
            connection.execute(statement.replace("CHAIN", f"'{self.chain_id}'"), values)  # type: ignore[arg-type]

    def rows(self, statement: str) -> list[dict[str, Any]]:
        with psycopg.connect(self.urls.admin, row_factory=psycopg.rows.dict_row) as connection:
            return connection.execute(statement).fetchall()  # type: ignore[arg-type]

    @property
    def chain_id(self) -> str:
        (row,) = self.rows("SELECT id FROM boundary WHERE name = 'payments'")
        return str(row["id"])

    def read(self, times: int) -> None:
        """Let the chain grow: each reading is an event."""
        for _ in range(times):
            assert as_omar(self.cli, "events", CHAIN).code == 0

    def sign(self) -> None:
        """Sign the chain as the worker would."""
        (row,) = self.rows(
            f"SELECT organization_id::text, boundary_id::text FROM audit_chain"
            f" WHERE chain_id = '{self.chain_id}'"
        )
        worker = Database.connect(self.urls.worker, pool_size=1)
        sign_checkpoint(worker, self.key, chain_id=self.chain_id, **row)
        worker.close()

    def keep(self) -> None:
        """Write the checkpoints to a file, as the customer does."""
        ran = as_omar(self.cli, "checkpoint", "export", CHAIN, str(self.anchors))
        assert ran.code == 0, ran.err

    def size(self) -> int:
        (row,) = self.rows(f"SELECT head_seq FROM audit_chain WHERE chain_id = '{self.chain_id}'")
        return int(row["head_seq"])

    def verify(self, *arguments: str) -> Ran:
        return as_omar(
            self.cli, "verify", "--chain", CHAIN, "--pin", self.key.fingerprint, *arguments
        )

    def verdict(self, *arguments: str) -> dict[str, Any]:
        """Return the verdict on the chain; the exit code must agree with it."""
        ran = self.verify("--json", *arguments)
        (found,) = json.loads(ran.out)["verdicts"]
        assert ran.code == (0 if found["holds"] else 1)
        return dict(found)


@pytest.fixture
def vault(acme: Cli, cli_database: DatabaseUrls, key: ControlPlaneKey, tmp_path: Path) -> Vault:
    """A chain with some events, signed three times."""
    made = Vault(acme, cli_database, key, tmp_path)
    for _ in range(3):
        made.read(2)
        made.sign()
    return made


def kinds(verdict: dict[str, Any]) -> set[str]:
    return {finding["kind"] for finding in verdict["findings"]}


def test_an_untouched_chain_holds_online_and_in_a_file(vault: Vault, tmp_path: Path) -> None:
    vault.keep()
    ran = vault.verify("--anchors", str(vault.anchors))
    assert ran.code == 0, ran.out + ran.err
    assert f"{CHAIN}: holds" in ran.out
    assert "3 kept checkpoints compared" in ran.out
    file = tmp_path / "export.ndjson"
    done = as_omar(vault.cli, "export", CHAIN, str(file))
    assert done.code == 0, done.err
    offline = vault.cli("audit", "verify", str(file), "--pin", vault.key.fingerprint)
    assert offline.code == 0
    assert "3 checkpoints" in offline.out


@pytest.mark.parametrize(
    ("statements", "kind"),
    [
        (["SET detail = '{\"x\": 1}' WHERE seq = 6"], "edited"),
        (["SET at = at + interval '1 s' WHERE seq = 6"], "edited"),
        (["SET actor = actor || '{\"subject\": \"eve\"}' WHERE seq = 6"], "edited"),
        (["SET seq = 99 WHERE seq = 6", "SET seq = 6 WHERE seq = 7", "SET seq = 7 WHERE seq = 99"],
         "unlinked"),
    ],
    ids=["detail", "time", "actor", "reorder"],
)  # fmt: skip
def test_tampering_in_the_middle_is_found_at_its_sequence(
    vault: Vault, statements: list[str], kind: str
) -> None:
    for statement in statements:
        vault.change(f"UPDATE audit_event {statement} AND chain_id = CHAIN")
    found = vault.verdict()
    assert (found["first_bad_sequence"], kinds(found)) == (6, {kind})


def test_a_deletion_in_the_middle_is_found_at_its_sequence(vault: Vault) -> None:
    vault.change("DELETE FROM audit_event WHERE chain_id = CHAIN AND seq = 6")
    found = vault.verdict()
    assert (found["first_bad_sequence"], kinds(found)) == (6, {"missing"})


def test_a_cut_tail_is_found_where_it_begins(vault: Vault) -> None:
    left = vault.size()
    vault.read(5)
    vault.sign()
    vault.change("DELETE FROM audit_event WHERE chain_id = CHAIN AND seq > %s", left)
    vault.change(
        "UPDATE audit_chain SET head_seq = %s, head_hash = (SELECT hash FROM audit_event e"
        " WHERE e.chain_id = CHAIN AND e.seq = %s) WHERE chain_id = CHAIN",
        left, left,
    )  # fmt: skip
    found = vault.verdict()
    assert (found["first_bad_sequence"], kinds(found)) == (left + 1, {"cut-tail"})


def _rehash(vault: Vault, start: int) -> None:
    """Make the chain hold again from a sequence on, as somebody with the database would."""
    with psycopg.connect(vault.urls.admin, row_factory=psycopg.rows.dict_row) as connection:
        rows = connection.execute(
            "SELECT * FROM audit_event WHERE chain_id = %s ORDER BY seq", (vault.chain_id,)
        ).fetchall()
        previous = rows[start - 2]["hash"]
        for row in rows[start - 1 :]:
            record = {
                **row,
                "chain_id": str(row["chain_id"]),
                "organization_id": str(row["organization_id"]),
                "boundary_id": str(row["boundary_id"]),
                "at": row["at"].isoformat(timespec="microseconds"),
                "prev_hash": previous,
            }
            new = event_hash(record)
            connection.execute(
                "UPDATE audit_event SET prev_hash = %s, hash = %s WHERE chain_id = %s AND seq = %s",
                (previous, new, vault.chain_id, row["seq"]),
            )
            previous = new
        connection.execute(
            "UPDATE audit_chain SET head_hash = %s WHERE chain_id = %s", (previous, vault.chain_id)
        )


def test_a_rewritten_history_is_found_by_its_checkpoints(vault: Vault) -> None:
    vault.change("UPDATE audit_event SET target = 'x/1' WHERE chain_id = CHAIN AND seq = 6")
    _rehash(vault, 6)
    sizes = [r["size"] for r in vault.rows("SELECT size FROM audit_checkpoint ORDER BY size")]
    first = max((s for s in sizes if s < 6), default=0) + 1
    found = vault.verdict()
    assert found["first_bad_sequence"] == first
    assert "rewritten" in kinds(found)


def test_a_rewritten_history_without_its_checkpoints_is_found_by_what_was_kept(
    vault: Vault,
) -> None:
    vault.keep()
    vault.change("UPDATE audit_event SET target = 'x/1' WHERE chain_id = CHAIN AND seq = 6")
    _rehash(vault, 6)
    vault.change("DELETE FROM audit_checkpoint")
    assert vault.verdict()["holds"]
    found = vault.verdict("--anchors", str(vault.anchors))
    assert kinds(found) == {"rewritten"}
    assert found["first_bad_sequence"] <= 6


def test_a_replayed_backup_is_found_by_what_was_kept(vault: Vault) -> None:
    tables = ("audit_event", "audit_chain", "audit_checkpoint")
    backup = {name: vault.rows(f"SELECT * FROM {name}") for name in tables}
    old = vault.size()
    vault.read(5)
    vault.sign()
    vault.keep()
    with psycopg.connect(vault.urls.admin) as connection:
        connection.execute("SET session_replication_role = replica")
        for name in tables:
            connection.execute(f"DELETE FROM {name}")  # type: ignore[arg-type]
            for row in backup[name]:
                values = [Jsonb(v) if isinstance(v, dict) else v for v in row.values()]
                places = ", ".join(["%s"] * len(values))
                connection.execute(
                    f"INSERT INTO {name} ({', '.join(row)}) VALUES ({places})",  # type: ignore[arg-type]
                    values,
                )
    assert vault.verdict()["holds"]
    found = vault.verdict("--anchors", str(vault.anchors))
    # The first verification was appended to the old state.
    assert kinds(found) == {"replayed-backup"}
    assert found["first_bad_sequence"] == old + 2


def test_a_checkpoint_that_somebody_else_signed_is_forged(vault: Vault, tmp_path: Path) -> None:
    create_private_key(tmp_path / "eve.pem")
    eve = ControlPlaneKey(tmp_path / "eve.pem")
    honest, vault.key = vault.key, eve
    vault.read(1)
    vault.sign()
    vault.key = honest
    found = vault.verdict()
    assert "forged-checkpoint" in kinds(found)
    ran = vault.verify()
    assert ran.code == 1
    assert "not by the pinned key" in ran.out
    assert f"NOT valid: {CHAIN}" in ran.err


def test_a_file_is_verified_without_any_server(offline: Cli, tmp_path: Path) -> None:
    export = make_export()
    file = export.write(tmp_path / "export.ndjson")
    good = offline("audit", "verify", str(file), "--pin", fingerprint(export.key))
    assert good.code == 0, good.err
    assert "40 events checked, 38 covered by 3 checkpoints, 2 not signed yet" in good.out
    unpinned = offline("audit", "verify", str(file))
    assert unpinned.code == 0
    assert "bring your own with --pin" in unpinned.err
    wrong = offline(
        "audit", "verify", str(file), "--pin", fingerprint(Ed25519PrivateKey.generate())
    )
    assert wrong.code == 1
    assert "forged-checkpoint" in wrong.out


@pytest.mark.parametrize(
    ("tamper", "seq"),
    [
        (lambda events: events[20].update(target="x"), 21),
        (lambda events: events.pop(20), 21),
        (lambda events: events.insert(20, events.pop(21)), 21),
        (lambda events: events.__delitem__(slice(30, None)), 31),
    ],
    ids=["edit", "deletion", "reorder", "cut"],
)
def test_a_file_that_was_tampered_with_names_the_first_bad_sequence(
    tamper: Callable[[list[dict[str, Any]]], Any], seq: int, offline: Cli, tmp_path: Path
) -> None:
    export = make_export()
    tamper(export.events)
    file = export.write(tmp_path / "export.ndjson")
    ran = offline("audit", "verify", str(file), "--pin", fingerprint(export.key))
    assert ran.code == 1
    assert f"first bad sequence: {seq}\n" in ran.out


def test_kept_checkpoints_may_be_a_folder_as_the_agent_writes_it(
    offline: Cli, tmp_path: Path
) -> None:
    export = make_export()
    folder = tmp_path / "audit" / "checkpoints"
    folder.mkdir(parents=True)
    for number, signed in enumerate(export.checkpoints):
        (folder / f"{number:020}.json").write_text(json.dumps(signed.to_wire()))
    del export.events[30:]
    del export.checkpoints[2:]
    file = export.write(tmp_path / "export.ndjson")
    arguments = ("audit", "verify", str(file), "--pin", fingerprint(export.key))
    assert offline(*arguments).code == 0
    ran = offline(*arguments, "--anchors", str(tmp_path / "audit"))
    assert ran.code == 1
    assert "replayed-backup" in ran.out
    forged = make_checkpoints(export.events, (10,), Ed25519PrivateKey.generate())
    (folder / "forged.json").write_text(json.dumps(forged[0].to_wire()))
    assert "forged-checkpoint" in offline(*arguments, "--anchors", str(folder)).out


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "No such file"), ("", "does not begin"), ('{"a": 1}\n', "does not begin")],
)
def test_what_is_no_export_is_wrong_use(
    content: str | None, message: str, offline: Cli, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    if content is not None:
        file.write_text(content)
    ran = offline("audit", "verify", str(file))
    assert ran.code == 2
    assert message in ran.err
    anchored = offline("audit", "verify", str(file), "--anchors", str(file))
    assert anchored.code == 2
    assert "--anchors" in anchored.err


def test_a_chain_that_may_not_be_read_is_wrong_use(acme: Cli) -> None:
    ran = as_omar(acme, "verify", "--chain", "boundary/treasury")
    assert ran.code == 2
    assert "there is no audit chain 'boundary/treasury'" in ran.err
    refused = acme("audit", "chains", "--as", "pia@acme.test")
    assert refused.code == 3


def test_chains_and_events_are_shown_as_tables(acme: Cli) -> None:
    chains = as_omar(acme, "chains")
    assert chains.code == 0
    assert "boundary/payments" in chains.out
    events = as_omar(acme, "events", CHAIN, "--limit", "1")
    assert "boundary.created" in events.out
    assert "--after 1" in events.err


def test_who_keeps_the_platform_and_no_organization_uses_the_same_commands(
    acme: Cli, cli_database: DatabaseUrls, key: ControlPlaneKey, tmp_path: Path
) -> None:
    token, principal, subject = new_token("rfp"), new_id(), "keeper@vendor.example"
    with psycopg.connect(cli_database.admin) as connection:
        connection.execute(
            "INSERT INTO principal (id, issuer, subject, kind, display)"
            " VALUES (%s, 'https://idp.vendor.example', %s, 'human', 'Keeper')",
            (principal, subject),
        )
        connection.execute(
            "INSERT INTO platform_role (id, principal_id, role) VALUES (%s, %s, 'platform-admin')",
            (new_id(), principal),
        )
        connection.execute(
            "INSERT INTO api_token (id, principal_id, token_hash, expires_at)"
            " VALUES (%s, %s, %s, now() + interval '1 hour')",
            (new_id(), principal, token_hash(token)),
        )
    context = json.loads((acme.home / "context.json").read_text())
    context["people"][subject] = {"token": token, "role": "keeper of the platform"}
    (acme.home / "context.json").write_text(json.dumps(context))
    worker = Database.connect(cli_database.worker, pool_size=1)
    sign_checkpoint(worker, key, chain_id=str(PLATFORM_CHAIN))
    worker.close()

    def audit(*arguments: str) -> Ran:
        return acme("audit", *arguments, "--as", subject)

    listed = audit("chains", "--json")
    assert [c["name"] for c in json.loads(listed.out)["chains"]] == ["platform"], listed.err
    read = audit("events", "platform", "--json")
    assert json.loads(read.out)["chain"] == "platform", read.err
    file = tmp_path / "platform.ndjson"
    assert audit("export", "platform", str(file)).code == 0
    kept = tmp_path / "kept.ndjson"
    assert audit("checkpoint", "export", "platform", str(kept)).code == 0
    for arguments in ((str(file),), ("--chain", "platform"), ()):
        checked = audit("verify", *arguments, "--pin", key.fingerprint, "--anchors", str(kept))
        assert (checked.code, "platform: holds" in checked.out) == (0, True), checked.err
    # The name that the option had goes on.
    assert audit("verify", str(file), "--key", key.fingerprint).code == 0
    refused = audit("events", "organization/acme")
    assert refused.code != 0
    # Who has neither is told about the organization, not about the platform.
    other = acme("audit", "chains", "--as", "sam@acme.test")
    assert other.code != 0
    assert "platform" not in other.out
