"""The plugin process: serves the provider on a loopback port and prints the port.

Started by the engine as `pulumi-resource-aws`, by way of the script that `install` writes.
"""

import importlib.util
import logging
import os
import sys
import threading
import types
from concurrent.futures import ThreadPoolExecutor

import grpc

THREADS = 48
MESSAGE_BYTES = 64 * 1024 * 1024


def _skip_sdk_startup() -> None:
    """Make `pulumi.runtime.proto` importable without the rest of the SDK.

    The SDK's own package imports cost half a second and 50 MB in each of a run's many plugin
    processes, of which the provider needs the protobufs only.
    """
    spec = importlib.util.find_spec("pulumi")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("the rehearsal provider needs the package pulumi")
    root = spec.submodule_search_locations[0]
    for name, path in (("pulumi", root), ("pulumi.runtime", f"{root}/runtime")):
        package = types.ModuleType(name)
        package.__path__ = [path]
        sys.modules[name] = package


def main() -> None:
    """Serve until the engine ends the process, or is gone itself."""
    logging.basicConfig(stream=sys.stderr, level=logging.ERROR, format="%(message)s")
    _skip_sdk_startup()
    from pulumi.runtime.proto import provider_pb2_grpc

    from sandbox.aws_provider.servicer import AwsProvider

    # The container credentials of the run's broker travel to loopback: never by way of a proxy.
    os.environ.setdefault("NO_PROXY", "127.0.0.1,localhost,169.254.170.23")
    server = grpc.server(
        ThreadPoolExecutor(max_workers=THREADS),
        options=[
            ("grpc.max_receive_message_length", MESSAGE_BYTES),
            ("grpc.max_send_message_length", MESSAGE_BYTES),
        ],
    )
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(AwsProvider(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    # The launcher knows who started it; by now the engine may be gone already.
    engine = int(os.environ.get("RINGFENCE_ENGINE_PID") or os.getppid())
    never = threading.Event()
    # An engine that was killed cannot stop its plugins; an orphan must not go on calling AWS.
    while os.getppid() == engine:
        never.wait(0.5)
    os._exit(1)


if __name__ == "__main__":
    main()
