"""Entry of the runner: say hello, do orders, end.

Run as `python -m runner.main` by the task. It ends when it is told to, on SIGTERM, and at its
deadline whatever it is doing then, so that one that everybody forgot does not stay.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import boto3

from proof.canonical import bytes_digest, canonical_bytes
from proof.keys import encode_public
from proof.sealing import encode_public as encode_sealing
from runner.identity import Identity
from runner.mailbox import Mailbox, MailboxError, TooLargeError, open_mailbox, unhandled
from runner.orders import Gate, RefusedError
from runner.settings import RUNNER_VERSION, Settings, SettingsError
from runner.work import FailedError, Found, Work
from wire.runner import Outcome, RunnerAnswer, RunnerHello, Stop

HELLO_EVERY = timedelta(seconds=60)
"""A proof is good for five minutes, and who asks for it may be another process than before."""
EXIT_DEADLINE = 3


@dataclass
class Runner:
    """One process's life: the loop, and what it has seen."""

    settings: Settings
    mailbox: Mailbox
    identity: Identity
    work: Work
    stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        given = self.settings
        self._gate = Gate(given.control_plane_key, given.run_id, given.mailbox, given.fence)
        self._handled: set[str] = set()
        self._said: datetime | None = None

    def run(self) -> int:
        """Work until told to stop; return the process's exit code."""
        while not self.stopping.is_set():
            if _now() >= self.settings.deadline:
                print("the deadline is over: the runner ends", flush=True)
                return EXIT_DEADLINE
            try:
                self.turn()
            except MailboxError as error:
                # It may pass; what does not ends at the deadline.
                print(f"will retry: {error}", flush=True)
            self.stopping.wait(self.settings.poll_seconds)
        return 0

    def turn(self) -> None:
        """Say hello when it is time, then do what waits. Raises: MailboxError."""
        self._say_hello()
        for name in unhandled(self.mailbox.orders(), self._handled):
            if self.stopping.is_set():
                return
            self._handle(name)
            self._say_hello()

    def _say_hello(self) -> None:
        now = _now()
        if self._said is not None and now - self._said < HELLO_EVERY:
            return
        hello = RunnerHello(
            run_id=self.settings.run_id,
            mailbox=self.settings.mailbox,
            sealing_key=encode_sealing(self.identity.sealing),
            signing_key=encode_public(self.identity.signing),
            runner_version=RUNNER_VERSION,
            deadline=self.settings.deadline,
            said_at=now,
        )
        self.mailbox.hello(canonical_bytes(self.identity.prove(hello).to_wire()))
        self._said = now

    def _handle(self, name: str) -> None:
        """Do one order and write its answer. An order is done once, its answer may be retried."""
        raw, found, reason = b"", Found(), ""
        outcome: Outcome = "done"
        code = "done"
        try:
            raw = self.mailbox.order(name)
            self._handled.add(name)
            order = self._gate.admit(name, raw, _now())
            found = self.work.do(order)
            if isinstance(order.action, Stop):
                self.stopping.set()
        except TooLargeError as error:
            self._handled.add(name)
            outcome, code, reason = "refused", "too-large", str(error)
        except RefusedError as error:
            outcome, code, reason = "refused", error.code, str(error)
        except FailedError as error:
            outcome, code, reason = "failed", error.code, str(error)
        print(f"{name}: {outcome} {code}", flush=True)
        self._answer(name, raw, found, outcome, code, reason)

    def _answer(
        self, name: str, raw: bytes, found: Found, outcome: Outcome, code: str, reason: str
    ) -> None:
        answer = RunnerAnswer(
            run_id=self.settings.run_id,
            mailbox=self.settings.mailbox,
            order=name,
            order_digest=bytes_digest(raw),
            outcome=outcome,
            code=code,
            reason=reason[:2000],
            found=found.found,
            release=found.release,
            existed=found.existed,
            finished_at=_now(),
        )
        document = canonical_bytes(self.identity.sign(answer).model_dump(mode="json"))
        for _ in range(3):
            try:
                return self.mailbox.answer(name, document)
            except MailboxError as error:
                print(f"the answer to {name} will be retried: {error}", flush=True)
                self.stopping.wait(1.0)
        return self.mailbox.answer(name, document)


def _now() -> datetime:
    return datetime.now(UTC)


def _end_at(deadline: datetime) -> None:
    """End the process at the deadline even where its loop hangs."""
    timer = threading.Timer((deadline - _now()).total_seconds() + 1.0, os._exit, (EXIT_DEADLINE,))
    timer.daemon = True
    timer.start()


def main() -> int:
    """Return 0 after a stop, 3 at the deadline, 2 on bad settings."""
    try:
        settings = Settings.from_environment(os.environ, _now())
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    _end_at(settings.deadline)
    session = boto3.Session(region_name=settings.region)
    mailbox = open_mailbox(session, settings.bucket, settings.mailbox)
    identity = Identity(session.client("sts"), session.get_credentials(), settings.region)
    work = Work(
        settings.run_id,
        mailbox,
        identity,
        settings.helm,
        lambda: (settings.deadline - _now()).total_seconds(),
    )
    runner = Runner(settings, mailbox, identity, work)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: runner.stopping.set())
    return runner.run()


if __name__ == "__main__":
    sys.exit(main())
