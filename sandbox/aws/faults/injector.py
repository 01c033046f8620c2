"""Strike calls by the fault plan: before they run, while they run, and in what is answered.

The gate asks at each call. Counting starts anew with each new plan and with each start of the
account; the log of strikes in the run folder is what a person and a test read.
"""

from __future__ import annotations

import json
import os
import re
import threading
from fnmatch import fnmatchcase
from pathlib import Path

from sandbox.aws.clock import Clock, iso
from sandbox.aws.errors import AwsError, meaning
from sandbox.aws.faults.catalogue import created, internal, over_limit, throttled
from sandbox.aws.faults.hiding import Hidden
from sandbox.aws.faults.outside import Outside
from sandbox.aws.faults.plan import STRUCK_FILE, FaultPlan, FaultPlanError, PlanFile, Rule
from sandbox.aws.keys import KeyStore
from sandbox.aws.latencies import Pace, fraction
from sandbox.aws.messages import Call, Response

_GRANT_ROLE = re.compile(r"^ringfence-.+-g\d+$")


class Faults:
    """The faults in force."""

    def __init__(
        self, run_dir: Path, pace: Pace, keys: KeyStore, clock: Clock, outside: Outside
    ) -> None:
        """Watch the plan of a run folder."""
        self._plan = PlanFile(run_dir)
        self._log = run_dir / STRUCK_FILE
        self._pace, self._keys, self._clock = pace, keys, clock
        self.outside = outside
        self._hidden = Hidden()
        self._fits: dict[int, int] = {}
        self._strikes: dict[int, int] = {}
        self._lock = threading.Lock()

    def before(self, call: Call) -> None:
        """Decide a call's fate. Raises: AwsError where the call does not run at all."""
        for rule in self._struck(call):
            self._strike(rule, call)

    def after(self, call: Call, response: Response) -> Response:
        """Give what the caller hears. Raises: AwsError, though the call may be done."""
        fate = call.fate
        if not call.mutating:
            return self._hidden.show(call, response)
        made = created(call, response)
        if fate.hidden:
            self._hidden.add(call.account, call.service, made, fate.hidden)
        for act in fate.acts:
            self.outside.act(call.account, act, made)
        if fate.lost:
            return Response(response.status, lost=True)
        if fate.error_though_done:
            raise internal(call.service)
        return response

    def _struck(self, call: Call) -> list[Rule]:
        """Count the call and give the rules that strike it."""
        with self._lock:
            try:
                plan, changed = self._plan.current()
            except FaultPlanError as error:
                text = f"the rehearsal's fault plan is not valid: {error}"
                raise AwsError("InternalFailure", text, 500) from error
            if changed:
                self._fits, self._strikes = {}, {}
            if plan is None:
                return []
            return [rule for n, rule in enumerate(plan.rules) if self._hits(plan, n, rule, call)]

    def _hits(self, plan: FaultPlan, number: int, rule: Rule, call: Call) -> bool:
        """Count one call for one rule; tell whether it strikes."""
        if not _fits(rule, call):
            return False
        count = self._fits[number] = self._fits.get(number, 0) + 1
        if rule.times is not None and self._strikes.get(number, 0) >= rule.times:
            return False
        chance = rule.probability is not None and (
            fraction(plan.seed, number, count) < rule.probability
        )
        if not (rule.every or chance or rule.call == count):
            return False
        self._strikes[number] = self._strikes.get(number, 0) + 1
        entry = {
            "at": iso(self._clock.now()), "rule": number, "kind": rule.kind, "call": count,
            "service": call.service, "operation": call.operation, "id": call.id,
        }  # fmt: skip
        descriptor = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(json.dumps(entry) + "\n")
        return True

    def _strike(self, rule: Rule, call: Call) -> None:
        """Do what one rule says to one call. Raises: AwsError where it ends the call."""
        fate, seconds = call.fate, rule.seconds or 0.0
        fate.faults.append(rule.kind)
        if rule.kind == "latency":
            threading.Event().wait(self._pace.scaled(seconds))
        elif rule.kind == "execute-and-timeout":
            fate.lost = True
        elif rule.kind == "error-though-done":
            fate.error_though_done = True
        elif rule.kind == "lag":
            fate.hidden = self._pace.scaled(seconds)
        elif rule.kind == "stuck-creating":
            fate.late = float("inf") if rule.seconds is None else self._pace.scaled(seconds)
        elif rule.kind == "create-failed-late":
            fate.doom = "injected: the creation failed after it had begun"
        elif rule.kind == "out-of-band":
            assert rule.act is not None
            fate.acts.append(rule.act.model_dump())
        elif rule.kind == "external-id-rotated":
            self.outside.rotate_external_id(call.caller, f"rotated-{call.id}")
        else:
            raise self._refusal(rule, call)

    def _refusal(self, rule: Rule, call: Call) -> AwsError:
        """Make the error of a call that does not run."""
        if rule.kind == "throttle":
            return throttled(call.service)
        if rule.kind == "quota":
            return over_limit(call.operation)
        if rule.kind == "expire":
            self._keys.end(call.caller.access_key)
            text = "The security token included in the request is expired"
            return meaning("expired", text, call.protocol)
        if rule.kind == "role-deleted":
            self.outside.delete_role(call.caller)
            text = "The security token included in the request is invalid."
            return meaning("unknown-key", text, call.protocol)
        text = (
            f"User: {call.caller.arn} is not authorized to perform: "
            f"{call.service}:{call.operation} with an explicit deny in a service control policy"
        )
        return meaning("denied", text, call.protocol)


def _fits(rule: Rule, call: Call) -> bool:
    """Tell whether a rule counts a call."""
    caller = call.caller
    if rule.caller == "grant" and not (caller.kind == "session" and _GRANT_ROLE.match(caller.name)):
        return False
    if rule.boundary and caller.tags.get("ringfence:boundary") != rule.boundary:
        return False
    if rule.changes_only and not call.mutating:
        return False
    fits_service = rule.service in ("*", call.service)
    return fits_service and fnmatchcase(call.operation, rule.operation)
