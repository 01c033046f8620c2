"""The runner's life: hello, orders done, secrets kept, its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from proof.canonical import digest
from proof.keys import encode_public
from runner.main import EXIT_DEADLINE
from runner.settings import Settings, SettingsError
from tests.runner.bench import CLUSTER, TOKEN, Bench
from wire.runner import (
    AskCluster,
    ReadRelease,
    Stop,
    UninstallRelease,
    order_name,
)

RELEASE = {"name": "ringfence", "namespace": "ringfence-system", "revision": "2"}
LISTED = json.dumps([{**RELEASE, "status": "deployed", "chart": "boundary-stack-0.1.0"}])
INSTALLED = json.dumps(
    {
        "name": "ringfence",
        "namespace": "ringfence-system",
        "version": 1,
        "info": {"status": "deployed"},
        "chart": {"metadata": {"name": "boundary-stack", "version": "0.1.0"}},
        "config": {"agent": {"enrolmentToken": TOKEN}},
    }
)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path)
    made.runner.turn()
    return made


def test_the_hello_is_bound_to_a_call_that_only_the_role_can_sign(bench: Bench) -> None:
    said = bench.hello()
    query = parse_qs(said.query)
    assert query["Action"] == ["GetCallerIdentity"]
    assert "x-ringfence-hello" in query["X-Amz-SignedHeaders"][0].split(";")
    other = said.hello.model_copy(update={"signing_key": "A" * 44})
    assert digest(other.to_wire()) != digest(said.hello.to_wire())


def test_each_runner_makes_keys_of_its_own(bench: Bench) -> None:
    first = bench.hello().hello
    bench.start(bench.settings).turn()
    second = bench.hello().hello
    assert first.sealing_key != second.sealing_key
    assert first.signing_key != second.signing_key


def test_a_chart_is_installed_and_the_token_is_nowhere_but_in_helms_file(bench: Bench) -> None:
    bench.helm(
        f'case "$*" in *values*) cp $(echo "$@" | sed \'s/.*--values \\([^ ]*\\).*/\\1/\')'
        f" {bench.folder}/seen;; esac\ncat <<'E'\n{INSTALLED}\nE"
    )
    answer = bench.answer(bench.put(bench.order(bench.install())))
    assert answer.outcome == "done"
    assert answer.release is not None
    assert answer.release.chart == "boundary-stack-0.1.0"
    assert json.loads((bench.folder / "seen").read_text())["agent"]["enrolmentToken"] == TOKEN
    assert TOKEN not in bench.calls()
    assert TOKEN not in (bench.folder / "environment").read_text()
    assert all(TOKEN.encode() not in raw for raw in bench.bucket.objects.values())
    # The order's folder went with it.
    assert [p.name for p in bench.folder.iterdir() if p.is_dir()] == []


def test_a_failed_install_tells_why_without_the_secret_that_helm_quotes(bench: Bench) -> None:
    bench.helm(f'echo "values: {TOKEN} is not allowed here" >&2; exit 1')
    answer = bench.answer(bench.put(bench.order(bench.install())))
    assert (answer.outcome, answer.code) == ("failed", "helm-failed")
    assert "is not allowed here" in answer.reason
    assert TOKEN not in answer.reason


def test_a_release_is_read_and_removed_only_where_there_is_one(bench: Bench) -> None:
    bench.helm(f"case \"$1\" in list) cat <<'E'\n{LISTED}\nE\n;; esac")
    place = {"cluster": CLUSTER, "release": "ringfence", "namespace": "ringfence-system"}
    read = bench.answer(bench.put(bench.order(ReadRelease(**place))))
    assert read.release is not None
    assert (read.release.revision, read.existed) == (2, True)
    gone = bench.answer(bench.put(bench.order(UninstallRelease(**place), 2)))
    assert gone.existed is True
    assert "uninstall ringfence --ignore-not-found" in bench.calls()

    bench.helm("echo '[]'")
    assert bench.answer(bench.put(bench.order(UninstallRelease(**place), 3))).existed is False
    assert bench.calls().count("uninstall") == 1


def test_a_cluster_that_does_not_answer_is_told_by_name(bench: Bench) -> None:
    answer = bench.answer(bench.put(bench.order(AskCluster(cluster=CLUSTER))))
    assert (answer.outcome, answer.found) == ("done", "connection-refused")


def test_an_authority_that_is_no_certificate_is_refused(bench: Bench) -> None:
    cluster = CLUSTER.model_copy(update={"certificate_authority": "?"})
    answer = bench.answer(bench.put(bench.order(AskCluster(cluster=cluster))))
    assert (answer.outcome, answer.code) == ("refused", "malformed")


def test_a_stop_is_answered_and_ends_the_loop(bench: Bench) -> None:
    name = bench.put(bench.order(Stop()))
    later = bench.put(bench.order(AskCluster(cluster=CLUSTER), 2))
    assert bench.runner.run() == 0
    assert bench.read_answer(name).outcome == "done"
    assert f"{bench.mailbox}answers/{later}.json" not in bench.bucket.objects


def test_a_bucket_that_fails_for_a_moment_costs_no_order(bench: Bench) -> None:
    name = bench.put(bench.order(Stop()))
    bench.bucket.fails = ["ListObjectsV2", "GetObject", "PutObject"]
    assert bench.runner.run() == 0
    assert bench.read_answer(name).outcome == "done"


def test_the_orders_of_many_pages_are_done_in_their_order(bench: Bench) -> None:
    names = [bench.put(bench.order(AskCluster(cluster=CLUSTER), n)) for n in range(1, 6)]
    bench.runner.turn()
    ends = [bench.read_answer(name).finished_at for name in names]
    assert ends == sorted(ends)
    assert len(set(names)) == 5


def test_a_runner_ends_by_itself_at_its_deadline(bench: Bench) -> None:
    soon = datetime.now(UTC) + timedelta(milliseconds=50)
    runner = bench.start(replace(bench.settings, deadline=soon))
    assert runner.run() == EXIT_DEADLINE


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("RUNNER_BUCKET", "", "RUNNER_BUCKET"),
        ("RUNNER_MAILBOX", "artifacts/", "RUNNER_MAILBOX"),
        ("RUNNER_DEADLINE", "2001-01-01T00:00:00+00:00", "RUNNER_DEADLINE"),
        ("RUNNER_DEADLINE", "2999-01-01T00:00:00+00:00", "RUNNER_DEADLINE"),
        ("RUNNER_CONTROL_PLANE_KEY", "abc", "32 bytes"),
        ("RUNNER_RUN", "x", "UUID"),
    ],
    ids=["missing", "another-prefix", "past", "for-ever", "no-key", "no-run"],
)
def test_settings_that_cannot_be_used_are_named(
    bench: Bench, name: str, value: str, told: str
) -> None:
    with pytest.raises(SettingsError, match=told):
        Settings.from_environment({**_environment(bench), name: value}, datetime.now(UTC))


def test_good_settings_are_read(bench: Bench) -> None:
    read = Settings.from_environment(_environment(bench), datetime.now(UTC))
    assert (read.mailbox, read.fence, read.poll_seconds) == (bench.mailbox, 3, 1.0)


def test_the_process_ends_at_once_with_a_name_when_it_is_not_told_what_for(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "runner.main"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert "RUNNER_BUCKET" in done.stderr


def test_names_of_orders_sort_as_orders_follow() -> None:
    places = [(2, 9), (9, 1), (10, 1), (10, 2), (10, 11)]
    assert [order_name(*place) for place in places] == sorted(order_name(*p) for p in places)


def _environment(bench: Bench) -> dict[str, str]:
    return {
        "RUNNER_BUCKET": "b",
        "RUNNER_MAILBOX": bench.mailbox,
        "RUNNER_REGION": "eu-central-1",
        "RUNNER_RUN": str(bench.run_id),
        "RUNNER_FENCE": "3",
        "RUNNER_DEADLINE": bench.settings.deadline.isoformat(),
        "RUNNER_CONTROL_PLANE_KEY": encode_public(bench.key),
    }
