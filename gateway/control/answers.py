"""From an exception to the answer a client gets: one shape, one place.

Problem details (RFC 9457: `type`, `title`, `status`, `detail`) with Turnout's own members: `code`, `error`
(the same sentence as `detail`), the error's data, and `problems` (each with its path) where a document was
wrong. The status comes from `contract.errors.STATUS_OF`. A bug is answered as 500 without details; its trace
goes to the log by way of the server.
"""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from gateway.contract.errors import CallerError, TurnoutError
from gateway.store.documents import WouldCommit

_CODE_OF_STATUS = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}


def answer(error: TurnoutError) -> JSONResponse:
    headers = {}
    if error.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["retry-after"] = "1"
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    content = {
        **error.data,
        "type": "about:blank",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": error.message,
        "error": error.message,
        "code": error.code,
    }
    return JSONResponse(content, error.status, headers, media_type="application/problem+json")


def install_answers(app: FastAPI) -> None:
    """Every way in which a handler can fail, in the one shape."""

    async def turnout_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, TurnoutError)
        return answer(error)

    async def dry_run(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, WouldCommit)
        return JSONResponse({"dry_run": True, "would_change": list(error.fields)})

    async def invalid_request(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        return answer(_invalid(error))

    async def http_error(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        code = _CODE_OF_STATUS.get(error.status_code, "bad_request")
        if error.status_code == HTTPStatus.NOT_FOUND:
            return answer(CallerError(code, f"there is nothing at {request.scope['path']}"))
        return answer(CallerError(code, str(error.detail)))

    async def bug(request: Request, error: Exception) -> JSONResponse:
        return answer(TurnoutError("internal", "a bug in Turnout; the log of the control process says more"))

    app.add_exception_handler(TurnoutError, turnout_error)
    app.add_exception_handler(WouldCommit, dry_run)
    app.add_exception_handler(RequestValidationError, invalid_request)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(Exception, bug)


def _invalid(error: RequestValidationError) -> CallerError:
    found = error.errors()
    problems = [
        f"{_path(item['loc'], error.body)}: {item['msg'].removeprefix('Value error, ')}" for item in found
    ]
    in_body = any(item["loc"][0] == "body" for item in found)
    return CallerError(
        "invalid_document" if in_body else "bad_request",
        f"{len(problems)} problems, the first: {problems[0]}" if len(problems) > 1 else problems[0],
        problems=problems,
    )


def _path(location: tuple[int | str, ...], body: Any) -> str:
    """The path as the operator knows it: inside the document, not inside the request around it."""
    match location:
        case ("body", "edit", "replace", "route", *rest):
            pass
        case ("body", "edit", str(), *rest) if rest:
            pass
        case ("body", "documents", int(index), *rest):
            rest = [_name_of_document(body, index), *rest]
        case (_, *rest):
            pass
        case _:
            rest = []
    return ".".join(str(part) for part in rest) or "document"


def _name_of_document(body: Any, index: int) -> str:
    """The model that a document is about, as far as it says so; else its place."""
    try:
        model = body["documents"][index]["model"]
    except (KeyError, IndexError, TypeError):
        model = None
    return model if isinstance(model, str) and model else f"documents.{index}"


def _problem_schema() -> dict[str, Any]:
    texts = ("type", "title", "detail", "error", "code")
    return {
        "type": "object",
        "properties": {**{name: {"type": "string"} for name in texts}, "status": {"type": "integer"}},
        "required": [*texts, "status"],
    }


# What the OpenAPI document says of every answer that is no success. 422 is named because FastAPI would
# describe its own otherwise.
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {
        "description": "a problem: `detail` says what to do",
        "content": {"application/problem+json": {"schema": _problem_schema()}},
    }
    for status in (422, "4XX", "5XX")
}
