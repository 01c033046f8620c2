"""What the runner refuses, and that it says so and does nothing."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from proof.canonical import canonical_bytes
from proof.dsse import seal
from proof.sealing import TAKEOVER_KIT, encode_public
from proof.sealing import seal as seal_secret
from tests.runner.bench import CHART, CLUSTER, Bench, tampered
from wire.bundle import VERB_TYPE
from wire.runner import (
    MAX_DOCUMENT_BYTES,
    AskCluster,
    ReadRelease,
    Stop,
    UninstallRelease,
    chart_key,
    order_name,
)
from wire.takeover import Recipient

ASK = AskCluster(cluster=CLUSTER)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """A runner that has said hello, with a helm that must not be called."""
    made = Bench(tmp_path)
    made.helm("exit 9")
    made.runner.turn()
    return made


def refused(bench: Bench, name: str, code: str) -> None:
    answer = bench.answer(name)
    assert (answer.outcome, answer.code) == ("refused", code)
    assert answer.reason
    assert not (bench.folder / "calls").exists()


def test_an_order_of_another_key_is_refused(bench: Bench) -> None:
    name = bench.put(bench.order(ASK), key=Ed25519PrivateKey.generate())
    refused(bench, name, "missing-signature")


def test_an_order_that_was_changed_after_it_was_signed_is_refused(bench: Bench) -> None:
    bench.put_bytes(
        order_name(3, 1), tampered(bench.order(Stop()), bench.key, action={"kind": "stop2"})
    )
    refused(bench, order_name(3, 1), "bad-signature")


def test_a_signature_over_another_kind_of_document_is_no_order(bench: Bench) -> None:
    envelope = seal(bench.key, VERB_TYPE, bench.order(ASK))
    bench.put_bytes(order_name(3, 1), canonical_bytes(envelope.model_dump(mode="json")))
    refused(bench, order_name(3, 1), "wrong-type")


@pytest.mark.parametrize("raw", [b"", b"{}", b"\xff\x00", b'{"payload": 1}'])
def test_bytes_that_are_no_envelope_are_refused(bench: Bench, raw: bytes) -> None:
    bench.put_bytes(order_name(3, 1), raw)
    refused(bench, order_name(3, 1), "not-an-envelope")


def test_an_object_that_is_too_large_is_not_even_read(bench: Bench) -> None:
    name = order_name(3, 1)
    bench.put_bytes(name, b"x" * (MAX_DOCUMENT_BYTES + 1))
    bench.runner.turn()
    assert b"too-large" in _payload(bench, name)


@pytest.mark.parametrize(
    "action",
    [{"kind": "run-shell", "command": "id"}, {"kind": "apply", "manifest": "x"}, {"kind": None}],
    ids=["shell", "apply", "nothing"],
)
def test_what_is_not_in_the_vocabulary_is_refused(bench: Bench, action: dict[str, Any]) -> None:
    refused(bench, bench.put(bench.order(action)), "unknown-order")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("release", "--post-renderer=x"),
        ("namespace", "a b"),
        ("namespace", "../x"),
        ("release", ""),
    ],
    ids=["an-option", "a-blank", "a-path", "empty"],
)
def test_a_name_that_helm_would_read_as_something_else_is_refused(
    bench: Bench, field: str, value: str
) -> None:
    action = ReadRelease(cluster=CLUSTER, release="r", namespace="n").model_dump(mode="json")
    refused(bench, bench.put(bench.order({**action, field: value})), "malformed")


def test_a_refusal_names_the_field_and_never_what_it_held(bench: Bench) -> None:
    action = {**ASK.model_dump(mode="json"), "password": "hunter2-and-more"}
    answer = bench.answer(bench.put(bench.order(action)))
    assert answer.code == "malformed"
    assert "password" in answer.reason
    assert "hunter2" not in answer.model_dump_json()


def test_an_order_for_another_run_or_another_runner_is_refused(bench: Bench) -> None:
    other = Bench(bench.folder)
    refused(bench, bench.put(bench.order(ASK, run_id=str(other.run_id))), "wrong-runner")
    document = bench.order(ASK, sequence=2, mailbox=f"runner/{bench.run_id}/other/")
    refused(bench, bench.put(document), "wrong-runner")


def test_an_order_that_is_over_is_refused(bench: Bench) -> None:
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    refused(bench, bench.put(bench.order(ASK, expires_at=past)), "expired")


def test_a_worker_that_lost_its_lease_gives_no_orders(bench: Bench) -> None:
    assert bench.answer(bench.put(bench.order(ASK, fence=4))).outcome == "done"
    refused(bench, bench.put(bench.order(ASK, sequence=9)), "stale-fence")


def test_a_fence_below_the_one_that_started_the_runner_is_refused(bench: Bench) -> None:
    refused(bench, bench.put(bench.order(ASK, fence=2)), "stale-fence")


def test_an_order_is_done_once_wherever_it_is_put_again(bench: Bench) -> None:
    document = bench.order(ASK)
    first = bench.answer(bench.put(document))
    assert first.outcome == "done"
    refused(bench, bench.put(document, name=order_name(3, 7)), "wrong-place")
    # The same object once more: it is not looked at again.
    bench.put(document)
    bench.runner.turn()
    assert bench.read_answer(order_name(3, 1)).finished_at == first.finished_at


def test_an_order_below_the_last_one_is_refused(bench: Bench) -> None:
    assert bench.answer(bench.put(bench.order(ASK, sequence=5))).outcome == "done"
    refused(bench, bench.put(bench.order(ASK, sequence=4)), "replayed")


def test_values_that_are_sealed_to_another_key_are_refused(bench: Bench) -> None:
    action = bench.install()
    other = Recipient(public=encode_public(X25519PrivateKey.generate()))
    sealed = action.values.model_copy(update={"recipient": other})
    changed = action.model_copy(update={"values": sealed})
    refused(bench, bench.put(bench.order(changed)), "not-sealed-to-us")


def test_a_chart_with_another_digest_is_refused(bench: Bench) -> None:
    action = bench.install()
    bench.bucket.objects[chart_key(bench.run_id, action.chart_digest)] = CHART + b"!"
    refused(bench, bench.put(bench.order(action)), "wrong-chart")


@pytest.mark.parametrize("values", [["a"], "text", 1], ids=["list", "text", "number"])
def test_values_that_are_no_object_are_refused(bench: Bench, values: Any) -> None:
    refused(bench, bench.put(bench.order(bench.install(values))), "malformed")


def test_one_refusal_does_not_stop_the_next_order(bench: Bench) -> None:
    bench.put(bench.order(ASK), key=Ed25519PrivateKey.generate())
    good = bench.put(
        bench.order(
            UninstallRelease(cluster=CLUSTER, release="ringfence", namespace="n"), sequence=2
        )
    )
    answer = bench.answer(good)
    # It was admitted and tried: this helm fails.
    assert (answer.outcome, answer.code) == ("failed", "helm-failed")


def _payload(bench: Bench, name: str) -> bytes:
    raw = bench.bucket.objects[f"{bench.mailbox}answers/{name}.json"]
    return base64.b64decode(json.loads(raw)["payload"])


def test_what_was_sealed_for_a_take_over_kit_opens_as_no_order(bench: Bench) -> None:
    action = bench.install()
    kit = seal_secret(b"{}", action.values.recipient, b"s" * 32, TAKEOVER_KIT)
    refused(
        bench,
        bench.put(bench.order(action.model_copy(update={"values": kit}))),
        "not-sealed-to-us",
    )
