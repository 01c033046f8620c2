"""The llama.cpp server itself, in a process of its own.

Started by `process` as `python -m sandbox.engine.llama_server`; it reads one JSON line from its
standard input (configuration and API key: neither belongs in argv or environment), prints one JSON
line with its port when the weights are loaded, and ends when its standard input closes. Separate
because native code may die, because its failures are explained on standard error only, and because
SIGTERM must reach the front, which drains, and never this process.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

import xllamacpp

from sandbox.engine.config import EngineConfig


def parameters(config: EngineConfig, api_key: str) -> Any:
    """Return llama.cpp's parameters for a configuration.

    The settings that are not defaults, and why: adapters are loaded at scale 0 because a request
    names its own scales (`lora_init_without_apply` has no effect); every form of prompt cache is
    off because it mixes adapters up; `check_tensors` because corrupt weights load silently without
    it; loopback, key and no CORS because only the front may talk to it.
    """
    params = xllamacpp.CommonParams()
    params.model.path = str(config.model_path)
    params.model_alias = {config.served_model_name}  # else answers carry the file's path
    params.lora_adapters = [
        xllamacpp.CommonAdapterLoraInfo(str(a.path), 0.0) for a in config.adapters
    ]
    params.check_tensors = True
    params.n_parallel = config.parallel
    params.n_ctx = config.context_length * config.parallel
    params.cpuparams.n_threads = config.threads
    params.cpuparams_batch.n_threads = config.threads
    params.n_threads_http = 16
    params.n_gpu_layers = 0
    params.fit_params = False
    params.cache_prompt = False
    params.cache_ram_mib = 0
    params.slot_prompt_similarity = 0.0
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [api_key]
    params.cors_origins = ""
    params.endpoint_metrics = True
    params.endpoint_slots = True
    params.endpoint_props = False
    params.ui = False
    params.offline = True
    params.verbosity = 1  # errors only: nothing of a prompt may reach a log
    return params


def main() -> int:
    """Serve until standard input closes; exit code 1 when the weights cannot be loaded."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    order = json.loads(sys.stdin.readline())
    config = EngineConfig.model_validate(order["config"])
    try:
        server = xllamacpp.Server(parameters(config, order["api_key"]))
    except RuntimeError as error:
        # llama.cpp has said the cause on standard error just above.
        print(f"engine: cannot load {config.model_path.name}: {error}", file=sys.stderr)
        return 1
    port = int(str(server.listening_address).rsplit(":", 1)[1])
    print(json.dumps({"port": port}), flush=True)
    sys.stdin.read()
    sys.stdout.flush()
    # Nothing is worth saving, and unloading waits for threads that may still compute.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
