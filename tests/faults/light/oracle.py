"""What must hold after every run, whatever happened: judged over the ledger, the rows, the audit.

Pure: `judge` takes the evidence that `play` collected. The ledger is what the cloud saw and the
engine does not know; so a lie in our tables shows. Each violation names the run and the step.
Source: install-engine.md 6.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from controlplane.core.run_engine.decide import FINAL
from proof.audit_chain import BrokenChainError, ChainWalk
from tests.faults.light.ledger import CloudObject, Entry
from tests.faults.light.program import Program

INVARIANTS: dict[str, str] = {
    "I1": "no orphan: every live object is in the run's state, and none is left after an unwind",
    "I2": "no object is created twice in one generation",
    "I3": "every run ends, or parks where it must, within three leases and its back-off",
    "I4": "no effect without an audit intent, one outcome each, and the chain verifies",
    "I6": "one writer per fence, and no write of an older fence after a newer one",
    "I7": "what the run says it made exists, and is good",
    "I8": "an unwind restores what was there; steps and undos keep the graph's order",
    "I12": "no message that is lost, doubled or poisoned loses or repeats work",
}


@dataclass(frozen=True)
class Violation:
    """Something that must not be."""

    invariant: str
    run: str
    step: str
    message: str

    def __str__(self) -> str:
        return f"{self.invariant} run {self.run} step {self.step or '-'}: {self.message}"


@dataclass(frozen=True)
class Evidence:
    """All that is known of one run after its end."""

    program: Program
    run: dict[str, Any]
    steps: dict[str, dict[str, Any]]
    intents: dict[str, dict[str, Any]]
    """Rows of `light_state` by step."""
    events: list[dict[str, Any]]
    audit: list[dict[str, Any]]
    """The audit records of this run, in the chain's order."""
    entries: list[Entry]
    live: list[CloudObject]
    cancel_accepted: bool
    stalled: str | None
    """Why the harness stopped waiting for the run; None when it ended."""

    @property
    def id(self) -> str:
        return str(self.run["id"])

    def found(self, invariant: str, step: str, message: str) -> Violation:
        return Violation(invariant, f"{self.program.kind} ({self.id[-6:]})", step, message)


def judge(evidence: Evidence) -> list[Violation]:
    """Return everything that is wrong with one run."""
    found = list(_ends(evidence))
    found += _effects(evidence)
    found += _fences(evidence)
    if evidence.stalled is not None:
        return found  # the rows may still be moving
    found += _objects(evidence)
    found += _audit(evidence)
    found += _order(evidence)
    return found


def _ends(e: Evidence) -> Iterator[Violation]:
    """I3: the right end, in time."""
    state = e.run["state"]
    if e.stalled is not None:
        yield e.found("I3", "", f"{e.stalled} (state {state}, fence {e.run['fence']})")
        return
    allowed = {"unwound"} if e.program.fails else {"succeeded"}
    if e.cancel_accepted:
        allowed |= {"cancelled"}
    if state not in allowed:
        code = e.run["error_code"] or e.run["parked_reason"]
        yield e.found("I3", e.run["at_fault"] or "", f"ended as {state} ({code}), not {allowed}")
    ends = {"succeeded", "skipped", "unwound", "not-attempted"}
    for key, step in e.steps.items():
        if state in FINAL and step["state"] not in ends:
            yield e.found("I3", key, f"the run is {state} and the step {step['state']}")
    if e.run["lease_until"] is not None:
        yield e.found("I3", "", "the run is over and its lease is still held")


def _effects(e: Evidence) -> Iterator[Violation]:
    """I2: one creation per step and generation."""
    made = Counter((x.key, x.generation) for x in e.entries if x.op == "create")
    for (key, generation), times in made.items():
        if times > 1:
            yield e.found("I2", key, f"generation {generation} was created {times} times")


def _objects(e: Evidence) -> Iterator[Violation]:
    """I1, I7, I8: the live objects are those that the rows say."""
    live: dict[str, list[CloudObject]] = defaultdict(list)
    for item in e.live:
        live[item.key].append(item)
    for key, items in live.items():
        row = e.intents.get(key)
        known = {row["object_id"]} if row is not None and row["phase"] != "deleted" else set()
        for item in items:
            if item.id not in known and e.run["state"] in FINAL:
                yield e.found("I1", key, f"{item.id} exists and no row knows it")
    for spec in e.program.steps:
        if not spec.makes_objects or spec.key not in e.steps:
            continue
        state, items = e.steps[spec.key]["state"], live[spec.key]
        if state == "succeeded" and [i.status for i in items] != ["ready"]:
            shown = [f"{i.id} {i.status}" for i in items] or "nothing"
            yield e.found("I7", spec.key, f"the step succeeded and there is {shown}")
        if state in ("unwound", "not-attempted", "skipped") and items:
            yield e.found("I8", spec.key, f"the step is {state} and {items[0].id} exists")


def _fences(e: Evidence) -> Iterator[Violation]:
    """I6: in the ledger, the audit and the events."""
    workers: dict[int, set[str]] = defaultdict(set)
    newest = 0
    for entry in e.entries:
        workers[entry.fence].add(entry.worker)
        if entry.op in ("create", "repeat", "delete"):
            if entry.fence < newest:
                message = f"{entry.op} under fence {entry.fence} after one under {newest}"
                yield e.found("I6", entry.key, message)
            newest = max(newest, entry.fence)
    for fence, names in workers.items():
        if len(names) > 1:
            yield e.found("I6", "", f"fence {fence} was used by {sorted(names)}")
    newest = 0
    for record in e.audit:
        fence = record["detail"].get("fence")
        if fence is not None and fence < newest:
            step = record["detail"].get("step", "")
            message = f"{record['code']} was written under fence {fence} after {newest}"
            yield e.found("I6", step, message)
        newest = max(newest, fence or 0)


def _audit(e: Evidence) -> Iterator[Violation]:
    """I4: intents and outcomes, against the ledger and the rows; events without a gap."""
    seqs = [event["seq"] for event in e.events]
    if seqs != list(range(1, int(e.run["last_seq"]) + 1)):
        yield e.found("I4", "", "the events have a gap")
    intended = set()
    outcomes: dict[str, str] = {}
    is_open: dict[str, bool] = defaultdict(bool)
    starts: Counter[str] = Counter()
    for record in e.audit:
        detail = record["detail"]
        key = detail.get("step")
        if record["code"] == "step.started":
            intended.add((key, detail["fence"], bool(detail.get("undo"))))
            is_open[key] = True
            starts[key] += 1
        elif record["code"] in ("step.finished", "step.undone"):
            has_undo = key in e.steps and e.program.step(key).makes_objects
            if not is_open[key] and (record["code"] == "step.finished" or has_undo):
                yield e.found("I4", key, f"{record['code']} has no intent of its own")
            is_open[key] = False
            outcomes[key] = detail["outcome"]
    for entry in e.entries:
        needed = (entry.key, entry.fence, entry.is_undo)
        if entry.op in ("create", "delete") and needed not in intended:
            message = f"{entry.op} under fence {entry.fence} has no audit intent"
            yield e.found("I4", entry.key, message)
    for key, step in e.steps.items():
        said = outcomes.get(key)
        if step["state"] in ("succeeded", "skipped", "unwound") and said != step["state"]:
            yield e.found("I4", key, f"the step is {step['state']}, the audit says {said}")
        if step["attempt"] != starts[key]:
            message = f"{step['attempt']} attempts in the row, {starts[key]} in the audit"
            yield e.found("I4", key, message)


def _order(e: Evidence) -> Iterator[Violation]:
    """I8: what a step needs exists when it creates, and goes only after what needs it."""
    there: dict[str, set[str]] = defaultdict(set)
    makers = {s.key: s for s in e.program.steps if s.makes_objects}
    graph = e.program.graph
    for entry in e.entries:
        spec = makers.get(entry.key)
        if spec is None or entry.op not in ("create", "delete"):
            continue
        if entry.op == "delete":
            there[entry.key].discard(entry.object_id)
            needy = [
                k for k in graph.dependents[entry.key] if there[k] and makers[k].phase == "work"
            ]
            if entry.is_undo and needy:
                yield e.found("I8", entry.key, f"deleted while {needy} needs it")
            continue
        there[entry.key].add(entry.object_id)
        if spec.phase == "work":
            missing = [k for k in graph.upstream(entry.key) if k in makers and not there[k]]
            if missing:
                yield e.found("I8", entry.key, f"created while {sorted(missing)} is missing")


def judge_chain(chain: str, records: list[dict[str, Any]], head: dict[str, Any]) -> list[Violation]:
    """Return what is wrong with one audit chain, walked as the offline verifier walks it."""
    walk = ChainWalk()
    for record in records:
        try:
            walk.follow(record)
        except BrokenChainError as error:
            return [Violation("I4", chain, "", f"audit chain: {error}")]
    if (walk.size, walk.head_hash) != (head["head_seq"], head["head_hash"]):
        return [Violation("I4", chain, "", "the audit chain does not end at its head")]
    return []
