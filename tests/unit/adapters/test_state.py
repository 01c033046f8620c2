"""The address of the engine's state carries the fence and never the password."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest

from controlplane.adapters.pulumi.state import StateStore
from controlplane.core.errors import InternalError

BOUNDARY, RUN = UUID(int=1), UUID(int=2)


def test_the_address_names_schema_run_and_fence_and_no_password() -> None:
    state = StateStore("postgresql+psycopg://engine:p%40ss:word@127.0.0.1:5433/state")
    url = state.backend_url(BOUNDARY, RUN, 7)
    assert "p%40ss" not in url
    assert urlsplit(url).username == "engine"
    query = parse_qs(urlsplit(url).query)
    assert query["options"] == [
        f"-c search_path=boundary_{BOUNDARY.hex} -c ringfence.run={RUN} -c ringfence.fence=7"
    ]
    assert query["sslmode"] == ["disable"]
    assert state.pgpass_line() == "127.0.0.1:5433:state:engine:p@ss\\:word\n"


def test_a_server_elsewhere_must_prove_who_it_is() -> None:
    state = StateStore("postgresql://engine:x@db.example/state")
    query = parse_qs(urlsplit(state.backend_url(BOUNDARY, RUN, 1)).query)
    assert query["sslmode"] == ["verify-full"]


def test_an_address_of_another_kind_is_refused_without_showing_it() -> None:
    with pytest.raises(InternalError) as caught:
        StateStore("mysql://engine:hunter2@db/state")
    assert "hunter2" not in str(caught.value)
    assert caught.value.fix
