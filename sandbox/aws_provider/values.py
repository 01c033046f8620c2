"""Between the protocol's Struct and plain Python values; used by the servicer only.

Separate so that the rest of the provider sees dicts.
"""

from typing import Any

from google.protobuf import struct_pb2


def to_python(value: struct_pb2.Struct) -> dict[str, Any]:
    """Return a Struct as a dict; whole numbers become integers, unknowns stay the sentinel."""
    return {key: _plain(item) for key, item in value.fields.items()}


def _plain(value: struct_pb2.Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return to_python(value.struct_value)
    if kind == "list_value":
        return [_plain(item) for item in value.list_value.values]
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if kind in (None, "null_value"):
        return None
    return getattr(value, kind)


def to_struct(value: dict[str, Any]) -> struct_pb2.Struct:
    """Return a dict as a Struct; None values are left out, as the engine expects."""
    struct = struct_pb2.Struct()
    struct.update(_without_none(value))
    return struct


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        return [_without_none(item) for item in value]
    return value
