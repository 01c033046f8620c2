"""The sandbox's inference engine: a real llama.cpp server behind served names.

Image `ringfence/engine-llamacpp`, started as `python -m sandbox.engine.main`, one process per
ModelInstance. Separate from the gateway because it is the part a production install replaces (by
vLLM); the gateway must not notice.
"""
