"""The dialects by the name that `spec.engine.name` carries."""

from __future__ import annotations

from operators.engines.llamacpp import LlamaCpp
from operators.engines.protocol import EngineDialect
from operators.engines.vllm import Vllm

DIALECTS: dict[str, EngineDialect] = {"llama.cpp": LlamaCpp(), "vllm": Vllm()}
