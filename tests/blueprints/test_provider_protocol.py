"""The plugin process by its protocol: as the engine starts it, configures it and loses it."""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import struct_pb2
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

from sandbox.aws_provider.install import install

URN = "urn:pulumi:stack::project::"
VPC, SUBNET = f"{URN}aws:ec2/vpc:Vpc::vpc", f"{URN}aws:ec2/subnet:Subnet::private-a"
SECRET = "canary-secret-77aa"


def _struct(values: dict[str, Any]) -> struct_pb2.Struct:
    struct = struct_pb2.Struct()
    struct.update(values)
    return struct


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the plugin and return its script."""
    return install(tmp_path_factory.mktemp("plugins"))


KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": SECRET}


@contextmanager
def _plugin(
    launcher: Path, endpoint: str, keys: dict[str, str] = KEYS, **config: str
) -> Iterator[Any]:
    """Start the plugin, configure it, and give the protocol's client."""
    environment = {"PATH": os.environ["PATH"], "AWS_ENDPOINT_URL": endpoint, **keys}
    process = subprocess.Popen(
        [str(launcher)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    assert process.stderr is not None
    port = process.stdout.readline().strip()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            client = provider_pb2_grpc.ResourceProviderStub(channel)
            settings = _struct({"region": "eu-central-1"} | config)
            client.Configure(provider_pb2.ConfigureRequest(args=settings))
            yield client
    finally:
        process.kill()
        output = process.stdout.read() + process.stderr.read()
        process.stdout.close()
        process.stderr.close()
        process.wait()
    assert SECRET not in output


def _create(client: Any, urn: str, values: dict[str, Any], *, preview: bool = False) -> Any:
    checked = client.Check(provider_pb2.CheckRequest(urn=urn, news=_struct(values)))
    assert not checked.failures, checked.failures
    return client.Create(
        provider_pb2.CreateRequest(urn=urn, properties=checked.inputs, preview=preview)
    )


def test_the_plugin_has_the_version_of_the_official_one(launcher: Path) -> None:
    assert launcher.parent.name == "resource-aws-v7.34.0"
    with _plugin(launcher, "http://127.0.0.1:1") as client:
        assert client.GetPluginInfo(struct_pb2.Struct()).version == "7.34.0"


def test_a_type_that_is_not_in_the_table_is_refused(launcher: Path) -> None:
    with _plugin(launcher, "http://127.0.0.1:1") as client:
        request = provider_pb2.CheckRequest(urn=f"{URN}aws:rds/instance:Instance::db")
        (failure,) = client.Check(request).failures
    assert "no resource type 'aws:rds/instance:Instance'" in failure.reason
    assert "aws:ec2/vpc:Vpc" in failure.reason


def test_a_setting_it_does_not_know_is_refused(launcher: Path) -> None:
    with _plugin(launcher, "http://127.0.0.1:1") as client:
        news = _struct({"region": "eu-central-1", "assumeRole": "x"})
        (failure,) = client.CheckConfig(provider_pb2.CheckRequest(news=news)).failures
    assert failure.property == "assumeRole"


def test_a_function_is_refused_by_name(launcher: Path) -> None:
    with (
        _plugin(launcher, "http://127.0.0.1:1") as client,
        pytest.raises(grpc.RpcError, match="aws:index/getCallerIdentity:getCallerIdentity"),
    ):
        client.Invoke(
            provider_pb2.InvokeRequest(tok="aws:index/getCallerIdentity:getCallerIdentity")
        )


def test_a_preview_makes_no_call_and_leaves_outputs_unknown(launcher: Path) -> None:
    # The address answers nothing, so any call would fail.
    with _plugin(launcher, "http://127.0.0.1:1") as client:
        made = _create(client, VPC, {"cidrBlock": "10.0.0.0/16"}, preview=True)
    assert made.id == ""
    assert made.properties["arn"] == "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
    assert made.properties["cidrBlock"] == "10.0.0.0/16"


def test_another_account_is_refused_at_every_change(launcher: Path, moto_endpoint: str) -> None:
    refusal = "AccountNotAllowed: the credentials belong to account"
    with _plugin(launcher, moto_endpoint, allowedAccountIds='["210987654321"]') as client:
        for _ in range(2):
            with pytest.raises(grpc.RpcError, match=refusal):
                _create(client, VPC, {"cidrBlock": "10.0.0.0/16"})


def test_a_broker_that_refuses_is_named_in_the_error(
    launcher: Path, moto_endpoint: str, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("run-token")
    keys = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token),
    }
    with (
        _plugin(launcher, moto_endpoint, keys) as client,
        pytest.raises(grpc.RpcError, match=r"(Credential|Metadata)RetrievalError"),
    ):
        _create(client, VPC, {"cidrBlock": "10.0.0.0/16"})


def test_an_error_names_resource_action_and_code(launcher: Path, moto_endpoint: str) -> None:
    with _plugin(launcher, moto_endpoint) as client, pytest.raises(grpc.RpcError) as caught:
        _create(client, SUBNET, {"vpcId": "vpc-0", "cidrBlock": "10.0.0.0/24"})
    text = str(caught.value)
    assert "creating aws:ec2/subnet:Subnet 'private-a'" in text
    assert "ec2:CreateSubnet failed with InvalidVpcID.NotFound" in text


def test_an_account_that_does_not_answer_is_an_error_with_its_address(launcher: Path) -> None:
    with _plugin(launcher, "http://127.0.0.1:1") as client, pytest.raises(grpc.RpcError) as caught:
        _create(client, VPC, {"cidrBlock": "10.0.0.0/16"})
    assert "EndpointConnectionError" in str(caught.value)
    assert "http://127.0.0.1:1" in str(caught.value)


def test_what_is_gone_reads_as_gone_and_deletes_again(launcher: Path, moto_endpoint: str) -> None:
    with _plugin(launcher, moto_endpoint) as client:
        made = _create(client, VPC, {"cidrBlock": "10.0.0.0/16"})
        assert client.Read(provider_pb2.ReadRequest(urn=VPC, id=made.id)).id == made.id
        delete = provider_pb2.DeleteRequest(urn=VPC, id=made.id, properties=made.properties)
        client.Delete(delete)
        client.Delete(delete)
        assert client.Read(provider_pb2.ReadRequest(urn=VPC, id=made.id)).id == ""


def test_an_import_reads_every_input_from_the_account(launcher: Path, moto_endpoint: str) -> None:
    with _plugin(launcher, moto_endpoint) as client:
        tags = {"ringfence:urn": VPC}
        made = _create(client, VPC, {"cidrBlock": "10.9.0.0/16", "tags": tags})
        read = client.Read(provider_pb2.ReadRequest(urn=VPC, id=made.id))
    assert read.inputs["cidrBlock"] == "10.9.0.0/16"
    assert dict(read.inputs["tags"]) == tags


def test_a_cancelled_plugin_makes_no_further_call(launcher: Path, moto_endpoint: str) -> None:
    with _plugin(launcher, moto_endpoint) as client:
        client.Cancel(struct_pb2.Struct())
        with pytest.raises(grpc.RpcError) as caught:
            _create(client, VPC, {"cidrBlock": "10.0.0.0/16"})
    assert caught.value.code() is grpc.StatusCode.CANCELLED


@contextmanager
def _broker(minutes: int) -> Iterator[tuple[str, list[str]]]:
    """Serve sessions of that length as a run's broker does; give its address and its requests."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers["Authorization"])
            until = datetime.now(UTC) + timedelta(minutes=minutes)
            session = {
                "AccessKeyId": "testing",
                "SecretAccessKey": SECRET,
                "Token": SECRET,
                "Expiration": until.strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(session).encode())

        def log_message(self, format: str, *args: Any) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(("minutes", "times"), [(15, 1), (1, 4)])
def test_a_brokers_session_is_used_until_shortly_before_its_end(
    launcher: Path, moto_endpoint: str, tmp_path: Path, minutes: int, times: int
) -> None:
    token = tmp_path / "token"
    token.write_text("run-token")
    with _broker(minutes) as (address, asked):
        keys = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": address,
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(token),
        }
        with _plugin(launcher, moto_endpoint, keys) as client:
            _create(client, VPC, {"cidrBlock": "10.0.0.0/16"})
    assert set(asked) == {"run-token"}
    # A session that is about to end is renewed before each call; a fresh one serves them all.
    assert len(asked) == 1 if times == 1 else len(asked) >= times


def test_a_plugin_ends_when_its_engine_is_killed(launcher: Path) -> None:
    # The shell stands for the engine: it starts the plugin, tells its pid, and is killed.
    script = f'"{launcher}" > /dev/null & echo $!; wait'
    engine = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True)
    assert engine.stdout is not None
    plugin = int(engine.stdout.readline())
    assert _runs_within(plugin, seconds=10)
    engine.send_signal(signal.SIGKILL)
    engine.wait()
    engine.stdout.close()
    deadline, pause = time.monotonic() + 20, threading.Event()
    while _alive(plugin):
        assert time.monotonic() < deadline, f"the plugin {plugin} outlived its engine"
        pause.wait(0.05)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def _runs_within(pid: int, seconds: float) -> bool:
    """Say whether the plugin came up as far as its own loop."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if "sandbox.aws_provider" in Path(f"/proc/{pid}/cmdline").read_text():
            return True
    return False
