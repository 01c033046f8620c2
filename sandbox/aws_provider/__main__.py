"""The plugin process: serves the provider on a loopback port and prints the port.

Started by the engine as `pulumi-resource-aws`, by way of the script that `install` writes.
"""

import logging
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc

from sandbox.aws_provider.servicer import AwsProvider
from sandbox.aws_provider.values import protocol

THREADS = 48
MESSAGE_BYTES = 64 * 1024 * 1024


def main() -> None:
    """Serve until the engine ends the process, or is gone itself."""
    logging.basicConfig(stream=sys.stderr, level=logging.ERROR, format="%(message)s")
    # The container credentials of the run's broker travel to loopback: never by way of a proxy.
    os.environ.setdefault("NO_PROXY", "127.0.0.1,localhost,169.254.170.23")
    server = grpc.server(
        ThreadPoolExecutor(max_workers=THREADS),
        options=[
            ("grpc.max_receive_message_length", MESSAGE_BYTES),
            ("grpc.max_send_message_length", MESSAGE_BYTES),
        ],
    )
    protocol().provider_pb2_grpc.add_ResourceProviderServicer_to_server(AwsProvider(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    engine = os.getppid()
    never = threading.Event()
    # An engine that was killed cannot stop its plugins; an orphan must not go on calling AWS.
    while os.getppid() == engine:
        never.wait(0.5)
    os._exit(1)


if __name__ == "__main__":
    main()
