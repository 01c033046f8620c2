"""Pulumi's resource provider protocol, answered from the table of resource types.

Called by the engine over gRPC. Holds no rule about AWS: it turns requests into plain dicts, asks
`schema` what is wrong or different, and calls the functions of the type's entry.
"""

# ruff: noqa: N802 - the methods carry the names of the protocol

import json
import logging
from typing import Any, NoReturn

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc, status_pb2

from sandbox.aws_provider.cloud import CONFIG_KEYS, CancelledError, Cloud, CloudError, NotReadyError
from sandbox.aws_provider.schema import (
    UNKNOWN,
    Change,
    Properties,
    ResourceType,
    check,
    contains_unknown,
    diff,
    merge,
)
from sandbox.aws_provider.types import RESOURCE_TYPES
from sandbox.aws_provider.values import to_python, to_struct

VERSION = "7.34.0"
_log = logging.getLogger("aws_provider")
_KNOWN_ERRORS = (CloudError, NotReadyError, CancelledError)


class AwsProvider(provider_pb2_grpc.ResourceProviderServicer):
    """One configured provider; the engine starts one process per provider resource."""

    def __init__(self) -> None:
        self._cloud: Cloud | None = None

    # --- Life of the provider ---

    def Handshake(self, request: Any, context: grpc.ServicerContext) -> Any:
        return provider_pb2.ProviderHandshakeResponse()

    def GetPluginInfo(self, request: Any, context: grpc.ServicerContext) -> Any:
        return plugin_pb2.PluginInfo(version=VERSION)

    def CheckConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        news = to_python(request.news)
        failures = [
            provider_pb2.CheckFailure(
                property=name,
                reason=f"the rehearsal provider has no setting {name!r}; "
                f"known: {', '.join(sorted(CONFIG_KEYS))}",
            )
            for name, value in news.items()
            if name not in CONFIG_KEYS and not name.startswith("__") and value is not None
        ]
        return provider_pb2.CheckResponse(inputs=request.news, failures=failures)

    def DiffConfig(self, request: Any, context: grpc.ServicerContext) -> Any:
        old, new = _config(to_python(request.olds)), _config(to_python(request.news))
        changed = sorted(key for key in {*old, *new} if old.get(key) != new.get(key))
        # Another region means other resources; anything else only changes how they are reached.
        replaces = [key for key in changed if key == "region"]
        return _diff_response([Change(key, "update", key in replaces) for key in changed], False)

    def Configure(self, request: Any, context: grpc.ServicerContext) -> Any:
        config = to_python(request.args)
        if not config:
            prefix = "aws:config:"
            config = {key.removeprefix(prefix): value for key, value in request.variables.items()}
        self._cloud = Cloud(_config(config))
        return provider_pb2.ConfigureResponse(supportsPreview=True)

    def Cancel(self, request: Any, context: grpc.ServicerContext) -> Any:
        if self._cloud is not None:
            self._cloud.cancelled.set()
        return empty_pb2.Empty()

    def Invoke(self, request: Any, context: grpc.ServicerContext) -> Any:
        _abort(
            context,
            grpc.StatusCode.UNIMPLEMENTED,
            f"{request.tok}: the rehearsal provider has no functions; pass the value as an input",
        )

    # --- Life of a resource ---

    def Check(self, request: Any, context: grpc.ServicerContext) -> Any:
        entry = RESOURCE_TYPES.get(_token(request.urn))
        if entry is None:
            reason = (
                f"the rehearsal provider has no resource type {_token(request.urn)!r}; "
                f"known: {', '.join(sorted(RESOURCE_TYPES))}"
            )
            failure = provider_pb2.CheckFailure(property="", reason=reason)
            return provider_pb2.CheckResponse(failures=[failure])
        checked, failures = check(entry, to_python(request.news))
        return provider_pb2.CheckResponse(
            inputs=to_struct(checked),
            failures=[
                provider_pb2.CheckFailure(property=item.property, reason=item.reason)
                for item in failures
            ],
        )

    def Diff(self, request: Any, context: grpc.ServicerContext) -> Any:
        entry = self._entry(request, context)
        old = to_python(request.old_inputs) or to_python(request.olds)
        changes = diff(entry, old, to_python(request.news))
        impossible = [change.top for change in changes if entry.update is None]
        changes = [
            Change(change.path, change.kind, change.replace or change.top in impossible)
            for change in changes
        ]
        return _diff_response(changes, entry.named)

    def Create(self, request: Any, context: grpc.ServicerContext) -> Any:
        entry, inputs = self._entry(request, context), to_python(request.properties)
        if request.preview:
            planned = inputs | dict.fromkeys(entry.outputs, UNKNOWN)
            return provider_pb2.CreateResponse(properties=to_struct(_with_all_tags(entry, planned)))
        cloud = self._configured(context)
        try:
            id_ = entry.create(cloud, inputs)
        except _KNOWN_ERRORS as error:
            _abort(context, _code(error), f"creating {_label(request.urn)}: {error}")
        state = self._finish(entry, id_, inputs, f"creating {_label(request.urn)}", context)
        return provider_pb2.CreateResponse(id=id_, properties=to_struct(state))

    def Read(self, request: Any, context: grpc.ServicerContext) -> Any:
        entry, cloud = self._entry(request, context), self._configured(context)
        inputs, state = to_python(request.inputs), to_python(request.properties)
        try:
            live = entry.read(cloud, request.id, state | inputs)
        except _KNOWN_ERRORS as error:
            _abort(context, _code(error), f"reading {_label(request.urn)}: {error}")
        if live is None:
            return provider_pb2.ReadResponse()
        merged = merge(entry, inputs, live)
        return provider_pb2.ReadResponse(
            id=request.id,
            inputs=to_struct(merged),
            properties=to_struct(_state(entry, merged, live, cloud)),
        )

    def Update(self, request: Any, context: grpc.ServicerContext) -> Any:
        entry, news = self._entry(request, context), to_python(request.news)
        olds = to_python(request.olds)
        if request.preview:
            return provider_pb2.UpdateResponse(properties=to_struct(olds | news))
        old = to_python(request.old_inputs) or olds
        changed = frozenset(change.top for change in diff(entry, old, news))
        what = f"updating {_label(request.urn)}"
        try:
            if changed and entry.update is not None:
                entry.update(self._configured(context), request.id, news, changed)
        except _KNOWN_ERRORS as error:
            _abort(context, _code(error), f"{what}: {error}")
        state = self._finish(entry, request.id, news, what, context)
        return provider_pb2.UpdateResponse(properties=to_struct(state))

    def Delete(self, request: Any, context: grpc.ServicerContext) -> Any:
        entry, cloud = self._entry(request, context), self._configured(context)
        known = to_python(request.properties) | to_python(request.old_inputs)
        try:
            entry.delete(cloud, request.id, known)
        except _KNOWN_ERRORS as error:
            _abort(context, _code(error), f"deleting {_label(request.urn)}: {error}")
        return empty_pb2.Empty()

    # --- Shared by the above ---

    def _entry(self, request: Any, context: grpc.ServicerContext) -> ResourceType:
        entry = RESOURCE_TYPES.get(_token(request.urn))
        if entry is None:
            _abort(
                context,
                grpc.StatusCode.INVALID_ARGUMENT,
                f"the rehearsal provider has no resource type {_token(request.urn)!r}",
            )
        return entry

    def _configured(self, context: grpc.ServicerContext) -> Cloud:
        if self._cloud is None:
            _abort(context, grpc.StatusCode.FAILED_PRECONDITION, "Configure was not called")
        return self._cloud

    def _finish(
        self,
        entry: ResourceType,
        id_: str,
        inputs: Properties,
        what: str,
        context: grpc.ServicerContext,
    ) -> Properties:
        """Wait until the object is ready and return its state.

        The object exists already, so a failure here is reported as "made, but not ready": the
        engine then keeps its id in the state, and the next run goes on from there.
        """
        cloud = self._configured(context)
        try:
            if entry.settle is not None:
                entry.settle(cloud, id_, inputs)
            live = _read_visible(entry, cloud, id_, inputs)
        except _KNOWN_ERRORS as error:
            _abort_unready(context, id_, inputs, f"{what}: {error}")
        return _state(entry, merge(entry, inputs, live), live, cloud)


def _read_visible(entry: ResourceType, cloud: Cloud, id_: str, inputs: Properties) -> Properties:
    """Read an object that was just made; AWS may show it a little later."""
    found: list[Properties] = []

    def state() -> str:
        live = entry.read(cloud, id_, inputs)
        if live is not None:
            found.append(live)
        return "visible" if found else "not visible yet"

    cloud.wait(id_, state, ready=("visible",), seconds=60)
    return found[-1]


def _config(values: Properties) -> Properties:
    """Return provider settings as plain values; the SDK sends all but strings as JSON text."""
    config: Properties = {}
    for key, value in values.items():
        if key.startswith("__") or value is None or contains_unknown(value):
            continue
        if isinstance(value, str) and value[:1] in ("[", "{"):
            config[key] = json.loads(value)
        else:
            config[key] = value
    return config


def _token(urn: str) -> str:
    """Return the type token of a URN: the last of the types in its third part."""
    return urn.split("::")[2].rsplit("$", 1)[-1]


def _label(urn: str) -> str:
    return f"{_token(urn)} {urn.rsplit('::', 1)[-1]!r}"


def _with_all_tags(entry: ResourceType, values: Properties) -> Properties:
    return values | ({"tagsAll": values.get("tags", {})} if "tags" in entry.inputs else {})


def _state(entry: ResourceType, inputs: Properties, live: Properties, cloud: Cloud) -> Properties:
    """Return what the engine stores: inputs, the live rest of each object, and outputs."""
    state: Properties = {"region": cloud.region}
    for name, value in inputs.items():
        beside = live.get(name)
        whole = isinstance(value, dict) and isinstance(beside, dict) and name != "tags"
        state[name] = {**beside, **value} if whole and beside else value
    state |= {name: live.get(name) for name in entry.outputs}
    return _with_all_tags(entry, state)


def _diff_response(changes: list[Change], delete_first: bool) -> Any:
    kinds = provider_pb2.PropertyDiff.Kind
    detailed = {
        change.path: provider_pb2.PropertyDiff(
            kind=kinds.Value(change.kind.upper() + ("_REPLACE" if change.replace else "")),
            inputDiff=True,
        )
        for change in changes
    }
    response = provider_pb2.DiffResponse
    return response(
        changes=response.DIFF_SOME if changes else response.DIFF_NONE,
        diffs=sorted({change.top for change in changes}),
        replaces=sorted({change.top for change in changes if change.replace}),
        deleteBeforeReplace=delete_first and any(change.replace for change in changes),
        detailedDiff=detailed,
        hasDetailedDiff=True,
    )


def _code(error: Exception) -> grpc.StatusCode:
    cancelled = isinstance(error, CancelledError)
    return grpc.StatusCode.CANCELLED if cancelled else grpc.StatusCode.UNKNOWN


def _abort(context: grpc.ServicerContext, code: grpc.StatusCode, message: str) -> NoReturn:
    _log.warning("%s", message)
    context.abort(code, message)
    raise AssertionError("abort always raises")


def _abort_unready(
    context: grpc.ServicerContext, id_: str, inputs: Properties, message: str
) -> NoReturn:
    """Abort with the protocol's "initialization failed", which carries the id."""
    detail = provider_pb2.ErrorResourceInitFailed(
        id=id_, properties=to_struct(inputs), inputs=to_struct(inputs), reasons=[message]
    )
    status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=message)
    status.details.add().Pack(detail)
    trailer = ("grpc-status-details-bin", status.SerializeToString())
    context.set_trailing_metadata((trailer,))
    _abort(context, grpc.StatusCode.UNKNOWN, message)
