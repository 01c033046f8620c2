"""The API: composition root of the HTTP process.

`uvicorn controlplane.app:create_app --factory --no-proxy-headers`, settings from the environment
(`config.ApiSettings`). Tests call `build_app` with settings of their own; nothing is made when this
module is imported.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from pydantic import BaseModel
from sqlalchemy import text
from starlette.concurrency import run_in_threadpool

from controlplane import console
from controlplane.adapters.aws.accounts import account_directory
from controlplane.adapters.counters import LocalCounters, SharedCounters
from controlplane.adapters.oidc.client import OidcClient
from controlplane.adapters.oidc.client_key import ClientKey
from controlplane.adapters.oidc.discovery import ProviderDirectory
from controlplane.config import ApiSettings
from controlplane.core import logging
from controlplane.core.client_address import TrustedProxies
from controlplane.core.db import Database, Scope
from controlplane.core.http import install_edge
from controlplane.domains.agents import router as agents
from controlplane.domains.approvals import router as approvals
from controlplane.domains.audit import platform_router as platform_audit
from controlplane.domains.audit import router as audit
from controlplane.domains.blueprint_registry import router as blueprint_registry
from controlplane.domains.boundaries import router as boundaries
from controlplane.domains.catalog import router as catalog
from controlplane.domains.certificates import router as certificates
from controlplane.domains.connections import router as connections
from controlplane.domains.connections.service import Pins
from controlplane.domains.directory import router as directory
from controlplane.domains.directory import service_identity_router as services
from controlplane.domains.documents import router as documents
from controlplane.domains.entitlements import router as entitlements
from controlplane.domains.grants import router as grants
from controlplane.domains.identity import break_glass_router as break_glass
from controlplane.domains.identity import router as identity
from controlplane.domains.identity import sign_in_router
from controlplane.domains.identity import token_router as tokens
from controlplane.domains.identity.authorizer import PeopleAuthorizer
from controlplane.domains.identity.browser_gate import BrowserGate
from controlplane.domains.identity.providers import Providers, read_providers
from controlplane.domains.identity.sessions import SessionLimits
from controlplane.domains.identity.sign_in import SignIn
from controlplane.domains.identity.sign_in_limits import Allowance, SignInLimits
from controlplane.domains.identity.sign_in_refusals import Refusals
from controlplane.domains.installs import restore_router, takeover_router
from controlplane.domains.installs import router as installs
from controlplane.domains.organizations import router as organizations
from controlplane.domains.permissions import router as permissions
from controlplane.domains.provisioning import discovery_router as scim_discovery
from controlplane.domains.provisioning import router as scim
from controlplane.domains.reports import router as reports
from controlplane.domains.runs import router as runs
from controlplane.domains.usage import router as usage
from controlplane.domains.waivers import router as waivers
from controlplane.domains.windows import router as windows

VERSION = "0.1.0"
ROUTERS = (
    identity.router,
    break_glass.router,
    break_glass.open_router,
    sign_in_router.router,
    tokens.router,
    documents.router,
    organizations.router,
    directory.router,
    services.router,
    boundaries.router,
    approvals.router,
    waivers.router,
    catalog.router,
    entitlements.router,
    connections.router,
    grants.router,
    permissions.router,
    blueprint_registry.router,
    installs.router,
    certificates.router,
    restore_router.router,
    takeover_router.router,
    takeover_router.file_router,
    runs.router,
    runs.stream_router,
    usage.router,
    windows.router,
    reports.router,
    reports.file_router,
    audit.router,
    platform_audit.router,
    agents.people_router,
    agents.enrol_router,
    agents.agent_router,
    agents.poll_router,
    usage.agent_router,
    audit.agent_router,
    scim.router,
    scim_discovery.router,
)

health = APIRouter(tags=["health"])


class Health(BaseModel):
    """A sign of life."""

    status: str
    version: str


@health.get("/healthz", operation_id="health_live")
async def health_live() -> Health:
    """Answer while the process lives."""
    return Health(status="ok", version=VERSION)


@health.get("/readyz", operation_id="health_ready")
async def health_ready(request: Request) -> Health:
    """Answer once the database answers."""
    database: Database = request.app.state.database

    def ask() -> None:
        with database.transaction(Scope(None)) as session:
            session.execute(text("SELECT 1"))

    await run_in_threadpool(ask)
    return Health(status="ok", version=VERSION)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    if app.state.sign_in is not None:
        await run_in_threadpool(app.state.sign_in.close)
    app.state.database.close()


def build_app(settings: ApiSettings, database: Database) -> FastAPI:
    """Return the application on a database."""
    app = make_routes()
    app.state.settings = settings
    app.state.database = database
    limits = SessionLimits(
        timedelta(minutes=settings.session_idle_minutes), timedelta(hours=settings.session_hours)
    )
    gate = BrowserGate(database, limits, settings.browser_url())
    app.state.authorizer = PeopleAuthorizer(database, gate)
    app.state.sign_in = make_sign_in(settings, database, limits)
    app.state.trusted_proxies = TrustedProxies(settings.trusted_proxies)
    app.state.accounts = account_directory(settings.aws_endpoint_url)
    app.state.pins = Pins(
        settings.vendor_principal,
        settings.control_plane_fingerprint,
        settings.release_fingerprint,
    )
    return app


def make_sign_in(settings: ApiSettings, database: Database, limits: SessionLimits) -> SignIn | None:
    """Return the use cases of signing in; None without a key to prove ourselves with.

    Raises: ClientKeyError, ProvidersFileError, SecretFileError.
    """
    if settings.sign_in_key_file is None:
        return None
    client = OidcClient(ClientKey.load(settings.sign_in_key_file), ProviderDirectory())
    file = settings.sign_in_providers_file
    operator = read_providers(file) if file is not None else ()
    redis_url = settings.redis_url()
    counters = LocalCounters() if redis_url is None else SharedCounters(redis_url)
    allowance = Allowance(settings.sign_in_per_address, settings.sign_in_per_provider)
    refusals = Refusals(database)
    return SignIn(
        database,
        client,
        Providers(operator),
        settings.browser_url(),
        limits,
        SignInLimits(counters, allowance, refusals),
        refusals,
    )


def make_routes() -> FastAPI:
    """Return the application's routes without anything behind them, for the API description."""
    app = FastAPI(
        title="Ringfence control plane",
        version=VERSION,
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
        responses={"default": {"description": "An error", "model": ErrorOut}},
    )
    install_edge(app)
    app.include_router(health)
    for router in ROUTERS:
        app.include_router(router)
    console.install(app)
    return app


class ErrorBody(BaseModel):
    """What went wrong, for programs (`code`) and people (`message`, `fix`)."""

    code: str
    message: str
    request_id: str
    field: str | None = None
    fix: str | None = None
    problems: list[dict[str, Any]] | None = None


class ErrorOut(BaseModel):
    """Every error of the API."""

    error: ErrorBody


def create_app() -> FastAPI:
    """Return the application for uvicorn, configured from the environment."""
    logging.configure("api")
    settings = ApiSettings()
    return build_app(settings, Database.connect(settings.database_url()))
