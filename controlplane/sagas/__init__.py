"""Multi-step operations: one file per saga, with parameters, steps with undo, and definition.

A saga's longer parts are in a package beside it (`provisioning/`). Registered by the worker.
"""
