"""Byte forwarders between Unix sockets and TCP, the only ways through a cluster's border.

Called by the supervisor inside the namespace (API server, AWS endpoints, control plane, connect)
and by the host-side process (load balancers). Standard library only.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

CHUNK = 1 << 16
Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except (ConnectionError, OSError):
        writer.transport.abort()


async def splice(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    far_reader: asyncio.StreamReader,
    far_writer: asyncio.StreamWriter,
) -> None:
    """Copy both ways until both ends are closed; a half-close is passed on."""
    try:
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
    finally:
        await close(far_writer)
        await close(writer)


async def close(writer: asyncio.StreamWriter) -> None:
    """Close a stream; the other side may be gone already."""
    with contextlib.suppress(ConnectionError, OSError):
        writer.close()
        await writer.wait_closed()


def forwarder(connect: Connect) -> Handler:
    """Return a connection handler that joins each connection to a fresh one from `connect`."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await connect()
        except OSError:
            await close(writer)
            return
        await splice(reader, writer, far_reader, far_writer)

    return handle


def to_tcp(host: str, port: int) -> Connect:
    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(host, port)

    return connect


def to_unix(path: str) -> Connect:
    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(path)

    return connect


async def serve_unix(path: Path, handler: Handler) -> asyncio.Server:
    """Listen on a Unix socket only its owner can open, replacing a stale one."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    return await asyncio.start_unix_server(handler, sock=listener)


async def handle_connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection of the connect socket: `CONNECT ip:port [FROM ip]`, then bytes."""
    try:
        line = (await asyncio.wait_for(reader.readline(), 10)).decode("ascii").split()
        host, port, source = _target(line)
        far_reader, far_writer = await asyncio.wait_for(
            asyncio.open_connection(host, port, local_addr=(source, 0) if source else None), 10
        )
    except (OSError, ValueError, TimeoutError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        with contextlib.suppress(ConnectionError):
            writer.write(f"ERR {reason}\n".encode())
            await writer.drain()
        await close(writer)
        return
    writer.write(b"OK\n")
    await splice(reader, writer, far_reader, far_writer)


def _target(words: list[str]) -> tuple[str, int, str | None]:
    form = "the first line must be: CONNECT ip:port [FROM ip]"
    if len(words) not in (2, 4) or words[0] != "CONNECT":
        raise ValueError(form)
    if len(words) == 4 and words[2] != "FROM":
        raise ValueError(form)
    host, _, port = words[1].rpartition(":")
    source = str(ipaddress.IPv4Address(words[3])) if len(words) == 4 else None
    return str(ipaddress.IPv4Address(host)), int(port), source


async def open_through(
    connect_socket: Path, host: str, port: int, source: str | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection to an address inside the namespace.

    Raises: ConnectionError with the far side's reason.
    """
    reader, writer = await asyncio.open_unix_connection(str(connect_socket))
    origin = f" FROM {source}" if source else ""
    writer.write(f"CONNECT {host}:{port}{origin}\n".encode())
    answer = (await reader.readline()).decode(errors="replace").strip()
    if answer != "OK":
        await close(writer)
        raise ConnectionError(f"{host}:{port} inside the cluster: {answer or 'no answer'}")
    return reader, writer
