"""An agent with a valid key sends nonsense: refused with the documented error, never a 5xx.

Its signature is right, so that what it says is read; another boundary's agent is such a caller too.
"""

from __future__ import annotations

import copy
import json
from collections import Counter
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from controlplane.core.ids import new_id
from controlplane.tables import metadata
from proof.keys import encode_public
from proof.request_signing import HEADER, sign_request
from tests.integration.authorization.world import World
from tests.integration.database.rows import insert_row
from tests.integration.fuzz.cases import bent
from tests.integration.fuzz.test_every_route import SEED, problem
from tests.integration.usage_pages import page_of
from tests.postgres import DatabaseUrls
from wire.agent import AgentStatus, CloseReport, VerbResult
from wire.usage import Feature, HourBucket, Ide, Language, RequestRow, RollupPush

CASES = 150


def messages(boundary_id: str) -> dict[str, dict[str, Any]]:
    """Return a valid message for each route that takes one."""
    at = datetime.now(UTC)
    status = AgentStatus(
        agent_version="0.1.0",
        applied_sequence=1,
        refused=None,
        gateway_url="http://127.88.0.1:8080",
        resources=(),
        smoke=(),
        observed_at=at,
    )
    report = CloseReport(
        role_name="ringfence-payments-g1",
        detached=("x",),
        role_deleted=True,
        role_absent_at=at,
    )
    buckets = (3, *([0] * 14))
    row = RequestRow(
        group_id="payments-engineers",
        model_version="tiny-coder",
        adapter_id="payments-style",
        feature=Feature.CHAT_ASK,
        language=Language.PYTHON,
        ide=Ide.VSCODE,
        requests=3,
        requests_expected=3,
        requests_decided=0,
        input_tokens=30,
        output_tokens=123,
        errors={},
        ttft_buckets=buckets,
        duration_buckets=buckets,
        ttft_sum_ms=38.0,
        duration_sum_ms=400.0,
    )
    hour = HourBucket(
        boundary_id=boundary_id,
        hour_start=datetime(2026, 11, 22, 14, tzinfo=UTC),
        sequence=1,
        as_of=at,
        is_final=False,
        rows=(row,),
    )
    return {
        "/agent/v1/status": status.to_wire(),
        "/agent/v1/verb-results": VerbResult(verb_id=uuid4(), close=report).to_wire(),
        "/agent/v1/usage": RollupPush(hours=(hour,), sequence=1).to_wire(),
        "/agent/v1/usage-events": page_of(boundary_id, 2).to_wire(),
    }


@pytest.mark.slow
def test_no_message_of_an_agent_makes_a_server_error(
    world: World, migrated_database: DatabaseUrls
) -> None:
    print(f"seed {SEED}")
    key, identifier = Ed25519PrivateKey.generate(), new_id()
    place = (world.own.organization_id, world.own.boundary_id)
    insert_row(migrated_database, metadata.tables["agent"], *place)
    with psycopg.connect(migrated_database.admin) as connection:
        connection.execute(
            "UPDATE agent SET id = %s, public_key = %s WHERE boundary_id = %s",
            (identifier, encode_public(key), world.own.boundary_id),
        )
    valid = messages(str(world.own.boundary_id))
    seen: Counter[int] = Counter()

    def send(path: str, message: Any) -> Any:
        content = json.dumps(message).encode()
        header = sign_request(key, identifier, "POST", path, content, datetime.now(UTC))
        return world.client.post(
            path,
            content=content,
            headers={HEADER: header, "Content-Type": "application/json"},
        )

    @seed(SEED)
    @settings(
        max_examples=CASES,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate,),
    )
    @given(st.data())
    def ask(data: st.DataObject) -> None:
        path = data.draw(st.sampled_from(sorted(valid)))
        message = data.draw(st.composite(bent)(copy.deepcopy(valid[path])))
        answer = send(path, message)
        seen[answer.status_code] += 1
        assert problem(answer) is None, f"{problem(answer)}\n{path} {message!r}"[:3000]

    ask()
    print(dict(seen))
    assert send("/agent/v1/status", valid["/agent/v1/status"]).status_code == 204
    assert seen[401] == 0
    assert sum(seen.values()) >= CASES * 0.9
