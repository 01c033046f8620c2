"""The vendor's host as an emulated VPC sees it: a Unix socket that leads to the API.

Run by the supervisor as `python -m sandbox.edge SOCKET PORT`. A path socket crosses the border of
a network namespace where a TCP connection cannot, so it is the one way out that a VPC has to us.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

CHUNK = 65_536


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.write_eof()


async def _serve(path: Path, port: int) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError as error:
            print(f"the API on port {port} does not answer: {error}", flush=True)
            writer.close()
            return
        await asyncio.gather(_copy(reader, up_writer), _copy(up_reader, writer))
        up_writer.close()
        writer.close()

    path.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(accept, path=path)
    path.chmod(0o600)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2])))
