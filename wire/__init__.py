"""What crosses a process border: pydantic messages, versioned, without behaviour.

Every process of the product imports this package and nothing else of the others. A message names
its schema and version; each side accepts the current version and the one before (`wire.version`).
"""
