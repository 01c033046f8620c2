"""The PostgreSQL image in a pod: initialised once, reached by Service, data kept over pods."""

from __future__ import annotations

import pytest

from sandbox.node.images import references
from tests.sandbox_cluster.world import World

pytestmark = pytest.mark.cluster
QUERY = """
import os, psycopg, sys
with psycopg.connect(host="db", user="app", dbname="usage", password=sys.argv[1]) as link:
    for statement in sys.argv[2:]:
        row = link.execute(statement)
        print(row.fetchall() if row.description else "done")
"""


def start_database(world: World, namespace: str, name: str) -> None:
    container = {
        "image": references()["ringfence/postgres"],
        "args": [],
        "env": [
            {"name": "PGDATA", "value": "/var/lib/postgresql/data/inner"},
            {"name": "POSTGRES_USER", "value": "app"},
            {"name": "POSTGRES_DB", "value": "usage"},
            {"name": "POSTGRES_PASSWORD_FILE", "value": "/run/secrets/db/password"},
        ],
        "volumeMounts": [
            {"name": "data", "mountPath": "/var/lib/postgresql/data"},
            {"name": "password", "mountPath": "/run/secrets/db"},
            {"name": "run", "mountPath": "/tmp"},
        ],
        "securityContext": {"runAsNonRoot": True, "readOnlyRootFilesystem": True},
        "readinessProbe": {"tcpSocket": {"port": 5432}},
    }
    volumes = [
        {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
        {"name": "password", "secret": {"secretName": "db"}},
        {"name": "run", "emptyDir": {}},
    ]
    world.pod(
        namespace,
        name,
        container=container,
        volumes=volumes,
        labels={"app": "db"},
        terminationGracePeriodSeconds=10,
    )
    world.ready(namespace, name, 60)


def ask(world: World, namespace: str, name: str, password: str, *statements: str) -> str:
    command = {"command": ["python", "-c", QUERY, password, *statements]}
    return world.execute(namespace, name, container=command)


def test_a_database_is_initialised_once_and_keeps_its_rows(world: World) -> None:
    namespace = world.namespace()
    base = f"/api/v1/namespaces/{namespace}"
    world.create(
        f"{base}/persistentvolumeclaims",
        {
            "metadata": {"name": "data"},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
            },
        },
    )
    world.create(
        f"{base}/secrets", {"metadata": {"name": "db"}, "stringData": {"password": "s3cr3t"}}
    )
    service = {"ports": [{"port": 5432, "targetPort": 5432}]}
    world.service(namespace, "db", "db", **service)
    start_database(world, namespace, "first")
    wrong = ask(world, namespace, "wrong", "guess", "select 1")
    assert "password authentication failed" in wrong
    made = ask(
        world, namespace, "make", "s3cr3t", "create table t (n int)", "insert into t values (7)"
    )
    assert made == "done\ndone\n"
    world.admin.request("DELETE", f"{base}/pods/first")
    world.until("the end", lambda: world.admin.send("GET", f"{base}/pods/first")[0] == 404)
    start_database(world, namespace, "second")
    assert ask(world, namespace, "read", "s3cr3t", "select n from t") == "[(7,)]\n"
    assert "initialised" not in world.log(namespace, "second")
