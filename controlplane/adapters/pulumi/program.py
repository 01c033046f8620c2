"""Load a blueprint's program by reference and serve it to the CLI; runs in the child only.

Separate because it is the only code that imports something of a blueprint, and it does so by name.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
import pulumi
from pulumi.automation._server import LanguageServer
from pulumi.runtime.proto import language_pb2_grpc

from controlplane.adapters.pulumi.listener import CHANNEL_OPTIONS
from controlplane.adapters.pulumi.messages import ProgramRef

Program = Callable[[dict[str, Any], dict[str, Any] | None], Any]


class ProgramError(ValueError):
    """The reference does not lead to a callable program; the message names what is missing."""


def load(reference: ProgramRef) -> Program:
    """Import `module:function` with `root` first on the module path. Raises: ProgramError."""
    if reference.root not in sys.path:
        sys.path.insert(0, reference.root)
    module_name, _, function = reference.entry.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ProgramError(
            f"cannot import {module_name} from {reference.root}: {error}; check the blueprint's "
            "`entry` and the folder it was registered with"
        ) from error
    program = getattr(module, function, None)
    if not callable(program):
        raise ProgramError(f"{module_name} in {reference.root} has no function {function}")
    return program  # type: ignore[no-any-return]  # its signature is the blueprint contract


@contextmanager
def served(
    program: Program, inputs: dict[str, Any], upstream: dict[str, Any] | None
) -> Iterator[str]:
    """Serve the program to the engine; yields the address for `--client`."""

    def run() -> None:
        outputs = program(inputs, upstream)
        if isinstance(outputs, dict):
            for name, value in outputs.items():
                pulumi.export(name, value)

    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4), options=CHANNEL_OPTIONS)
    # LanguageServer is the SDK's own host for inline programs; the SDK is pinned to one version.
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(LanguageServer(run), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(grace=0)
