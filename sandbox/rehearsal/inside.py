"""A machine of the customer's inside the install's network, for one program: `python -m … FILE`.

Started by `sandbox.rehearsal.alone` under `unshare -n`. Emulation, as of a task of ECS: a network
namespace without any link. What the program reaches are listeners that this process holds there:
the account's endpoint, and the cluster's private endpoint at the address that its name leads to.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from sandbox.cluster import forward

LOOPBACK = "127.0.0.1"


def command(spec: Path) -> list[str]:
    """Return what runs the program of a spec inside; its exit code is the program's."""
    script = 'ip link set lo up && exec "$1" -m sandbox.rehearsal.inside "$2"'
    return ["unshare", "-n", "sh", "-c", script, "sh", sys.executable, str(spec)]


async def run(spec: dict[str, Any]) -> int:
    """Listen on `ways` (port to socket), run `argv`, and return its exit code."""
    servers = [
        await asyncio.start_server(forward.forwarder(forward.to_unix(path)), LOOPBACK, int(port))
        for port, path in spec["ways"].items()
    ]
    process = await asyncio.create_subprocess_exec(
        *spec["argv"], cwd=spec["cwd"], env=spec["env"], stdin=subprocess.DEVNULL
    )
    code = await process.wait()
    for server in servers:
        server.close()
    return code


def main() -> int:
    return asyncio.run(run(json.loads(Path(sys.argv[1]).read_text())))


if __name__ == "__main__":
    sys.exit(main())
