"""The OpenAPI document, taken at its word: whatever it allows is answered as it says, and never with a bug.

Requests are made up from the document, for each role and for nobody, against a real process. Which of them
are made is the same every time (`derandomize`), and their number bounds the time.
"""

from pathlib import Path
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from redis.asyncio import Redis
from schemathesis import GenerationMode
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_schema_conformance,
    status_code_conformance,
)

from gateway.contract.access import Role
from tests.control.world import add_ready_versions
from tests.faults.test_access_faults import control
from tests.sockets import free_port

CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
]  # fmt: skip
EXAMPLES = {"admin": 6, "operator": 4}  # of each operation; for the others:
FEW = 2
ANSWER_S = 60.0
ENDLESS = {"/api/v1/events"}  # a stream has no end that one could wait for


def fuzz(
    operation: Any, url: str, headers: dict[str, str], *, examples: int, mode: Any = GenerationMode.POSITIVE
) -> None:
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def every_answer_is_as_documented(case: Any) -> None:
        case.headers.pop("Authorization", None)
        reply = case.call(base_url=url, headers=headers, timeout=ANSWER_S)
        case.validate_response(reply, checks=CHECKS, headers=headers)

    every_answer_is_as_documented()


@pytest.mark.timeout(600)
async def test_what_the_openapi_document_allows_is_answered_as_it_says(
    redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    await add_ready_versions(redis, "1", "2")
    await redis.aclose()
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with control(redis_url, tmp_path, port):
        callers: dict[str, dict[str, str]] = {"nobody": {}}
        admin: dict[str, str] = {}
        for role in reversed(Role):
            made = httpx2.post(
                f"{url}/api/v1/keys",
                json={"name": role, "role": role},
                headers=admin,
                trust_env=False,
                timeout=ANSWER_S,
            )
            callers[role] = {"authorization": f"Bearer {made.json()['key']}"}
            admin = admin or callers[role]
        document = httpx2.get(f"{url}/api/v1/openapi.json", trust_env=False, timeout=ANSWER_S).json()
        schema = schemathesis.openapi.from_dict(document)
        found: Any = schema.get_all_operations()
        every = [operation.ok() for operation in found]
        operations = [operation for operation in every if operation.path not in ENDLESS]
        assert len(operations) > 25
        for name, headers in callers.items():
            for operation in operations:
                fuzz(operation, url, headers, examples=EXAMPLES.get(name, FEW))
        for operation in operations:  # and what it does not allow
            if operation.body or len(list(operation.iter_parameters())):
                fuzz(operation, url, admin, examples=EXAMPLES["admin"], mode=GenerationMode.NEGATIVE)
