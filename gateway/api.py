"""The OpenAI-shaped API of the gateway: who calls, which models they see, completions, health.

Built by `main`. Separate from the relay, which answers one completion.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from aiohttp import web

from gateway import errors
from gateway.errors import ApiError
from gateway.intake import Intake
from gateway.metering import Meter, Pseudonymize
from gateway.policy import PolicyFolder
from gateway.relay import Relay
from gateway.routing import Caller
from gateway.watch import Routes
from wire.usage import Operation, Origin

MAX_BODY = 4 * 2**20
SYNTHETIC_HEADER = "X-Ringfence-Synthetic-Person"


class Live:
    """How many answers are under way, and whether new ones are still taken."""

    def __init__(self) -> None:
        self.count = 0
        self.draining = False
        self.idle = asyncio.Event()
        """Set while no answer is under way."""
        self.idle.set()

    def __enter__(self) -> None:
        self.count += 1
        self.idle.clear()

    def __exit__(self, *_: object) -> None:
        self.count -= 1
        if not self.count:
            self.idle.set()


class Api:
    """The public application; it becomes ready once `open` was called and routes are synced."""

    def __init__(
        self,
        routes: Routes,
        relay: Relay,
        intake: Intake,
        policy: PolicyFolder,
        boundary_id: str,
    ) -> None:
        self._routes, self._relay, self._boundary_id = routes, relay, boundary_id
        self._intake, self._policy = intake, policy
        self._pseudonym: Pseudonymize | None = None
        self.live = Live()

    def open(self, pseudonym: Pseudonymize) -> None:
        """Start to take requests: the database is migrated and the spool is recovered."""
        self._pseudonym = pseudonym

    @property
    def ready(self) -> bool:
        """Whether requests are served."""
        return self._pseudonym is not None and self._routes.synced and not self.live.draining

    def application(self) -> web.Application:
        """Return the aiohttp application."""
        app = web.Application(client_max_size=MAX_BODY, middlewares=[_render_errors])
        app.add_routes(
            [
                web.get("/healthz", self.healthz),
                web.get("/readyz", self.readyz),
                web.get("/v1/models", self.list_models),
                web.get("/v1/models/{model}", self.get_model),
                web.post("/v1/chat/completions", self.chat),
                web.post("/usage/v1/events", self.report),
            ]
        )
        return app

    async def healthz(self, _: web.Request) -> web.Response:
        """Answer while the process is alive."""
        return web.json_response({"status": "ok"})

    async def readyz(self, _: web.Request) -> web.Response:
        """Answer 200 only while requests are served, else say what is missing."""
        missing = {
            "database": self._pseudonym is None,
            "resources": not self._routes.synced,
            "draining": self.live.draining,
        }
        waiting = [name for name, wait in missing.items() if wait]
        status = 503 if waiting else 200
        return web.json_response(
            {"status": "not ready" if waiting else "ok", "waiting": waiting}, status=status
        )

    def _caller(self, request: web.Request) -> Caller:
        """Return whose request this is. Raises: ApiError."""
        if not self.ready:
            raise errors.unavailable("not_ready", "The gateway is starting or shutting down.")
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        caller = None
        if scheme.lower() == "bearer":
            caller = self._routes.table.caller(key.strip(), datetime.now(UTC))
        if caller is None:
            raise errors.invalid_key()
        return caller

    async def list_models(self, request: web.Request) -> web.Response:
        """List the models the caller may use, and no other."""
        targets = self._caller(request).targets
        return web.json_response({"object": "list", "data": [_model(name) for name in targets]})

    async def get_model(self, request: web.Request) -> web.Response:
        """Describe one model the caller may use."""
        target = self._caller(request).target(request.match_info["model"])
        if target is None:
            raise errors.model_not_found()
        return web.json_response(_model(target.model))

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """Answer a chat completion."""
        caller = self._caller(request)
        origin = self._origin(request, caller)
        meter = Meter(
            boundary_id=self._boundary_id,
            caller=caller,
            subject=origin.subject,
            synthetic=origin.synthetic,
            headers=request.headers,
            operation=Operation.CHAT,
        )
        with self.live:
            return await self._relay.answer(request, meter)

    async def report(self, request: web.Request) -> web.Response:
        """Take events that a client reports of changes."""
        origin = self._origin(request, self._caller(request))
        with self.live:
            return await self._intake.take(request, origin)

    def _origin(self, request: web.Request, caller: Caller) -> Origin:
        """Return whose use it is, by the key alone. Raises: ApiError.

        A made-up person is one of the key's owner: nobody can speak for another, and everything
        under such a subject is marked as synthetic for good.
        """
        if self._pseudonym is None:
            raise errors.unavailable("not_ready", "The gateway is starting.")
        person, owner = request.headers.get(SYNTHETIC_HEADER), caller.owner
        if person is not None:
            if caller.group not in self._policy.read().synthetic_groups:
                raise errors.synthetic_refused()
            if not (person.isascii() and person.isdigit() and len(person) <= 6):
                raise errors.invalid(f"{SYNTHETIC_HEADER} must be a number below 1000000.")
            owner = f"{caller.owner}\0synthetic\0{int(person)}"
        return Origin(
            boundary_id=self._boundary_id,
            group_id=caller.group,
            subject=self._pseudonym(owner),
            synthetic=person is not None,
        )


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "ringfence"}


@web.middleware
async def _render_errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer every error, also aiohttp's own 404 and 405, in OpenAI's shape."""
    try:
        return await handler(request)
    except ApiError as error:
        return error.response()
    except web.HTTPException as error:
        return errors.invalid("No such path or method.", status=error.status).response()
