"""What a worker's consumer keeps of a message whose end Redis could not be told."""

from __future__ import annotations

from typing import Any

import pytest
from kombu import Queue

from controlplane.core.broker import QUEUE, make_celery
from tests.redis_server import RedisServer


@pytest.mark.parametrize("end", ["ack", "reject"])
def test_a_message_whose_end_could_not_be_told_leaves_room_for_the_next(
    redis_server: RedisServer, end: str
) -> None:
    # Two of them took both places of a worker with two threads: it never asked for a job again.
    app = make_celery(redis_server.url)
    received: list[Any] = []
    with app.connection_for_read() as connection:
        channel = connection.channel()
        consumer = connection.Consumer(
            [Queue(QUEUE)],
            channel=channel,
            callbacks=[lambda body, message: received.append(message)],
        )
        consumer.qos(prefetch_count=1)
        with consumer:
            app.send_task("run.advance", args=[1], queue=QUEUE)
            connection.drain_events(timeout=10)
            assert not channel.qos.can_consume()
            redis_server.kill()
            with pytest.raises(connection.connection_errors):
                getattr(received[0], end)()
            assert channel.qos.can_consume()
            redis_server.start()
    app.close()
