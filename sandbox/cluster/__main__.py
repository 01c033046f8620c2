"""Look into an emulated cluster from the host: `python -m sandbox.cluster kubectl DATA_DIR …`.

For people who debug a sandbox. It opens a listener on 127.0.0.1 for as long as the command runs
and calls kubectl with the sandbox administrator's certificate.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path

from sandbox.cluster import forward
from sandbox.cluster.certificates import kubeconfig
from sandbox.cluster.errors import ClusterError
from sandbox.cluster.settings import ClusterSettings, read_settings, write_private
from sandbox.toolchain import ToolchainError, find_program


async def _kubectl(settings: ClusterSettings, arguments: list[str]) -> int:
    handler = forward.forwarder(forward.to_unix(str(settings.socket("api"))))
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kubeconfig"
        write_private(path, kubeconfig(settings.pki, "admin", f"https://127.0.0.1:{port}"))
        process = await asyncio.create_subprocess_exec(
            str(find_program("kubectl")), *arguments, env={**os.environ, "KUBECONFIG": str(path)}
        )
        code = await process.wait()
    server.close()
    return code


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m sandbox.cluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    kubectl = commands.add_parser("kubectl", help="run kubectl as the sandbox administrator")
    kubectl.add_argument("data_dir", type=Path)
    kubectl.add_argument("arguments", nargs=argparse.REMAINDER)
    options = parser.parse_args(argv)
    try:
        return asyncio.run(_kubectl(read_settings(options.data_dir), options.arguments))
    except (ClusterError, ToolchainError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
