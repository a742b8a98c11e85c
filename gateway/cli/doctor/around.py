"""What an operator's machine sees by itself, where no control API answers: who listens, and what to start.

It connects and says nothing, but for the certificate of an https address. Called by `turnout doctor`.
"""

import contextlib
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

CONNECT_S = 1.0
SOON_S = 14 * 86_400.0
Finding = Mapping[str, Any]


def finding(severity: str, check: str, what: str, why: str, mend: str) -> Finding:
    """As the control API tells one."""
    return {"severity": severity, "check": check, "what": what, "why": why, "mend": mend}


def without_control(url: str, reason: str, config: Path | None) -> Iterator[Finding]:
    """The control API at `url` did not answer, for this reason."""
    from gateway.contract.errors import CallerError
    from gateway.contract.redis_url import bare
    from gateway.settings import load

    away = _refusal(url)
    start = "turnout up   (or `turnout control`), or give --control-url"
    what = reason if away is None else f"nothing listens at {url} ({away})"
    mend = start if away is not None else f"is that address a control API? turnout doctor --control-url {url}"
    yield finding(
        "critical", "control_away", what,
        "Nobody can change routes, and rollouts stand still; gateways serve on.", mend,
    )  # fmt: skip
    try:
        settings = load(config)
    except CallerError as error:
        for problem in error.data["problems"]:
            yield finding(
                "critical", "settings", f"the settings are wrong: {problem}", "No process starts with them.",
                f"turnout config check{f' -f {config}' if config else ''}",
            )  # fmt: skip
        return
    if (why := _redis_refusal(settings.redis_url)) is not None:
        yield finding(
            "critical", "redis_away", f"no Redis listens at {bare(settings.redis_url)} ({why})",
            "It holds routes, labels and evidence: without it nothing can be changed or learned.",
            "turnout up   (starts its own), or start the server that redis_url names",
        )  # fmt: skip
    gateway = settings.gateway
    if (why := _connects(gateway.host, gateway.port)) is not None:
        yield finding(
            "critical", "gateway_away", f"no gateway listens at {gateway.host}:{gateway.port} ({why})",
            "Predictions are refused, if this is where gateways should be.", "turnout gateway",
        )  # fmt: skip


def certificate(url: str) -> Iterator[Finding]:
    """Of an https address: does it end soon?"""
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname:
        return
    context = ssl.create_default_context()
    try:
        with (
            socket.create_connection((parts.hostname, parts.port or 443), CONNECT_S) as plain,
            context.wrap_socket(plain, server_hostname=parts.hostname) as wrapped,
        ):
            told = wrapped.getpeercert() or {}
    except ssl.SSLCertVerificationError as error:
        yield finding(
            "critical", "certificate", f"the certificate of {url} is not believed: {error.verify_message}",
            "Clients that check it refuse to speak.", "renew it, or trust its issuer (SSL_CERT_FILE)",
        )  # fmt: skip
        return
    except OSError:
        return
    left_s = ssl.cert_time_to_seconds(str(told["notAfter"])) - time.time() if "notAfter" in told else SOON_S
    if left_s < SOON_S:
        yield finding(
            "warning", "certificate", f"the certificate of {url} ends in {left_s / 86_400:.1f} days",
            "From then on clients refuse to speak.", "renew it",
        )  # fmt: skip


def _refusal(url: str) -> str | None:
    parts = urlsplit(url)
    return _connects(parts.hostname or "127.0.0.1", parts.port or (443 if parts.scheme == "https" else 80))


def _redis_refusal(url: str) -> str | None:
    if url.startswith("unix://"):
        path = url.removeprefix("unix://").partition("?")[0]
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as client:
            client.settimeout(CONNECT_S)
            try:
                client.connect(path)
            except OSError as error:
                return error.strerror or str(error)
        return None
    from gateway.contract.redis_url import sentinels_in

    try:
        sentinels = sentinels_in(url)
    except ValueError as error:
        return str(error)
    if sentinels is not None:
        refusals = [_connects(host, port) for host, port in sentinels.addresses]
        return None if None in refusals else refusals[0]
    parts = urlsplit(url)
    return _connects(parts.hostname or "127.0.0.1", parts.port or 6379)


def _connects(host: str, port: int) -> str | None:
    """Why not; None = it does."""
    try:
        socket.create_connection((host, port), CONNECT_S).close()
    except TimeoutError:
        return f"no answer within {CONNECT_S:g} s"
    except OSError as error:
        return error.strerror or str(error)
    return None
