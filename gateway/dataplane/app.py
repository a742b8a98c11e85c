"""What a gateway answers beside predictions: health, metadata, feedback, and clear refusals.

An ordinary Starlette application behind the same port. Addresses and bodies follow the Open Inference
Protocol (kserve/open-inference-protocol, inference_rest.md).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route as Path

from gateway.contract.errors import STATUS_OF, CallerError, TurnoutError
from gateway.core.kept import Registered
from gateway.dataplane.feedback import FeedbackIntake
from gateway.dataplane.table import Table

EXTENSIONS = ["binary_tensor_data"]


@dataclass(frozen=True, slots=True)
class Surface:
    """What the application shows of its process."""

    table: Table
    intake: FeedbackIntake
    is_ready: Callable[[], bool]
    turnout_version: str


def build_app(surface: Surface) -> Starlette:
    table = surface.table

    def versions_of(request: Request) -> tuple[str, Mapping[str, Registered]]:
        model = request.path_params["model"]
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
        return JSONResponse({"models": sorted(table.snapshot.versions)})

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
            TurnoutError: _turnout_error,
            HTTPException: _http_error,
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


def _error(code: str, message: str) -> Response:
    headers = {"turnout-error": code}
    if STATUS_OF[code] in (429, 503):
        headers["retry-after"] = "1"
    return JSONResponse({"error": message}, status_code=STATUS_OF[code], headers=headers)


async def _turnout_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, TurnoutError)
    return _error(error.code, error.message)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        return _error("method_not_allowed", f"{request.method} is not possible here.")
    return _error("not_found", f"Nothing is at {request.url.path}.")


async def _bug(request: Request, error: Exception) -> Response:
    return _error("internal", "The gateway made a mistake; its log says more.")
