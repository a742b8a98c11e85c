"""Everything a worker answers beside inference: health, metadata, its metrics, and clear 404s and 405s.

The addresses are those of the Open Inference Protocol's REST interface, and `GET /v2/models`, which KServe
has. Both `/v2` and `/v2/` are served: documents and clients differ. Called by `workers.app`.
"""

from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.contract.errors import STATUS_OF, TurnoutError
from gateway.contract.signature import TensorSpec
from workers.artifact import PLATFORM
from workers.service import Service
from workers.tally import CONTENT_TYPE

EXTENSIONS = ("binary_tensor_data",)
_CODES = {404: "not_found", 405: "method_not_allowed"}
Page = Callable[[Service, Request], Response]


def make_app(service: Service) -> Starlette:
    def route(path: str, page: Page) -> Route:
        return Route(path, partial(_answer, service, page), methods=["GET"])

    routes = [
        route("/v2", _server),
        route("/v2/", _server),
        route("/v2/health/live", _live),
        route("/v2/health/ready", _ready),
        route("/v2/models", _models),
        route("/metrics", _metrics),
    ]
    for base in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        routes += [
            route(base, _model),
            route(f"{base}/ready", _model_ready),
            Route(f"{base}/infer", partial(_answer, service, _infer), methods=["POST"]),
        ]
    # Starlette's types ask for handlers of any exception; each gets the kind it is listed for.
    handlers: Any = {HTTPException: _http_error, TurnoutError: _turnout_error, 500: _bug}
    app = Starlette(
        routes=routes,
        exception_handlers=handlers,
    )
    app.router.redirect_slashes = False
    return app


async def _answer(service: Service, page: Page, request: Request) -> Response:
    params = request.path_params
    if "model" in params:
        service.check_name(params["model"], params.get("version"))
    return page(service, request)


def _server(service: Service, request: Request) -> Response:
    return JSONResponse({"name": "turnout", "version": _own_version(), "extensions": list(EXTENSIONS)})


def _live(service: Service, request: Request) -> Response:
    return JSONResponse({"live": True})


def _ready(service: Service, request: Request) -> Response:
    _check_ready(service)
    return JSONResponse({"ready": True})


def _models(service: Service, request: Request) -> Response:
    return JSONResponse({"models": [service.model]})


def _model(service: Service, request: Request) -> Response:
    if not service.has_model:
        _check_ready(service)
    return JSONResponse(
        {
            "name": service.model,
            "versions": [service.version],
            "platform": PLATFORM,
            "inputs": [_tensor(spec) for spec in service.signature.inputs],
            "outputs": [_tensor(spec) for spec in service.signature.outputs],
            "properties": {"digest": service.digest},
        }
    )


def _model_ready(service: Service, request: Request) -> Response:
    _check_ready(service)
    return JSONResponse({"name": service.model, "ready": True})


def _infer(service: Service, request: Request) -> Response:
    """Only another model's or version's inference comes here, and `check_name` has refused it."""
    raise TurnoutError("not_found", "There is no such address.")


def _metrics(service: Service, request: Request) -> Response:
    depth = len(service.batcher) if service.has_model else 0
    return Response(service.tally.text(queue_depth=depth), headers={"content-type": CONTENT_TYPE})


def _check_ready(service: Service) -> None:
    if not service.is_ready:
        code = "draining" if service.has_model else "not_ready"
        raise TurnoutError(code, f"The worker of {service.model} {service.version} is {service.state}.")


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def _own_version() -> str:
    try:
        return version("turnout")
    except PackageNotFoundError:  # run from a checkout
        return "0"


async def _http_error(request: Request, error: HTTPException) -> Response:
    code = _CODES.get(error.status_code, "bad_request")
    words = {
        "not_found": f"There is nothing at {request.scope['path'][:200]}.",
        "method_not_allowed": f"{request.method} is not possible here; infer takes POST, the rest GET.",
    }
    return _error(code, words.get(code, str(error.detail)), headers=dict(error.headers or {}))


async def _turnout_error(request: Request, error: TurnoutError) -> Response:
    return _error(error.code, error.message, headers={"retry-after": "1"} if error.status == 503 else {})


async def _bug(request: Request, error: Exception) -> Response:
    return _error("internal", "The worker failed; its log says why.", headers={})


def _error(code: str, message: str, *, headers: dict[str, str]) -> Response:
    return JSONResponse(
        {"error": message}, status_code=STATUS_OF[code], headers=headers | {"turnout-error": code}
    )
