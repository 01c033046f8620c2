"""moto as a server on a free loopback port, in a process of its own; prints the port."""

import os
import threading

os.environ["MOTO_IAM_LOAD_MANAGED_POLICIES"] = "true"

from moto.server import ThreadedMotoServer


def main() -> None:
    """Serve until killed."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    print(server.get_host_and_port()[1], flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
