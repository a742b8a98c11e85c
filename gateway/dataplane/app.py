"""What a gateway answers beside predictions: health, metadata, feedback, and clear refusals.

An ordinary Starlette application behind the same port. With keys on, only health and the server's own
metadata are open. Addresses and bodies follow the Open Inference Protocol (kserve/open-inference-protocol,
inference_rest.md).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as Path

from gateway.contract.access import IN_QUERY, has_key_in
from gateway.contract.errors import STATUS_OF, CallerError, TurnoutError
from gateway.core.kept import Registered
from gateway.dataplane.door import Door, Grant
from gateway.dataplane.feedback import FeedbackIntake
from gateway.dataplane.table import Table
from gateway.dataplane.tally import Tallies

EXTENSIONS = ["binary_tensor_data"]
_AT_THE_DOOR = frozenset({"unauthenticated", "forbidden", "over_limit"})


@dataclass(frozen=True, slots=True)
class Surface:
    """What the application shows of its process."""

    table: Table
    door: Door
    tallies: Tallies
    intake: FeedbackIntake
    is_ready: Callable[[], bool]
    turnout_version: str


def build_app(surface: Surface) -> Starlette:
    table, door = surface.table, surface.door

    def admitted(request: Request, model: str | None) -> Grant | None:
        """Who asks; None where nobody has to say it."""
        if has_key_in(request.url.query):
            raise CallerError("bad_request", IN_QUERY)
        return door.admit(dict(request.scope["headers"]), model) if door.is_on else None

    def versions_of(request: Request) -> tuple[str, Mapping[str, Registered]]:
        model = request.path_params["model"]
        admitted(request, model)
        known = table.snapshot.versions.get(model)
        if not known:
            raise CallerError("unknown_model", f"No model is named {model}.")
        version = request.path_params.get("version")
        if version is not None and version not in known:
            raise CallerError(
                "unknown_version", f"{model} has no version {version}; it has: {', '.join(sorted(known))}."
            )
        return model, known

    async def server_metadata(request: Request) -> Response:
        return JSONResponse({"name": "turnout", "version": surface.turnout_version, "extensions": EXTENSIONS})

    async def live(request: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(request: Request) -> Response:
        if surface.is_ready():
            return JSONResponse({"ready": True})
        raise TurnoutError("no_table", "This gateway has no routes yet, or is shutting down.")

    async def models(request: Request) -> Response:
        grant = admitted(request, None)
        names = sorted(table.snapshot.versions)
        if grant is not None and grant.models is not None:
            names = [name for name in names if name in grant.models]
        return JSONResponse({"models": names})

    async def metadata(request: Request) -> Response:
        model, known = versions_of(request)
        version = known[request.path_params.get("version") or _leading_version(table, model, known)]
        return JSONResponse(
            {
                "name": model,
                "versions": sorted(known),
                "platform": version.platform,
                "inputs": [tensor.model_dump(mode="json") for tensor in version.signature.inputs],
                "outputs": [tensor.model_dump(mode="json") for tensor in version.signature.outputs],
            }
        )

    async def model_ready(request: Request) -> Response:
        model, known = versions_of(request)
        version = request.path_params.get("version") or _leading_version(table, model, known)
        if not table.pools.get(model, version).ready:
            raise TurnoutError("no_workers", f"{model} version {version} has no ready worker.")
        return JSONResponse({"name": model, "ready": True})

    async def infer(request: Request) -> Response:
        """Reached only where the fast path found nothing to serve."""
        model, _ = versions_of(request)
        entry = table.entry(model)
        if entry is not None and request.path_params.get("version") in entry.retired:
            raise CallerError(*entry.refusal(request.path_params["version"]))
        if request.path_params.get("version") is None and model not in table.snapshot.routes:
            raise CallerError(
                "no_route", f"{model} has no route: set one with `turnout route split {model} VERSION=100`."
            )
        raise CallerError("bad_request", "Send inference requests to the plain path, without a query string.")

    async def feedback(request: Request) -> Response:
        model, _ = versions_of(request)
        is_lines = "ndjson" in request.headers.get("content-type", "")
        return await surface.intake.take(model, await request.body(), is_lines=is_lines)

    async def turnout_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, TurnoutError)
        if error.code in _AT_THE_DOOR:
            surface.tallies.rejected[error.code] += 1
        return _error(error.code, error.message, retry_after_s=error.data.get("retry_after_s", 1))

    async def http_error(request: Request, error: Exception) -> Response:
        """Whoever has no key does not learn what there is."""
        assert isinstance(error, HTTPException)
        try:
            admitted(request, None)
        except CallerError as refusal:
            return await turnout_error(request, refusal)
        if error.status_code == 405:
            return _error("method_not_allowed", f"{request.method} is not possible here.")
        return _error("not_found", f"Nothing is at {request.url.path}.")

    base = "/v2/models/{model}"
    both = (base, base + "/versions/{version}")
    return Starlette(
        routes=[
            Path("/v2", server_metadata, methods=["GET"]),
            Path("/v2/", server_metadata, methods=["GET"]),
            Path("/v2/health/live", live, methods=["GET"]),
            Path("/v2/health/ready", ready, methods=["GET"]),
            Path("/v2/models", models, methods=["GET"]),
            *(Path(path, metadata, methods=["GET"]) for path in both),
            *(Path(path + "/ready", model_ready, methods=["GET"]) for path in both),
            *(Path(path + "/infer", infer, methods=["POST"]) for path in both),
            Path(base + "/feedback", feedback, methods=["POST"]),
        ],
        exception_handlers={
            TurnoutError: turnout_error,
            HTTPException: http_error,
            Exception: _bug,
        },
    )


def _leading_version(table: Table, model: str, known: Mapping[str, Registered]) -> str:
    """The version that gets most of the model's requests; without a route the last one by name."""
    compiled = table.snapshot.routes.get(model)
    if compiled is not None:
        leading = max(compiled.route.split, key=lambda entry: entry.weight).version
        if leading in known:
            return leading
    return max(known)


def _error(code: str, message: str, *, retry_after_s: int = 1) -> Response:
    headers = {"turnout-error": code}
    if STATUS_OF[code] in (429, 503):
        headers["retry-after"] = str(retry_after_s)
    if code == "unauthenticated":
        headers["www-authenticate"] = "Bearer"
    return JSONResponse({"error": message}, status_code=STATUS_OF[code], headers=headers)


async def _bug(request: Request, error: Exception) -> Response:
    return _error("internal", "The gateway made a mistake; its log says more.")
