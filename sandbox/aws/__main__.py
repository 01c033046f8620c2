"""Serve the rehearsal account: `python -m sandbox.aws --config FILE`.

Started by the sandbox's supervisor. It writes `aws.json` (address, account ids) into the run folder
when it is ready, and ends on SIGTERM after its clusters did.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from pathlib import Path

from pydantic import ValidationError

from sandbox.aws.account import Account
from sandbox.aws.config import GateConfig
from sandbox.aws.files import write_json
from sandbox.aws.server import TcpServer, UnixServer

ADDRESS_FILE = "aws.json"


def main() -> int:
    """Serve until told to stop; exit code 2 for a bad configuration."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.aws", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="JSON file, see GateConfig")
    arguments = parser.parse_args()
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        config = GateConfig.model_validate_json(arguments.config.read_text())
    except (OSError, ValidationError) as exc:
        print(f"{arguments.config}: {exc}", file=sys.stderr)
        return 2
    serve(config)
    return 0


def serve(config: GateConfig) -> None:
    """Run the account until SIGTERM or SIGINT."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    account = Account(config)
    tcp = TcpServer(config.port, account.gate.handle)
    unix = UnixServer(config.unix_socket, account.gate.handle)
    address = f"http://127.0.0.1:{tcp.server_port}"
    account.eks.pages.port = account.ecr.port = tcp.server_port
    account.faults.outside.endpoint = address
    for server in (tcp, unix):
        threading.Thread(target=server.serve_forever, daemon=True).start()
    account.start()
    write_json(
        config.run_dir / ADDRESS_FILE,
        {
            "endpoint_url": address,
            "accounts": config.accounts,
            "vendor_account": config.vendor_account,
        },
    )
    logging.getLogger("sandbox.aws").info("the rehearsal account listens on %s", address)
    stop.wait()
    (config.run_dir / ADDRESS_FILE).unlink(missing_ok=True)
    for server in (tcp, unix):
        server.shutdown()
        server.server_close()
    account.stop()
    config.unix_socket.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main())
