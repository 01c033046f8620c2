"""The Celery application as the worker and the relay use it: messages that carry one id.

Made by the worker (consumes) and the scheduler (sends only). Separate from both so that they agree
on the settings. A task is short: it nudges the dispatcher or makes a probe. The pool is `threads`:
tasks and runs mostly wait, one process holds the credential brokers and the database pool, and the
heavy and crash-prone work (Pulumi) is in supervised child processes anyway; prefork children would
cost 100 MB each and would have to be told about shutdown one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from celery import Celery
from kombu.exceptions import OperationalError
from kombu.transport import redis, virtual

from controlplane.core.db import Database
from controlplane.core.errors import RingfenceError
from controlplane.core.jobs import AwaitedJob, Job
from controlplane.core.logging import get
from controlplane.core.outbox_relay import BrokerDownError, Send, job_of, mark_done

log = get(__name__)
QUEUE = "ringfence"


class FreeingQoS(redis.QoS):  # type: ignore[misc]  # kombu has no types
    """Frees a message's place among the prefetched ones, also when Redis cannot be told of its end.

    The transport's own frees it only afterwards. Each connection that broke at that moment took a
    place for good, and a consumer without one asks for nothing any more, in a worker that goes on
    living. What Redis was not told comes again, to a row that is done by then. Raises as it does.
    """

    def ack(self, delivery_tag: str) -> None:
        """End a message that was carried out."""
        try:
            super().ack(delivery_tag)
        finally:
            virtual.QoS.ack(self, delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """End a message that nobody can carry out."""
        try:
            super().reject(delivery_tag, requeue=requeue)
        finally:
            virtual.QoS.ack(self, delivery_tag)


# Where the transport takes it from; a transport of our own would have to be named for each scheme.
redis.Channel.QoS = FreeingQoS


def make_celery(redis_url: str) -> Celery:
    """Return an application on the broker; it stores no results."""
    app = Celery("ringfence", broker=redis_url)
    app.conf.update(
        task_default_queue=QUEUE,
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        task_serializer="json",
        accept_content=["json"],
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "visibility_timeout": 300,
            "socket_timeout": 10,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
        task_publish_retry=False,
    )
    return app


def make_send(app: Celery) -> Send:
    """Return the relay's way to the broker."""

    def send(task: str, outbox_id: int) -> None:
        try:
            app.send_task(task, args=[outbox_id], queue=QUEUE)
        except (OperationalError, OSError) as error:
            raise BrokerDownError(type(error).__name__) from error

    return send


def register_jobs(app: Celery, db: Database, jobs: Mapping[str, Job]) -> None:
    """Register every job under its name, with the row's life around it."""
    for name, job in jobs.items():
        app.task(name=name)(_task_body(db, name, job))


def _task_body(db: Database, name: str, job: Job) -> Callable[[int], None]:
    def run(outbox_id: int) -> None:
        run_job(db, name, job, outbox_id)

    run.__name__ = name.replace(".", "_").replace("-", "_")
    return run


def run_job(db: Database, name: str, job: Job, outbox_id: int) -> None:
    """Run one job and mark its row done; the edge of a task, so it never raises.

    A failure that may pass leaves the row open: the relay sends it again in time.
    """
    try:
        found = job_of(db, outbox_id)
        if found is None or found.task != name:
            return
        try:
            job(**found.ids)
        except RingfenceError as error:
            log.warning("task.refused", task=name, code=error.stable_code, **error.internal_context)
            if error.retryable:
                return
        except Exception as error:  # edge: a task; its last failure is told to who waits for it
            if not isinstance(job, AwaitedJob) or found.attempts < job.attempts:
                raise
            log.error("task.gave-up", task=name, outbox_id=outbox_id, exc_info=error)
            job.give_up(**found.ids)
        mark_done(db, outbox_id)
    except Exception as error:  # edge: a task; the row stays open and is sent again
        log.error("task.failed", task=name, outbox_id=outbox_id, exc_info=error)
